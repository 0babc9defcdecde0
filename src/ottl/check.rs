//! From the parsed tree to what can be evaluated: names resolved, converters counted, patterns compiled. A name that
//! does not exist, or that podgate does not have, is a fault with its place, never ignored.

use regex::Regex;

use crate::ottl::convert::{CASES, CONVERTERS, Converter, NOT_BUILT, knows_time_format};
use crate::ottl::parse::{Compare, Key, Spot, Sum, Tree};
use crate::ottl::path::{self, Path};
use crate::ottl::{Context, Fault, Syntax};

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
    Map(Vec<(String, Node)>),
    /// `IsMatch` with a pattern known beforehand.
    Match {
        target: Box<Node>,
        pattern: Regex,
    },
    /// `ExtractPatterns` with a pattern known beforehand.
    Extract {
        target: Box<Node>,
        pattern: Regex,
        keys: Vec<Key>,
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
    ("METRIC_DATA_TYPE_NONE", 0),
    ("METRIC_DATA_TYPE_GAUGE", 1),
    ("METRIC_DATA_TYPE_SUM", 2),
    ("METRIC_DATA_TYPE_HISTOGRAM", 3),
    ("METRIC_DATA_TYPE_EXPONENTIAL_HISTOGRAM", 4),
    ("METRIC_DATA_TYPE_SUMMARY", 5),
    ("AGGREGATION_TEMPORALITY_UNSPECIFIED", 0),
    ("AGGREGATION_TEMPORALITY_DELTA", 1),
    ("AGGREGATION_TEMPORALITY_CUMULATIVE", 2),
    ("FLAG_NONE", 0),
    ("FLAG_NO_RECORDED_VALUE", 1),
];

/// `SEVERITY_NUMBER_` and one of these, alone or with 2, 3 or 4.
const SEVERITIES: [&str; 6] = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"];

/// The number behind a constant's name.
fn constant(name: &str) -> Option<i64> {
    let Some(severity) = name.strip_prefix("SEVERITY_NUMBER_") else {
        return ENUMS.iter().find(|(known, _)| *known == name).map(|(_, number)| *number);
    };
    if severity == "UNSPECIFIED" {
        return Some(0);
    }
    let step = match severity.as_bytes().last()? {
        digit @ b'2'..=b'4' => i64::from(digit - b'1'),
        _ => 0,
    };
    let word = if step > 0 { &severity[..severity.len() - 1] } else { severity };
    let at = SEVERITIES.iter().position(|known| *known == word)?;
    Some(at as i64 * 4 + 1 + step)
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
        Tree::And(parts) => Node::And(truths(parts)?),
        Tree::Or(parts) => Node::Or(truths(parts)?),
        Tree::Not(part) => Node::Not(Box::new(node(part, syntax, Wanted::Truth)?)),
        Tree::Compare(how, left, right) => {
            let (left, right) = pair(left, right)?;
            Node::Compare(*how, left, right)
        }
        Tree::Bool(truth) => Node::Bool(*truth),
        Tree::Call { name, arguments, keys } => call(spot.at, name, arguments, keys, syntax)?,
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
        Tree::Path(segments) => match path::resolve(segments, syntax) {
            Ok(path) => Node::Path(path),
            Err(wrong) => return Err(wrong.at(spot.at)),
        },
        Tree::Sum(how, left, right) => {
            let (left, right) = pair(left, right)?;
            Node::Sum(*how, left, right)
        }
    };
    Ok(found)
}

/// `name`, ordered as the function wants it: what stands at its place and what is called by its name.
pub fn arrange<'s>(
    at: usize,
    name: &str,
    arguments: &'s [Spot],
    parameters: &[&str],
) -> Result<Vec<Option<&'s Spot>>, Fault> {
    let mut ordered: Vec<Option<&Spot>> = vec![None; parameters.len()];
    let mut named = false;
    for (place, argument) in arguments.iter().enumerate() {
        let (slot, spot) = match &argument.tree {
            Tree::Named(called, spot) => {
                named = true;
                match parameters.iter().position(|parameter| parameter == called) {
                    Some(slot) => (slot, &**spot),
                    None => return fault(argument.at, format!("`{name}` has no argument `{called}`")),
                }
            }
            _ if named => return fault(argument.at, "an argument without a name stands behind one with a name"),
            _ => (place, argument),
        };
        match ordered.get_mut(slot) {
            Some(free @ None) => *free = Some(spot),
            Some(_) => return fault(argument.at, format!("`{}` is given twice", parameters[slot])),
            None => {
                return fault(at, format!("`{name}` takes {} arguments, not {}", parameters.len(), arguments.len()));
            }
        }
    }
    Ok(ordered)
}

fn call(at: usize, name: &str, arguments: &[Spot], keys: &[Key], syntax: Syntax) -> Result<Node, Fault> {
    if name == "IsMatch" || name == "ExtractPatterns" {
        return matching(at, name, arguments, keys, syntax);
    }
    let Some(known) = CONVERTERS.iter().find(|known| known.name == name) else {
        if NOT_BUILT.contains(&name) {
            return not_built(at, format!("podgate has no function `{name}`"));
        }
        let known = CONVERTERS.iter().map(|known| known.name).collect::<Vec<_>>().join(", ");
        return fault(at, format!("there is no converter `{name}`; known are IsMatch, ExtractPatterns, {known}"));
    };
    let (converter, fewest, most) = (known.converter, known.fewest, known.most);
    let ordered = match converter.parameters() {
        [] => arguments.iter().map(Some).collect(),
        parameters => arrange(at, name, arguments, parameters)?,
    };
    let given = ordered.iter().flatten().count();
    if !(fewest..=most).contains(&given) {
        let most = if most > fewest { format!(" to {most}") } else { String::new() };
        return fault(at, format!("`{name}` takes {fewest}{most} arguments, not {given}"));
    }
    if matches!(converter, Converter::HasAttrKeyOnDatapoint | Converter::HasAttrOnDatapoint)
        && syntax.context != Context::Metric
    {
        return fault(at, format!("`{name}` is asked of a metric"));
    }
    if converter == Converter::IsRootSpan && !matches!(syntax.context, Context::Span | Context::SpanEvent) {
        return fault(at, "`IsRootSpan` is asked of a span");
    }
    literals(converter, &ordered)?;
    let value = |spot: Option<&Spot>| spot.map_or(Ok(Node::Nil), |spot| node(spot, syntax, Wanted::Value));
    let arguments = ordered.into_iter().map(value).collect::<Result<_, Fault>>()?;
    Ok(Node::Call { converter, arguments, keys: keys.to_vec() })
}

/// What an argument must be when it is written out.
fn literals(converter: Converter, arguments: &[Option<&Spot>]) -> Result<(), Fault> {
    let Some(Some(second)) = arguments.get(1) else { return Ok(()) };
    match (converter, &second.tree) {
        (Converter::ConvertCase, Tree::Text(case)) if !CASES.contains(&case.as_str()) => {
            fault(second.at, format!("ConvertCase knows {}", CASES.join(", ")))
        }
        (Converter::Time | Converter::FormatTime, Tree::Text(format)) if !knows_time_format(format) => {
            not_built(second.at, format!("podgate does not have a directive of the time format {format:?}"))
        }
        _ => Ok(()),
    }
}

/// The pattern is compiled here, so it must be written out.
fn matching(at: usize, name: &str, arguments: &[Spot], keys: &[Key], syntax: Syntax) -> Result<Node, Fault> {
    let ordered = arrange(at, name, arguments, &["target", "pattern"])?;
    let [Some(target), Some(written)] = ordered[..] else {
        return fault(at, format!("`{name}` takes 2 arguments, not {}", arguments.len()));
    };
    let pattern = pattern(written)?;
    let target = Box::new(node(target, syntax, Wanted::Value)?);
    if name == "ExtractPatterns" {
        if pattern.capture_names().flatten().next().is_none() {
            return fault(written.at, "the pattern has no named group such as (?P<name>...)");
        }
        return Ok(Node::Extract { target, pattern, keys: keys.to_vec() });
    }
    if !keys.is_empty() {
        return fault(at, "a truth value has no keys");
    }
    Ok(Node::Match { target, pattern })
}

/// A regular expression that is written out.
pub fn pattern(spot: &Spot) -> Result<Regex, Fault> {
    let Tree::Text(text) = &spot.tree else { return fault(spot.at, "the pattern must be a string literal") };
    Regex::new(text).or_else(|error| {
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default().trim().to_owned();
        fault(spot.at, format!("{text:?} is not a regular expression: {why}"))
    })
}
