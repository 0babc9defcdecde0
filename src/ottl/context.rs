//! Contexts: what a statement or condition is asked about, what it sees from there, and which one a text means when it
//! does not say (contrib pkg/ottl/context_inferrer.go: the lowest that any of its paths names).

use crate::core::data::payload::Signal;
use crate::ottl::syntax::fault::TextFault;
use crate::ottl::syntax::parse::{LocatedTree, SyntaxTree};
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

/// Functions that stand in statements of one context alone (contrib processor/transformprocessor, v0.161).
const ONLY_IN: &[(&str, Context)] = &[
    ("set_semconv_span_name", Context::Span),
    ("convert_sum_to_gauge", Context::Metric),
    ("convert_gauge_to_sum", Context::Metric),
    ("convert_exponential_histogram_to_histogram", Context::Metric),
    ("scale_metric", Context::Metric),
    ("aggregate_on_attributes", Context::Metric),
    ("aggregate_on_attribute_value", Context::Metric),
    ("copy_metric", Context::Metric),
    ("extract_count_metric", Context::Metric),
    ("extract_sum_metric", Context::Metric),
    ("extract_percentile_metric", Context::Metric),
    ("convert_summary_quantile_val_to_gauge", Context::Metric),
    ("convert_summary_count_val_to_sum", Context::DataPoint),
    ("convert_summary_sum_val_to_sum", Context::DataPoint),
    ("merge_histogram_buckets", Context::DataPoint),
    ("ParseCEF", Context::Log),
    ("ParseCLF", Context::Log),
    ("ParseELF", Context::Log),
    ("ParseLEEF", Context::Log),
];

/// The only context of a function that has one.
pub fn only_in(function: &str) -> Option<Context> {
    ONLY_IN.iter().find(|(name, _)| *name == function).map(|(_, context)| *context)
}

/// The lowest context that a function of this text is only for, if there is one.
pub fn required(text: &str, grammar: Grammar) -> Option<Context> {
    let tokens = lexer::tokens(text).ok()?;
    let (call, condition) = match grammar {
        Grammar::Condition => (None, parse::condition(&tokens).ok()),
        Grammar::Statement => {
            let (call, condition) = parse::statement(&tokens).ok()?;
            (Some(call), condition)
        }
    };
    let mut found = None;
    let mut take = |name: &str| found = Context::lower(found, only_in(name));
    call.iter().chain(&condition).for_each(|spot| calls(spot, &mut take));
    found
}

/// Calls `seen` with the name of every function.
fn calls(spot: &LocatedTree, seen: &mut impl FnMut(&str)) {
    if let SyntaxTree::Call { name, .. } = &spot.tree {
        seen(name);
    }
    parse::parts(spot).into_iter().for_each(|part| calls(part, seen));
}

fn rank(context: Context) -> usize {
    ALL.iter().position(|known| *known == context).unwrap_or(ALL.len())
}

/// Calls `seen` with the place and first name of each path that has several.
fn visit(spot: &LocatedTree, seen: &mut impl FnMut(usize, &str)) {
    if let SyntaxTree::Path(segments) = &spot.tree
        && segments.len() > 1
        && segments[0].keys.is_empty()
    {
        seen(spot.at, &segments[0].name);
    }
    parse::parts(spot).into_iter().for_each(|part| visit(part, seen));
}
