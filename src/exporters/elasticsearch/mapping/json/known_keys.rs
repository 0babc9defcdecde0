//! The keys of the attributes of an earlier item, in their order and as they are written. Items of one kind have the same
//! keys in the same order, so that one comparison tells of most keys that they are new in their object, that they steer
//! nothing, and how they are escaped (issue 22, item 6).

use crate::otlp::json::text;

/// More keys, or longer ones, are written as ever.
const KEYS_MAX: usize = 64;
const TEXT_MAX: usize = 4 << 10;
/// Lists of another length have other keys, mostly.
const LENGTHS: usize = 8;

/// One list for each length of lists, by its remainder: 45 KB of what is known at most.
#[derive(Debug, Default)]
pub struct KnownLists([KnownKeys; LENGTHS]);

impl KnownLists {
    /// The list that is known for so many attributes; it is put back when they are written.
    pub fn take(&mut self, count: usize) -> KnownKeys {
        std::mem::take(&mut self.0[count % LENGTHS])
    }

    pub fn put_back(&mut self, count: usize, keys: KnownKeys) {
        self.0[count % LENGTHS] = keys;
    }
}

/// Keys of which none is twice there and none steers the document.
#[derive(Debug, Default)]
pub struct KnownKeys {
    keys: Vec<KnownKey>,
    /// Each key as it came and behind it as it is written.
    text: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct KnownKey {
    start: usize,
    written: usize,
    end: usize,
}

impl KnownKeys {
    /// `"key":` if this is the key at the place, with a comma before it where it is not the first.
    #[inline]
    pub fn written(&self, at: usize, key: &[u8]) -> Option<&[u8]> {
        let known = self.keys.get(at)?;
        (self.text[known.start..known.written] == *key).then(|| &self.text[known.written..known.end])
    }

    /// Forgets the keys from a place on.
    pub fn cut(&mut self, at: usize) {
        if let Some(known) = self.keys.get(at) {
            self.text.truncate(known.start);
            self.keys.truncate(at);
        }
    }

    /// The keys, as they came.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.keys.iter().map(|known| &self.text[known.start..known.written])
    }

    /// Notes the next key; false when there is no room.
    pub fn learn(&mut self, key: &[u8]) -> bool {
        let start = self.text.len();
        // Each of its bytes may be written as six.
        if self.keys.len() == KEYS_MAX || start + 7 * key.len() + 4 > TEXT_MAX {
            return false;
        }
        self.text.extend_from_slice(key);
        self.text.extend_from_slice(if self.keys.is_empty() { b"" } else { b"," });
        text::push_string(&mut self.text, key);
        self.text.push(b':');
        self.keys.push(KnownKey { start, written: start + key.len(), end: self.text.len() });
        true
    }
}
