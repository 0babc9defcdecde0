//! Paths of a text: which part of which message a name means there.

use std::borrow::Cow;

use crate::otlp::fields::trace::span;
use crate::ottl::check::{Wanted, node};
use crate::ottl::checked::{KeyStep, Path};
use crate::ottl::context::{Context, Syntax};
use crate::ottl::item::PathOwner;
use crate::ottl::path;
use crate::ottl::path::tables::{CONTEXTS_NOT_BUILT, NOT_BUILT, PathPart, PointPart, names};
use crate::ottl::syntax::fault::TextFault;
use crate::ottl::syntax::parse::{PathKey, Segment};
use crate::ottl::value::ValueStep;

/// The path of these names, which stand at this place in the text.
pub fn resolve(segments: &[Segment], syntax: Syntax, at: usize) -> Result<Path, TextFault> {
    let wrong = |message: String| Err(TextFault { at, message, not_built: false });
    let first = &segments[0];
    let prefix = Context::named(&first.name).filter(|_| segments.len() > 1 && first.keys.is_empty());
    let written = segments.iter().map(|segment| segment.name.as_str()).collect::<Vec<_>>().join(".");
    let (of, rest) = match prefix {
        Some(of) if syntax.context.sees(of) => (of, &segments[1..]),
        Some(_) => {
            return wrong(format!("`{written}` is out of sight from a {}", syntax.context.name()));
        }
        None if syntax.prefixed && !CONTEXTS_NOT_BUILT.contains(&first.name.as_str()) => {
            let seen = syntax.context.seen().map(|of| format!("{}.{written}", of.name())).collect::<Vec<_>>();
            return wrong(format!("`{written}` does not say whose; one of {}", seen.join(", ")));
        }
        None => (syntax.context, segments),
    };
    let Some((last, before)) = rest.split_last() else { return wrong("a name is missing".to_owned()) };
    if before.iter().any(|segment| !segment.keys.is_empty()) {
        return wrong("keys may stand behind the last name only".to_owned());
    }
    let name = rest.iter().map(|segment| segment.name.as_str()).collect::<Vec<_>>().join(".");
    if name == "cache" {
        if !syntax.cache || of != syntax.context {
            return wrong("there is no `cache` here".to_owned());
        }
        let keys = checked_keys(&last.keys, syntax)?;
        return Ok(Path { owner: PathOwner::Cache, part: PathPart::Attributes(path::CACHE), keys, name: written });
    }
    let Some((_, part)) = names(of).iter().find(|(known, _)| *known == name) else {
        if NOT_BUILT.contains(&name.as_str()) || CONTEXTS_NOT_BUILT.contains(&first.name.as_str()) {
            return Err(TextFault {
                at,
                message: format!("podgate does not have the path `{written}`"),
                not_built: true,
            });
        }
        let known: Vec<&str> = names(of).iter().map(|(name, _)| *name).collect();
        return wrong(format!("there is no `{name}` in a {}; known are {}", of.name(), known.join(", ")));
    };
    let keyed = matches!(
        part,
        PathPart::Attributes(_) | PathPart::Any(_) | PathPart::TraceState | PathPart::Point(PointPart::Attributes)
    );
    if !last.keys.is_empty() && !keyed {
        return wrong(format!("`{name}` has no keys"));
    }
    // While its pieces are run over, the message above them is without them.
    let hidden =
        matches!((syntax.context, of, part), (Context::SpanEvent, Context::Span, PathPart::Pieces(span::EVENTS)))
            || (syntax.context == Context::DataPoint && *part == PathPart::DataPoints);
    if hidden {
        let message = format!("podgate does not have `{written}` seen from a {}", syntax.context.name());
        return Err(TextFault { at, message, not_built: true });
    }
    let keys = checked_keys(&last.keys, syntax)?;
    Ok(Path { owner: owner(of, *part), part: *part, keys, name: written })
}

fn owner(of: Context, part: PathPart) -> PathOwner {
    match of {
        Context::Resource if part == PathPart::SchemaUrl => PathOwner::ResourceUrl,
        Context::Scope if part == PathPart::SchemaUrl => PathOwner::ScopeUrl,
        Context::Resource => PathOwner::Resource,
        Context::Scope => PathOwner::Scope,
        Context::Span | Context::Metric | Context::Log => PathOwner::Item,
        Context::SpanEvent | Context::DataPoint => PathOwner::Piece,
    }
}

/// The keys behind a name, checked.
pub(super) fn checked_keys(keys: &[PathKey], syntax: Syntax) -> Result<Vec<KeyStep>, TextFault> {
    let place = |key: &PathKey| match key {
        PathKey::Name(name) => Ok(KeyStep::Known(ValueStep::Name(Cow::Owned(name.clone())))),
        PathKey::Index(index) => Ok(KeyStep::Known(ValueStep::Index(*index))),
        PathKey::Made(made) => node(made, syntax, Wanted::Value).map(KeyStep::Made),
    };
    keys.iter().map(place).collect()
}
