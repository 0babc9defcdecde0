//! Edits on a message's attributes: append, fill, replace and delete them without decoding the rest.
//!
//! The old bytes are copied once into a buffer with room, appended attributes follow them, and deletions are left out of
//! the copy that leaves, which is exactly as long as it has to be: the buffer serves the next message. Fields that are not
//! attributes (dropped count, entity references, unknown ones) are kept. Its memory is paid for by a ticket, which keeps
//! the bytes of what left; an edit for which there is no memory is left out and makes the result an error. Knows where
//! the attributes stand, a resource's unless told otherwise, and nothing else of the message.

mod value;

use std::ops::Range;

use bytes::Bytes;

pub use value::WireValue;

use crate::core::data::budget::{OverBudget, Ticket};
use crate::core::data::granted::{Allowance, BLOCK_BYTES, Granted, SHARED_BYTES};
use crate::otlp::attributes::RESOURCE;
use crate::otlp::fields::common::key_value;
use crate::otlp::walk::{AnyValue, Attribute, Fields, Malformed};
use crate::otlp::write;

/// Room for appended attributes before the buffer must grow: twenty of about fifty bytes. The next message uses it again.
const APPEND_BYTES: usize = 1 << 10;
/// Room for attributes in a usual resource.
const PRESENT_USUAL: usize = 32;
/// Keys and lengths of an attribute and its value take at most this many bytes.
const HEADS_BYTES: usize = 24;

/// Collects edits on one message and builds its new bytes. Later edits see earlier ones.
#[derive(Debug)]
pub struct Appender {
    /// Field number of the attributes.
    number: u32,
    /// Length of the message as it was.
    loaded: usize,
    /// Old bytes, then appended attributes.
    bytes: Granted<u8>,
    /// Every attribute in `bytes`, in order.
    present: Granted<Present>,
    deletes: bool,
    /// For the buffers. The bytes that leave are paid for by its ticket itself.
    room: Allowance,
    /// What there was no memory for since the message was loaded.
    refused: Option<OverBudget>,
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
    /// Nothing yet, in memory that this ticket pays for; see [`Appender::load`].
    pub fn within(ticket: &Ticket) -> Appender {
        Appender {
            number: RESOURCE,
            loaded: 0,
            bytes: Granted::new(),
            present: Granted::new(),
            deletes: false,
            room: Allowance::working(ticket),
            refused: None,
        }
    }

    /// Nothing yet, in memory that is accounted elsewhere.
    pub fn idle() -> Appender {
        Appender::within(&Ticket::free())
    }

    /// Indexes the attributes of `resource`; absent is the same as empty. An error means: leave the resource alone.
    pub fn new(resource: &[u8]) -> Result<Appender, Malformed> {
        let mut edit = Appender::idle();
        edit.load(resource, RESOURCE)?;
        Ok(edit)
    }

    /// Begins anew with a message that holds its attributes in field `number`, in the memory of the one before. An error
    /// means: leave the message alone, and load another before editing. Without memory for it the result is an error.
    pub fn load(&mut self, message: &[u8], number: u32) -> Result<(), Malformed> {
        (self.number, self.loaded, self.deletes, self.refused) = (number, message.len(), false, None);
        self.bytes.clear();
        self.present.clear();
        if self.has_room(message.len() + APPEND_BYTES, PRESENT_USUAL) && self.index(message)? {
            self.refused = self.bytes.extend(message, &mut self.room).err();
        }
        Ok(())
    }

    /// Notes where the message's attributes stand; false without memory for it.
    fn index(&mut self, message: &[u8]) -> Result<bool, Malformed> {
        let mut fields = Fields::new(message);
        let mut start = 0;
        while let Some(field) = fields.next() {
            let field = field?;
            let end = fields.position();
            if field.number == self.number {
                let attribute = Attribute::read(field.bytes()?)?;
                let empty = matches!(attribute.value, AnyValue::Empty | AnyValue::Str(b""));
                let key = range_within(message, attribute.key);
                let sign = sign(attribute.key);
                let present = Present { field: start..end, key, sign, empty, deleted: false };
                if let Err(why) = self.present.push(present, &mut self.room) {
                    self.refused = Some(why);
                    self.present.clear();
                    return Ok(false);
                }
            }
            start = end;
        }
        Ok(true)
    }

    /// Room for so many bytes and attributes more; without it the result is an error.
    #[inline]
    fn has_room(&mut self, bytes: usize, attributes: usize) -> bool {
        let room = &mut self.room;
        let granted = self.bytes.reserve(bytes, room).and_then(|()| self.present.reserve(attributes, room));
        match granted {
            Ok(()) => true,
            Err(why) => {
                self.refused = Some(why);
                false
            }
        }
    }

    /// Empties `scratch` and makes room in it for so many bytes, which this ticket pays for as long as the edits last.
    /// False without memory for it; the result is an error then.
    pub fn clear_scratch(&mut self, scratch: &mut Vec<u8>, bytes: usize) -> bool {
        scratch.clear();
        if scratch.capacity() >= bytes {
            return true;
        }
        match self.room.take(bytes) {
            Ok(()) => {
                let before = scratch.capacity();
                scratch.reserve_exact(bytes); // granted: taken above
                self.room.give(before);
                true
            }
            Err(why) => {
                self.refused = Some(why);
                false
            }
        }
    }

    /// Why the result is an error: there was no memory for an edit.
    pub fn refused(&self) -> Option<OverBudget> {
        self.refused
    }

    /// Whether anything was appended or deleted, or would have been with memory for it.
    pub fn is_changed(&self) -> bool {
        self.deletes || self.bytes.len() > self.loaded || self.refused.is_some()
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
        let values = Fields::new(message).map_while(Result::ok).filter(|field| field.number == key_value::VALUE);
        let value = values.last().and_then(|field| field.bytes().ok()).unwrap_or_default();
        range_within(&self.bytes, value)
    }

    /// Whether the key is there, whatever its value.
    pub fn contains(&self, key: &str) -> bool {
        self.find(key).is_some()
    }

    /// Adds an attribute without looking whether the key is there already.
    pub fn append<'v>(&mut self, key: &str, value: impl Into<WireValue<'v>>) {
        let value = value.into();
        let length = value.len();
        let Some((start, from)) = self.open(key.len(), length) else { return };
        self.bytes.within().extend_from_slice(key.as_bytes());
        self.fill(&value, length);
        self.note(start, from..from + key.len(), value.is_empty());
    }

    /// Makes room for an attribute and writes it up to its key; where it begins, and where the key will. `None` without
    /// memory for it.
    #[inline]
    fn open(&mut self, key_len: usize, value_len: usize) -> Option<(usize, usize)> {
        if !self.has_room(key_len + value_len + HEADS_BYTES, 1) {
            return None;
        }
        let start = self.bytes.len();
        let bytes = self.bytes.within();
        write::key(bytes, self.number, write::LEN);
        write::varint(
            bytes,
            (write::field_len(key_value::KEY, key_len) + write::field_len(key_value::VALUE, value_len)) as u64,
        );
        write::key(bytes, key_value::KEY, write::LEN);
        write::varint(bytes, key_len as u64);
        Some((start, self.bytes.len()))
    }

    /// Writes the value of an attribute behind its key.
    #[inline]
    fn fill(&mut self, value: &WireValue<'_>, length: usize) {
        let bytes = self.bytes.within();
        write::key(bytes, key_value::VALUE, write::LEN);
        write::varint(bytes, length as u64);
        value.put(bytes);
    }

    /// Notes the attribute that was just written, from `start` to the end.
    #[inline]
    fn note(&mut self, start: usize, key: Range<usize>, empty: bool) {
        let sign = sign(&self.bytes[key.clone()]);
        let field = start..self.bytes.len();
        self.present.within().push(Present { field, key, sign, empty, deleted: false });
    }

    /// Sets the attribute as [`Appender::replace`] does, but leaves it alone when it holds this value already.
    pub fn set<'v>(&mut self, key: &str, value: impl Into<WireValue<'v>>) {
        let value = value.into();
        match self.find(key) {
            Some(place) if value.is_in(self.message_at(place)) => {}
            Some(_) => self.replace(key, value),
            None => self.append(key, value),
        }
    }

    /// Gives the attribute at a place another value; it moves to the end.
    pub fn set_at<'v>(&mut self, place: usize, value: impl Into<WireValue<'v>>) {
        let value = value.into();
        if value.is_in(self.message_at(place)) {
            return;
        }
        let Some(old) = self.present.get(place).filter(|present| !present.deleted).map(|present| present.key.clone())
        else {
            return;
        };
        self.delete_at(place);
        let length = value.len();
        let Some((start, from)) = self.open(old.len(), length) else { return };
        let key = from..from + old.len();
        self.bytes.within().extend_from_within(old);
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
        let Some((start, from)) = self.open(to.len(), value.len()) else { return true };
        let bytes = self.bytes.within();
        bytes.extend_from_slice(to.as_bytes()); // granted: by `open`
        write::key(bytes, key_value::VALUE, write::LEN);
        write::varint(bytes, value.len() as u64);
        bytes.extend_from_within(value); // granted: by `open`
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
    pub fn set_if_absent_or_empty<'v>(&mut self, key: &str, value: impl Into<WireValue<'v>>) -> bool {
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
    pub fn replace<'v>(&mut self, key: &str, value: impl Into<WireValue<'v>>) {
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
    pub fn finish(mut self) -> Result<Bytes, OverBudget> {
        self.take()
    }

    /// The message's new bytes, which stay on the ticket; load another before editing again. An error means that there
    /// was no memory for an edit or for them.
    pub fn take(&mut self) -> Result<Bytes, OverBudget> {
        if let Some(why) = self.refused {
            return Err(why);
        }
        let length = self.new_len();
        self.room.ticket().grow((length + SHARED_BYTES + BLOCK_BYTES) as u64)?;
        let mut out = Vec::with_capacity(length); // granted: the ticket has grown for it
        self.write_to(&mut out);
        Ok(Bytes::from(out))
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
            out.extend_from_slice(&self.bytes[from..gone.field.start]); // granted: by the caller, see new_len
            from = gone.field.end;
        }
        out.extend_from_slice(&self.bytes[from..]); // granted: by the caller, see new_len
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

#[cfg(test)]
mod tests;
