//! Checked texts: what is evaluated, with nothing left to be looked up.
//!
//! One tree: paths have keys that are made of parts, and parts name paths. How it is made is the business of `check`, how it
//! is run that of `eval`.

use std::borrow::Cow;
use std::sync::{Arc, Mutex};

use regex::Regex;

use crate::config::value::pattern;
use crate::ottl::convert::grok::Grok;
use crate::ottl::convert::time::layout::Layout;
use crate::ottl::convert::{ArgumentKind, Converter, Severities};
use crate::ottl::edit::glob;
use crate::ottl::item::PathOwner;
use crate::ottl::path::tables::PathPart;
use crate::ottl::syntax::literal::Literal;
use crate::ottl::syntax::parse::{Compare, Sum};
use crate::ottl::value::{OttlValue, ValueStep};

/// A checked part of a condition.
#[derive(Debug)]
pub enum CheckedNode {
    Literal(Literal),
    List(Vec<CheckedNode>),
    Path(Path),
    Call(Box<CheckedCall>),
    Map(Vec<(String, CheckedNode)>),
    Compare(Compare, Box<CheckedNode>, Box<CheckedNode>),
    Sum(Sum, Box<CheckedNode>, Box<CheckedNode>),
    Negated(Box<CheckedNode>),
    And(Vec<CheckedNode>),
    Or(Vec<CheckedNode>),
    Not(Box<CheckedNode>),
}

/// A checked call of a converter.
#[derive(Debug)]
pub struct CheckedCall {
    pub converter: Converter,
    /// What each argument must be; nil for an optional one that is not given.
    pub arguments: Vec<(ArgumentKind, CheckedNode)>,
    pub keys: Vec<KeyStep>,
    pub made: Made,
    /// Tells this call from the others of its text.
    pub at: usize,
}

/// What was made of arguments beforehand.
#[derive(Debug)]
pub enum Made {
    Nothing,
    Pattern(Pattern),
    Layout(Box<Layout>, jiff::tz::TimeZone),
    Grok(Box<Grok>),
    /// A pattern of grok that is made of the item, and how it is read.
    GrokOf(bool, Vec<String>),
    Severities(Severities),
}

impl Literal {
    pub fn value(&self) -> OttlValue<'_> {
        match self {
            Literal::Nil => OttlValue::Nil,
            Literal::Bool(truth) => OttlValue::Bool(*truth),
            Literal::Int(number) => OttlValue::Int(*number),
            Literal::Float(number) => OttlValue::Float(*number),
            Literal::Text(text) => OttlValue::Text(Cow::Borrowed(text)),
            Literal::Bytes(bytes) => OttlValue::Bytes(Cow::Borrowed(bytes)),
        }
    }
}

impl CheckedNode {
    pub const NIL: CheckedNode = CheckedNode::Literal(Literal::Nil);

    /// The value, where it stands in the text.
    pub fn literal(&self) -> Option<OttlValue<'_>> {
        Some(match self {
            CheckedNode::Literal(literal) => literal.value(),
            CheckedNode::List(parts) => OttlValue::List(parts.iter().map(CheckedNode::literal).collect::<Option<_>>()?),
            CheckedNode::Map(pairs) => {
                let pair = |(key, part): &'_ (String, CheckedNode)| {
                    Some((Cow::Owned(key.clone()), part.literal()?.into_owned().ok()?))
                };
                OttlValue::Object(pairs.iter().map(pair).collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }
}

/// A checked key: known, or made of the item.
#[derive(Debug)]
pub enum KeyStep {
    Known(ValueStep<'static>),
    Made(CheckedNode),
}

/// A checked path.
#[derive(Debug)]
pub struct Path {
    pub owner: PathOwner,
    pub part: PathPart,
    pub keys: Vec<KeyStep>,
    /// As written, for messages.
    pub name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// Go's regular expressions.
    Regex,
    /// Globs of whole texts.
    Glob,
}

impl Dialect {
    pub(super) fn compile(self, text: &str, known: bool) -> Result<Regex, String> {
        match self {
            Dialect::Regex if known => pattern::compile(text),
            Dialect::Regex => pattern::compile_small(text),
            Dialect::Glob => glob::compile(text).ok_or_else(|| "brackets or braces do not match".to_owned()),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Dialect::Regex => "regular expression",
            Dialect::Glob => "glob pattern",
        }
    }
}

#[derive(Debug)]
pub struct Pattern {
    pub(super) dialect: Dialect,
    pub(super) kind: PatternSource,
}

#[derive(Debug)]
pub(super) enum PatternSource {
    Known(Arc<Regex>),
    Made(Box<CheckedNode>, Mutex<Option<(String, Arc<Regex>)>>),
}

impl Pattern {
    /// What is wrong with one that stands in the text.
    pub fn of(node: CheckedNode, dialect: Dialect) -> Result<Pattern, String> {
        let kind = match node.literal() {
            Some(OttlValue::Text(text)) => match dialect.compile(&text, true) {
                Ok(regex) => PatternSource::Known(Arc::new(regex)),
                Err(why) => return Err(format!("{text:?} is not a {}: {why}", dialect.name())),
            },
            Some(_) => return Err("the pattern must be a string".to_owned()),
            None => PatternSource::Made(Box::new(node), Mutex::new(None)),
        };
        Ok(Pattern { dialect, kind })
    }

    /// `None` for one that is made of the item.
    pub fn known(&self) -> Option<&Regex> {
        if let PatternSource::Known(regex) = &self.kind { Some(regex) } else { None }
    }
}
