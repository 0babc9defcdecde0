//! The kinds of values: borrowed from the wire where they stand there, owned where they were made.

use std::borrow::Cow;

use crate::otlp::fields::value_list::VALUES;
use crate::otlp::walk::{AnyValue, Attribute, Fields};
use crate::ottl::value::failure::EvalFailure;
use crate::ottl::value::moment::ZonedTime;

/// Values nested in values are followed this deep.
pub const DEPTH_MAX: usize = 64;
/// Lists and maps of more elements are not taken apart, and longer ones are no text: an element takes two bytes on the
/// wire and many times that here.
pub const ELEMENTS_MAX: usize = 100_000;
pub const NESTED_BYTES_MAX: usize = 1 << 20;

/// A value of the language (contrib pkg/ottl/LANGUAGE.md, value types).
#[derive(Clone, Debug)]
pub enum OttlValue<'a> {
    Nil,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Cow<'a, str>),
    Bytes(Cow<'a, [u8]>),
    /// Of a trace (16 bytes) or a span (8): never equal to bytes or text; an absent one is zeros.
    Id(IdBytes),
    /// Attributes: `KeyValue` messages in field `number` of a message.
    Map {
        message: &'a [u8],
        number: u32,
    },
    /// `ArrayValue` message.
    Array(&'a [u8]),
    List(Vec<OttlValue<'a>>),
    /// A map that was made, of keys that differ.
    Object(Vec<(Cow<'a, str>, OttlValue<'a>)>),
    Time(ZonedTime),
    /// Nanoseconds.
    Duration(i64),
    /// So many messages that are no attributes: events, links, data points, exemplars, quantiles.
    Pieces(usize),
}

/// An id: so many of the bytes count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdBytes {
    bytes: [u8; 16],
    length: usize,
}

impl IdBytes {
    /// The bytes of an id; zeros where they are of another number.
    pub fn of(wire: &[u8], length: usize) -> IdBytes {
        let length = length.min(16);
        let mut bytes = [0; 16];
        if wire.len() == length {
            bytes[..length].copy_from_slice(wire);
        }
        IdBytes { bytes, length }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// One step into a value.
#[derive(Clone, Debug, PartialEq)]
pub enum ValueStep<'k> {
    Name(Cow<'k, str>),
    Index(i64),
}

const OUT_OF_BOUNDS: EvalFailure = EvalFailure("the index is out of bounds");
const NO_KEYS: EvalFailure = EvalFailure("the value has no such keys");

impl<'a> OttlValue<'a> {
    pub fn text(bytes: &'a [u8]) -> OttlValue<'a> {
        OttlValue::Text(String::from_utf8_lossy(bytes))
    }

    pub fn of(any: AnyValue<'a>) -> OttlValue<'a> {
        match any {
            AnyValue::Empty => OttlValue::Nil,
            AnyValue::Str(text) => OttlValue::text(text),
            AnyValue::Bool(value) => OttlValue::Bool(value),
            AnyValue::Int(value) => OttlValue::Int(value),
            AnyValue::Double(value) => OttlValue::Float(value),
            AnyValue::Array(message) => OttlValue::Array(message),
            AnyValue::KvList(message) => OttlValue::Map { message, number: 1 },
            AnyValue::Bytes(bytes) => OttlValue::Bytes(Cow::Borrowed(bytes)),
        }
    }

    pub fn is_nil(&self) -> bool {
        matches!(self, OttlValue::Nil)
    }

    /// Keys and values of a map; `None` when this is no map, or one of too many entries.
    pub fn pairs(&self) -> Option<Vec<(Cow<'a, str>, OttlValue<'a>)>> {
        match self {
            OttlValue::Map { message, number } => {
                let pairs = entries(message, *number).map(|(key, value)| (String::from_utf8_lossy(key), value));
                bounded(pairs)
            }
            OttlValue::Object(pairs) => Some(pairs.clone()),
            _ => None,
        }
    }

    /// The elements of a list; `None` when this is none, or one of too many.
    pub fn elements(&self) -> Option<Vec<OttlValue<'a>>> {
        match self {
            OttlValue::Array(message) => bounded(array(message)),
            OttlValue::List(values) => Some(values.clone()),
            _ => None,
        }
    }

    pub fn is_list(&self) -> bool {
        matches!(self, OttlValue::Array(_) | OttlValue::List(_))
    }

    pub fn is_map(&self) -> bool {
        matches!(self, OttlValue::Map { .. } | OttlValue::Object(_))
    }

    /// The value behind one step of a path: `None` where a map has no such key, a failure where the value has no keys.
    pub fn at(self, step: &ValueStep<'_>) -> Result<Option<OttlValue<'a>>, EvalFailure> {
        match (self, step) {
            (OttlValue::Map { message, number }, ValueStep::Name(name)) => Ok(find(message, number, name.as_bytes())),
            (OttlValue::Object(pairs), ValueStep::Name(name)) => {
                Ok(pairs.into_iter().find(|(key, _)| key == name).map(|(_, value)| value))
            }
            (OttlValue::Array(message), ValueStep::Index(index)) => {
                let at = usize::try_from(*index).map_err(|_| OUT_OF_BOUNDS)?;
                array(message).nth(at).ok_or(OUT_OF_BOUNDS).map(Some)
            }
            (OttlValue::List(mut values), ValueStep::Index(index)) => {
                let at = usize::try_from(*index).ok().filter(|at| *at < values.len());
                Ok(Some(values.swap_remove(at.ok_or(OUT_OF_BOUNDS)?)))
            }
            _ => Err(NO_KEYS),
        }
    }

    /// Bytes of a text, entries or elements.
    pub fn length(&self) -> Result<i64, EvalFailure> {
        let length = match self {
            OttlValue::Text(text) => text.len(),
            OttlValue::Bytes(bytes) => bytes.len(),
            OttlValue::Map { message, number } => entries(message, *number).count(),
            OttlValue::Array(message) => array(message).count(),
            OttlValue::List(values) => values.len(),
            OttlValue::Object(pairs) => pairs.len(),
            OttlValue::Pieces(count) => *count,
            _ => return Err(EvalFailure("the value has no length")),
        };
        Ok(length as i64)
    }

    /// The message of a list or map that stands on the wire.
    pub(super) fn wire(&self) -> Option<&'a [u8]> {
        match self {
            OttlValue::Map { message, .. } | OttlValue::Array(message) => Some(message),
            _ => None,
        }
    }

    /// The value with nothing borrowed that this map or list stands in.
    pub fn into_owned<'b>(self) -> Result<OttlValue<'b>, EvalFailure> {
        const TOO_LARGE: EvalFailure = EvalFailure("the value is too large");
        Ok(match self {
            OttlValue::Text(text) => OttlValue::Text(Cow::Owned(text.into_owned())),
            OttlValue::Bytes(bytes) => OttlValue::Bytes(Cow::Owned(bytes.into_owned())),
            OttlValue::Nil => OttlValue::Nil,
            OttlValue::Bool(truth) => OttlValue::Bool(truth),
            OttlValue::Int(number) => OttlValue::Int(number),
            OttlValue::Float(number) => OttlValue::Float(number),
            OttlValue::Id(id) => OttlValue::Id(id),
            OttlValue::Time(time) => OttlValue::Time(time),
            OttlValue::Duration(nanos) => OttlValue::Duration(nanos),
            OttlValue::Pieces(_) => return Err(EvalFailure("messages of this kind cannot be kept")),
            list @ (OttlValue::Array(_) | OttlValue::List(_)) => {
                let elements = list.elements().ok_or(TOO_LARGE)?;
                OttlValue::List(elements.into_iter().map(OttlValue::into_owned).collect::<Result<_, _>>()?)
            }
            map @ (OttlValue::Map { .. } | OttlValue::Object(_)) => {
                let pairs = map.pairs().ok_or(TOO_LARGE)?.into_iter();
                let owned = pairs.map(|(key, value)| Ok((Cow::Owned(key.into_owned()), value.into_owned()?)));
                OttlValue::Object(owned.collect::<Result<_, EvalFailure>>()?)
            }
        })
    }
}

fn bounded<T>(values: impl Iterator<Item = T>) -> Option<Vec<T>> {
    let found: Vec<T> = values.take(ELEMENTS_MAX + 1).collect();
    (found.len() <= ELEMENTS_MAX).then_some(found)
}

/// The first attribute of this name.
fn find<'a>(message: &'a [u8], number: u32, name: &[u8]) -> Option<OttlValue<'a>> {
    entries(message, number).find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn entries(message: &[u8], number: u32) -> impl Iterator<Item = (&[u8], OttlValue<'_>)> {
    let attributes = pieces(message, number).filter_map(|raw| Attribute::read(raw).ok());
    attributes.map(|attribute| (attribute.key, OttlValue::of(attribute.value)))
}

/// The messages in a repeated field.
pub fn pieces(message: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    let fields = Fields::new(message).map_while(Result::ok).filter(move |field| field.number == number);
    fields.filter_map(|field| field.bytes().ok())
}

fn array(message: &[u8]) -> impl Iterator<Item = OttlValue<'_>> {
    pieces(message, VALUES).filter_map(|raw| AnyValue::read(raw).ok()).map(OttlValue::of)
}
