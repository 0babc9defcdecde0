//! Contexts: what a statement or condition is asked about, what it sees from there, and which one a text means when it
//! does not say (contrib pkg/ottl/context_inferrer.go: the lowest that any of its paths names).

use crate::core::data::payload::Signal;
use crate::ottl::syntax::fault::TextFault;
use crate::ottl::syntax::parse::{LocatedTree, PathKey, SyntaxTree};
use crate::ottl::syntax::{lexer, parse};

/// What a condition or statement is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    Resource,
    Scope,
    Span,
    SpanEvent,
    Metric,
    DataPoint,
    Log,
}

/// How a text is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Syntax {
    pub context: Context,
    /// Each path says whose it is: `span.name`, not `name`.
    pub prefixed: bool,
    /// There is a `cache`.
    pub cache: bool,
}

/// Lowest first.
const ALL: [Context; 7] = [
    Context::Log,
    Context::DataPoint,
    Context::Metric,
    Context::SpanEvent,
    Context::Span,
    Context::Scope,
    Context::Resource,
];

impl Context {
    pub fn name(self) -> &'static str {
        match self {
            Context::Resource => "resource",
            Context::Scope => "scope",
            Context::Span => "span",
            Context::SpanEvent => "spanevent",
            Context::Metric => "metric",
            Context::DataPoint => "datapoint",
            Context::Log => "log",
        }
    }

    /// The context that a path's first name means.
    pub fn named(name: &str) -> Option<Context> {
        if name == "instrumentation_scope" {
            return Some(Context::Scope);
        }
        ALL.into_iter().find(|context| context.name() == name)
    }

    /// The contexts of a signal's data, lowest first; none for profiles.
    pub fn of(signal: Signal) -> &'static [Context] {
        match signal {
            Signal::Traces => &[Context::SpanEvent, Context::Span, Context::Scope, Context::Resource],
            Signal::Metrics => &[Context::DataPoint, Context::Metric, Context::Scope, Context::Resource],
            Signal::Logs => &[Context::Log, Context::Scope, Context::Resource],
            Signal::Profiles => &[],
        }
    }

    /// True when a path of `other` can be read from here: itself and what stands above.
    pub fn sees(self, other: Context) -> bool {
        match other {
            _ if self == other => true,
            Context::Resource => true,
            Context::Scope => self != Context::Resource,
            Context::Span => self == Context::SpanEvent,
            Context::Metric => self == Context::DataPoint,
            Context::SpanEvent | Context::DataPoint | Context::Log => false,
        }
    }

    /// The lower of two, where there are two.
    pub fn lower(one: Option<Context>, other: Option<Context>) -> Option<Context> {
        one.into_iter().chain(other).min_by_key(|context| rank(*context))
    }

    pub fn seen(self) -> impl Iterator<Item = Context> {
        ALL.into_iter().filter(move |other| self.sees(*other))
    }
}

/// What a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grammar {
    Condition,
    Statement,
}

/// The lowest context, of those a signal has, that a path of this text names; `None` when no path names one.
pub fn infer(text: &str, grammar: Grammar, signal: Signal) -> Result<Option<Context>, TextFault> {
    let tokens = lexer::tokens(text)?;
    let mut spots = Vec::with_capacity(2);
    match grammar {
        Grammar::Condition => spots.push(parse::condition(&tokens)?),
        Grammar::Statement => {
            let (call, condition) = parse::statement(&tokens)?;
            spots.push(call);
            spots.extend(condition);
        }
    }
    let mut found: Option<Context> = None;
    let mut fault = None;
    for spot in &spots {
        visit(spot, &mut |at, name| {
            let Some(context) = Context::named(name) else { return };
            if !Context::of(signal).contains(&context) {
                let message = format!("`{name}` is not part of {}", signal.name());
                fault.get_or_insert(TextFault { at, message, not_built: false });
            }
            found = Context::lower(found, Some(context));
        });
    }
    fault.map_or(Ok(found), Err)
}

fn rank(context: Context) -> usize {
    ALL.iter().position(|known| *known == context).unwrap_or(ALL.len())
}

/// Calls `seen` with the place and first name of each path that has several.
fn visit(spot: &LocatedTree, seen: &mut impl FnMut(usize, &str)) {
    match &spot.tree {
        SyntaxTree::Path(segments) => {
            if segments.len() > 1 && segments[0].keys.is_empty() {
                seen(spot.at, &segments[0].name);
            }
            segments.iter().for_each(|segment| visit_keys(&segment.keys, seen));
        }
        SyntaxTree::List(parts) | SyntaxTree::And(parts) | SyntaxTree::Or(parts) => {
            parts.iter().for_each(|part| visit(part, seen))
        }
        SyntaxTree::Call { arguments, keys, .. } => {
            arguments.iter().for_each(|part| visit(part, seen));
            visit_keys(keys, seen);
        }
        SyntaxTree::Map(pairs) => pairs.iter().for_each(|(_, part)| visit(part, seen)),
        SyntaxTree::Compare(_, left, right) | SyntaxTree::Sum(_, left, right) => {
            visit(left, seen);
            visit(right, seen);
        }
        SyntaxTree::Not(part) | SyntaxTree::Named(_, part) | SyntaxTree::Negated(part) => visit(part, seen),
        _ => {}
    }
}

fn visit_keys(keys: &[PathKey], seen: &mut impl FnMut(usize, &str)) {
    for key in keys {
        if let PathKey::Made(made) = key {
            visit(made, seen);
        }
    }
}
