//! What cumulative histograms stood at, so that the difference to the point before can be written: Elasticsearch's
//! histogram field holds what came in since then.
//!
//! Bounded in series and bytes; a series whose state was dropped begins anew. One instance serves everything that one
//! exporter sends. It does not know how points look on the wire.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use lru::LruCache;

use crate::core::time::UnixNanos;
use crate::exporters::elasticsearch::mapping::fault::MappingFault;
use crate::exporters::elasticsearch::mapping::metrics::distribution::Distribution;

/// What a series costs beside its buckets: the entry of the map with its links.
const SERIES_BYTES: usize = 256;

/// The state of cumulative series.
#[derive(Debug)]
pub struct Deltas {
    series_max: usize,
    bytes_max: usize,
    /// Time of the first request: what began later began from nothing.
    began: Option<UnixNanos>,
    hashers: [RandomState; 2],
    series: LruCache<u128, Series>,
    bytes: usize,
}

#[derive(Debug)]
struct Series {
    start: u64,
    time: u64,
    state: Distribution,
}

impl Default for Deltas {
    fn default() -> Deltas {
        Deltas::new(10_000, 16 << 20)
    }
}

impl Deltas {
    /// Remembers at most `series_max` series in `bytes_max` bytes; the longest unused one is forgotten first.
    pub fn new(series_max: usize, bytes_max: usize) -> Deltas {
        let hashers = Default::default();
        Deltas { series_max, bytes_max, began: None, hashers, series: LruCache::unbounded(), bytes: 0 }
    }

    /// Bytes of remembered state.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn begin(&mut self, now: UnixNanos) {
        self.began.get_or_insert(now);
    }

    /// The key of a series from what it is known by.
    pub(crate) fn key(&self, parts: &[&[u8]], attributes: &[u64]) -> u128 {
        let [high, low] = self.hashers.each_ref().map(|hasher| hasher.hash_one((parts, attributes)));
        u128::from(high) << 64 | u128::from(low)
    }

    /// Turns a point's state into what came in since the point before, and returns when that was. The first point of a
    /// series is whole if the series began after we did.
    pub(crate) fn advance(
        &mut self,
        key: u128,
        (start, time): (u64, u64),
        state: &mut Distribution,
    ) -> Result<u64, MappingFault> {
        let Some(series) = self.series.get_mut(&key) else {
            self.remember(key, Series { start, time, state: state.clone() });
            let whole = start > 0 && start < time && self.began.is_some_and(|began| start >= began.0);
            return if whole { Ok(start) } else { Err(MappingFault::Baseline) };
        };
        if time <= series.time {
            return Err(MappingFault::Stale);
        }
        let held = series.state.heap_bytes();
        let continued = start <= series.start;
        let since = std::mem::replace(&mut series.time, time);
        series.start = start.max(series.start);
        let earlier_count = series.state.count;
        std::mem::swap(&mut series.state, state);
        let outcome = if continued && state.advance_to(&mut series.state) {
            Ok(since)
        } else {
            state.clone_from(&series.state);
            match (continued, state.count < earlier_count) {
                (false, _) => Ok(start),
                // Counted anew without saying so.
                (true, true) => Ok(since),
                // Other buckets: nothing to compare with.
                (true, false) => Err(MappingFault::Baseline),
            }
        };
        self.bytes = (self.bytes + series.state.heap_bytes()).saturating_sub(held);
        self.evict();
        outcome
    }

    fn remember(&mut self, key: u128, series: Series) {
        self.bytes += series.state.heap_bytes() + SERIES_BYTES;
        self.series.put(key, series);
        self.evict();
    }

    fn evict(&mut self) {
        while self.series.len() > self.series_max || self.bytes > self.bytes_max {
            let Some((_, oldest)) = self.series.pop_lru() else { return };
            self.bytes = self.bytes.saturating_sub(oldest.state.heap_bytes() + SERIES_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(count: u64) -> Distribution {
        let mut state = Distribution::default();
        (state.count, state.sum) = (count, count as f64);
        state
    }

    fn started() -> Deltas {
        let mut deltas = Deltas::new(2, 1 << 20);
        deltas.begin(UnixNanos(100));
        deltas
    }

    #[test]
    fn a_series_older_than_we_are_begins_with_its_second_point() {
        let mut deltas = started();
        assert_eq!(deltas.advance(1, (50, 110), &mut counted(7)), Err(MappingFault::Baseline));
        let mut state = counted(10);
        assert_eq!(deltas.advance(1, (50, 120), &mut state), Ok(110));
        assert_eq!((state.count, state.sum), (3, 3.0));
        assert_eq!(deltas.advance(1, (50, 120), &mut counted(10)), Err(MappingFault::Stale));
    }

    #[test]
    fn a_series_that_began_after_us_is_whole_from_its_first_point() {
        let mut state = counted(7);
        assert_eq!(started().advance(1, (105, 110), &mut state), Ok(105));
        assert_eq!(state.count, 7);
    }

    #[test]
    fn a_restart_begins_from_nothing_whether_or_not_the_start_tells() {
        let mut deltas = started();
        _ = deltas.advance(1, (50, 110), &mut counted(7));
        let mut state = counted(2);
        assert_eq!(deltas.advance(1, (115, 120), &mut state), Ok(115));
        assert_eq!(state.count, 2);
        let mut state = counted(1);
        assert_eq!(deltas.advance(1, (115, 130), &mut state), Ok(120));
        assert_eq!(state.count, 1);
    }

    #[test]
    fn the_series_longest_unused_is_forgotten_first_and_its_bytes_with_it() {
        let mut deltas = started();
        for key in [1, 2, 1, 3] {
            let time = 200 + deltas.bytes() as u64 + key as u64;
            _ = deltas.advance(key, (50, time), &mut counted(7));
        }
        assert_eq!(deltas.bytes(), 2 * SERIES_BYTES);
        assert!(deltas.series.contains(&1) && deltas.series.contains(&3));
        let mut small = Deltas::new(1000, SERIES_BYTES);
        (0..50).for_each(|key| _ = small.advance(key, (0, 5), &mut counted(1)));
        assert_eq!((small.series.len(), small.bytes()), (1, SERIES_BYTES));
    }
}
