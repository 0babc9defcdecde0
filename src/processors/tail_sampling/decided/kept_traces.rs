//! The latest kept traces with their verdicts: found by id, the one unused for longest forgotten first.
//!
//! A list threaded through one vector, because a node of its own for each trace would be an allocation for each. Knows
//! nothing of what a verdict means.

use hashbrown::HashTable;

use crate::core::data::budget::Ticket;
use crate::core::data::granted::list_bytes;
use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::policies::decision::Decision;
use crate::processors::tail_sampling::weights::marking::KeptWeight;

/// A kept trace's verdict.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kept {
    pub decision: Decision,
    /// That of the policies that decided; 0 where they were those of an earlier process.
    pub version: u16,
    pub decided_at: UnixNanos,
    /// Unknown where weights are off.
    pub weight: KeptWeight,
}

#[derive(Clone, Copy)]
struct Entry {
    id: [u8; 16],
    hash: u64,
    kept: Kept,
    newer: u32,
    older: u32,
}

const NONE: u32 = u32::MAX;

/// Traces that there is room for at first.
const FIRST: usize = 64;

/// Bytes of an entry and of its place in the index, which is a power of two and at most seven eighths full.
pub const KEPT_BYTES: usize = size_of::<Entry>() + INDEXED_BYTES * 2 * 8 / 7;
/// A number and its control byte in the index.
const INDEXED_BYTES: usize = size_of::<u32>() + 1;

/// Bytes of room for so many traces.
fn room_bytes(traces: usize) -> u64 {
    let places = (traces * 8 / 7 + 1).next_power_of_two();
    (list_bytes::<Entry>(traces) + list_bytes::<[u8; INDEXED_BYTES]>(places)) as u64
}

/// Invariant: `index` names every entry once, and so does the list from `newest` to `oldest`. The ticket holds the bytes of
/// `room` traces, of which `entries` is no longer.
pub struct KeptTraces {
    index: HashTable<u32>,
    entries: Vec<Entry>,
    newest: u32,
    oldest: u32,
    max: usize,
    room: usize,
    ticket: Ticket,
}

impl KeptTraces {
    /// Remembers up to `max` traces, at least one; grows as they come and as `ticket`, which is one of zero bytes, is granted
    /// more.
    pub fn new(max: usize, ticket: Ticket) -> KeptTraces {
        let max = max.clamp(1, NONE as usize);
        KeptTraces { index: HashTable::new(), entries: Vec::new(), newest: NONE, oldest: NONE, max, room: 0, ticket }
    }

    /// Room for one trace more, paid for before it is made. Data goes before memory of what became of data: nothing is claimed
    /// above the budget's soft limit.
    fn has_room(&mut self) -> bool {
        if self.entries.len() < self.room {
            return true;
        }
        let room = (2 * self.room).max(FIRST).min(self.max);
        if room <= self.entries.len() || !self.ticket.grow_softly(room_bytes(room)) {
            return false;
        }
        let entries = &mut self.entries;
        entries.reserve_exact(room - entries.len());
        self.index.reserve(room - self.index.len(), |at| entries[*at as usize].hash);
        self.ticket.give_back(if self.room == 0 { 0 } else { room_bytes(self.room) });
        self.room = room;
        true
    }

    fn place(&self, hash: u64, id: &[u8; 16]) -> Option<u32> {
        self.index.find(hash, |at| self.entries[*at as usize].id == *id).copied()
    }

    /// Looks without counting as a use.
    pub fn peek(&self, hash: u64, id: &[u8; 16]) -> Option<Kept> {
        self.place(hash, id).map(|at| self.entries[at as usize].kept)
    }

    /// Counts as a use of the trace, if it is remembered.
    pub fn touch(&mut self, hash: u64, id: &[u8; 16]) {
        if let Some(at) = self.place(hash, id) {
            self.unlink(at);
            self.link(at);
        }
    }

    pub fn insert(&mut self, hash: u64, id: &[u8; 16], kept: Kept) {
        let entry = Entry { id: *id, hash, kept, newer: NONE, older: NONE };
        let at = match self.place(hash, id) {
            Some(known) => {
                self.unlink(known);
                self.entries[known as usize] = entry;
                return self.link(known);
            }
            None if self.has_room() => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
            None if self.entries.is_empty() => return,
            None => {
                let oldest = self.oldest;
                self.unlink(oldest);
                if let Ok(found) = self.index.find_entry(self.entries[oldest as usize].hash, |at| *at == oldest) {
                    found.remove();
                }
                self.entries[oldest as usize] = entry;
                oldest
            }
        };
        let entries = &self.entries;
        self.index.insert_unique(hash, at, |at| entries[*at as usize].hash);
        self.link(at);
    }

    fn link(&mut self, at: u32) {
        let before = std::mem::replace(&mut self.newest, at);
        let entry = &mut self.entries[at as usize];
        (entry.newer, entry.older) = (NONE, before);
        match self.entries.get_mut(before as usize) {
            Some(before) => before.newer = at,
            None => self.oldest = at,
        }
    }

    fn unlink(&mut self, at: u32) {
        let Entry { newer, older, .. } = self.entries[at as usize];
        match self.entries.get_mut(newer as usize) {
            Some(entry) => entry.older = older,
            None => self.newest = older,
        }
        match self.entries.get_mut(older as usize) {
            Some(entry) => entry.newer = newer,
            None => self.oldest = newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processors::tail_sampling::policies::decision::Why;

    fn kept(number: u16) -> Kept {
        let decision = Decision::kept(Why::Policy(number));
        let weight = KeptWeight { weight: 1.0, threshold: None };
        Kept { decision, version: 1, decided_at: UnixNanos(u64::from(number)), weight }
    }

    fn id(number: u16) -> [u8; 16] {
        u128::from(number).to_be_bytes()
    }

    #[test]
    fn the_trace_unused_for_longest_is_forgotten_first() {
        // All hashes collide, so that finding rests on the id alone.
        let mut traces = KeptTraces::new(3, Ticket::free());
        (0..3).for_each(|number| traces.insert(7, &id(number), kept(number)));
        traces.touch(7, &id(0));
        traces.insert(7, &id(3), kept(3));
        let known: Vec<u16> = (0..4).filter(|number| traces.peek(7, &id(*number)).is_some()).collect();
        assert_eq!(known, [0, 2, 3]);
        assert_eq!(traces.peek(7, &id(3)), Some(kept(3)));
    }

    #[test]
    fn a_trace_decided_again_takes_no_second_place_and_has_the_latest_verdict() {
        let mut traces = KeptTraces::new(2, Ticket::free());
        traces.insert(1, &id(1), kept(1));
        traces.insert(2, &id(2), kept(2));
        traces.insert(1, &id(1), kept(9));
        assert_eq!(traces.peek(1, &id(1)), Some(kept(9)));
        traces.insert(3, &id(3), kept(3));
        assert_eq!((traces.peek(2, &id(2)), traces.peek(1, &id(1))), (None, Some(kept(9))));
    }

    #[test]
    fn it_agrees_with_a_plain_list_on_any_sequence() {
        let mut rng = fastrand::Rng::with_seed(5);
        let mut traces = KeptTraces::new(8, Ticket::free());
        let mut list: Vec<u16> = Vec::new();
        for round in 0..10_000 {
            let number = rng.u16(0..20);
            let hash = u64::from(number % 3);
            if rng.bool() {
                traces.insert(hash, &id(number), kept(number));
                list.retain(|known| *known != number);
                list.push(number);
                if list.len() > 8 {
                    list.remove(0);
                }
            } else {
                traces.touch(hash, &id(number));
                if let Some(at) = list.iter().position(|known| *known == number) {
                    let used = list.remove(at);
                    list.push(used);
                }
            }
            for number in 0..20 {
                let known = traces.peek(u64::from(number % 3), &id(number)).is_some();
                assert_eq!(known, list.contains(&number), "seed 5, round {round}");
            }
        }
    }
}
