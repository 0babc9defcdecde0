//! The items of a scope with some of them changed or gone: one new buffer, in which the rest stand side by side again.
//!
//! Copying an item costs less than counting a reference to it, and what stands side by side leaves as one slice. Nothing
//! is copied before the first difference. The new buffer is charged before it grows. It must not know what an item is.

use bytes::Bytes;

use crate::core::budget::Ticket;
use crate::core::error::{ConsumeError, Reason};
use crate::core::items::{Extent, Items};
use crate::otlp::write;

/// What becomes of an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Stays,
    /// It takes this many bytes now.
    Changes(usize),
    Goes,
}

/// Decides over one item after the other.
pub trait Change {
    fn decide(&mut self, item: &[u8]) -> Fate;

    /// Adds the new bytes of the item decided last, which changes.
    fn write_to(&self, out: &mut Vec<u8>);
}

/// Field number of items in a scope group.
const ITEM: u32 = 2;
/// Key and length of an item take at most this many bytes.
const HEAD_BYTES: usize = 6;

/// The items after the change; `None` when all stay. `expected` is about how many bytes they will be. An error means that
/// there is no memory for it.
pub fn rebuild(
    items: &Items,
    change: &mut impl Change,
    expected: usize,
    ticket: &Ticket,
) -> Result<Option<Items>, ConsumeError> {
    let mut fresh: Option<Fresh<'_>> = None;
    for (at, item) in items.iter().enumerate() {
        let fate = change.decide(item);
        let fresh = match (&mut fresh, fate) {
            (Some(fresh), _) => fresh,
            (None, Fate::Stays) => continue,
            (none, _) => {
                let extents = Vec::with_capacity(items.len());
                let mut begun = Fresh { bytes: Vec::new(), extents, ticket, expected, charged: 0 };
                items.range(0, at).try_for_each(|earlier| begun.keep(earlier))?;
                none.insert(begun)
            }
        };
        match fate {
            Fate::Stays => fresh.keep(item)?,
            Fate::Changes(length) => {
                fresh.open(length)?;
                change.write_to(&mut fresh.bytes);
            }
            Fate::Goes => {}
        }
    }
    Ok(fresh.map(|fresh| Items::within(Bytes::from(fresh.bytes), fresh.extents)))
}

struct Fresh<'a> {
    bytes: Vec<u8>,
    extents: Vec<Extent>,
    ticket: &'a Ticket,
    expected: usize,
    charged: usize,
}

impl Fresh<'_> {
    fn keep(&mut self, item: &[u8]) -> Result<(), ConsumeError> {
        self.open(item.len())?;
        self.bytes.extend_from_slice(item);
        Ok(())
    }

    /// Writes key and length of an item of `length` bytes, which the caller writes next.
    fn open(&mut self, length: usize) -> Result<(), ConsumeError> {
        self.make_room(length + HEAD_BYTES)?;
        write::key(&mut self.bytes, ITEM, write::LEN);
        write::varint(&mut self.bytes, length as u64);
        let from = self.bytes.len();
        let place = |at: usize| {
            u32::try_from(at).map_err(|_| ConsumeError::rejected(Reason::TOO_LARGE, "changed items exceed 4 GiB"))
        };
        self.extents.push(Extent { from: place(from)?, to: place(from + length)? });
        Ok(())
    }

    fn make_room(&mut self, more: usize) -> Result<(), ConsumeError> {
        let needed = self.bytes.len() + more;
        if needed > self.charged {
            let target = needed.max(self.charged + self.charged / 2).max(self.expected);
            self.ticket
                .grow((target - self.charged) as u64)
                .map_err(|why| ConsumeError::refused(Reason::MEMORY, format!("no memory for changed items: {why}")))?;
            self.charged = target;
            self.bytes.reserve_exact(target - self.bytes.len());
        }
        Ok(())
    }
}
