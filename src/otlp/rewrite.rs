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

/// Collects what happens to items, which are named in ascending order.
#[derive(Debug, Default)]
pub struct Rewrite {
    buffer: Vec<u8>,
    fates: Vec<(usize, Fate)>,
}

impl Rewrite {
    /// True while nothing happened.
    pub fn is_empty(&self) -> bool {
        self.fates.is_empty()
    }

    pub fn drop_item(&mut self, at: usize) {
        self.fates.push((at, Fate::Gone));
    }

    pub fn replace(&mut self, at: usize, with: &[u8]) {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(with);
        self.fates.push((at, Fate::New(start..self.buffer.len())));
    }

    /// The new items and how many bytes were made for them.
    pub fn apply(self, items: Items) -> (Items, usize) {
        if self.fates.is_empty() {
            return (items, 0);
        }
        let made = self.buffer.len();
        let buffer = Bytes::from(self.buffer);
        let mut fates = self.fates.into_iter().peekable();
        let mut kept = Items::new();
        for at in 0..items.len() {
            match fates.next_if(|(of, _)| *of == at) {
                None => kept.push_from(&items, at),
                Some((_, Fate::Gone)) => {}
                Some((_, Fate::New(range))) => kept.push(buffer.slice(range)),
            }
        }
        (kept, made)
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
        assert!(rewrite.is_empty());
        rewrite.drop_item(1);
        rewrite.replace(2, b"THREE");
        let (new, made) = rewrite.apply(items);
        assert_eq!(new.iter().collect::<Vec<_>>(), [&b"one"[..], b"THREE", b"four"]);
        assert_eq!(made, 5);
        assert_eq!((new.get(0).unwrap().as_ptr(), new.get(2).unwrap().as_ptr()), (places[0], places[3]));
    }
}
