//! Edits on a message's attributes: append, fill, replace and delete them without decoding the rest.
//!
//! The old bytes are copied once into a buffer with room, appended attributes follow them, and deletions are cut out at
//! the end; with none of them the old bytes stay as they are. Fields that are not attributes (dropped count, entity
//! references, unknown ones) are kept. Knows where the attributes stand, a resource's unless told otherwise, and nothing
//! else of the message.

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
    /// A string as it came: not checked for UTF-8.
    Text(&'v [u8]),
    /// An `AnyValue` message.
    Any(&'v [u8]),
}

impl Value<'_> {
    /// No value, or an empty string.
    fn is_empty(&self) -> bool {
        match self {
            Value::Str(text) => text.is_empty(),
            Value::Text(text) => text.is_empty(),
            Value::Any(message) => matches!(AnyValue::read(message), Ok(AnyValue::Empty | AnyValue::Str(b""))),
            _ => false,
        }
    }
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

/// Collects edits on one message and builds its new bytes. Later edits see earlier ones.
#[derive(Debug)]
pub struct Appender {
    /// Field number of the attributes.
    number: u32,
    /// Length of the message as it was.
    loaded: usize,
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
    /// Of the key; see [`sign`].
    sign: u64,
    /// No value, or an empty string.
    empty: bool,
    deleted: bool,
}

impl Appender {
    /// Nothing yet; see [`Appender::load`].
    pub const fn idle() -> Appender {
        Appender { number: RESOURCE, loaded: 0, bytes: Vec::new(), present: Vec::new(), deletes: false }
    }

    /// Indexes the attributes of `resource`; absent is the same as empty. An error means: leave the resource alone.
    pub fn new(resource: &[u8]) -> Result<Appender, Malformed> {
        let mut edit = Appender::idle();
        edit.load(resource, RESOURCE)?;
        Ok(edit)
    }

    /// Begins anew with a message that holds its attributes in field `number`, in the memory of the one before. An error
    /// means: leave the message alone, and load another before editing.
    pub fn load(&mut self, message: &[u8], number: u32) -> Result<(), Malformed> {
        (self.number, self.loaded, self.deletes) = (number, message.len(), false);
        self.bytes.clear();
        self.present.clear();
        self.present.reserve(32);
        let mut fields = Fields::new(message);
        let mut start = 0;
        while let Some(field) = fields.next() {
            let field = field?;
            let end = fields.position();
            if field.number == number {
                let attribute = Attribute::read(field.bytes()?)?;
                let empty = matches!(attribute.value, AnyValue::Empty | AnyValue::Str(b""));
                let key = range_within(message, attribute.key);
                let sign = sign(attribute.key);
                self.present.push(Present { field: start..end, key, sign, empty, deleted: false });
            }
            start = end;
        }
        self.bytes.reserve(message.len() + APPEND_BYTES);
        self.bytes.extend_from_slice(message);
        Ok(())
    }

    /// Whether anything was appended or deleted.
    pub fn is_changed(&self) -> bool {
        self.deletes || self.bytes.len() > self.loaded
    }

    /// Attributes seen so far, deleted ones included: the places of `key_at` end here.
    pub fn places(&self) -> usize {
        self.present.len()
    }

    /// The key at a place; `None` when that attribute was deleted.
    pub fn key_at(&self, place: usize) -> Option<&[u8]> {
        let present = self.present.get(place).filter(|present| !present.deleted)?;
        Some(&self.bytes[present.key.clone()])
    }

    /// The value at a place, as its `AnyValue` message; nothing when it was deleted or has none.
    pub fn message_at(&self, place: usize) -> &[u8] {
        self.present.get(place).map_or(&[], |present| &self.bytes[self.value_of(present)])
    }

    /// The place of a key: the first when it comes twice.
    pub fn find(&self, key: &str) -> Option<usize> {
        self.find_from(0, key.as_bytes(), sign(key.as_bytes()))
    }

    /// The first place from `from` on with this key.
    #[inline]
    fn find_from(&self, from: usize, key: &[u8], sign: u64) -> Option<usize> {
        let holds =
            |present: &Present| present.sign == sign && !present.deleted && &self.bytes[present.key.clone()] == key;
        self.present.get(from..)?.iter().position(holds).map(|place| from + place)
    }

    pub fn get(&self, key: &str) -> Option<AnyValue<'_>> {
        self.find(key).and_then(|place| AnyValue::read(self.message_at(place)).ok())
    }

    /// Where the last value of the attribute stands, which is the one that counts.
    fn value_of(&self, present: &Present) -> Range<usize> {
        let mut fields = Fields::new(&self.bytes[present.field.clone()]);
        let message = fields.next().and_then(Result::ok).and_then(|field| field.bytes().ok()).unwrap_or_default();
        let values = Fields::new(message).map_while(Result::ok).filter(|field| field.number == 2);
        let value = values.last().and_then(|field| field.bytes().ok()).unwrap_or_default();
        range_within(&self.bytes, value)
    }

    /// Whether the key is there, whatever its value.
    pub fn contains(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// Adds an attribute without looking whether the key is there already.
    pub fn append<'v>(&mut self, key: &str, value: impl Into<Value<'v>>) {
        let value = value.into();
        let length = value_len(&value);
        let (start, from) = self.open(key.len(), length);
        self.bytes.extend_from_slice(key.as_bytes());
        self.fill(&value, length);
        self.note(start, from..from + key.len(), value.is_empty());
    }

    /// Writes an attribute up to its key; where it begins, and where the key will.
    #[inline]
    fn open(&mut self, key_len: usize, value_len: usize) -> (usize, usize) {
        let start = self.bytes.len();
        write::key(&mut self.bytes, self.number, write::LEN);
        write::varint(&mut self.bytes, (write::field_len(1, key_len) + write::field_len(2, value_len)) as u64);
        write::key(&mut self.bytes, 1, write::LEN);
        write::varint(&mut self.bytes, key_len as u64);
        (start, self.bytes.len())
    }

    /// Writes the value of an attribute behind its key.
    #[inline]
    fn fill(&mut self, value: &Value<'_>, length: usize) {
        write::key(&mut self.bytes, 2, write::LEN);
        write::varint(&mut self.bytes, length as u64);
        put_value(&mut self.bytes, value);
    }

    /// Notes the attribute that was just written, from `start` to the end.
    #[inline]
    fn note(&mut self, start: usize, key: Range<usize>, empty: bool) {
        let sign = sign(&self.bytes[key.clone()]);
        self.present.push(Present { field: start..self.bytes.len(), key, sign, empty, deleted: false });
    }

    /// Sets the attribute as [`Appender::replace`] does, but leaves it alone when it holds this value already.
    pub fn set<'v>(&mut self, key: &str, value: impl Into<Value<'v>>) {
        let value = value.into();
        match self.find(key) {
            Some(place) if holds(self.message_at(place), &value) => {}
            Some(_) => self.replace(key, value),
            None => self.append(key, value),
        }
    }

    /// Gives the attribute at a place another value; it moves to the end.
    pub fn set_at<'v>(&mut self, place: usize, value: impl Into<Value<'v>>) {
        let value = value.into();
        if holds(self.message_at(place), &value) {
            return;
        }
        let Some(old) = self.present.get(place).filter(|present| !present.deleted).map(|present| present.key.clone())
        else {
            return;
        };
        self.delete_at(place);
        let length = value_len(&value);
        let (start, from) = self.open(old.len(), length);
        let key = from..from + old.len();
        self.bytes.extend_from_within(old);
        self.fill(&value, length);
        self.note(start, key, value.is_empty());
    }

    /// Sets `to` to the value of `from`; false when there is no `from`.
    pub fn copy(&mut self, from: &str, to: &str) -> bool {
        let Some(source) = self.find(from) else { return false };
        let (value, empty) = (self.value_of(&self.present[source]), self.present[source].empty);
        if self.find(to).is_some_and(|place| self.message_at(place) == &self.bytes[value.clone()]) {
            return true;
        }
        self.delete(to);
        let (start, from) = self.open(to.len(), value.len());
        self.bytes.extend_from_slice(to.as_bytes());
        write::key(&mut self.bytes, 2, write::LEN);
        write::varint(&mut self.bytes, value.len() as u64);
        self.bytes.extend_from_within(value);
        self.note(start, from..from + to.len(), empty);
        true
    }

    pub fn delete_at(&mut self, place: usize) {
        if let Some(present) = self.present.get_mut(place) {
            present.deleted = true;
            self.deletes = true;
        }
    }

    /// Adds the attribute unless the key holds a value; an empty string or a missing value counts as none and makes
    /// place. True when it was written.
    pub fn set_if_absent_or_empty<'v>(&mut self, key: &str, value: impl Into<Value<'v>>) -> bool {
        match self.find(key) {
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
        let (mut found, mut from) = (false, 0);
        let sign = sign(key.as_bytes());
        while let Some(place) = self.find_from(from, key.as_bytes(), sign) {
            self.present[place].deleted = true;
            (found, from) = (true, place + 1);
        }
        self.deletes |= found;
        found
    }

    /// The message's new bytes.
    pub fn finish(mut self) -> Bytes {
        self.take()
    }

    /// The message's new bytes; load another before editing again.
    pub fn take(&mut self) -> Bytes {
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
        Bytes::from(std::mem::take(&mut self.bytes))
    }

    /// Length of the message's new bytes.
    pub fn new_len(&self) -> usize {
        let gone = self.present.iter().filter(|present| present.deleted);
        self.bytes.len() - gone.map(|present| present.field.len()).sum::<usize>()
    }

    /// Adds the message's new bytes to a buffer.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let mut from = 0;
        for gone in self.present.iter().filter(|present| present.deleted) {
            out.extend_from_slice(&self.bytes[from..gone.field.start]);
            from = gone.field.end;
        }
        out.extend_from_slice(&self.bytes[from..]);
    }
}

/// Tells most keys apart without reading them: their length and last bytes. Keys of one namespace begin alike.
#[inline]
fn sign(key: &[u8]) -> u64 {
    let last = key.last_chunk().map_or_else(
        || key.iter().fold(0, |so_far, byte| so_far << 8 | u64::from(*byte)),
        |last| u64::from_le_bytes(*last),
    );
    last ^ (key.len() as u64) << 56
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
        Value::Text(text) => write::field_len(1, text.len()),
        Value::Any(message) => message.len(),
    }
}

/// Whether an `AnyValue` message says the same as `value`; false when in doubt.
fn holds(message: &[u8], value: &Value<'_>) -> bool {
    match (value, AnyValue::read(message)) {
        (Value::Any(other), _) => message == *other,
        (Value::Str(text), Ok(AnyValue::Str(held))) => text.as_bytes() == held,
        (Value::Text(text), Ok(AnyValue::Str(held))) => *text == held,
        (Value::Bool(on), Ok(AnyValue::Bool(held))) => *on == held,
        (Value::Int(number), Ok(AnyValue::Int(held))) => *number == held,
        (Value::Double(number), Ok(AnyValue::Double(held))) => number.to_bits() == held.to_bits(),
        _ => false,
    }
}

fn array_len(texts: &[&str]) -> usize {
    texts.iter().map(|text| write::field_len(1, write::field_len(1, text.len()))).sum()
}

fn put_value(out: &mut Vec<u8>, value: &Value<'_>) {
    match value {
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

#[cfg(test)]
mod tests;
