//! The attribute keys that policies name, each looked up once per attribute however many policies name it.
//!
//! Every attribute of every span passes here, and most are asked for by nobody: a key is told apart by its length first,
//! then by its first and last bytes in two comparisons of whole words. Knows wire bytes and tests, nothing of spans.

use crate::otlp::fields::common::key_value;
use crate::otlp::walk::{AnyValue, Fields, Malformed, plain_attribute};
use crate::processors::tail_sampling::policies::matching::{Level, ValueTest};
use crate::processors::tail_sampling::policies::predicates::{LeafBits, LeafId};

/// One key with what is asked of its value.
pub struct PolicyKey {
    name: Box<[u8]>,
    ends: Ends,
    tests: Vec<(LeafId, ValueTest)>,
}

impl PolicyKey {
    pub fn new(name: &str, leaf: LeafId, test: ValueTest) -> PolicyKey {
        let name = name.as_bytes();
        PolicyKey { name: name.into(), ends: Ends::of(name), tests: vec![(leaf, test)] }
    }

    pub fn is(&self, name: &str) -> bool {
        *self.name == *name.as_bytes()
    }

    /// The leaf that asks the same of this key's value.
    pub fn same(&self, test: &ValueTest) -> Option<LeafId> {
        self.tests.iter().find(|(_, known)| known.asks_same(test)).map(|(leaf, _)| *leaf)
    }

    pub fn add(&mut self, leaf: LeafId, test: ValueTest) {
        self.tests.push((leaf, test));
    }

    #[inline(always)]
    fn matches(&self, name: &[u8], ends: Ends) -> bool {
        self.ends == ends
            && self.name.len() == name.len()
            && (name.len() <= 2 * size_of::<u128>() || *self.name == *name)
    }

    /// Sets the bits of the tests that this value passes.
    #[inline(always)]
    fn ask(&self, value: &[u8], level: Level, bits: &mut LeafBits) -> Result<(), Malformed> {
        let value = AnyValue::read(value)?;
        for (leaf, test) in &self.tests {
            if !bits.has(*leaf) && test.matches(&value, level) {
                bits.set(*leaf);
            }
        }
        Ok(())
    }
}

/// The first and the last bytes of a text, overlapping where it is short: two texts of one length up to 32 bytes are
/// equal when these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends(u128, u128);

impl Ends {
    #[inline(always)]
    fn of(text: &[u8]) -> Ends {
        if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
            return Ends(u128::from_ne_bytes(*first), u128::from_ne_bytes(*last));
        }
        if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
            return Ends(u64::from_ne_bytes(*first).into(), u64::from_ne_bytes(*last).into());
        }
        let all = text.iter().fold(0, |all, byte| all << 8 | u128::from(*byte));
        Ends(all, 0)
    }
}

/// Lengths told apart; longer keys share the last place.
const LENGTHS: usize = 64;

/// All keys, sorted by length.
#[derive(Default)]
pub struct PolicyKeys {
    keys: Vec<PolicyKey>,
    /// A bit for each length that occurs.
    lengths: u64,
    /// First key of each length.
    starts: Vec<u16>,
}

impl PolicyKeys {
    pub fn new(mut keys: Vec<PolicyKey>) -> PolicyKeys {
        let place_of = |key: &PolicyKey| key.name.len().min(LENGTHS - 1);
        keys.sort_by_key(place_of);
        PolicyKeys {
            lengths: keys.iter().fold(0, |lengths, key| lengths | 1 << place_of(key)),
            starts: (0..=LENGTHS).map(|length| keys.partition_point(|key| place_of(key) < length) as u16).collect(),
            keys,
        }
    }

    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Asks of one attribute whatever is to be asked. `seen` has the keys that came before: of a key that comes twice
    /// the first counts, as in the Collector's maps.
    #[inline(always)]
    pub fn ask(
        &self,
        attribute: &[u8],
        level: Level,
        seen: &mut LeafBits,
        bits: &mut LeafBits,
    ) -> Result<(), Malformed> {
        let (name, value) = match plain_attribute(attribute) {
            Some(both) => both,
            None => read_any_attribute(attribute)?,
        };
        let Some(at) = self.find(name) else { return Ok(()) };
        let place = LeafId(at as u8);
        if seen.has(place) {
            return Ok(());
        }
        seen.set(place);
        self.keys[at].ask(value, level, bits)
    }

    /// Most attributes are none that a policy asks for, and are left after their key's length was seen.
    #[inline(always)]
    fn find(&self, name: &[u8]) -> Option<usize> {
        let length = name.len().min(LENGTHS - 1);
        if self.lengths & (1 << length) == 0 {
            return None;
        }
        let (from, to) = (usize::from(self.starts[length]), usize::from(self.starts[length + 1]));
        let ends = Ends::of(name);
        let found = self.keys[from..to].iter().position(|key| key.matches(name, ends));
        found.map(|at| from + at)
    }
}

/// Key and value of an attribute that is not written in the usual shape; the value is not read.
fn read_any_attribute(attribute: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let (mut name, mut value): (&[u8], &[u8]) = (b"", b"");
    for field in Fields::new(attribute) {
        let field = field?;
        match field.number {
            key_value::KEY => name = field.bytes()?,
            key_value::VALUE => value = field.bytes()?,
            _ => {}
        }
    }
    Ok((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_by_all_of_their_bytes_whatever_their_length() {
        let name = |length: usize| "abcdefghij".repeat(20)[..length].to_owned();
        let test = || ValueTest::Is(true);
        let keys = PolicyKeys::new(
            (0..=130).map(|length| PolicyKey::new(&name(length), LeafId(length as u8), test())).collect(),
        );
        for length in 0..=130 {
            let mut text = name(length).into_bytes();
            let found = keys.find(&text).expect("every length is there");
            assert_eq!(keys.keys[found].tests[0].0, LeafId(length as u8));
            for at in 0..length {
                text[at] ^= 1;
                assert_eq!(keys.find(&text), None, "{length} bytes, another at {at}");
                text[at] ^= 1;
            }
        }
        assert_eq!(keys.find(&[b'a'; 200]), None);
    }
}
