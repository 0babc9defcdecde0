//! Edits on a resource's bytes: append, fill, replace and delete attributes without decoding the rest.
//!
//! The old bytes are copied once into a buffer with room, appended attributes follow them, and deletions are cut out at
//! the end; with none of them the old bytes stay as they are. Fields that are not attributes (dropped count, entity
//! references, unknown ones) are kept. Knows the wire form of `Resource` only.

use std::ops::Range;

use bytes::Bytes;

use crate::otlp::attributes::RESOURCE;
use crate::otlp::walk::{AnyValue, Attribute, Fields, Malformed};
use crate::otlp::write;

/// Room for appended attributes before the buffer must grow: twenty of about fifty bytes.
const APPEND_BYTES: usize = 1 << 10;

/// A value to write.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'v> {
    Str(&'v str),
    Bool(bool),
    Int(i64),
    Double(f64),
    StrArray(&'v [&'v str]),
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

/// Collects edits on one resource and builds its new bytes. Later edits see earlier ones.
#[derive(Debug)]
pub struct Appender {
    /// Old bytes, then appended attributes.
    bytes: Vec<u8>,
    /// Every attribute in `bytes`, in order.
    present: Vec<Present>,
    deletes: bool,
}

/// Where one attribute stands in the buffer.
#[derive(Debug)]
struct Present {
    /// The whole field, tag and length included.
    field: Range<usize>,
    key: Range<usize>,
    /// No value, or an empty string.
    empty: bool,
    deleted: bool,
}

impl Appender {
    /// Indexes the attributes of `resource`; absent is the same as empty. An error means: leave the resource alone.
    pub fn new(resource: &[u8]) -> Result<Appender, Malformed> {
        let mut present = Vec::with_capacity(32);
        let mut fields = Fields::new(resource);
        let mut start = 0;
        while let Some(field) = fields.next() {
            let field = field?;
            let end = fields.position();
            if field.number == RESOURCE {
                let attribute = Attribute::read(field.bytes()?)?;
                let empty = matches!(attribute.value, AnyValue::Empty | AnyValue::Str(b""));
                let key = range_within(resource, attribute.key);
                present.push(Present { field: start..end, key, empty, deleted: false });
            }
            start = end;
        }
        let mut bytes = Vec::with_capacity(resource.len() + APPEND_BYTES);
        bytes.extend_from_slice(resource);
        Ok(Appender { bytes, present, deletes: false })
    }

    /// Whether the key is there, whatever its value.
    pub fn contains(&self, key: &str) -> bool {
        self.present.iter().any(|present| self.is(present, key))
    }

    /// Adds an attribute without looking whether the key is there already.
    pub fn append<'v>(&mut self, key: &str, value: impl Into<Value<'v>>) {
        let value = value.into();
        let value_len = value_len(&value);
        let message = write::field_len(1, key.len()) + write::field_len(2, value_len);
        let start = self.bytes.len();
        let out = &mut self.bytes;
        write::key(out, RESOURCE, write::LEN);
        write::varint(out, message as u64);
        write::bytes(out, 1, key.as_bytes());
        let key = out.len() - key.len()..out.len();
        write::key(out, 2, write::LEN);
        write::varint(out, value_len as u64);
        put_value(out, &value);
        let empty = matches!(value, Value::Str(""));
        self.present.push(Present { field: start..self.bytes.len(), key, empty, deleted: false });
    }

    /// Adds the attribute unless the key holds a value; an empty string or a missing value counts as none and makes
    /// place. True when it was written.
    pub fn set_if_absent_or_empty<'v>(&mut self, key: &str, value: impl Into<Value<'v>>) -> bool {
        match self.present.iter().position(|present| self.is(present, key)) {
            Some(index) if !self.present[index].empty => false,
            Some(_) => {
                self.replace(key, value);
                true
            }
            None => {
                self.append(key, value);
                true
            }
        }
    }

    /// Sets the attribute whatever was there; it moves to the end, and duplicates of its key are gone.
    pub fn replace<'v>(&mut self, key: &str, value: impl Into<Value<'v>>) {
        self.delete(key);
        self.append(key, value);
    }

    /// Removes every attribute with this key; true when there was one.
    pub fn delete(&mut self, key: &str) -> bool {
        let mut found = false;
        for index in 0..self.present.len() {
            if self.is(&self.present[index], key) {
                self.present[index].deleted = true;
                found = true;
            }
        }
        self.deletes |= found;
        found
    }

    /// The resource's new bytes.
    pub fn finish(mut self) -> Bytes {
        if self.deletes {
            let mut kept = 0;
            let mut from = 0;
            for gone in self.present.iter().filter(|present| present.deleted) {
                self.bytes.copy_within(from..gone.field.start, kept);
                kept += gone.field.start - from;
                from = gone.field.end;
            }
            let rest = self.bytes.len() - from;
            self.bytes.copy_within(from.., kept);
            self.bytes.truncate(kept + rest);
        }
        Bytes::from(self.bytes)
    }

    fn is(&self, present: &Present, key: &str) -> bool {
        !present.deleted && &self.bytes[present.key.clone()] == key.as_bytes()
    }
}

/// Place of `part`, a slice of `whole`, as offsets. An absent key is the empty range at 0.
fn range_within(whole: &[u8], part: &[u8]) -> Range<usize> {
    if part.is_empty() {
        return 0..0;
    }
    let start = part.as_ptr() as usize - whole.as_ptr() as usize;
    start..start + part.len()
}

/// Length of the `AnyValue` message.
fn value_len(value: &Value<'_>) -> usize {
    match value {
        Value::Str(text) => write::field_len(1, text.len()),
        Value::Bool(_) => 2,
        Value::Int(number) => 1 + write::varint_len(*number as u64),
        Value::Double(_) => 9,
        Value::StrArray(texts) => write::field_len(5, array_len(texts)),
    }
}

fn array_len(texts: &[&str]) -> usize {
    texts.iter().map(|text| write::field_len(1, write::field_len(1, text.len()))).sum()
}

fn put_value(out: &mut Vec<u8>, value: &Value<'_>) {
    match value {
        Value::Str(text) => write::bytes(out, 1, text.as_bytes()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::attributes::{attributes, find};

    fn keys(resource: &[u8]) -> Vec<String> {
        attributes(resource)
            .map(|attribute| String::from_utf8_lossy(attribute.expect("valid").key).into_owned())
            .collect()
    }

    #[test]
    fn appending_keeps_the_old_bytes_as_a_prefix() {
        let mut first = Appender::new(b"").expect("valid");
        first.append("a", 1i64);
        let first = first.finish();
        let mut edit = Appender::new(&first).expect("valid");
        edit.append("b", &["x", "y"][..]);
        edit.append("c", 1.5);
        edit.append("d", true);
        let edited = edit.finish();
        assert_eq!(edited[..first.len()], first[..]);
        assert_eq!(keys(&edited), ["a", "b", "c", "d"]);
        assert_eq!(find(&edited, "c"), Some(AnyValue::Double(1.5)));
        assert_eq!(find(&edited, "d"), Some(AnyValue::Bool(true)));
    }

    #[test]
    fn only_an_absent_or_empty_attribute_is_filled() {
        let mut edit = Appender::new(b"").expect("valid");
        edit.append("empty", "");
        edit.append("full", "mine");
        assert!(edit.set_if_absent_or_empty("empty", "filled"));
        assert!(!edit.set_if_absent_or_empty("full", "theirs"));
        assert!(edit.set_if_absent_or_empty("absent", 7i64));
        assert!(!edit.set_if_absent_or_empty("absent", 8i64));
        let edited = edit.finish();
        assert_eq!(keys(&edited), ["full", "empty", "absent"]);
        assert_eq!(find(&edited, "empty"), Some(AnyValue::Str(b"filled")));
        assert_eq!(find(&edited, "absent"), Some(AnyValue::Int(7)));
    }

    #[test]
    fn deleting_takes_every_duplicate_and_nothing_else() {
        let mut edit = Appender::new(&[0x10, 0x05]).expect("a dropped count alone");
        edit.append("a", "1");
        edit.append("b", "2");
        edit.append("a", "3");
        assert!(edit.delete("a"));
        assert!(!edit.delete("a"));
        let edited = edit.finish();
        assert_eq!(keys(&edited), ["b"]);
        assert_eq!(edited[..2], [0x10, 0x05]);
    }

    #[test]
    fn a_faulty_resource_is_left_alone() {
        assert_eq!(Appender::new(&[0x0a, 0x7f]).err(), Some(Malformed::Length));
    }
}
