//! OTTL: conditions and statements, parsed with places, checked against a context, run on wire bytes.
//!
//! Exists for whatever asks or changes arbitrary things of single items. `lexer` and `parse` know grammar and no paths;
//! `check` and `statement` know paths and functions and no values; `eval` reads an [`Item`]; `editors` change a
//! [`EditTarget`], whose messages are spliced in place, so that what nobody touches keeps its bytes. Must not know who asks
//! or what follows from the answer.

mod check;
mod context;
mod convert;
mod edit;
mod eval;
mod explain;
mod path;
mod rules;
mod statement;
mod syntax;
mod value;

use std::fmt;

pub use crate::ottl::edit::message_edit::{Edits, MessageEdit, is_too_much, places, without};
pub use crate::ottl::edit::target::EditTarget;
pub use context::{Context, Grammar, Syntax, infer};
pub use explain::{ExplainedStep, evaluate, explain};
pub use path::place::Buffers;
pub use path::tables::Points;
pub use path::{POINTS, points_in, points_of, without_points};
pub use rules::{Conditions, ErrorMode, Failures, StatementTexts, Statements, names_resources};
pub use statement::Statement;

use crate::core::time::UnixNanos;
use crate::otlp::fields::trace::span;
use crate::otlp::walk::{AnyValue, Fields};
use crate::ottl::path::PathOwner;
use crate::ottl::syntax::lexer::{Token, TokenKind};

/// A text that cannot be parsed or names something that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextFault {
    /// Characters before the fault.
    pub at: usize,
    pub message: String,
    /// A Collector has what is named, and podgate has not.
    pub not_built: bool,
}

impl fmt::Display for TextFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at character {}", self.message, self.at + 1)
    }
}

/// A condition or statement failed on an item; what that means is the error mode's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct EvalFailure(pub &'static str);

/// A value as text, as `String` makes one; empty for no value.
pub fn shown(any: AnyValue<'_>) -> String {
    let value = value::OttlValue::of(any);
    value.to_text().ok().flatten().unwrap_or_default().into_owned()
}

/// The functions of a Collector's transform and whether podgate has them, by name.
pub fn functions() -> Vec<(&'static str, bool)> {
    let converters = convert::CONVERTERS.iter().map(|known| (known.name, true));
    let missing = convert::NOT_BUILT.iter().map(|name| (*name, false));
    let mut all: Vec<(&'static str, bool)> = converters.chain(missing).chain(statement::functions()).collect();
    all.sort_unstable();
    all
}

/// The paths of a context that podgate has, without the context's name.
pub fn paths(context: Context) -> impl Iterator<Item = &'static str> {
    path::tables::names(context).iter().map(|(name, _)| *name)
}

/// What functions ask of the world beside the item: the time, and chance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct World {
    pub now: UnixNanos,
    pub seed: u64,
}

impl World {
    pub fn real() -> World {
        World { now: UnixNanos::now(), seed: fastrand::u64(..) }
    }

    /// As it is given, else the real one where it is asked for.
    fn or_real(self, asked: bool) -> World {
        if asked && self == World::default() { World::real() } else { self }
    }
}

/// True when a function asks what the time is, or for chance.
fn asks_world(tokens: &[Token]) -> bool {
    let asks = |kind: &TokenKind| matches!(kind, TokenKind::Word(word) if ["Now", "Time", "UUID", "UUIDv7"].contains(&word.as_str()));
    tokens.iter().any(|token| asks(&token.kind))
}

/// A checked condition.
#[derive(Debug)]
pub struct Condition {
    root: check::CheckedNode,
    asks_world: bool,
}

impl Condition {
    pub fn parse(text: &str, context: Context) -> Result<Condition, TextFault> {
        Condition::parse_as(text, Syntax { context, prefixed: false, cache: false })
    }

    pub fn parse_as(text: &str, syntax: Syntax) -> Result<Condition, TextFault> {
        let tokens = syntax::lexer::tokens(text)?;
        let tree = syntax::parse::condition(&tokens)?;
        Ok(Condition { root: check::check(&tree, syntax)?, asks_world: asks_world(&tokens) })
    }

    pub fn matches(&self, item: &Item<'_>) -> Result<bool, EvalFailure> {
        if self.asks_world {
            return eval::truth(&self.root, &Item { world: item.world.or_real(true), ..*item });
        }
        eval::truth(&self.root, item)
    }
}

/// What a condition is asked about, with what surrounds it: undecoded messages, empty where there is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Item<'a> {
    pub resource: &'a [u8],
    pub scope: &'a [u8],
    /// The span, metric or log record.
    pub item: &'a [u8],
    /// The span's event or the metric's data point.
    pub piece: &'a [u8],
    /// The kind of data point in `piece`.
    pub points: Points,
    pub cache: &'a [u8],
    pub world: World,
}

impl<'a> Item<'a> {
    /// A span with its surroundings; also a metric or log record.
    pub fn span(span: &'a [u8], scope: &'a [u8], resource: &'a [u8]) -> Item<'a> {
        Item { item: span, scope, resource, ..Item::default() }
    }

    /// The span's events, undecoded.
    pub fn events(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let fields = Fields::new(self.item).map_while(Result::ok).filter(|field| field.number == span::EVENTS);
        fields.filter_map(|field| field.bytes().ok())
    }

    /// The same span, asked about one of its events.
    pub fn with_event(&self, event: &'a [u8]) -> Item<'a> {
        Item { piece: event, ..*self }
    }

    /// The same metric, asked about one of its points.
    pub fn with_point(&self, point: &'a [u8], points: Points) -> Item<'a> {
        Item { piece: point, points, ..*self }
    }

    fn message(&self, owner: PathOwner) -> &'a [u8] {
        match owner {
            PathOwner::Resource => self.resource,
            PathOwner::Scope => self.scope,
            PathOwner::Item => self.item,
            PathOwner::Piece => self.piece,
            PathOwner::Cache => self.cache,
        }
    }
}
