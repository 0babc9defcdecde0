//! Which values are equal, and which come before which (contrib pkg/ottl/LANGUAGE.md, comparison rules).

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::ottl::parse::Compare;
use crate::ottl::value::{DEPTH_MAX, NESTED_BYTES_MAX, Value};

impl Value<'_> {
    /// Two values of different kinds are unequal and stand in no order; integers and doubles compare as numbers. Lists,
    /// maps and ids are equal or not.
    pub fn compare(&self, how: Compare, other: &Value<'_>) -> bool {
        let order = match (self, other) {
            (Value::Nil, Value::Nil) => Some(Ordering::Equal),
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
            (Value::Int(a), Value::Float(b)) => (*a as f64).partial_cmp(b),
            (Value::Float(a), Value::Int(b)) => a.partial_cmp(&(*b as f64)),
            (Value::Float(a), Value::Float(b)) => a.partial_cmp(b),
            (Value::Text(a), Value::Text(b)) => Some(a.cmp(b)),
            (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
            (Value::Time(a), Value::Time(b)) => Some(a.at().cmp(&b.at())),
            (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
            (a, b) => {
                let nested = |value: &Value<'_>| value.is_list() || value.is_map() || matches!(value, Value::Id(_));
                let equal = nested(a) && nested(b) && same(a, b, 0);
                return match how {
                    Compare::Equal => equal,
                    Compare::NotEqual => !equal,
                    _ => false,
                };
            }
        };
        match how {
            // Lists of words that are nil alike are equal and in order.
            Compare::Equal => order == Some(Ordering::Equal),
            Compare::NotEqual => order != Some(Ordering::Equal),
            Compare::Less => order == Some(Ordering::Less),
            Compare::LessOrEqual => order.is_some_and(Ordering::is_le),
            Compare::Greater => order == Some(Ordering::Greater),
            Compare::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
        }
    }
}

/// Equal in kind and content: inside of lists and maps 1 and 1.0 are two values.
fn same(a: &Value<'_>, b: &Value<'_>, depth: usize) -> bool {
    if depth > DEPTH_MAX {
        return false;
    }
    let long = [a, b].iter().any(|value| value.wire().is_some_and(|wire| wire.len() > NESTED_BYTES_MAX));
    match (a, b) {
        (Value::Nil, Value::Nil) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Float(a), Value::Float(b)) => a == b,
        (Value::Text(a), Value::Text(b)) => a == b,
        (Value::Bytes(a), Value::Bytes(b)) => a == b,
        (Value::Id(a), Value::Id(b)) => a == b,
        (Value::Time(a), Value::Time(b)) => a.at() == b.at(),
        (Value::Duration(a), Value::Duration(b)) => a == b,
        // Too long to be taken apart.
        (a, b) if long => a.wire().is_some() && a.wire() == b.wire(),
        (a, b) if a.is_list() && b.is_list() => {
            let (Some(a), Some(b)) = (a.elements(), b.elements()) else { return false };
            a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| same(a, b, depth + 1))
        }
        (a, b) if a.is_map() && b.is_map() => {
            let (Some(mut a), Some(mut b)) = (a.pairs(), b.pairs()) else { return false };
            let by_key = |pairs: &mut Vec<(Cow<'_, str>, Value<'_>)>| pairs.sort_by(|a, b| a.0.cmp(&b.0));
            by_key(&mut a);
            by_key(&mut b);
            a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.0 == b.0 && same(&a.1, &b.1, depth + 1))
        }
        _ => false,
    }
}
