//! The items of one scope with some of them changed or gone.
//!
//! What stays as it was remains the same slice; all changed items share one new buffer. Knows nothing of what an item
//! means.

use std::ops::Range;

use bytes::Bytes;

use crate::core::items::Items;

#[derive(Debug)]
enum Fate {
    Gone,
    /// Place in the buffer.
    New(Range<usize>),
}

/// Collects what happens to the items of one list after the other; items are named in ascending order.
#[derive(Debug, Default)]
pub struct Rewrite {
    buffer: Vec<u8>,
    fates: Vec<(usize, Fate)>,
}

impl Rewrite {
    pub fn drop_item(&mut self, items: &Items, at: usize) {
        self.add(items, at, Fate::Gone);
    }

    pub fn replace(&mut self, items: &Items, at: usize, with: &[u8]) {
        if self.buffer.is_empty() {
            // Where one changes, most do, and mostly they grow a little.
            let bytes = items.byte_len();
            self.buffer.reserve(bytes + bytes / 4);
        }
        let start = self.buffer.len();
        self.buffer.extend_from_slice(with);
        self.add(items, at, Fate::New(start..self.buffer.len()));
    }

    fn add(&mut self, items: &Items, at: usize, fate: Fate) {
        if self.fates.is_empty() {
            self.fates.reserve(items.len());
        }
        self.fates.push((at, fate));
    }

    /// The new list and how many bytes were made for it; `None` when nothing happened. Ready for the next list.
    pub fn finish(&mut self, items: &Items) -> Option<(Items, usize)> {
        if self.fates.is_empty() {
            return None;
        }
        let made = self.buffer.len();
        let buffer = Bytes::from(std::mem::take(&mut self.buffer));
        let all = items.len();
        if self.fates.len() == all {
            let new = self.fates.drain(..).filter_map(|(_, fate)| match fate {
                Fate::Gone => None,
                Fate::New(range) => Some(buffer.slice(range)),
            });
            let mut slices = Vec::with_capacity(all);
            slices.extend(new);
            return Some((Items::from(slices), made));
        }
        let mut fates = self.fates.drain(..).peekable();
        let mut kept = Items::new();
        for at in 0..all {
            match fates.next_if(|(of, _)| *of == at) {
                None => kept.push_from(items, at),
                Some((_, Fate::Gone)) => {}
                Some((_, Fate::New(range))) => kept.push(buffer.slice(range)),
            }
        }
        Some((kept, made))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_names_stays_the_same_slice() {
        let items: Items = [&b"one"[..], b"two", b"three", b"four"].into_iter().map(Bytes::from_static).collect();
        let places: Vec<*const u8> = items.iter().map(<[u8]>::as_ptr).collect();
        let mut rewrite = Rewrite::default();
        assert!(rewrite.finish(&items).is_none());
        rewrite.drop_item(&items, 1);
        rewrite.replace(&items, 2, b"THREE");
        let (new, made) = rewrite.finish(&items).unwrap();
        assert!(rewrite.finish(&items).is_none());
        assert_eq!(new.iter().collect::<Vec<_>>(), [&b"one"[..], b"THREE", b"four"]);
        assert_eq!(made, 5);
        assert_eq!((new.get(0).unwrap().as_ptr(), new.get(2).unwrap().as_ptr()), (places[0], places[3]));
    }
}
