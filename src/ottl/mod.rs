//! OTTL: conditions and statements, parsed with places, checked against a context, run on wire bytes.
//!
//! Exists for whatever asks or changes arbitrary things of single items. `lexer` and `parse` know grammar and no paths;
//! `check` and `statement` know paths and functions and no values; `eval` reads an [`Item`]; `editors` change a
//! [`EditTarget`], whose messages are spliced in place, so that what nobody touches keeps its bytes. Must not know who asks
//! or what follows from the answer.

mod check;
mod checked;
mod condition;
mod context;
mod convert;
mod edit;
mod eval;
mod explain;
mod item;
mod path;
mod rules;
mod statement;
mod syntax;
mod value;

use crate::otlp::walk::AnyValue;

pub use crate::ottl::condition::Condition;
pub use crate::ottl::edit::message_edit::{Edits, MessageEdit, is_too_much, places, put_without, without};
pub use crate::ottl::edit::target::{Buffers, ChangedPieces, EditTarget, MadeMetrics, PointsAround};
pub use crate::ottl::item::{Item, World};
pub use crate::ottl::syntax::fault::TextFault;
pub use crate::ottl::value::failure::EvalFailure;
pub use context::{Context, ContextHints, Grammar, Syntax};
pub use explain::{ExplainedStep, evaluate, explain};
pub use path::tables::Points;
pub use path::{POINTS, points_in, points_of, put_without_points};
pub use rules::{Conditions, ErrorMode, Failures, StatementTexts, Statements, names_resources};
pub use statement::Statement;

/// A value as text, as `String` makes one; empty for no value.
pub fn shown(any: AnyValue<'_>) -> String {
    let value = value::OttlValue::of(any);
    value.to_text().ok().flatten().unwrap_or_default().into_owned()
}

/// The functions of a Collector's transform and whether podgate has them, by name.
pub fn functions() -> Vec<(&'static str, bool)> {
    let converters = convert::CONVERTERS.iter().map(|known| (known.name, true));
    let missing = convert::NOT_BUILT.iter().map(|name| (*name, false));
    let editors = statement::names::EDITORS.iter().map(|(name, _)| (*name, true));
    let mut all: Vec<(&'static str, bool)> = converters.chain(missing).chain(editors).collect();
    all.sort_unstable();
    all
}

/// The paths of a context that podgate has, without the context's name.
pub fn paths(context: Context) -> impl Iterator<Item = &'static str> {
    path::tables::names(context).iter().map(|(name, _)| *name)
}
