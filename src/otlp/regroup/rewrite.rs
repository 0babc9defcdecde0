//! The items of one scope with some of them changed or gone.
//!
//! What stays as it was remains the same slice; all changed items share one new buffer. A ticket has paid for it and for
//! the list before they are made; without memory for them the result is an error. Knows nothing of what an item means.

use crate::core::data::budget::{OverBudget, Ticket};
use crate::core::data::granted::{Allowance, Granted};
use crate::core::data::items::Items;

/// What happens to an item: `from..to` is its place in the buffer.
#[derive(Debug)]
struct Fate {
    at: u32,
    from: u32,
    to: u32,
}

/// `from` of an item that goes.
const GONE: u32 = u32::MAX;

/// Collects what happens to the items of one list after the other; items are named in ascending order.
#[derive(Debug)]
pub struct Rewrite {
    buffer: Granted<u8>,
    fates: Granted<Fate>,
    changes: usize,
    expected: Option<usize>,
    /// For what the new list keeps, and for what goes when it is finished.
    room: Allowance,
    working: Allowance,
    refused: Option<OverBudget>,
}

impl Rewrite {
    pub fn within(ticket: &Ticket) -> Rewrite {
        let (buffer, fates) = (Granted::new(), Granted::new());
        let (room, working) = (Allowance::of(ticket), Allowance::working(ticket));
        Rewrite { buffer, fates, changes: 0, expected: None, room, working, refused: None }
    }

    /// How many bytes the changed items of the next list will take together, where that is known.
    pub fn expect(&mut self, bytes: usize) {
        self.expected = Some(bytes);
    }

    pub fn drop_item(&mut self, items: &Items, at: usize) {
        let granted = self.note(items, at, GONE, 0);
        self.refused = self.refused.or(granted.err());
    }

    pub fn replace(&mut self, items: &Items, at: usize, with: &[u8]) {
        let granted = self.add(items, at, with);
        self.refused = self.refused.or(granted.err());
    }

    fn add(&mut self, items: &Items, at: usize, with: &[u8]) -> Result<(), OverBudget> {
        if self.buffer.is_empty() {
            // Where one changes, most do, and mostly they grow a little.
            let grown = |bytes: usize| bytes + bytes / 4;
            let bytes = self.expected.take().unwrap_or_else(|| grown(items.byte_len()));
            self.buffer.reserve(bytes, &mut self.room)?;
        }
        let from = self.buffer.len();
        self.buffer.extend(with, &mut self.room)?;
        self.changes += 1;
        // A list of 4 GiB has no budget.
        self.note(items, at, from as u32, self.buffer.len() as u32)
    }

    fn note(&mut self, items: &Items, at: usize, from: u32, to: u32) -> Result<(), OverBudget> {
        if self.fates.is_empty() {
            self.fates.reserve(items.len() - at.min(items.len()), &mut self.working)?;
        }
        self.fates.push(Fate { at: at as u32, from, to }, &mut self.working)
    }

    /// The new list; `None` when nothing happened. Ready for the next list. An error means that there was no memory for
    /// what happened.
    pub fn finish(&mut self, items: &Items) -> Result<Option<Items>, OverBudget> {
        if let Some(why) = self.refused {
            return Err(why);
        }
        if self.fates.is_empty() {
            return Ok(None);
        }
        let made = if self.changes == 0 { self.without_gone(items)? } else { self.with_changes(items)? };
        self.fates.clear();
        self.changes = 0;
        Ok(Some(made))
    }

    /// Nothing new: the list gets shorter.
    fn without_gone(&mut self, items: &Items) -> Result<Items, OverBudget> {
        let left = items.len() - self.fates.len();
        let mut kept = Items::new();
        self.room.take(items.structure_bytes_of(left))?;
        kept.reserve_from(items, left);
        let mut gone = self.fates.iter().map(|fate| fate.at as usize).peekable();
        for at in 0..items.len() {
            if gone.next_if_eq(&at).is_none() {
                kept.push_from(items, at);
            }
        }
        Ok(kept)
    }

    /// Slices of the old buffers and of the new one.
    fn with_changes(&mut self, items: &Items) -> Result<Items, OverBudget> {
        let buffer = std::mem::take(&mut self.buffer).freeze(&mut self.room)?;
        let gone = self.fates.len() - self.changes;
        let mut slices = Granted::new();
        slices.reserve(items.len() - gone, &mut self.room)?;
        let mut fates = self.fates.iter().peekable();
        for at in 0..items.len() {
            match fates.next_if(|fate| fate.at as usize == at) {
                None => slices.within().extend(items.slice(at)),
                Some(fate) if fate.from == GONE => {}
                Some(fate) => slices.within().push(buffer.slice(fate.from as usize..fate.to as usize)),
            }
        }
        Ok(Items::from(slices.finish(&mut self.room)))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::core::data::budget::Budget;
    use crate::core::data::items::Extent;

    #[test]
    fn what_nobody_names_stays_the_same_slice() {
        let items: Items = [&b"one"[..], b"two", b"three", b"four"].into_iter().map(Bytes::from_static).collect();
        let places: Vec<*const u8> = items.iter().map(<[u8]>::as_ptr).collect();
        let mut rewrite = Rewrite::within(&Ticket::free());
        assert!(rewrite.finish(&items).unwrap().is_none());
        rewrite.drop_item(&items, 1);
        rewrite.replace(&items, 2, b"THREE");
        let new = rewrite.finish(&items).unwrap().unwrap();
        assert!(rewrite.finish(&items).unwrap().is_none());
        assert_eq!(new.iter().collect::<Vec<_>>(), [&b"one"[..], b"THREE", b"four"]);
        assert_eq!((new.get(0).unwrap().as_ptr(), new.get(2).unwrap().as_ptr()), (places[0], places[3]));
    }

    #[test]
    fn a_list_from_which_items_only_go_stays_places_in_its_buffer() {
        let buffer = Bytes::from_static(b"\x12\x03one\x12\x03two\x12\x01x");
        let places = [(2, 5), (7, 10), (12, 13)].map(|(from, to)| Extent { from, to });
        let items = Items::within(buffer, places.to_vec());
        let mut rewrite = Rewrite::within(&Ticket::free());
        rewrite.drop_item(&items, 0);
        let new = rewrite.finish(&items).unwrap().unwrap();
        assert_eq!(new.iter().collect::<Vec<_>>(), [&b"two"[..], b"x"]);
        assert_eq!(new.stretch(0, 2), Some(&b"two\x12\x01x"[..]));
    }

    #[test]
    fn without_memory_for_a_change_there_is_no_list() {
        let items: Items = [&b"one"[..], b"two"].into_iter().map(Bytes::from_static).collect();
        let ticket = Budget::new(10, 10).take(0).unwrap();
        let mut rewrite = Rewrite::within(&ticket);
        rewrite.replace(&items, 0, &[7; 100]);
        assert!(rewrite.finish(&items).is_err());
    }
}
