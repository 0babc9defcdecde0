//! Memory of decided traces, so that late spans follow the verdict: kept ids exactly, dropped ids as fingerprints.
//!
//! Kept traces are few and their reason and weight matter, so they are an LRU; dropped ones are many and need four bytes
//! each. A fingerprint of 32 bits among 16 neighbours is wrong for about one new trace in 270 million.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use lru::LruCache;

use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::decision::Decision;

/// A kept trace's verdict.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kept {
    pub decision: Decision,
    pub decided_at: UnixNanos,
}

/// What is remembered of a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Past {
    Kept(Kept),
    Dropped,
}

pub struct Decided {
    kept: LruCache<u128, Kept, RandomState>,
    kept_max: usize,
    dropped: Option<Generations>,
    hasher: RandomState,
}

impl Decided {
    /// Capacities in ids; no dropped ids are remembered when `dropped` is 0.
    pub fn new(kept: usize, dropped: usize, hasher: RandomState) -> Decided {
        Decided {
            // Grows as ids come; a bounded cache would claim all of its memory now.
            kept: LruCache::unbounded_with_hasher(hasher.clone()),
            kept_max: kept.max(1),
            dropped: (dropped > 0).then(|| Generations::new(dropped)),
            hasher,
        }
    }

    pub fn find(&mut self, id: &[u8; 16]) -> Option<Past> {
        let key = u128::from_ne_bytes(*id);
        if let Some(kept) = self.kept.get(&key) {
            return Some(Past::Kept(*kept));
        }
        let dropped = self.dropped.as_ref()?;
        dropped.contains(self.hasher.hash_one(key)).then_some(Past::Dropped)
    }

    pub fn remember_kept(&mut self, id: &[u8; 16], kept: Kept) {
        if self.kept.len() >= self.kept_max {
            self.kept.pop_lru();
        }
        self.kept.put(u128::from_ne_bytes(*id), kept);
    }

    pub fn remember_dropped(&mut self, id: &[u8; 16]) {
        let hash = self.hasher.hash_one(u128::from_ne_bytes(*id));
        if let Some(dropped) = &mut self.dropped {
            dropped.insert(hash);
        }
    }

    pub fn footprint(&self) -> u64 {
        const KEPT_BYTES: usize = size_of::<Kept>() + 16 + 32 + 16;
        let dropped = self.dropped.as_ref().map_or(0, Generations::footprint);
        (self.kept.len() * KEPT_BYTES + dropped) as u64
    }
}

const NEIGHBOURS: usize = 16;

/// Two generations of fingerprints: the young one fills, then becomes the old one, and what was old is forgotten. Between
/// one and two times the capacity is remembered.
struct Generations {
    young: Vec<[u32; NEIGHBOURS]>,
    old: Vec<[u32; NEIGHBOURS]>,
    filled: usize,
    capacity: usize,
}

impl Generations {
    fn new(capacity: usize) -> Generations {
        // Filled to five eighths, a full neighbourhood is rare.
        let neighbourhoods = (capacity * 8 / 5 / NEIGHBOURS).next_power_of_two().max(1);
        Generations {
            young: vec![[0; NEIGHBOURS]; neighbourhoods],
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
        self.young[at].contains(&fingerprint) || self.old.get(at).is_some_and(|old| old.contains(&fingerprint))
    }

    fn insert(&mut self, hash: u64) {
        if self.filled == self.capacity {
            let neighbourhoods = self.young.len();
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
            self.young.resize(neighbourhoods, [0; NEIGHBOURS]);
            self.filled = 0;
        }
        let (at, fingerprint) = Generations::place(hash, self.young.len());
        let neighbours = &mut self.young[at];
        // A full neighbourhood forgets one of its own, chosen by the fingerprint itself.
        let free = neighbours.iter().position(|known| *known == 0 || *known == fingerprint);
        neighbours[free.unwrap_or(fingerprint as usize % NEIGHBOURS)] = fingerprint;
        self.filled += 1;
    }

    fn footprint(&self) -> usize {
        (self.young.len() + self.old.len()) * NEIGHBOURS * 4
    }
}
