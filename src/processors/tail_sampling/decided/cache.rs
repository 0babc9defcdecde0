//! Memory of decided traces, so that late spans follow the verdict: kept ids exactly, dropped ids as fingerprints.
//!
//! Kept traces are few and their reason and weight matter, so they stand in full in `kept`; dropped ones are many and need
//! four bytes each. A fingerprint of 32 bits among 16 neighbours is wrong for about one new trace in 270 million. Ids come
//! with their hash, which the table of traces needs as well.

use crate::core::data::budget::Ticket;
use crate::core::data::granted::list_bytes;
pub use crate::processors::tail_sampling::decided::kept_traces::Kept;
use crate::processors::tail_sampling::decided::kept_traces::{KEPT_BYTES, KeptTraces};

/// What is remembered of a trace.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Past {
    Kept(Kept),
    Dropped,
}

/// The part of the budget that the ids of kept traces may take, and that those of dropped ones may: data needs the memory more.
const REMEMBERED_PART: u64 = 16;
/// Bytes of a dropped id in two generations, where the number of neighbourhoods was rounded up to a power of two.
const DROPPED_BYTES: u64 = 2 * 2 * 4 * 8 / 5;

/// How many ids of kept and of dropped traces are remembered beside a budget of so many bytes, of those that are wanted.
pub fn remembered(budget: u64, (kept, dropped): (usize, usize)) -> (usize, usize) {
    let most = |bytes: u64| usize::try_from(budget / REMEMBERED_PART / bytes).unwrap_or(usize::MAX);
    (kept.min(most(KEPT_BYTES as u64)), dropped.min(most(DROPPED_BYTES)))
}

pub struct Decided {
    kept: KeptTraces,
    dropped: Option<Generations>,
}

impl Decided {
    /// Capacities in ids; no dropped ids are remembered when `dropped` is 0. Each kind is paid for by a ticket, of zero bytes
    /// at first.
    pub fn new(kept: usize, dropped: usize, ticket: impl Fn() -> Ticket) -> Decided {
        let dropped = (dropped > 0).then(|| Generations::new(dropped, ticket()));
        Decided { kept: KeptTraces::new(kept, ticket()), dropped }
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
/// one and two times the capacity is remembered. Each is made when the first id needs it and the ticket is granted its bytes;
/// until then nothing is remembered, or the young one goes on alone.
struct Generations {
    young: Vec<Neighbourhood>,
    old: Vec<Neighbourhood>,
    filled: usize,
    capacity: usize,
    /// Of a generation; a power of two.
    neighbourhoods: usize,
    ticket: Ticket,
}

impl Generations {
    fn new(capacity: usize, ticket: Ticket) -> Generations {
        // Filled to five eighths, a full neighbourhood is rare.
        let neighbourhoods = (capacity * 8 / 5 / NEIGHBOURS).next_power_of_two().max(1);
        let capacity = capacity.max(1);
        Generations { young: Vec::new(), old: Vec::new(), filled: 0, capacity, neighbourhoods, ticket }
    }

    fn place(&self, hash: u64) -> (usize, u32) {
        let fingerprint = ((hash >> 32) as u32).max(1);
        (hash as usize & (self.neighbourhoods - 1), fingerprint)
    }

    fn contains(&self, hash: u64) -> bool {
        let (at, fingerprint) = self.place(hash);
        let knows = |generation: &[Neighbourhood]| generation.get(at).is_some_and(|known| known.has(fingerprint));
        knows(&self.young) || knows(&self.old)
    }

    /// Another generation becomes the young one, unless it would be the second and there is no memory for it.
    fn turn(&mut self) {
        let needed = list_bytes::<Neighbourhood>(self.neighbourhoods) as u64;
        if self.old.is_empty() && !self.ticket.grow_softly(needed) {
            return;
        }
        std::mem::swap(&mut self.young, &mut self.old);
        self.young.clear();
        self.young.resize(self.neighbourhoods, Neighbourhood::default());
    }

    fn insert(&mut self, hash: u64) {
        if self.filled == self.capacity || self.young.is_empty() {
            self.turn();
            self.filled = 0;
        }
        let (at, fingerprint) = self.place(hash);
        let Some(neighbours) = self.young.get_mut(at).map(|young| &mut young.0) else { return };
        // A full neighbourhood forgets one of its own, chosen by the fingerprint itself.
        let free = neighbours.iter().position(|known| *known == 0 || *known == fingerprint);
        neighbours[free.unwrap_or(fingerprint as usize % NEIGHBOURS)] = fingerprint;
        self.filled += 1;
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
        let mut decided = Decided::new(1, 1000, Ticket::free);
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
        let mut decided = Decided::new(10, 0, Ticket::free);
        decided.remember_dropped(hash(1));
        assert_eq!(decided.find(hash(1), &[0; 16]), None);
        assert_eq!(Decided::new(1, 1, Ticket::free).find(0, &[0; 16]), None, "not even a hash of zeros");
    }

    #[test]
    fn a_kept_id_is_told_from_a_dropped_one_with_the_same_hash() {
        let mut decided = Decided::new(10, 10, Ticket::free);
        let decision = Decision::kept(Why::NoMatch);
        let weight = KeptWeight { weight: 1.0, threshold: Some(0) };
        let kept = Kept { decision, version: 1, decided_at: UnixNanos(5), weight };
        decided.remember_kept(9, &[1; 16], kept);
        decided.remember_dropped(9);
        assert_eq!(decided.find(9, &[1; 16]), Some(Past::Kept(kept)));
        assert_eq!(decided.find(9, &[2; 16]), Some(Past::Dropped));
    }
}
