//! The timing wheel: which traces are due at a tick, without looking at those that are not.
//!
//! Entries are never searched: a trace that moves to an earlier tick gets a second entry, and the stale one is
//! recognised by its owner when it comes up. Pure; time comes as an argument.

use std::time::Duration;

use crate::core::time::UnixNanos;

/// Reference to a trace in the table; the generation tells a reused place from the trace meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DueTrace {
    pub slot: u32,
    pub generation: u32,
}

/// Buckets of one granularity. Invariant: every entry lies at most one round ahead of `next`.
pub struct Wheel {
    granularity: u64,
    buckets: Vec<Vec<DueTrace>>,
    /// The first tick not yet taken.
    next: u64,
    entries: usize,
    /// Sum of the buckets' capacities.
    capacity: usize,
}

/// Entries of idle space that an emptied bucket keeps: there are a hundred of them, and making room again copies an entry twice.
const BUCKET_KEEP: usize = 256;

impl Wheel {
    /// `reach` is the longest wait that will be scheduled; longer ones are clamped to it.
    pub fn new(reach: Duration, now: UnixNanos) -> Wheel {
        let granularity = (reach / 100).clamp(Duration::from_millis(20), Duration::from_secs(1)).as_nanos() as u64;
        let rounds = (reach.as_nanos() / u128::from(granularity)).min(1 << 20) as usize + 3;
        Wheel { granularity, buckets: vec![Vec::new(); rounds], next: now.0 / granularity, entries: 0, capacity: 0 }
    }

    fn bucket(&self, tick: u64) -> usize {
        (tick % self.buckets.len() as u64) as usize
    }

    /// Puts an entry at the first tick not before `deadline` and returns that tick.
    pub fn schedule(&mut self, deadline: UnixNanos, entry: DueTrace) -> u64 {
        let last = self.next + self.buckets.len() as u64 - 1;
        let tick = deadline.0.div_ceil(self.granularity).clamp(self.next, last);
        let at = self.bucket(tick);
        let bucket = &mut self.buckets[at];
        let before = bucket.capacity();
        bucket.push(entry);
        self.capacity += bucket.capacity() - before;
        self.entries += 1;
        tick
    }

    /// The tick an entry would get.
    pub fn tick_of(&self, deadline: UnixNanos) -> u64 {
        deadline.0.div_ceil(self.granularity)
    }

    /// When a tick is due.
    pub fn time_of(&self, tick: u64) -> UnixNanos {
        UnixNanos(tick.saturating_mul(self.granularity))
    }

    /// Moves the entries of every tick up to `now` into `due`, oldest first, with their tick.
    pub fn take_due(&mut self, now: UnixNanos, due: &mut Vec<(u64, DueTrace)>) {
        let until = now.0 / self.granularity;
        // A jump of the clock by more than a round empties each bucket once.
        let rounds = (until + 1).saturating_sub(self.next).min(self.buckets.len() as u64);
        for tick in self.next..self.next + rounds {
            self.empty(tick, due);
        }
        self.next = self.next.max(until + 1);
    }

    fn empty(&mut self, tick: u64, due: &mut Vec<(u64, DueTrace)>) {
        let bucket = self.bucket(tick);
        let entries = &mut self.buckets[bucket];
        self.entries -= entries.len();
        due.extend(entries.drain(..).map(|entry| (tick, entry)));
        let before = entries.capacity();
        entries.shrink_to(BUCKET_KEEP);
        self.capacity -= before - entries.capacity();
    }

    /// Takes the earliest bucket that has entries, due or not: what pressure decides first.
    pub fn take_oldest(&mut self, due: &mut Vec<(u64, DueTrace)>) {
        let round = self.next..self.next + self.buckets.len() as u64;
        let oldest = round.into_iter().find(|tick| !self.buckets[self.bucket(*tick)].is_empty());
        if let Some(tick) = oldest {
            self.empty(tick, due);
        }
    }

    /// When the next entry is due; `None` when the wheel is empty.
    pub fn next_due(&self) -> Option<UnixNanos> {
        if self.entries == 0 {
            return None;
        }
        let round = self.next..self.next + self.buckets.len() as u64;
        let tick = round.into_iter().find(|tick| !self.buckets[self.bucket(*tick)].is_empty())?;
        Some(UnixNanos(tick.saturating_mul(self.granularity)))
    }

    /// Bytes of the buckets.
    pub fn footprint(&self) -> u64 {
        (self.capacity * size_of::<DueTrace>() + self.buckets.capacity() * size_of::<Vec<DueTrace>>()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> UnixNanos {
        UnixNanos(1_760_000_000_000_000_000 + millis * 1_000_000)
    }

    #[test]
    fn entries_come_up_at_their_deadline_and_not_a_tick_earlier() {
        let mut wheel = Wheel::new(Duration::from_secs(1), at(0));
        let entry = |slot| DueTrace { slot, generation: 0 };
        wheel.schedule(at(1000), entry(1));
        wheel.schedule(at(500), entry(2));
        let mut due = Vec::new();
        wheel.take_due(at(499), &mut due);
        assert!(due.is_empty());
        assert_eq!(wheel.next_due(), Some(at(500)));
        wheel.take_due(at(500), &mut due);
        assert_eq!(due.iter().map(|(_, entry)| entry.slot).collect::<Vec<_>>(), [2]);
        wheel.take_due(at(1020), &mut due);
        assert_eq!(due.len(), 2);
        assert_eq!(wheel.next_due(), None);
    }

    #[test]
    fn the_footprint_is_what_the_buckets_have_and_a_burst_leaves_little_behind() {
        let mut wheel = Wheel::new(Duration::from_secs(1), at(0));
        let empty = wheel.footprint();
        (0..50_000).for_each(|slot| _ = wheel.schedule(at(u64::from(slot) / 50), DueTrace { slot, generation: 0 }));
        let capacity = |wheel: &Wheel| wheel.buckets.iter().map(Vec::capacity).sum::<usize>();
        assert_eq!(wheel.footprint() - empty, (capacity(&wheel) * size_of::<DueTrace>()) as u64);
        wheel.take_due(at(2_000), &mut Vec::new());
        assert_eq!(wheel.footprint() - empty, (capacity(&wheel) * size_of::<DueTrace>()) as u64);
        assert!(capacity(&wheel) <= BUCKET_KEEP * wheel.buckets.len(), "{}", capacity(&wheel));
    }

    #[test]
    fn a_jump_of_the_clock_empties_each_bucket_once() {
        let mut wheel = Wheel::new(Duration::from_secs(1), at(0));
        (0..50).for_each(|slot| _ = wheel.schedule(at(u64::from(slot) * 20), DueTrace { slot, generation: 0 }));
        let mut due = Vec::new();
        wheel.take_due(at(3_600_000), &mut due);
        assert_eq!(due.len(), 50);
        let tick = wheel.schedule(at(10), DueTrace { slot: 9, generation: 0 });
        assert_eq!(tick, wheel.tick_of(at(3_600_000)) + 1, "a deadline in the past is due at the next tick");
    }
}
