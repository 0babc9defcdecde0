//! A message under change: borrowed until its first edit, then one buffer in which every edit is a splice.
//!
//! Unknown fields, their order and everything that no statement names stay as they are. Knows the wire format and no
//! message of OTLP.

use std::ops::Range;

use crate::core::limits::REQUEST_BYTES_MAX;
use crate::otlp::walk::Fields;
use crate::ottl::Failure;

/// Changes of one message, kept apart from the bytes they began with; its buffer is used again for the next message.
#[derive(Debug, Default)]
pub struct Edits {
    changed: bool,
    bytes: Vec<u8>,
}

impl Edits {
    /// The new bytes, when there are any.
    pub fn bytes(&self) -> Option<&[u8]> {
        self.changed.then_some(&self.bytes)
    }

    /// Forgets the changes and keeps the buffer.
    pub fn clear(&mut self) {
        self.changed = false;
    }
}

#[derive(Debug, Default)]
pub struct Draft<'a> {
    base: &'a [u8],
    pub edits: Edits,
}

impl<'a> Draft<'a> {
    pub fn new(base: &'a [u8], edits: Edits) -> Draft<'a> {
        Draft { base, edits }
    }

    pub fn bytes(&self) -> &[u8] {
        self.edits.bytes().unwrap_or(self.base)
    }

    pub fn is_changed(&self) -> bool {
        self.edits.changed
    }

    /// Puts `with` in place of the bytes in `range`, which lies in the message; the same bytes are no change.
    pub fn replace(&mut self, range: Range<usize>, with: &[u8]) -> Result<(), Failure> {
        let Some(old) = self.bytes().get(range.clone()) else { return Err(Failure("the place is gone")) };
        if old == with {
            return Ok(());
        }
        if (self.bytes().len() - old.len()).saturating_add(with.len()) as u64 > REQUEST_BYTES_MAX {
            return Err(Failure("the item would become too large"));
        }
        if !self.edits.changed {
            self.edits.bytes.clear();
            self.edits.bytes.extend_from_slice(self.base);
            self.edits.changed = true;
        }
        self.edits.bytes.splice(range, with.iter().copied());
        Ok(())
    }

    /// Removes every field of which `goes` is true, by number and content. One pass, however many they are.
    pub fn remove(&mut self, mut goes: impl FnMut(u32, &[u8]) -> bool) -> Result<(), Failure> {
        let bytes = self.bytes();
        let gone: Vec<Range<usize>> = places(bytes)
            .filter(|(number, range)| goes(*number, &bytes[range.clone()]))
            .map(|(_, range)| range)
            .collect();
        match &gone[..] {
            [] => Ok(()),
            [one] => self.replace(one.clone(), b""),
            many => {
                let (mut kept, mut from) = (Vec::with_capacity(bytes.len()), 0);
                for range in many {
                    kept.extend_from_slice(&bytes[from..range.start]);
                    from = range.end;
                }
                kept.extend_from_slice(&bytes[from..]);
                self.replace(0..self.bytes().len(), &kept)
            }
        }
    }
}

/// Each field's number and where it stands, key included; ends at the first fault.
pub fn places(message: &[u8]) -> impl Iterator<Item = (u32, Range<usize>)> {
    let mut fields = Fields::new(message);
    std::iter::from_fn(move || {
        let start = fields.position();
        let field = fields.next()?.ok()?;
        Some((field.number, start..fields.position()))
    })
}

/// The message without the fields of this number.
pub fn without(message: &[u8], number: u32) -> Vec<u8> {
    let mut rest = Vec::with_capacity(message.len());
    for (_, range) in places(message).filter(|(found, _)| *found != number) {
        rest.extend_from_slice(&message[range]);
    }
    rest
}

/// Fields that may be walked for the sake of one message's neighbours: so many are done in a second or two.
const WALKED_MAX: usize = 1 << 28;

/// True when so many readers of this message would walk too many fields: a request can be made of a million items under
/// a resource of a million attributes.
pub fn is_too_much(readers: usize, message: &[u8]) -> bool {
    readers > 0 && readers.saturating_mul(places(message).count()) > WALKED_MAX
}

/// Where the last field with this number stands, the one that counts.
pub fn last_range(message: &[u8], number: u32) -> Option<Range<usize>> {
    places(message).filter(|(found, _)| *found == number).map(|(_, range)| range).last()
}

/// Where a field of this number is written: over the one that counts, else at the end.
pub fn slot(message: &[u8], number: u32) -> Range<usize> {
    last_range(message, number).unwrap_or(message.len()..message.len())
}
