//! From the parsed tree to what can be evaluated: names resolved, arguments checked, patterns compiled. A name that
//! does not exist, or that podgate does not have, is a fault with its place, never ignored.

mod calls;
mod constants;
mod pattern;

use crate::ottl::convert::Converter;
use crate::ottl::convert::grok::Grok;
use crate::ottl::convert::layout::Layout;
use crate::ottl::convert::{Severities, Want};
use crate::ottl::parse::{Compare, Spot, Sum, Tree};
use crate::ottl::path::{self, Path, Place};
use crate::ottl::value::Value;
use crate::ottl::{Fault, Syntax};

use std::borrow::Cow;

pub use calls::arrange;
pub use pattern::{Dialect, Pattern};

use constants::constant;

/// A checked part of a condition.
#[derive(Debug)]
pub enum Node {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    List(Vec<Node>),
    Path(Path),
    Call(Box<Call>),
    Map(Vec<(String, Node)>),
    Compare(Compare, Box<Node>, Box<Node>),
    Sum(Sum, Box<Node>, Box<Node>),
    Negated(Box<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
}

/// A checked call of a converter.
#[derive(Debug)]
pub struct Call {
    pub converter: Converter,
    /// What each argument must be; nil for an optional one that is not given.
    pub arguments: Vec<(Want, Node)>,
    pub keys: Vec<Place>,
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

/// What a part of the condition must be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Truth,
    Value,
}

/// Checks the value of an argument.
pub fn value(spot: &Spot, syntax: Syntax) -> Result<Node, Fault> {
    node(spot, syntax, Wanted::Value)
}

/// Checks a whole condition.
pub fn check(spot: &Spot, syntax: Syntax) -> Result<Node, Fault> {
    node(spot, syntax, Wanted::Truth)
}

pub fn fault<T>(at: usize, message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { at, message: message.into(), not_built: false })
}

/// A fault of podgate's, not of the text: a Collector has it.
pub fn not_built<T>(at: usize, message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { at, message: message.into(), not_built: true })
}

fn node(spot: &Spot, syntax: Syntax, wanted: Wanted) -> Result<Node, Fault> {
    let truths = |parts: &[Spot]| -> Result<Vec<Node>, Fault> {
        parts.iter().map(|part| node(part, syntax, Wanted::Truth)).collect()
    };
    let values = |parts: &[Spot]| -> Result<Vec<Node>, Fault> {
        parts.iter().map(|part| node(part, syntax, Wanted::Value)).collect()
    };
    let pair = |left: &Spot, right: &Spot| -> Result<(Box<Node>, Box<Node>), Fault> {
        let (left, right) = (node(left, syntax, Wanted::Value)?, node(right, syntax, Wanted::Value)?);
        Ok((Box::new(left), Box::new(right)))
    };
    let found = match &spot.tree {
        Tree::And(parts) => joined(truths(parts)?, false),
        Tree::Or(parts) => joined(truths(parts)?, true),
        Tree::Not(part) => match node(part, syntax, Wanted::Truth)? {
            Node::Bool(truth) => Node::Bool(!truth),
            part => Node::Not(Box::new(part)),
        },
        Tree::Compare(how, left, right) => {
            let (left, right) = pair(left, right)?;
            match (left.literal(), right.literal()) {
                (Some(left), Some(right)) => Node::Bool(left.compare(*how, &right)),
                _ => Node::Compare(*how, left, right),
            }
        }
        Tree::Bool(truth) => Node::Bool(*truth),
        Tree::Call { name, arguments, keys } => calls::call(spot.at, name, arguments, keys, syntax)?,
        Tree::Named(name, _) => return fault(spot.at, format!("no argument is called `{name}` here")),
        _ if wanted == Wanted::Truth => return fault(spot.at, "this is not a condition; compare it with something"),
        Tree::Nil => Node::Nil,
        Tree::Int(number) => Node::Int(*number),
        Tree::Float(number) => Node::Float(*number),
        Tree::Text(text) => Node::Text(text.clone()),
        Tree::Bytes(bytes) => Node::Bytes(bytes.clone()),
        Tree::List(parts) => Node::List(values(parts)?),
        Tree::Map(pairs) => {
            let pair = |(key, part): &(String, Spot)| Ok((key.clone(), node(part, syntax, Wanted::Value)?));
            Node::Map(pairs.iter().map(pair).collect::<Result<_, Fault>>()?)
        }
        Tree::Enum(name) => match constant(name) {
            Some(number) => Node::Int(number),
            None => return fault(spot.at, format!("`{name}` is no known constant")),
        },
        Tree::Path(segments) => Node::Path(path::resolve(segments, syntax, spot.at)?),
        Tree::Sum(how, left, right) => {
            for side in [left, right] {
                if matches!(
                    side.tree,
                    Tree::Nil | Tree::Bool(_) | Tree::Text(_) | Tree::Bytes(_) | Tree::List(_) | Tree::Map(_)
                ) {
                    return fault(side.at, "sums need numbers, times or durations");
                }
            }
            let (left, right) = pair(left, right)?;
            Node::Sum(*how, left, right)
        }
        Tree::Negated(part) => Node::Negated(Box::new(node(part, syntax, Wanted::Value)?)),
    };
    Ok(found)
}

/// `and`, or `or`, of these. One that is known to decide does so alone, whatever the others come to, as upstream has it.
fn joined(parts: Vec<Node>, or: bool) -> Node {
    if parts.iter().any(|part| matches!(part, Node::Bool(truth) if *truth == or)) {
        return Node::Bool(or);
    }
    let mut left: Vec<Node> = parts.into_iter().filter(|part| !matches!(part, Node::Bool(_))).collect();
    match (left.len(), or) {
        (0, _) => Node::Bool(!or),
        (1, _) => left.remove(0),
        (_, true) => Node::Or(left),
        (_, false) => Node::And(left),
    }
}

impl Node {
    /// The value, where it stands in the text.
    pub fn literal(&self) -> Option<Value<'_>> {
        Some(match self {
            Node::Nil => Value::Nil,
            Node::Bool(truth) => Value::Bool(*truth),
            Node::Int(number) => Value::Int(*number),
            Node::Float(number) => Value::Float(*number),
            Node::Text(text) => Value::Text(Cow::Borrowed(text)),
            Node::Bytes(bytes) => Value::Bytes(Cow::Borrowed(bytes)),
            Node::List(parts) => Value::List(parts.iter().map(Node::literal).collect::<Option<_>>()?),
            Node::Map(pairs) => {
                let pair = |(key, part): &'_ (String, Node)| {
                    Some((Cow::Owned(key.clone()), part.literal()?.into_owned().ok()?))
                };
                Value::Object(pairs.iter().map(pair).collect::<Option<_>>()?)
            }
            _ => return None,
        })
    }
}
