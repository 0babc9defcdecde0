//! OTTL conditions: parsed with places, checked against a context, evaluated on wire bytes.
//!
//! Exists for policies and filters that ask arbitrary questions of single items. Three steps, so that statements can grow
//! on them: `lexer` and `parse` know grammar and no paths, `check` knows paths and converters and no values, `eval` runs
//! the checked tree on an [`Item`]. Must not know who asks or what follows from the answer.

mod check;
mod convert;
mod eval;
mod lexer;
mod parse;
mod path;
mod value;

use std::fmt;

use crate::otlp::walk::Fields;

/// What the conditions of a list are asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    Span,
    SpanEvent,
}

/// A condition that cannot be parsed or names something that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Characters before the fault.
    pub at: usize,
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at character {}", self.message, self.at + 1)
    }
}

/// A condition could not be evaluated on an item; what that means is the error mode's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failure(pub &'static str);

/// A checked condition.
#[derive(Debug)]
pub struct Condition {
    root: check::Node,
}

impl Condition {
    pub fn parse(text: &str, context: Context) -> Result<Condition, Fault> {
        let tokens = lexer::tokens(text)?;
        let tree = parse::condition(&tokens)?;
        Ok(Condition { root: check::check(&tree, context)? })
    }

    pub fn matches(&self, item: &Item<'_>) -> Result<bool, Failure> {
        eval::truth(&self.root, item)
    }
}

/// One span, or one event of a span, with what surrounds it: undecoded messages.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    span: &'a [u8],
    scope: &'a [u8],
    resource: &'a [u8],
    event: Option<&'a [u8]>,
}

impl<'a> Item<'a> {
    pub fn span(span: &'a [u8], scope: &'a [u8], resource: &'a [u8]) -> Item<'a> {
        Item { span, scope, resource, event: None }
    }

    /// The span's events, undecoded.
    pub fn events(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let fields = Fields::new(self.span).map_while(Result::ok).filter(|field| field.number == 11);
        fields.filter_map(|field| field.bytes().ok())
    }

    /// The same span, asked about one of its events.
    pub fn with_event(&self, event: &'a [u8]) -> Item<'a> {
        Item { event: Some(event), ..*self }
    }
}
