//! A message under change: borrowed until its first edit, then one buffer in which every edit is a splice.
//!
//! Unknown fields, their order and everything that no statement names stay as they are. Knows the wire format and no
//! message of OTLP.

use std::ops::Range;

use crate::core::limits::REQUEST_BYTES_MAX;
use crate::otlp::walk::Fields;
use crate::ottl::value::failure::EvalFailure;

/// Room for later edits of the same message, and for the next one to be longer.
const ROOM: usize = 1 << 10;

/// Changes of one message, kept apart from the bytes they began with; its buffer is used again for the next message.
#[derive(Debug, Default)]
pub struct Edits {
    changed: bool,
    bytes: Vec<u8>,
    /// Bytes that may still be moved; `None` for a message that only its own statements change.
    allowed: Option<usize>,
}

impl Edits {
    /// The new bytes, when there are any.
    pub fn bytes(&self) -> Option<&[u8]> {
        self.changed.then_some(&self.bytes)
    }

    /// Forgets the changes and keeps the buffer.
    pub fn clear(&mut self) {
        self.changed = false;
        self.allowed = None;
    }

    /// For a message that many items change one after the other: each change moves what stands behind it, so all of them
    /// together may move no more than this.
    pub fn allow(&mut self, bytes: usize) {
        self.allowed = Some(bytes);
    }
}

#[derive(Debug, Default)]
pub struct MessageEdit<'a> {
    base: &'a [u8],
    pub edits: Edits,
}

impl<'a> MessageEdit<'a> {
    pub fn new(base: &'a [u8], edits: Edits) -> MessageEdit<'a> {
        MessageEdit { base, edits }
    }

    pub fn bytes(&self) -> &[u8] {
        self.edits.bytes().unwrap_or(self.base)
    }

    pub fn is_changed(&self) -> bool {
        self.edits.changed
    }

    /// Puts `with` in place of the bytes in `range`, which lies in the message; the same bytes are no change.
    pub fn replace(&mut self, range: Range<usize>, with: &[u8]) -> Result<(), EvalFailure> {
        let Some(old) = self.bytes().get(range.clone()) else { return Err(EvalFailure("the place is gone")) };
        if old == with {
            return Ok(());
        }
        self.may_change()?;
        if (self.bytes().len() - old.len()).saturating_add(with.len()) as u64 > REQUEST_BYTES_MAX {
            return Err(EvalFailure("the item would become too large"));
        }
        if !self.edits.changed {
            self.edits.bytes.clear();
            self.edits.bytes.reserve(self.base.len() + with.len() + ROOM);
            self.edits.bytes.extend_from_slice(self.base);
            self.edits.changed = true;
        }
        if let Some(allowed) = &mut self.edits.allowed {
            *allowed = allowed.saturating_sub(self.edits.bytes.len() - range.start + with.len());
        }
        self.edits.bytes.splice(range, with.iter().copied());
        Ok(())
    }

    /// A failure when the message was changed for too many items already.
    pub fn may_change(&self) -> Result<(), EvalFailure> {
        if self.edits.allowed == Some(0) { Err(EvalFailure("too many items change this message")) } else { Ok(()) }
    }

    /// Removes every field of which `goes` is true, by number and content. One pass, however many they are.
    pub fn remove(&mut self, mut goes: impl FnMut(u32, &[u8]) -> bool) -> Result<(), EvalFailure> {
        let bytes = self.bytes();
        let mut gone = places(bytes).filter(|(number, range)| goes(*number, &bytes[range.clone()]));
        let Some((_, first)) = gone.next() else { return Ok(()) };
        let Some((_, second)) = gone.next() else {
            drop(gone);
            return self.replace(first, b"");
        };
        let (mut kept, mut from) = (Vec::with_capacity(bytes.len()), 0);
        for range in [first, second].into_iter().chain(gone.map(|(_, range)| range)) {
            kept.extend_from_slice(&bytes[from..range.start]);
            from = range.end;
        }
        kept.extend_from_slice(&bytes[from..]);
        self.replace(0..self.bytes().len(), &kept)
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
    put_without(&mut rest, message, number);
    rest
}

/// Appends the message without the fields of this number.
pub fn put_without(out: &mut Vec<u8>, message: &[u8], number: u32) {
    for (_, range) in places(message).filter(|(found, _)| *found != number) {
        out.extend_from_slice(&message[range]);
    }
}

/// What may be walked of a shared message for each byte of its readers and of its own. A field counts one, and each
/// `TEXT_BYTES` of it one more, because who reads a text looks at all of it. A resource of 100 fields and 6 KiB is read by
/// items of 13 bytes.
const WALKED_PER_BYTE: usize = 16;
const TEXT_BYTES: usize = 64;
/// WALKED_FREE bytes may be walked in any case: a few readers of a small message.
const WALKED_FREE: usize = 1 << 16;

/// True when so many readers of `bytes` in all would walk too much of this message for what they brought: a request can be
/// made of a million items under a resource of a million attributes, and asking each item about the resource would take
/// the product of both (issue 12: work grows with the bytes of a request, not with their square).
pub fn is_too_much(readers: usize, bytes: usize, message: &[u8]) -> bool {
    if readers < 2 {
        return false;
    }
    let walked = (places(message).count() + message.len() / TEXT_BYTES).saturating_mul(readers);
    walked > WALKED_FREE.max((bytes + message.len()).saturating_mul(WALKED_PER_BYTE))
}

/// Where the last field with this number stands, the one that counts.
fn last_range(message: &[u8], number: u32) -> Option<Range<usize>> {
    places(message).filter(|(found, _)| *found == number).map(|(_, range)| range).last()
}

/// Where a field of this number is written: over the one that counts, else at the end.
pub fn slot(message: &[u8], number: u32) -> Range<usize> {
    last_range(message, number).unwrap_or(message.len()..message.len())
}
