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

/// What the texts of one list say of the context that is theirs together (contrib pkg/ottl/context_inferrer.go, v0.161).
#[derive(Debug, Default)]
pub struct ContextHints {
    /// The lowest that a path names.
    named: Option<Context>,
    /// Those in which functions and constants are known, for each that not all contexts have.
    known_in: Vec<&'static [Context]>,
}

impl ContextHints {
    /// Adds what this text says; a fault where it is no text of OTTL or names what the signal does not have.
    pub fn add(&mut self, text: &str, grammar: Grammar, signal: Signal) -> Result<(), TextFault> {
        let tokens = lexer::tokens(text)?;
        let (call, condition) = match grammar {
            Grammar::Condition => (None, Some(parse::condition(&tokens)?)),
            Grammar::Statement => {
                let (call, condition) = parse::statement(&tokens)?;
                (Some(call), condition)
            }
        };
        let mut fault = None;
        for spot in call.iter().chain(&condition) {
            self.visit(spot, signal, &mut fault);
        }
        fault.map_or(Ok(()), Err)
    }

    /// The lowest context that a path names, or where a function or constant is not known there, the lowest that sees
    /// it and knows all of them. Where none does it is the named one, and the check of the texts tells which do not fit.
    pub fn inferred(&self, signal: Signal) -> Option<Context> {
        let named = self.named?;
        let knows_all = |context: &Context| self.known_in.iter().all(|contexts| contexts.contains(context));
        if knows_all(&named) {
            return Some(named);
        }
        let mut below = Context::of(signal).iter().copied().filter(|context| context.sees(named));
        Some(below.find(knows_all).unwrap_or(named))
    }

    fn visit(&mut self, spot: &LocatedTree, signal: Signal, fault: &mut Option<TextFault>) {
        match &spot.tree {
            SyntaxTree::Path(segments) if segments.len() > 1 && segments[0].keys.is_empty() => {
                let name = &segments[0].name;
                match Context::named(name) {
                    Some(context) if Context::of(signal).contains(&context) => {
                        self.named = Context::lower(self.named, Some(context));
                    }
                    Some(_) => {
                        let message = format!("`{name}` is not part of {}", signal.name());
                        fault.get_or_insert(TextFault { at: spot.at, message, not_built: false });
                    }
                    None => {}
                }
            }
            SyntaxTree::Call { name, .. } => self.need(only_in(name)),
            SyntaxTree::Enum(name) => self.need(constant_in(name)),
            _ => {}
        }
        parse::parts(spot).into_iter().for_each(|part| self.visit(part, signal, fault));
    }

    /// Keeps each list once: there are only so many.
    fn need(&mut self, contexts: Option<&'static [Context]>) {
        if let Some(contexts) = contexts.filter(|contexts| !self.known_in.contains(contexts)) {
            self.known_in.push(contexts);
        }
    }
}

/// Constants by how their names begin, and the contexts that know them (contrib pkg/ottl/contexts, v0.161).
const CONSTANTS_IN: &[(&str, &[Context])] = &[
    ("SPAN_KIND_", &[Context::Span, Context::SpanEvent]),
    ("STATUS_CODE_", &[Context::Span, Context::SpanEvent]),
    ("METRIC_DATA_TYPE_", &[Context::Metric, Context::DataPoint]),
    ("AGGREGATION_TEMPORALITY_", &[Context::Metric, Context::DataPoint]),
    ("FLAG_", &[Context::DataPoint]),
    ("SEVERITY_NUMBER_", &[Context::Log]),
];

fn constant_in(name: &str) -> Option<&'static [Context]> {
    CONSTANTS_IN.iter().find(|(start, _)| name.starts_with(start)).map(|(_, contexts)| *contexts)
}

/// Functions that not all contexts have (contrib processor/transformprocessor and internal/filter/filterottl, v0.161).
const ONLY_IN: &[(&str, &[Context])] = &[
    ("set_semconv_span_name", &[Context::Span]),
    ("convert_sum_to_gauge", &[Context::Metric]),
    ("convert_gauge_to_sum", &[Context::Metric]),
    ("convert_exponential_histogram_to_histogram", &[Context::Metric]),
    ("scale_metric", &[Context::Metric]),
    ("aggregate_on_attributes", &[Context::Metric]),
    ("aggregate_on_attribute_value", &[Context::Metric]),
    ("copy_metric", &[Context::Metric]),
    ("extract_count_metric", &[Context::Metric]),
    ("extract_sum_metric", &[Context::Metric]),
    ("extract_percentile_metric", &[Context::Metric]),
    ("convert_summary_quantile_val_to_gauge", &[Context::Metric]),
    ("convert_summary_count_val_to_sum", &[Context::DataPoint]),
    ("convert_summary_sum_val_to_sum", &[Context::DataPoint]),
    ("merge_histogram_buckets", &[Context::DataPoint]),
    ("HasAttrKeyOnDatapoint", &[Context::Metric]),
    ("HasAttrOnDatapoint", &[Context::Metric]),
    ("IsRootSpan", &[Context::Span]),
    ("ParseCEF", &[Context::Log]),
    ("ParseCLF", &[Context::Log]),
    ("ParseELF", &[Context::Log]),
    ("ParseLEEF", &[Context::Log]),
];

/// The contexts of a function that not all have.
pub fn only_in(function: &str) -> Option<&'static [Context]> {
    ONLY_IN.iter().find(|(name, _)| *name == function).map(|(_, contexts)| *contexts)
}

fn rank(context: Context) -> usize {
    ALL.iter().position(|known| *known == context).unwrap_or(ALL.len())
}
