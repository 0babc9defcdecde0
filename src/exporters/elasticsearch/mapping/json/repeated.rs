//! Attributes of one owner, read as often as they are needed.

use crate::otlp::walk::{Fields, Malformed};

/// A repeated field of a message: where its first entry stands and how many there are. Encoders write the entries side
/// by side, so going through them need not walk the message again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Repeated<'a> {
    from: Option<Fields<'a>>,
    number: u32,
    pub count: usize,
}

impl<'a> Repeated<'a> {
    /// Notes an entry; `at` is the walk as it was before the entry was read.
    #[inline]
    pub fn note(&mut self, at: Fields<'a>, number: u32) {
        if self.from.is_none() {
            self.from = Some(at);
            self.number = number;
        }
        self.count += 1;
    }

    pub fn entries(&self) -> Entries<'a> {
        let left = if self.from.is_some() { self.count } else { 0 };
        Entries { fields: self.from.unwrap_or(Fields::new(b"")), number: self.number, left }
    }
}

/// The entries of a repeated field.
pub struct Entries<'a> {
    fields: Fields<'a>,
    number: u32,
    left: usize,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<&'a [u8], Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        loop {
            match self.fields.next()? {
                Ok(field) if field.number == self.number => return Some(field.bytes()),
                Ok(_) => {}
                Err(fault) => return Some(Err(fault)),
            }
        }
    }
}
