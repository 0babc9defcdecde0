//! Values that edits write: their `AnyValue` messages, and whether one is there already.
//! Granted: whoever calls has made room for what is written.

use crate::otlp::walk::AnyValue;
use crate::otlp::write;

/// A value to write.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'v> {
    Str(&'v str),
    Bool(bool),
    Int(i64),
    Double(f64),
    StrArray(&'v [&'v str]),
    /// A string as it came: not checked for UTF-8.
    Text(&'v [u8]),
    /// An `AnyValue` message.
    Any(&'v [u8]),
}

impl Value<'_> {
    /// No value, or an empty string.
    pub fn is_empty(&self) -> bool {
        match self {
            Value::Str(text) => text.is_empty(),
            Value::Text(text) => text.is_empty(),
            Value::Any(message) => matches!(AnyValue::read(message), Ok(AnyValue::Empty | AnyValue::Str(b""))),
            _ => false,
        }
    }

    /// Length of the `AnyValue` message.
    pub fn len(&self) -> usize {
        match self {
            Value::Str(text) => write::field_len(1, text.len()),
            Value::Bool(_) => 2,
            Value::Int(number) => 1 + write::varint_len(*number as u64),
            Value::Double(_) => 9,
            Value::StrArray(texts) => write::field_len(5, array_len(texts)),
            Value::Text(text) => write::field_len(1, text.len()),
            Value::Any(message) => message.len(),
        }
    }

    /// Whether an `AnyValue` message says the same; false when in doubt.
    pub fn is_in(&self, message: &[u8]) -> bool {
        match (self, AnyValue::read(message)) {
            (Value::Any(other), _) => message == *other,
            (Value::Str(text), Ok(AnyValue::Str(held))) => text.as_bytes() == held,
            (Value::Text(text), Ok(AnyValue::Str(held))) => *text == held,
            (Value::Bool(on), Ok(AnyValue::Bool(held))) => *on == held,
            (Value::Int(number), Ok(AnyValue::Int(held))) => *number == held,
            (Value::Double(number), Ok(AnyValue::Double(held))) => number.to_bits() == held.to_bits(),
            _ => false,
        }
    }

    /// Adds the `AnyValue` message: `len` bytes.
    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            Value::Str(text) => write::bytes(out, 1, text.as_bytes()),
            Value::Text(text) => write::bytes(out, 1, text),
            Value::Any(message) => out.extend_from_slice(message),
            Value::Bool(on) => {
                write::key(out, 2, write::VARINT);
                out.push(u8::from(*on));
            }
            Value::Int(number) => {
                write::key(out, 3, write::VARINT);
                write::varint(out, *number as u64);
            }
            Value::Double(number) => {
                write::key(out, 4, write::FIXED64);
                out.extend_from_slice(&number.to_bits().to_le_bytes());
            }
            Value::StrArray(texts) => {
                write::key(out, 5, write::LEN);
                write::varint(out, array_len(texts) as u64);
                for text in *texts {
                    write::key(out, 1, write::LEN);
                    write::varint(out, write::field_len(1, text.len()) as u64);
                    write::bytes(out, 1, text.as_bytes());
                }
            }
        }
    }
}

fn array_len(texts: &[&str]) -> usize {
    texts.iter().map(|text| write::field_len(1, write::field_len(1, text.len()))).sum()
}

impl<'v> From<&'v str> for Value<'v> {
    fn from(value: &'v str) -> Value<'v> {
        Value::Str(value)
    }
}

impl<'v> From<&'v String> for Value<'v> {
    fn from(value: &'v String) -> Value<'v> {
        Value::Str(value)
    }
}

impl From<bool> for Value<'_> {
    fn from(value: bool) -> Self {
        Value::Bool(value)
    }
}

impl From<i64> for Value<'_> {
    fn from(value: i64) -> Self {
        Value::Int(value)
    }
}

impl From<f64> for Value<'_> {
    fn from(value: f64) -> Self {
        Value::Double(value)
    }
}

impl<'v> From<&'v [&'v str]> for Value<'v> {
    fn from(value: &'v [&'v str]) -> Value<'v> {
        Value::StrArray(value)
    }
}
