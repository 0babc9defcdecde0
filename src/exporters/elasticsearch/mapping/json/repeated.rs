//! Attributes of one owner, read as often as they are needed.

use crate::otlp::fields::short_key;
use crate::otlp::walk::{Fields, Malformed};
use crate::otlp::write;

/// A repeated field of a message: where its first entry stands and how many there are. Encoders write the entries side
/// by side, so going through them need not walk the message again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Repeated<'a> {
    from: Option<Fields<'a>>,
    /// On the wire.
    key: u8,
    pub count: usize,
}

impl<'a> Repeated<'a> {
    /// Notes an entry; `at` is the walk as it was before the entry was read.
    #[inline]
    pub fn note(&mut self, at: Fields<'a>, number: u32) {
        if self.from.is_none() {
            self.from = Some(at);
            self.key = short_key(number, write::LEN);
        }
        self.count += 1;
    }

    /// Reads entries side by side, as far as they come in their usual shape, and notes them.
    #[inline(always)]
    pub fn note_run(&mut self, fields: &mut Fields<'a>, number: u32) {
        let (at, before) = (*fields, self.count);
        while fields.next_of(short_key(number, write::LEN)).is_some() {
            self.count += 1;
        }
        if self.from.is_none() && self.count > before {
            self.from = Some(at);
            self.key = short_key(number, write::LEN);
        }
    }

    pub fn entries(&self) -> Entries<'a> {
        let left = if self.from.is_some() { self.count } else { 0 };
        Entries { fields: self.from.unwrap_or(Fields::new(b"")), key: self.key, left }
    }
}

/// The entries of a repeated field.
pub struct Entries<'a> {
    fields: Fields<'a>,
    key: u8,
    left: usize,
}

impl<'a> Entries<'a> {
    /// The next entry, behind other fields or in another shape.
    fn next_any(&mut self) -> Option<Result<&'a [u8], Malformed>> {
        loop {
            match self.fields.next()? {
                Ok(field) if field.number == u32::from(self.key >> 3) => return Some(field.bytes()),
                Ok(_) => {}
                Err(fault) => return Some(Err(fault)),
            }
        }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<&'a [u8], Malformed>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        match self.fields.next_of(self.key) {
            Some(entry) => Some(Ok(entry)),
            None => self.next_any(),
        }
    }
}
