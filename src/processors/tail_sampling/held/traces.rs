//! The table of undecided traces: found by id, kept in pages that never move, so that growing copies nothing.
//!
//! Pages that a burst needed and nothing else does are given back, since new traces go where others were just decided.
//! Knows no policies and no bytes; only where a trace's runs begin and when it is due.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::held::store::RunAt;
use crate::processors::tail_sampling::held::wheel::DueTrace;
use crate::processors::tail_sampling::policies::decision::TraceSummary;

/// One undecided trace.
#[derive(Clone, Copy, Debug)]
pub struct Trace {
    pub summary: TraceSummary,
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
    /// Milliseconds from the first spans to the latest that came.
    pub spread_millis: u32,
    /// That of the policies whose questions the bits answer; [`Trace::OUTDATED`] where they answer those of several.
    pub version: u16,
    pub has_root: bool,
    /// A span of it has a trace state.
    pub has_states: bool,
    vacant: bool,
}

const PAGE: usize = 256;
const WORD: usize = u64::BITS as usize;
/// Pages kept although they are empty.
const EMPTY_PAGES_KEPT: usize = 16;

/// Invariant: a bit of `used` is set for each place whose trace is not vacant; without any, `traces` may be empty.
#[derive(Default)]
struct Page {
    traces: Vec<Trace>,
    used: [u64; PAGE / WORD],
    /// True while `open` names it.
    listed: bool,
}

impl Page {
    fn is_empty(&self) -> bool {
        self.used == [0; PAGE / WORD]
    }

    fn vacancy(&self) -> Option<usize> {
        let word = self.used.iter().position(|word| *word != u64::MAX)?;
        Some(word * WORD + self.used[word].trailing_ones() as usize)
    }
}

/// Invariant: `index` has exactly the slots that are not vacant; `open` names every page with a vacancy once.
pub struct Traces {
    index: HashTable<u32>,
    pages: Vec<Page>,
    /// The next trace goes to the last of these, where one was decided latest.
    open: Vec<u32>,
    /// Pages without a trace that have their memory.
    empty: usize,
    /// Pages that have their memory.
    allocated: usize,
    generation: u32,
    hasher: RandomState,
}

impl Traces {
    pub fn new(hasher: RandomState) -> Traces {
        Traces {
            index: HashTable::new(),
            pages: Vec::new(),
            open: Vec::new(),
            empty: 0,
            allocated: 0,
            generation: 0,
            hasher,
        }
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
        &self.pages[slot as usize / PAGE].traces[slot as usize % PAGE]
    }

    pub fn at_mut(&mut self, slot: u32) -> &mut Trace {
        &mut self.pages[slot as usize / PAGE].traces[slot as usize % PAGE]
    }

    /// The trace an entry of the wheel means, unless it was decided or moved since.
    pub fn due(&self, entry: DueTrace, tick: u64) -> Option<&Trace> {
        self.live(entry.slot).filter(|trace| trace.generation == entry.generation && trace.tick == tick)
    }

    /// The trace in a slot, unless it is vacant.
    pub fn live(&self, slot: u32) -> Option<&Trace> {
        self.pages.get(slot as usize / PAGE)?.traces.get(slot as usize % PAGE).filter(|trace| !trace.vacant)
    }

    /// Adds a trace that `find` did not find.
    pub fn insert(&mut self, hash: u64, id: [u8; 16], now: UnixNanos) -> u32 {
        let slot = self.take_vacancy();
        self.generation = self.generation.wrapping_add(1);
        let generation = self.generation;
        *self.at_mut(slot) = Trace {
            summary: TraceSummary { trace_id: id, ..TraceSummary::default() },
            first_seen: now,
            generation,
            vacant: false,
            ..Trace::VACANT
        };
        let (pages, hasher) = (&self.pages, &self.hasher);
        self.index.insert_unique(hash, slot, |slot| hash_at(pages, hasher, *slot));
        slot
    }

    fn take_vacancy(&mut self) -> u32 {
        let at = self.open.last().copied().unwrap_or_else(|| self.add_page());
        let page = &mut self.pages[at as usize];
        if page.traces.is_empty() {
            page.traces = vec![Trace::VACANT; PAGE];
            self.allocated += 1;
        } else if page.is_empty() {
            self.empty -= 1;
        }
        let place = page.vacancy().expect("an open page has a vacancy");
        page.used[place / WORD] |= 1 << (place % WORD);
        if page.vacancy().is_none() {
            page.listed = false;
            self.open.pop();
        }
        at * PAGE as u32 + place as u32
    }

    fn add_page(&mut self) -> u32 {
        let at = self.pages.len() as u32;
        self.pages.push(Page { listed: true, ..Page::default() });
        self.open.push(at);
        at
    }

    /// `hash` is that of the trace's id.
    pub fn remove(&mut self, slot: u32, hash: u64) {
        if let Ok(found) = self.index.find_entry(hash, |known| *known == slot) {
            found.remove();
        }
        self.at_mut(slot).vacant = true;
        let (at, place) = (slot as usize / PAGE, slot as usize % PAGE);
        let page = &mut self.pages[at];
        page.used[place / WORD] &= !(1 << (place % WORD));
        if !page.listed {
            page.listed = true;
            self.open.push(at as u32);
        }
        if page.is_empty() && self.empty >= EMPTY_PAGES_KEPT {
            page.traces = Vec::new();
            self.allocated -= 1;
        } else if page.is_empty() {
            self.empty += 1;
        }
    }

    /// Gives an index back that a burst has left far too large.
    pub fn thin_out(&mut self) {
        if self.index.capacity() > 8 * self.index.len() + PAGE * EMPTY_PAGES_KEPT {
            let (pages, hasher) = (&self.pages, &self.hasher);
            self.index.shrink_to(2 * self.index.len(), |slot| hash_at(pages, hasher, *slot));
        }
    }

    /// How many slots there are, vacant ones included.
    pub fn slots(&self) -> u32 {
        (self.pages.len() * PAGE) as u32
    }

    /// The first slot from `from` on that is not vacant.
    pub fn next_live(&self, from: u32) -> Option<u32> {
        (from..self.slots()).find(|slot| self.live(*slot).is_some())
    }

    pub fn footprint(&self) -> u64 {
        let index = self.index.allocation_size();
        let pages = self.pages.capacity() * size_of::<Page>() + self.open.capacity() * size_of::<u32>();
        (self.allocated * PAGE * size_of::<Trace>() + pages + index) as u64
    }
}

fn hash_at(pages: &[Page], hasher: &RandomState, slot: u32) -> u64 {
    let trace: &Trace = &pages[slot as usize / PAGE].traces[slot as usize % PAGE];
    hasher.hash_one(u128::from_ne_bytes(trace.summary.trace_id))
}

impl Trace {
    /// The version of no set of policies.
    pub const OUTDATED: u16 = 0;

    const VACANT: Trace = Trace {
        summary: TraceSummary {
            trace_id: [0; 16],
            bits: crate::processors::tail_sampling::policies::predicates::LeafBits::NONE,
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
        spread_millis: 0,
        version: Trace::OUTDATED,
        has_root: false,
        has_states: false,
        vacant: true,
    };
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn id(number: u64) -> [u8; 16] {
        u128::from(number).to_be_bytes()
    }

    #[test]
    fn it_agrees_with_a_plain_map_over_many_pages() {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut traces = Traces::new(RandomState::default());
        let mut map: HashMap<u64, u32> = HashMap::new();
        for round in 0..20_000 {
            let number = rng.u64(0..2000);
            let hash = traces.hash(&id(number));
            let found = traces.find(hash, &id(number));
            assert_eq!(found, map.get(&number).copied(), "seed 3, round {round}");
            match found {
                Some(slot) if rng.bool() => {
                    traces.remove(slot, hash);
                    map.remove(&number);
                    assert!(traces.live(slot).is_none());
                }
                Some(slot) => assert_eq!(traces.at(slot).summary.trace_id, id(number)),
                None => _ = map.insert(number, traces.insert(hash, id(number), UnixNanos(round))),
            }
            assert_eq!(traces.len(), map.len());
        }
        let mut live = Vec::new();
        let mut next = 0;
        while let Some(slot) = traces.next_live(next) {
            live.push(slot);
            next = slot + 1;
        }
        let mut slots: Vec<u32> = map.into_values().collect();
        slots.sort_unstable();
        assert_eq!(live, slots);
    }

    #[test]
    fn an_entry_of_the_wheel_means_one_trace_at_one_tick_and_no_later_one_in_its_place() {
        let mut traces = Traces::new(RandomState::default());
        let hash = traces.hash(&id(1));
        let slot = traces.insert(hash, id(1), UnixNanos(0));
        let entry = DueTrace { slot, generation: traces.at(slot).generation };
        traces.at_mut(slot).tick = 7;
        assert!(traces.due(entry, 7).is_some());
        traces.at_mut(slot).tick = 5;
        assert!(traces.due(entry, 7).is_none(), "moved to an earlier tick");
        traces.remove(slot, hash);
        assert!(traces.due(entry, 5).is_none(), "decided");
        let again = traces.insert(hash, id(1), UnixNanos(1));
        traces.at_mut(again).tick = 5;
        assert_eq!(again, slot);
        assert!(traces.due(entry, 5).is_none(), "another in its place");
    }

    #[test]
    fn what_a_burst_needed_is_given_back_while_other_traces_come_and_go() {
        let mut traces = Traces::new(RandomState::default());
        let mut waiting = std::collections::VecDeque::new();
        let mut next = 0;
        let mut turn = |traces: &mut Traces, held: usize| {
            let hash = traces.hash(&id(next));
            waiting.push_back((traces.insert(hash, id(next), UnixNanos(0)), hash));
            next += 1;
            while waiting.len() > held {
                let (slot, hash) = waiting.pop_front().expect("more are held than wanted");
                traces.remove(slot, hash);
            }
        };
        (0..100_000).for_each(|_| turn(&mut traces, 100_000));
        let burst = traces.footprint();
        (0..20_000).for_each(|_| turn(&mut traces, 5_000));
        traces.thin_out();
        assert_eq!(traces.len(), 5_000);
        assert!(traces.footprint() < burst / 8, "{} of {burst}", traces.footprint());
        let allocated = traces.pages.iter().filter(|page| !page.traces.is_empty()).count();
        let empty = traces.pages.iter().filter(|page| !page.traces.is_empty() && page.is_empty()).count();
        assert_eq!((allocated, empty), (traces.allocated, traces.empty));
    }
}
