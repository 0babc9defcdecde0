//! Memory of decided traces, so that late spans follow the verdict: kept ids exactly, dropped ids as fingerprints.
//!
//! Kept traces are few and their reason and weight matter, so they stand in full in `kept`; dropped ones are many and need
//! four bytes each. A fingerprint of 32 bits among 16 neighbours is wrong for about one new trace in 270 million. Ids come
//! with their hash, which the table of traces needs as well.

pub use crate::processors::tail_sampling::decided::kept_traces::Kept;
use crate::processors::tail_sampling::decided::kept_traces::KeptTraces;

/// What is remembered of a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Past {
    Kept(Kept),
    Dropped,
}

pub struct Decided {
    kept: KeptTraces,
    dropped: Option<Generations>,
}

impl Decided {
    /// Capacities in ids; no dropped ids are remembered when `dropped` is 0.
    pub fn new(kept: usize, dropped: usize) -> Decided {
        Decided { kept: KeptTraces::new(kept), dropped: (dropped > 0).then(|| Generations::new(dropped)) }
    }

    /// What became of the trace. Changes nothing, so that many can be asked for before any is used.
    pub fn find(&self, hash: u64, id: &[u8; 16]) -> Option<Past> {
        if let Some(kept) = self.kept.peek(hash, id) {
            return Some(Past::Kept(kept));
        }
        let dropped = self.dropped.as_ref()?;
        dropped.contains(hash).then_some(Past::Dropped)
    }

    /// Late spans of a kept trace came: it is forgotten later than others.
    pub fn used(&mut self, hash: u64, id: &[u8; 16]) {
        self.kept.touch(hash, id);
    }

    pub fn remember_kept(&mut self, hash: u64, id: &[u8; 16], kept: Kept) {
        self.kept.insert(hash, id, kept);
    }

    pub fn remember_dropped(&mut self, hash: u64) {
        if let Some(dropped) = &mut self.dropped {
            dropped.insert(hash);
        }
    }

    pub fn footprint(&self) -> u64 {
        let dropped = self.dropped.as_ref().map_or(0, Generations::footprint);
        (self.kept.footprint() + dropped) as u64
    }
}

const NEIGHBOURS: usize = 16;

/// One line of the processor's cache, so that a look costs one miss.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Neighbourhood([u32; NEIGHBOURS]);

impl Neighbourhood {
    /// Compares with all of them at once, which is less work than stopping at the first.
    #[inline]
    fn has(&self, fingerprint: u32) -> bool {
        self.0.iter().fold(false, |found, known| found | (*known == fingerprint))
    }
}

/// Two generations of fingerprints: the young one fills, then becomes the old one, and what was old is forgotten. Between
/// one and two times the capacity is remembered.
struct Generations {
    young: Vec<Neighbourhood>,
    old: Vec<Neighbourhood>,
    filled: usize,
    capacity: usize,
}

impl Generations {
    fn new(capacity: usize) -> Generations {
        // Filled to five eighths, a full neighbourhood is rare.
        let neighbourhoods = (capacity * 8 / 5 / NEIGHBOURS).next_power_of_two().max(1);
        Generations {
            young: vec![Neighbourhood::default(); neighbourhoods],
            old: Vec::new(),
            filled: 0,
            capacity: capacity.max(1),
        }
    }

    fn place(hash: u64, neighbourhoods: usize) -> (usize, u32) {
        let fingerprint = ((hash >> 32) as u32).max(1);
        (hash as usize & (neighbourhoods - 1), fingerprint)
    }

    fn contains(&self, hash: u64) -> bool {
        let (at, fingerprint) = Generations::place(hash, self.young.len());
        self.young[at].has(fingerprint) || self.old.get(at).is_some_and(|old| old.has(fingerprint))
    }

    fn insert(&mut self, hash: u64) {
        if self.filled == self.capacity {
            let neighbourhoods = self.young.len();
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
            self.young.resize(neighbourhoods, Neighbourhood::default());
            self.filled = 0;
        }
        let (at, fingerprint) = Generations::place(hash, self.young.len());
        let neighbours = &mut self.young[at].0;
        // A full neighbourhood forgets one of its own, chosen by the fingerprint itself.
        let free = neighbours.iter().position(|known| *known == 0 || *known == fingerprint);
        neighbours[free.unwrap_or(fingerprint as usize % NEIGHBOURS)] = fingerprint;
        self.filled += 1;
    }

    fn footprint(&self) -> usize {
        (self.young.len() + self.old.len()) * size_of::<Neighbourhood>()
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use foldhash::fast::FixedState;

    use super::*;
    use crate::core::time::UnixNanos;
    use crate::processors::tail_sampling::policies::decision::{Decision, Why};
    use crate::processors::tail_sampling::weights::marking::KeptWeight;

    fn hash(number: u64) -> u64 {
        FixedState::with_seed(3).hash_one(number)
    }

    #[test]
    fn at_least_the_capacity_and_at_most_twice_that_of_dropped_ids_is_remembered() {
        let mut decided = Decided::new(1, 1000);
        let known = |decided: &Decided, range: std::ops::Range<u64>| {
            range.filter(|number| decided.find(hash(*number), &[0; 16]) == Some(Past::Dropped)).count()
        };
        (0..10_000).for_each(|number| decided.remember_dropped(hash(number)));
        assert!(known(&decided, 9_000..10_000) >= 990, "the latest {}", known(&decided, 9_000..10_000));
        assert_eq!(known(&decided, 0..8_000), 0, "two generations ago");
        assert_eq!(known(&decided, 1_000_000..1_100_000), 0, "ids never seen");
    }

    #[test]
    fn nothing_is_remembered_of_dropped_ids_without_room_for_them() {
        let mut decided = Decided::new(10, 0);
        decided.remember_dropped(hash(1));
        assert_eq!(decided.find(hash(1), &[0; 16]), None);
        assert_eq!(Decided::new(1, 1).find(0, &[0; 16]), None, "not even a hash of zeros");
    }

    #[test]
    fn a_kept_id_is_told_from_a_dropped_one_with_the_same_hash() {
        let mut decided = Decided::new(10, 10);
        let decision = Decision::kept(Why::NoMatch);
        let weight = KeptWeight { weight: 1.0, threshold: Some(0) };
        let kept = Kept { decision, version: 1, decided_at: UnixNanos(5), weight };
        decided.remember_kept(9, &[1; 16], kept);
        decided.remember_dropped(9);
        assert_eq!(decided.find(9, &[1; 16]), Some(Past::Kept(kept)));
        assert_eq!(decided.find(9, &[2; 16]), Some(Past::Dropped));
    }
}
