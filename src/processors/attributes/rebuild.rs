//! The items of a scope with some of them changed: one new buffer, in which all stand side by side again.
//!
//! Nothing is copied before the first change. The new buffer is charged before it grows.

use bytes::Bytes;

use super::change::Change;
use crate::core::budget::Ticket;
use crate::core::error::{ConsumeError, Reason};
use crate::core::items::{Extent, Items};
use crate::otlp::write;

/// Field number of items in a scope group.
const ITEM: u32 = 2;
/// Key and length of an item take at most this many bytes.
const HEAD_BYTES: usize = 6;
/// Items are expected to grow by no more than this on average.
const GROWTH_BYTES: usize = 64;

/// The items after the change; `None` when none of those meant changes. An error means that there is no memory for it.
pub fn rebuild(
    items: &Items,
    change: &mut Change<'_>,
    meant: impl Fn(&[u8]) -> bool,
    ticket: &Ticket,
) -> Result<Option<Items>, ConsumeError> {
    let mut fresh: Option<Fresh<'_>> = None;
    for (at, item) in items.iter().enumerate() {
        if !(meant(item) && change.make(item)) {
            if let Some(fresh) = &mut fresh {
                fresh.keep(item)?;
            }
            continue;
        }
        let fresh = match &mut fresh {
            Some(fresh) => fresh,
            none => {
                let mut begun = Fresh::new(items, ticket)?;
                items.range(0, at).try_for_each(|earlier| begun.keep(earlier))?;
                none.insert(begun)
            }
        };
        fresh.open(change.len())?;
        change.write_to(&mut fresh.bytes);
    }
    Ok(fresh.map(|fresh| Items::within(Bytes::from(fresh.bytes), fresh.extents)))
}

struct Fresh<'a> {
    bytes: Vec<u8>,
    extents: Vec<Extent>,
    ticket: &'a Ticket,
    charged: usize,
}

impl<'a> Fresh<'a> {
    fn new(items: &Items, ticket: &'a Ticket) -> Result<Fresh<'a>, ConsumeError> {
        let extents = Vec::with_capacity(items.len());
        let mut fresh = Fresh { bytes: Vec::new(), extents, ticket, charged: 0 };
        fresh.make_room(items.byte_len() + items.len() * (HEAD_BYTES + GROWTH_BYTES))?;
        Ok(fresh)
    }

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
            let target = needed.max(self.charged + self.charged / 2);
            self.ticket.grow((target - self.charged) as u64).map_err(|why| {
                ConsumeError::refused(Reason::MEMORY, format!("no memory for changed attributes: {why}"))
            })?;
            self.charged = target;
            self.bytes.reserve_exact(target - self.bytes.len());
        }
        Ok(())
    }
}
