//! Which values are equal, and which come before which (contrib pkg/ottl/LANGUAGE.md, comparison rules).

use std::borrow::Cow;
use std::cmp::Ordering;

use crate::ottl::syntax::parse::Compare;
use crate::ottl::value::kinds::{DEPTH_MAX, NESTED_BYTES_MAX, OttlValue};

impl OttlValue<'_> {
    /// Two values of different kinds are unequal and stand in no order; integers and doubles compare as numbers. Lists,
    /// maps and ids are equal or not.
    pub fn compare(&self, how: Compare, other: &OttlValue<'_>) -> bool {
        let order = match (self, other) {
            (OttlValue::Nil, OttlValue::Nil) => Some(Ordering::Equal),
            (OttlValue::Bool(a), OttlValue::Bool(b)) => Some(a.cmp(b)),
            (OttlValue::Int(a), OttlValue::Int(b)) => Some(a.cmp(b)),
            (OttlValue::Int(a), OttlValue::Float(b)) => (*a as f64).partial_cmp(b),
            (OttlValue::Float(a), OttlValue::Int(b)) => a.partial_cmp(&(*b as f64)),
            (OttlValue::Float(a), OttlValue::Float(b)) => a.partial_cmp(b),
            (OttlValue::Text(a), OttlValue::Text(b)) => Some(a.cmp(b)),
            (OttlValue::Bytes(a), OttlValue::Bytes(b)) => Some(a.cmp(b)),
            (OttlValue::Time(a), OttlValue::Time(b)) => Some(a.at().cmp(&b.at())),
            (OttlValue::Duration(a), OttlValue::Duration(b)) => Some(a.cmp(b)),
            (a, b) => {
                let nested =
                    |value: &OttlValue<'_>| value.is_list() || value.is_map() || matches!(value, OttlValue::Id(_));
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
fn same(a: &OttlValue<'_>, b: &OttlValue<'_>, depth: usize) -> bool {
    if depth > DEPTH_MAX {
        return false;
    }
    let long = [a, b].iter().any(|value| value.wire().is_some_and(|wire| wire.len() > NESTED_BYTES_MAX));
    match (a, b) {
        (OttlValue::Nil, OttlValue::Nil) => true,
        (OttlValue::Bool(a), OttlValue::Bool(b)) => a == b,
        (OttlValue::Int(a), OttlValue::Int(b)) => a == b,
        (OttlValue::Float(a), OttlValue::Float(b)) => a == b,
        (OttlValue::Text(a), OttlValue::Text(b)) => a == b,
        (OttlValue::Bytes(a), OttlValue::Bytes(b)) => a == b,
        (OttlValue::Id(a), OttlValue::Id(b)) => a == b,
        (OttlValue::Time(a), OttlValue::Time(b)) => a.at() == b.at(),
        (OttlValue::Duration(a), OttlValue::Duration(b)) => a == b,
        // Too long to be taken apart.
        (a, b) if long => a.wire().is_some() && a.wire() == b.wire(),
        (a, b) if a.is_list() && b.is_list() => {
            let (Some(a), Some(b)) = (a.elements(), b.elements()) else { return false };
            a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| same(a, b, depth + 1))
        }
        (a, b) if a.is_map() && b.is_map() => {
            let (Some(mut a), Some(mut b)) = (a.pairs(), b.pairs()) else { return false };
            let by_key = |pairs: &mut Vec<(Cow<'_, str>, OttlValue<'_>)>| pairs.sort_by(|a, b| a.0.cmp(&b.0));
            by_key(&mut a);
            by_key(&mut b);
            a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.0 == b.0 && same(&a.1, &b.1, depth + 1))
        }
        _ => false,
    }
}
