//! Runs a checked condition or argument on one item. Allocates only where a converter makes a text.

use std::borrow::Cow;

use crate::otlp::walk::Fields;
use crate::ottl::check::Node;
use crate::ottl::convert::{Converter, extract, text};
use crate::ottl::encode::{Entry, raw_entries};
use crate::ottl::parse::{Key, Sum};
use crate::ottl::path::tables::{Part, PointPart};
use crate::ottl::path::{points_in, points_of};
use crate::ottl::value::Value;
use crate::ottl::{Failure, Item};

/// The truth of a condition; parts behind the one that decides are not evaluated.
pub fn truth(node: &Node, item: &Item<'_>) -> Result<bool, Failure> {
    match node {
        Node::And(parts) => {
            for part in parts {
                if !truth(part, item)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Node::Or(parts) => {
            for part in parts {
                if truth(part, item)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Node::Not(part) => Ok(!truth(part, item)?),
        Node::Compare(how, left, right) => Ok(value(left, item)?.compare(*how, &value(right, item)?)),
        Node::Match { target, pattern } => {
            let target = value(target, item)?;
            Ok(target.to_text().is_some_and(|text| pattern.is_match(&text)))
        }
        _ => match value(node, item)? {
            Value::Bool(truth) => Ok(truth),
            _ => Err(Failure("the converter gave no truth value")),
        },
    }
}

pub fn value<'a>(node: &'a Node, item: &Item<'a>) -> Result<Value<'a>, Failure> {
    match node {
        Node::Nil => Ok(Value::Nil),
        Node::Bool(truth) => Ok(Value::Bool(*truth)),
        Node::Int(number) => Ok(Value::Int(*number)),
        Node::Float(number) => Ok(Value::Float(*number)),
        Node::Text(text) => Ok(Value::Text(Cow::Borrowed(text))),
        Node::Bytes(bytes) => Ok(Value::Bytes(Cow::Borrowed(bytes))),
        Node::List(parts) => {
            let values: Result<Vec<Value<'a>>, Failure> = parts.iter().map(|part| value(part, item)).collect();
            values.map(Value::List)
        }
        Node::Path(path) => path.read(item),
        Node::Map(pairs) => {
            let pair = |(key, part): &'a (String, Node)| Ok((key.clone(), value(part, item)?.to_json(0)));
            let map: Result<serde_json::Map<_, _>, Failure> = pairs.iter().map(pair).collect();
            map.map(|map| Value::Json(serde_json::Value::Object(map)))
        }
        Node::Call { converter: Converter::IsRootSpan, .. } => Ok(Value::Bool(is_root(item))),
        Node::Call {
            converter: Converter::HasAttrKeyOnDatapoint | Converter::HasAttrOnDatapoint, arguments, ..
        } => has_attribute(arguments, item).map(Value::Bool),
        Node::Call { converter, arguments, keys } => {
            let values: Result<Vec<Value<'a>>, Failure> = arguments.iter().map(|part| value(part, item)).collect();
            keyed(converter.apply(values?)?, keys)
        }
        Node::Extract { target, pattern, keys } => {
            let target = value(target, item)?;
            keyed(extract(pattern, &*text(&target)?), keys)
        }
        Node::Sum(how, left, right) => sum(*how, &value(left, item)?, &value(right, item)?),
        Node::Compare(..) | Node::Match { .. } | Node::And(_) | Node::Or(_) | Node::Not(_) => {
            truth(node, item).map(Value::Bool)
        }
    }
}

fn keyed<'a>(mut made: Value<'a>, keys: &[Key]) -> Result<Value<'a>, Failure> {
    for key in keys {
        made = made.get(key)?;
    }
    Ok(made)
}

/// True when a point of the metric has an attribute of this name and, where one is given, of this text.
fn has_attribute<'a>(arguments: &'a [Node], item: &Item<'a>) -> Result<bool, Failure> {
    let mut values = arguments.iter().map(|part| value(part, item));
    let key = values.next().unwrap_or(Ok(Value::Nil))?;
    let wanted = values.next().transpose()?;
    let key = text(&key)?;
    let Some((points, holder)) = points_of(item.item) else { return Ok(false) };
    let Some(Part::Attributes(number)) = PointPart::Attributes.within(points) else { return Ok(false) };
    let has = |point: &[u8]| {
        let mut entries = raw_entries(point, number).map(Entry::read).filter(|entry| *entry.key == *key.as_bytes());
        entries.next().is_some_and(|found| wanted.as_ref().is_none_or(|wanted| Value::of(found.any()) == *wanted))
    };
    Ok(points_in(&holder).any(has))
}

fn is_root(item: &Item<'_>) -> bool {
    let mut parents = Fields::new(item.item).map_while(Result::ok).filter(|field| field.number == 4);
    parents.all(|field| field.bytes().is_ok_and(|id| id.iter().all(|byte| *byte == 0)))
}

const OVERFLOW: Failure = Failure("the result does not fit");

fn signed(how: Sum, a: i64, b: i64) -> Result<i64, Failure> {
    match how {
        Sum::Add => a.checked_add(b).ok_or(OVERFLOW),
        Sum::Subtract => a.checked_sub(b).ok_or(OVERFLOW),
        Sum::Multiply | Sum::Divide => Err(Failure("times are added and subtracted only")),
    }
}

fn sum<'a>(how: Sum, left: &Value<'_>, right: &Value<'_>) -> Result<Value<'a>, Failure> {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => {
            let made = match how {
                Sum::Add => a.checked_add(*b),
                Sum::Subtract => a.checked_sub(*b),
                Sum::Multiply => a.checked_mul(*b),
                Sum::Divide if *b == 0 => return Err(Failure("division by zero")),
                Sum::Divide => a.checked_div(*b),
            };
            made.map(Value::Int).ok_or(OVERFLOW)
        }
        (Value::Int(_) | Value::Float(_), Value::Int(_) | Value::Float(_)) => {
            let number = |value: &Value<'_>| match value {
                Value::Int(number) => *number as f64,
                Value::Float(number) => *number,
                _ => f64::NAN,
            };
            let (a, b) = (number(left), number(right));
            Ok(Value::Float(match how {
                Sum::Add => a + b,
                Sum::Subtract => a - b,
                Sum::Multiply => a * b,
                Sum::Divide => a / b,
            }))
        }
        (Value::Time(a), Value::Time(b)) if how == Sum::Subtract => {
            a.checked_sub(*b).map(Value::Duration).ok_or(OVERFLOW)
        }
        (Value::Time(a), Value::Duration(b)) => signed(how, *a, *b).map(Value::Time),
        (Value::Duration(a), Value::Time(b)) if how == Sum::Add => signed(how, *a, *b).map(Value::Time),
        (Value::Duration(a), Value::Duration(b)) => signed(how, *a, *b).map(Value::Duration),
        _ => Err(Failure("sums need numbers")),
    }
}
