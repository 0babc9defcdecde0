//! Runs a checked condition on one item. Allocates only where a converter makes a text.

use std::borrow::Cow;

use crate::otlp::walk::Fields;
use crate::ottl::check::Node;
use crate::ottl::convert::Converter;
use crate::ottl::parse::Sum;
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

fn value<'a>(node: &'a Node, item: &Item<'a>) -> Result<Value<'a>, Failure> {
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
        Node::Call { converter: Converter::IsRootSpan, .. } => Ok(Value::Bool(is_root(item))),
        Node::Call { converter, arguments, keys } => {
            let values: Result<Vec<Value<'a>>, Failure> = arguments.iter().map(|part| value(part, item)).collect();
            let mut made = converter.apply(values?)?;
            for key in keys {
                made = made.get(key)?;
            }
            Ok(made)
        }
        Node::Sum(how, left, right) => sum(*how, &value(left, item)?, &value(right, item)?),
        Node::Compare(..) | Node::Match { .. } | Node::And(_) | Node::Or(_) | Node::Not(_) => {
            truth(node, item).map(Value::Bool)
        }
    }
}

fn is_root(item: &Item<'_>) -> bool {
    let mut parents = Fields::new(item.span).map_while(Result::ok).filter(|field| field.number == 4);
    parents.all(|field| field.bytes().is_ok_and(|id| id.iter().all(|byte| *byte == 0)))
}

fn sum<'a>(how: Sum, left: &Value<'_>, right: &Value<'_>) -> Result<Value<'a>, Failure> {
    const OVERFLOW: Failure = Failure("the result does not fit");
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
        _ => Err(Failure("sums need numbers")),
    }
}
