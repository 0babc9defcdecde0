//! Values while a condition is evaluated: borrowed from the wire where they stand there, owned where they were made.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value as Json;

use crate::otlp::walk::{AnyValue, Attribute, Fields};
use crate::ottl::Failure;
use crate::ottl::parse::{Compare, Key};

/// Values nested in values are followed this deep.
const DEPTH_MAX: usize = 64;
/// Lists and maps of more elements are not taken apart, and longer ones are no text: an element takes two bytes on the
/// wire and many times that here.
pub const ELEMENTS_MAX: usize = 100_000;
const NESTED_BYTES_MAX: usize = 1 << 20;

#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    /// Attributes: `KeyValue` messages in field `number` of a message.
    Map {
        message: &'a [u8],
        number: u32,
    },
    /// `ArrayValue` message.
    Array(&'a [u8]),
    List(Vec<Value<'a>>),
    /// What was parsed or written in a text: maps and what is in them.
    Json(Json),
    /// Nanoseconds since the epoch.
    Time(i64),
    /// Nanoseconds.
    Duration(i64),
}

impl<'a> Value<'a> {
    pub fn text(bytes: &'a [u8]) -> Value<'a> {
        Value::Text(String::from_utf8_lossy(bytes))
    }

    pub fn of(any: AnyValue<'a>) -> Value<'a> {
        match any {
            AnyValue::Empty => Value::Nil,
            AnyValue::Str(text) => Value::text(text),
            AnyValue::Bool(value) => Value::Bool(value),
            AnyValue::Int(value) => Value::Int(value),
            AnyValue::Double(value) => Value::Float(value),
            AnyValue::Array(message) => Value::Array(message),
            AnyValue::KvList(message) => Value::Map { message, number: 1 },
            AnyValue::Bytes(bytes) => Value::Bytes(Cow::Borrowed(bytes)),
        }
    }

    pub fn of_json(json: Json) -> Value<'a> {
        match json {
            Json::Null => Value::Nil,
            Json::Bool(value) => Value::Bool(value),
            Json::Number(number) => match number.as_i64() {
                Some(number) => Value::Int(number),
                None => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Value::Text(Cow::Owned(text)),
            other => Value::Json(other),
        }
    }

    /// The keys of a map; `None` when this is no map, or one of too many entries.
    pub fn keys(&self) -> Option<Vec<Value<'a>>> {
        match self {
            Value::Map { message, number } => bounded(entries(message, *number).map(|(key, _)| Value::text(key))),
            Value::Json(Json::Object(map)) => bounded(map.keys().map(|key| Value::Text(Cow::Owned(key.clone())))),
            _ => None,
        }
    }

    /// The elements of a list, or the values of a map; `None` when this is neither, or one of too many.
    pub fn elements(&self) -> Option<Vec<Value<'a>>> {
        match self {
            Value::Map { message, number } => bounded(entries(message, *number).map(|(_, value)| value)),
            Value::Array(message) => bounded(array(message)),
            Value::List(values) => Some(values.clone()),
            Value::Json(Json::Array(values)) => bounded(values.iter().cloned().map(Value::of_json)),
            Value::Json(Json::Object(map)) => bounded(map.values().cloned().map(Value::of_json)),
            _ => None,
        }
    }

    pub fn is_list(&self) -> bool {
        matches!(self, Value::Array(_) | Value::List(_) | Value::Json(Json::Array(_)))
    }

    pub fn is_map(&self) -> bool {
        matches!(self, Value::Map { .. } | Value::Json(Json::Object(_)))
    }

    /// `value[key]`; nil when the key is absent, a failure when the value has no keys.
    pub fn get(self, key: &Key) -> Result<Value<'a>, Failure> {
        match (self, key) {
            (Value::Map { message, number }, Key::Name(name)) => Ok(find(message, number, name.as_bytes())),
            (Value::Array(message), Key::Index(index)) => {
                let at = usize::try_from(*index).map_err(|_| Failure("the index is negative"))?;
                array(message).nth(at).ok_or(Failure("the index is out of bounds"))
            }
            (Value::List(mut values), Key::Index(index)) => {
                let at = usize::try_from(*index).ok().filter(|at| *at < values.len());
                Ok(values.swap_remove(at.ok_or(Failure("the index is out of bounds"))?))
            }
            (Value::Json(mut json), Key::Name(name)) if json.is_object() => {
                Ok(json.get_mut(name).map_or(Value::Nil, |found| Value::of_json(found.take())))
            }
            (Value::Json(mut json), Key::Index(index)) if json.is_array() => {
                let at = usize::try_from(*index).map_err(|_| Failure("the index is negative"))?;
                let found = json.get_mut(at).ok_or(Failure("the index is out of bounds"))?;
                Ok(Value::of_json(found.take()))
            }
            _ => Err(Failure("the value has no such keys")),
        }
    }

    /// Number of characters' bytes, entries or elements.
    pub fn length(&self) -> Result<i64, Failure> {
        let length = match self {
            Value::Text(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            Value::Map { message, number } => entries(message, *number).count(),
            Value::Array(message) => array(message).count(),
            Value::List(values) => values.len(),
            Value::Json(Json::Array(items)) => items.len(),
            Value::Json(Json::Object(map)) => map.len(),
            _ => return Err(Failure("the value has no length")),
        };
        Ok(length as i64)
    }

    /// The value as text, in the way of `IsMatch` and `Concat`: `None` for nil.
    pub fn to_text(&self) -> Option<Cow<'_, str>> {
        match self {
            Value::Nil => None,
            Value::Text(text) => Some(Cow::Borrowed(text)),
            Value::Bool(value) => Some(Cow::Owned(value.to_string())),
            Value::Int(value) => Some(Cow::Owned(value.to_string())),
            Value::Float(value) => Some(Cow::Owned(value.to_string())),
            Value::Bytes(bytes) => Some(Cow::Owned(bytes.iter().map(|byte| format!("{byte:02x}")).collect())),
            Value::Time(nanos) => {
                let time = jiff::Timestamp::from_nanosecond(i128::from(*nanos)).unwrap_or_default();
                Some(Cow::Owned(time.to_string()))
            }
            Value::Duration(nanos) => Some(Cow::Owned(format!("{nanos}ns"))),
            other if other.wire().is_some_and(|wire| wire.len() > NESTED_BYTES_MAX) => None,
            other => Some(Cow::Owned(other.to_json(0).to_string())),
        }
    }

    pub fn to_json(&self, depth: usize) -> Json {
        match self {
            _ if depth > DEPTH_MAX => Json::Null,
            Value::Nil => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(value) => Json::from(*value),
            Value::Float(value) => Json::from(*value),
            Value::Text(text) => Json::from(&**text),
            Value::Bytes(_) | Value::Time(_) | Value::Duration(_) => {
                self.to_text().map_or(Json::Null, |text| Json::from(&*text))
            }
            Value::Map { message, number } => {
                let pairs = entries(message, *number)
                    .map(|(key, value)| (String::from_utf8_lossy(key).into_owned(), value.to_json(depth + 1)));
                Json::Object(pairs.collect())
            }
            Value::Array(message) => array(message).map(|value| value.to_json(depth + 1)).collect(),
            Value::List(values) => values.iter().map(|value| value.to_json(depth + 1)).collect(),
            Value::Json(json) => json.clone(),
        }
    }

    /// Two values of different kinds are unequal and stand in no order; integers and doubles compare as numbers.
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
            (Value::Time(a), Value::Time(b)) | (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
            (a, b) if a.is_nested() && b.is_nested() => {
                let long = [a, b].iter().any(|value| value.wire().is_some_and(|wire| wire.len() > NESTED_BYTES_MAX));
                let equal = if long { a.wire() == b.wire() } else { a.to_json(0) == b.to_json(0) };
                return equal == (how == Compare::Equal) && matches!(how, Compare::Equal | Compare::NotEqual);
            }
            _ => return how == Compare::NotEqual,
        };
        match how {
            Compare::Equal => order == Some(Ordering::Equal),
            Compare::NotEqual => order != Some(Ordering::Equal),
            Compare::Less => order == Some(Ordering::Less),
            Compare::LessOrEqual => order.is_some_and(Ordering::is_le),
            Compare::Greater => order == Some(Ordering::Greater),
            Compare::GreaterOrEqual => order.is_some_and(Ordering::is_ge),
        }
    }

    /// The message of a list or map that stands on the wire.
    fn wire(&self) -> Option<&'a [u8]> {
        match self {
            Value::Map { message, .. } | Value::Array(message) => Some(message),
            _ => None,
        }
    }

    fn is_nested(&self) -> bool {
        matches!(self, Value::Map { .. } | Value::Array(_) | Value::List(_) | Value::Json(_))
    }
}

fn bounded<'a>(values: impl Iterator<Item = Value<'a>>) -> Option<Vec<Value<'a>>> {
    let found: Vec<Value<'a>> = values.take(ELEMENTS_MAX + 1).collect();
    (found.len() <= ELEMENTS_MAX).then_some(found)
}

/// The first attribute of this name; nil when there is none.
fn find<'a>(message: &'a [u8], number: u32, name: &[u8]) -> Value<'a> {
    entries(message, number).find(|(key, _)| *key == name).map_or(Value::Nil, |(_, value)| value)
}

fn entries(message: &[u8], number: u32) -> impl Iterator<Item = (&[u8], Value<'_>)> {
    let fields = Fields::new(message).map_while(Result::ok).filter(move |field| field.number == number);
    let attributes = fields.filter_map(|field| field.bytes().and_then(Attribute::read).ok());
    attributes.map(|attribute| (attribute.key, Value::of(attribute.value)))
}

fn array(message: &[u8]) -> impl Iterator<Item = Value<'_>> {
    let fields = Fields::new(message).map_while(Result::ok).filter(|field| field.number == 1);
    fields.filter_map(|field| field.bytes().and_then(AnyValue::read).ok()).map(Value::of)
}
