//! The table of undecided traces: found by id, kept in pages that never move, so that growing copies nothing.
//!
//! Knows no policies and no bytes; only where a trace's runs begin and when it is due.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::decision::Summary;
use crate::processors::tail_sampling::store::RunAt;
use crate::processors::tail_sampling::wheel::Entry;

/// One undecided trace.
#[derive(Clone, Copy, Debug)]
pub struct Trace {
    pub summary: Summary,
    pub first_seen: UnixNanos,
    /// The tick at which it is due; entries of the wheel with another tick are stale.
    pub tick: u64,
    /// Head of the chain of runs.
    pub last: RunAt,
    /// Bytes of its runs in the store.
    pub held: u64,
    /// Group and scope of the latest run, to count the Collector's size of the trace.
    pub group: u32,
    pub scope: u32,
    pub generation: u32,
    pub has_root: bool,
    vacant: bool,
}

const PAGE: usize = 256;

/// Invariant: `index` has exactly the slots that are not vacant.
pub struct Traces {
    index: HashTable<u32>,
    pages: Vec<Vec<Trace>>,
    vacant: Vec<u32>,
    hasher: RandomState,
}

impl Traces {
    pub fn new(hasher: RandomState) -> Traces {
        Traces { index: HashTable::new(), pages: Vec::new(), vacant: Vec::new(), hasher }
    }

    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    pub fn hash(&self, id: &[u8; 16]) -> u64 {
        self.hasher.hash_one(u128::from_ne_bytes(*id))
    }

    pub fn find(&self, hash: u64, id: &[u8; 16]) -> Option<u32> {
        self.index.find(hash, |slot| self.at(*slot).summary.trace_id == *id).copied()
    }

    pub fn at(&self, slot: u32) -> &Trace {
        &self.pages[slot as usize / PAGE][slot as usize % PAGE]
    }

    pub fn at_mut(&mut self, slot: u32) -> &mut Trace {
        &mut self.pages[slot as usize / PAGE][slot as usize % PAGE]
    }

    /// The trace an entry of the wheel means, unless it was decided or moved since.
    pub fn due(&self, entry: Entry, tick: u64) -> Option<&Trace> {
        let trace = self.at(entry.slot);
        (!trace.vacant && trace.generation == entry.generation && trace.tick == tick).then_some(trace)
    }

    /// The trace in a slot, unless it is vacant.
    pub fn live(&self, slot: u32) -> Option<&Trace> {
        Some(self.at(slot)).filter(|trace| !trace.vacant)
    }

    /// Adds a trace that `find` did not find.
    pub fn insert(&mut self, hash: u64, id: [u8; 16], now: UnixNanos) -> u32 {
        let slot = self.vacant.pop().unwrap_or_else(|| self.grow());
        let generation = self.at(slot).generation.wrapping_add(1);
        *self.at_mut(slot) = Trace {
            summary: Summary { trace_id: id, ..Summary::default() },
            first_seen: now,
            generation,
            vacant: false,
            ..Trace::VACANT
        };
        let (pages, hasher) = (&self.pages, &self.hasher);
        let hash_of = |slot: &u32| {
            let trace: &Trace = &pages[*slot as usize / PAGE][*slot as usize % PAGE];
            hasher.hash_one(u128::from_ne_bytes(trace.summary.trace_id))
        };
        self.index.insert_unique(hash, slot, hash_of);
        slot
    }

    fn grow(&mut self) -> u32 {
        if self.pages.last().is_none_or(|page| page.len() == PAGE) {
            self.pages.push(Vec::with_capacity(PAGE));
        }
        let at = self.pages.len() - 1;
        self.pages[at].push(Trace::VACANT);
        (at * PAGE + self.pages[at].len() - 1) as u32
    }

    /// `hash` is that of the trace's id.
    pub fn remove(&mut self, slot: u32, hash: u64) {
        if let Ok(found) = self.index.find_entry(hash, |known| *known == slot) {
            found.remove();
        }
        self.at_mut(slot).vacant = true;
        self.vacant.push(slot);
        if self.is_empty() {
            self.reset();
        }
    }

    /// An empty table gives its memory back after a burst, but never its generations.
    fn reset(&mut self) {
        const KEEP: usize = 64;
        if self.pages.len() > KEEP {
            self.index.shrink_to(KEEP * PAGE, |_| 0);
        }
    }

    /// The first slot from `from` on that is not vacant.
    pub fn next_live(&self, from: u32) -> Option<u32> {
        let slots = self.pages.last().map_or(0, |last| (self.pages.len() - 1) * PAGE + last.len());
        (from..slots as u32).find(|slot| !self.at(*slot).vacant)
    }

    pub fn footprint(&self) -> u64 {
        let index = self.index.capacity() * 5 * 8 / 7;
        (self.pages.len() * PAGE * size_of::<Trace>() + index + self.vacant.capacity() * 4) as u64
    }
}

impl Trace {
    const VACANT: Trace = Trace {
        summary: Summary {
            trace_id: [0; 16],
            bits: crate::processors::tail_sampling::leaves::LeafBits::NONE,
            min_start: 0,
            max_end: 0,
            spans: 0,
            bytes: 0,
        },
        first_seen: UnixNanos(0),
        tick: 0,
        last: RunAt::NONE,
        held: 0,
        group: u32::MAX,
        scope: u32::MAX,
        generation: 0,
        has_root: false,
        vacant: true,
    };
}
