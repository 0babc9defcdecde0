//! From the parsed tree to what can be evaluated: names resolved, converters counted, patterns compiled.

use regex::Regex;

use crate::ottl::convert::{CASES, CONVERTERS, Converter};
use crate::ottl::parse::{Compare, Key, Spot, Sum, Tree};
use crate::ottl::path::{self, Path};
use crate::ottl::{Context, Fault};

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
    Call {
        converter: Converter,
        arguments: Vec<Node>,
        keys: Vec<Key>,
    },
    /// `IsMatch` with a pattern known beforehand.
    Match {
        target: Box<Node>,
        pattern: Regex,
    },
    Compare(Compare, Box<Node>, Box<Node>),
    Sum(Sum, Box<Node>, Box<Node>),
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
}

const ENUMS: &[(&str, i64)] = &[
    ("STATUS_CODE_UNSET", 0),
    ("STATUS_CODE_OK", 1),
    ("STATUS_CODE_ERROR", 2),
    ("SPAN_KIND_UNSPECIFIED", 0),
    ("SPAN_KIND_INTERNAL", 1),
    ("SPAN_KIND_SERVER", 2),
    ("SPAN_KIND_CLIENT", 3),
    ("SPAN_KIND_PRODUCER", 4),
    ("SPAN_KIND_CONSUMER", 5),
];

/// What a part of the condition must be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Truth,
    Value,
}

/// Checks a whole condition.
pub fn check(spot: &Spot, context: Context) -> Result<Node, Fault> {
    node(spot, context, Wanted::Truth)
}

fn fault<T>(at: usize, message: impl Into<String>) -> Result<T, Fault> {
    Err(Fault { at, message: message.into() })
}

fn node(spot: &Spot, context: Context, wanted: Wanted) -> Result<Node, Fault> {
    let truths = |parts: &[Spot]| -> Result<Vec<Node>, Fault> {
        parts.iter().map(|part| node(part, context, Wanted::Truth)).collect()
    };
    let values = |parts: &[Spot]| -> Result<Vec<Node>, Fault> {
        parts.iter().map(|part| node(part, context, Wanted::Value)).collect()
    };
    let pair = |left: &Spot, right: &Spot| -> Result<(Box<Node>, Box<Node>), Fault> {
        let (left, right) = (node(left, context, Wanted::Value)?, node(right, context, Wanted::Value)?);
        Ok((Box::new(left), Box::new(right)))
    };
    let found = match &spot.tree {
        Tree::And(parts) => Node::And(truths(parts)?),
        Tree::Or(parts) => Node::Or(truths(parts)?),
        Tree::Not(part) => Node::Not(Box::new(node(part, context, Wanted::Truth)?)),
        Tree::Compare(how, left, right) => {
            let (left, right) = pair(left, right)?;
            Node::Compare(*how, left, right)
        }
        Tree::Bool(truth) => Node::Bool(*truth),
        Tree::Call { name, arguments, keys } if name == "IsMatch" => is_match(spot.at, arguments, keys, context)?,
        Tree::Call { name, arguments, keys } => {
            let converter = converter(spot.at, name, arguments)?;
            Node::Call { converter, arguments: values(arguments)?, keys: keys.clone() }
        }
        _ if wanted == Wanted::Truth => return fault(spot.at, "this is not a condition; compare it with something"),
        Tree::Nil => Node::Nil,
        Tree::Int(number) => Node::Int(*number),
        Tree::Float(number) => Node::Float(*number),
        Tree::Text(text) => Node::Text(text.clone()),
        Tree::Bytes(bytes) => Node::Bytes(bytes.clone()),
        Tree::List(parts) => Node::List(values(parts)?),
        Tree::Enum(name) => match ENUMS.iter().find(|(known, _)| known == name) {
            Some((_, number)) => Node::Int(*number),
            None => return fault(spot.at, format!("`{name}` is no known constant")),
        },
        Tree::Path(segments) => match path::resolve(segments, context) {
            Ok(path) => Node::Path(path),
            Err(message) => return fault(spot.at, message),
        },
        Tree::Sum(how, left, right) => {
            let (left, right) = pair(left, right)?;
            Node::Sum(*how, left, right)
        }
    };
    Ok(found)
}

fn converter(at: usize, name: &str, arguments: &[Spot]) -> Result<Converter, Fault> {
    let Some((_, converter, fewest, most)) = CONVERTERS.iter().find(|(known, ..)| *known == name) else {
        let known = CONVERTERS.iter().map(|(name, ..)| *name).collect::<Vec<_>>().join(", ");
        return fault(at, format!("there is no converter `{name}`; known are IsMatch, {known}"));
    };
    if !(*fewest..=*most).contains(&arguments.len()) {
        return fault(at, format!("`{name}` takes {fewest} arguments, not {}", arguments.len()));
    }
    if *converter == Converter::ConvertCase
        && let Tree::Text(case) = &arguments[1].tree
        && !CASES.contains(&case.as_str())
    {
        return fault(arguments[1].at, format!("ConvertCase knows {}", CASES.join(", ")));
    }
    Ok(*converter)
}

/// The pattern is compiled here, so it must be written out.
fn is_match(at: usize, arguments: &[Spot], keys: &[Key], context: Context) -> Result<Node, Fault> {
    let [target, pattern] = arguments else {
        return fault(at, format!("`IsMatch` takes 2 arguments, not {}", arguments.len()));
    };
    if !keys.is_empty() {
        return fault(at, "a truth value has no keys");
    }
    let Tree::Text(text) = &pattern.tree else {
        return fault(pattern.at, "the pattern must be a string literal");
    };
    match Regex::new(text) {
        Ok(pattern) => Ok(Node::Match { target: Box::new(node(target, context, Wanted::Value)?), pattern }),
        Err(error) => {
            let why = error.to_string();
            let why = why.lines().last().unwrap_or_default().trim().to_owned();
            fault(pattern.at, format!("{text:?} is not a regular expression: {why}"))
        }
    }
}
