//! Values while a condition is evaluated: borrowed from the wire where they stand there, owned where they were made.

mod compare;
mod moment;
mod shown;

use std::borrow::Cow;

use crate::otlp::walk::{AnyValue, Attribute, Fields};
use crate::ottl::Failure;

pub use moment::Moment;
pub use shown::hex;

/// Values nested in values are followed this deep.
pub const DEPTH_MAX: usize = 64;
/// Lists and maps of more elements are not taken apart, and longer ones are no text: an element takes two bytes on the
/// wire and many times that here.
pub const ELEMENTS_MAX: usize = 100_000;
pub const NESTED_BYTES_MAX: usize = 1 << 20;

/// A value of the language (contrib pkg/ottl/LANGUAGE.md, value types).
#[derive(Clone, Debug)]
pub enum Value<'a> {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    /// Of a trace (16 bytes) or a span (8): never equal to bytes or text; an absent one is zeros.
    Id(Id),
    /// Attributes: `KeyValue` messages in field `number` of a message.
    Map {
        message: &'a [u8],
        number: u32,
    },
    /// `ArrayValue` message.
    Array(&'a [u8]),
    List(Vec<Value<'a>>),
    /// A map that was made, of keys that differ.
    Object(Vec<(Cow<'a, str>, Value<'a>)>),
    Time(Moment),
    /// Nanoseconds.
    Duration(i64),
    /// So many messages that are no attributes: events, links, data points, exemplars, quantiles.
    Pieces(usize),
}

/// An id: so many of the bytes count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id {
    bytes: [u8; 16],
    length: usize,
}

impl Id {
    /// The bytes of an id; zeros where they are of another number.
    pub fn of(wire: &[u8], length: usize) -> Id {
        let length = length.min(16);
        let mut bytes = [0; 16];
        if wire.len() == length {
            bytes[..length].copy_from_slice(wire);
        }
        Id { bytes, length }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// One step into a value.
#[derive(Clone, Debug, PartialEq)]
pub enum Step<'k> {
    Name(Cow<'k, str>),
    Index(i64),
}

const OUT_OF_BOUNDS: Failure = Failure("the index is out of bounds");
const NO_KEYS: Failure = Failure("the value has no such keys");

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

    pub fn is_nil(&self) -> bool {
        matches!(self, Value::Nil)
    }

    /// Keys and values of a map; `None` when this is no map, or one of too many entries.
    pub fn pairs(&self) -> Option<Vec<(Cow<'a, str>, Value<'a>)>> {
        match self {
            Value::Map { message, number } => {
                let pairs = entries(message, *number).map(|(key, value)| (String::from_utf8_lossy(key), value));
                bounded(pairs)
            }
            Value::Object(pairs) => Some(pairs.clone()),
            _ => None,
        }
    }

    /// The elements of a list; `None` when this is none, or one of too many.
    pub fn elements(&self) -> Option<Vec<Value<'a>>> {
        match self {
            Value::Array(message) => bounded(array(message)),
            Value::List(values) => Some(values.clone()),
            _ => None,
        }
    }

    pub fn is_list(&self) -> bool {
        matches!(self, Value::Array(_) | Value::List(_))
    }

    pub fn is_map(&self) -> bool {
        matches!(self, Value::Map { .. } | Value::Object(_))
    }

    /// The value behind one step of a path: `None` where a map has no such key, a failure where the value has no keys.
    pub fn at(self, step: &Step<'_>) -> Result<Option<Value<'a>>, Failure> {
        match (self, step) {
            (Value::Map { message, number }, Step::Name(name)) => Ok(find(message, number, name.as_bytes())),
            (Value::Object(pairs), Step::Name(name)) => {
                Ok(pairs.into_iter().find(|(key, _)| key == name).map(|(_, value)| value))
            }
            (Value::Array(message), Step::Index(index)) => {
                let at = usize::try_from(*index).map_err(|_| OUT_OF_BOUNDS)?;
                array(message).nth(at).ok_or(OUT_OF_BOUNDS).map(Some)
            }
            (Value::List(mut values), Step::Index(index)) => {
                let at = usize::try_from(*index).ok().filter(|at| *at < values.len());
                Ok(Some(values.swap_remove(at.ok_or(OUT_OF_BOUNDS)?)))
            }
            _ => Err(NO_KEYS),
        }
    }

    /// Bytes of a text, entries or elements.
    pub fn length(&self) -> Result<i64, Failure> {
        let length = match self {
            Value::Text(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            Value::Map { message, number } => entries(message, *number).count(),
            Value::Array(message) => array(message).count(),
            Value::List(values) => values.len(),
            Value::Object(pairs) => pairs.len(),
            Value::Pieces(count) => *count,
            _ => return Err(Failure("the value has no length")),
        };
        Ok(length as i64)
    }

    /// The message of a list or map that stands on the wire.
    fn wire(&self) -> Option<&'a [u8]> {
        match self {
            Value::Map { message, .. } | Value::Array(message) => Some(message),
            _ => None,
        }
    }

    /// The value with nothing borrowed that this map or list stands in.
    pub fn into_owned<'b>(self) -> Result<Value<'b>, Failure> {
        const TOO_LARGE: Failure = Failure("the value is too large");
        Ok(match self {
            Value::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Value::Bytes(bytes) => Value::Bytes(Cow::Owned(bytes.into_owned())),
            Value::Nil => Value::Nil,
            Value::Bool(truth) => Value::Bool(truth),
            Value::Int(number) => Value::Int(number),
            Value::Float(number) => Value::Float(number),
            Value::Id(id) => Value::Id(id),
            Value::Time(time) => Value::Time(time),
            Value::Duration(nanos) => Value::Duration(nanos),
            Value::Pieces(_) => return Err(Failure("messages of this kind cannot be kept")),
            list @ (Value::Array(_) | Value::List(_)) => {
                let elements = list.elements().ok_or(TOO_LARGE)?;
                Value::List(elements.into_iter().map(Value::into_owned).collect::<Result<_, _>>()?)
            }
            map @ (Value::Map { .. } | Value::Object(_)) => {
                let pairs = map.pairs().ok_or(TOO_LARGE)?.into_iter();
                let owned = pairs.map(|(key, value)| Ok((Cow::Owned(key.into_owned()), value.into_owned()?)));
                Value::Object(owned.collect::<Result<_, Failure>>()?)
            }
        })
    }
}

fn bounded<T>(values: impl Iterator<Item = T>) -> Option<Vec<T>> {
    let found: Vec<T> = values.take(ELEMENTS_MAX + 1).collect();
    (found.len() <= ELEMENTS_MAX).then_some(found)
}

/// The first attribute of this name.
fn find<'a>(message: &'a [u8], number: u32, name: &[u8]) -> Option<Value<'a>> {
    entries(message, number).find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn entries(message: &[u8], number: u32) -> impl Iterator<Item = (&[u8], Value<'_>)> {
    let attributes = pieces(message, number).filter_map(|raw| Attribute::read(raw).ok());
    attributes.map(|attribute| (attribute.key, Value::of(attribute.value)))
}

/// The messages in a repeated field.
pub fn pieces(message: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    let fields = Fields::new(message).map_while(Result::ok).filter(move |field| field.number == number);
    fields.filter_map(|field| field.bytes().ok())
}

fn array(message: &[u8]) -> impl Iterator<Item = Value<'_>> {
    pieces(message, 1).filter_map(|raw| AnyValue::read(raw).ok()).map(Value::of)
}
