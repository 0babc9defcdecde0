//! Values that edits write: their `AnyValue` messages, and whether one is there already.
//! Granted: whoever calls has made room for what is written.

use crate::otlp::fields::common::{any_value, array_value};
use crate::otlp::walk::AnyValue;
use crate::otlp::write;

/// A value to write.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum WireValue<'v> {
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

impl WireValue<'_> {
    /// No value, or an empty string.
    pub fn is_empty(&self) -> bool {
        match self {
            WireValue::Str(text) => text.is_empty(),
            WireValue::Text(text) => text.is_empty(),
            WireValue::Any(message) => matches!(AnyValue::read(message), Ok(AnyValue::Empty | AnyValue::Str(b""))),
            _ => false,
        }
    }

    /// Length of the `AnyValue` message.
    pub fn len(&self) -> usize {
        match self {
            WireValue::Str(text) => write::field_len(any_value::STRING_VALUE, text.len()),
            WireValue::Bool(_) => 2,
            WireValue::Int(number) => 1 + write::varint_len(*number as u64),
            WireValue::Double(_) => 9,
            WireValue::StrArray(texts) => write::field_len(any_value::ARRAY_VALUE, array_len(texts)),
            WireValue::Text(text) => write::field_len(any_value::STRING_VALUE, text.len()),
            WireValue::Any(message) => message.len(),
        }
    }

    /// Whether an `AnyValue` message says the same; false when in doubt.
    pub fn is_in(&self, message: &[u8]) -> bool {
        match (self, AnyValue::read(message)) {
            (WireValue::Any(other), _) => message == *other,
            (WireValue::Str(text), Ok(AnyValue::Str(held))) => text.as_bytes() == held,
            (WireValue::Text(text), Ok(AnyValue::Str(held))) => *text == held,
            (WireValue::Bool(on), Ok(AnyValue::Bool(held))) => *on == held,
            (WireValue::Int(number), Ok(AnyValue::Int(held))) => *number == held,
            (WireValue::Double(number), Ok(AnyValue::Double(held))) => number.to_bits() == held.to_bits(),
            _ => false,
        }
    }

    /// Adds the `AnyValue` message: `len` bytes.
    pub fn put(&self, out: &mut Vec<u8>) {
        match self {
            WireValue::Str(text) => write::bytes(out, any_value::STRING_VALUE, text.as_bytes()),
            WireValue::Text(text) => write::bytes(out, any_value::STRING_VALUE, text),
            WireValue::Any(message) => out.extend_from_slice(message),
            WireValue::Bool(on) => {
                write::key(out, any_value::BOOL_VALUE, write::VARINT);
                out.push(u8::from(*on));
            }
            WireValue::Int(number) => {
                write::key(out, any_value::INT_VALUE, write::VARINT);
                write::varint(out, *number as u64);
            }
            WireValue::Double(number) => {
                write::key(out, any_value::DOUBLE_VALUE, write::FIXED64);
                out.extend_from_slice(&number.to_bits().to_le_bytes());
            }
            WireValue::StrArray(texts) => {
                write::key(out, any_value::ARRAY_VALUE, write::LEN);
                write::varint(out, array_len(texts) as u64);
                for text in *texts {
                    write::key(out, array_value::VALUES, write::LEN);
                    write::varint(out, text_len(text) as u64);
                    write::bytes(out, any_value::STRING_VALUE, text.as_bytes());
                }
            }
        }
    }
}

fn array_len(texts: &[&str]) -> usize {
    texts.iter().map(|text| write::field_len(array_value::VALUES, text_len(text))).sum()
}

fn text_len(text: &str) -> usize {
    write::field_len(any_value::STRING_VALUE, text.len())
}

impl<'v> From<&'v str> for WireValue<'v> {
    fn from(value: &'v str) -> WireValue<'v> {
        WireValue::Str(value)
    }
}

impl<'v> From<&'v String> for WireValue<'v> {
    fn from(value: &'v String) -> WireValue<'v> {
        WireValue::Str(value)
    }
}

impl From<bool> for WireValue<'_> {
    fn from(value: bool) -> Self {
        WireValue::Bool(value)
    }
}

impl From<i64> for WireValue<'_> {
    fn from(value: i64) -> Self {
        WireValue::Int(value)
    }
}

impl From<f64> for WireValue<'_> {
    fn from(value: f64) -> Self {
        WireValue::Double(value)
    }
}

impl<'v> From<&'v [&'v str]> for WireValue<'v> {
    fn from(value: &'v [&'v str]) -> WireValue<'v> {
        WireValue::StrArray(value)
    }
}
