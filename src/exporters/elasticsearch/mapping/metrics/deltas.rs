//! What cumulative histograms stood at, so that the difference to the point before can be written: Elasticsearch's
//! histogram field holds what came in since then.
//!
//! Bounded in series and bytes; a series whose state was dropped begins anew. One instance serves everything that one
//! exporter sends. Where the exporter's queue stands in a log on disk, so does each point with the one it was compared with:
//! after a restart it is compared with the same one again. It does not know how points look on the wire.

use std::hash::BuildHasher;
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::FixedState;
use lru::LruCache;

use crate::core::time::UnixNanos;
use crate::exporters::elasticsearch::mapping::fault::MappingFault;
use crate::exporters::elasticsearch::mapping::metrics::baselines;
use crate::exporters::elasticsearch::mapping::metrics::baselines::{BaselineBatches, BatchHead, Earlier, MappedPoint};
use crate::exporters::elasticsearch::mapping::metrics::distribution::Distribution;

/// What a series costs beside its buckets: the entry of the map with its links.
const SERIES_BYTES: usize = 256;
/// Points come back after a restart for so long.
pub const BASELINES_KEPT: Duration = Duration::from_secs(600);

/// The state of cumulative series.
#[derive(Debug)]
pub struct Deltas {
    series_max: usize,
    bytes_max: usize,
    /// Time of the first request: what began later began from nothing.
    began: Option<UnixNanos>,
    /// The same of an earlier process.
    began_before: Option<UnixNanos>,
    /// Random, and the same for as long as series come back.
    seed: u64,
    series: LruCache<u128, Series>,
    bytes: usize,
    /// What points that an earlier process mapped were compared with, by series and time.
    again: LruCache<(u128, u64), Earlier<Distribution>>,
    again_bytes: usize,
    /// Points to log, where there is a log.
    moved: Option<BaselineBatches>,
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
        Deltas {
            series_max,
            bytes_max,
            began: None,
            began_before: None,
            seed: fastrand::u64(..),
            series: LruCache::unbounded(),
            bytes: 0,
            again: LruCache::unbounded(),
            again_bytes: 0,
            moved: None,
        }
    }

    /// Bytes of remembered state.
    pub fn bytes(&self) -> usize {
        self.bytes + self.again_bytes
    }

    pub(crate) fn begin(&mut self, now: UnixNanos) {
        let known = self.began_before;
        // Series that began longer ago than points come back may have been told of.
        let least = UnixNanos(now.0.saturating_sub(BASELINES_KEPT.as_nanos() as u64));
        self.began.get_or_insert_with(|| known.map_or(now, |before| before.max(least).min(now)));
    }

    /// From now on points are to be logged.
    pub fn log(&mut self) {
        self.moved.get_or_insert_default();
    }

    /// Points that were mapped and are not logged yet; they have to be before what they became is sent.
    pub fn moved(&mut self) -> Vec<Bytes> {
        self.moved.as_mut().map(BaselineBatches::take).unwrap_or_default()
    }

    pub fn has_moved(&self) -> bool {
        self.moved.as_ref().is_some_and(|moved| !moved.is_empty())
    }

    /// A batch that an earlier process logged, oldest first.
    pub fn restore(&mut self, batch: &[u8]) {
        let Some((head, points)) = baselines::read(batch) else { return };
        let began = UnixNanos(head.began);
        if self.seed != head.seed {
            // Another exporter had the name, as before a reload: the one that began later knows what came last.
            if self.began_before.is_some_and(|before| began <= before) {
                return;
            }
            self.series.clear();
            self.again.clear();
            (self.seed, self.bytes, self.again_bytes) = (head.seed, 0, 0);
        }
        self.began_before = Some(began);
        for MappedPoint { key, start, time, earlier, state } in points {
            self.again_bytes += held_again(&earlier);
            if let Some(before) = self.again.put((key, time), earlier) {
                self.again_bytes = self.again_bytes.saturating_sub(held_again(&before));
            }
            let known = self.series.peek(&key).map(|series| (series.time, series.start));
            if known.is_none_or(|(known, _)| known < time) {
                let start = known.map_or(start, |(_, known)| known.max(start));
                self.remember(key, Series { start, time, state });
            }
        }
        while self.again_bytes > self.bytes_max {
            let Some((_, oldest)) = self.again.pop_lru() else { return };
            self.again_bytes = self.again_bytes.saturating_sub(held_again(&oldest));
        }
    }

    /// A hash of what a series is known by, the same in every process that knows the series.
    pub(crate) fn hash(&self, bytes: &[u8]) -> u64 {
        FixedState::with_seed(self.seed).hash_one(bytes)
    }

    /// The key of a series from what it is known by.
    pub(crate) fn key(&self, parts: &[&[u8]], attributes: &[u64]) -> u128 {
        let [high, low] =
            [1, 2].map(|half| FixedState::with_seed(self.seed.wrapping_add(half)).hash_one((parts, attributes)));
        u128::from(high) << 64 | u128::from(low)
    }

    /// Turns a point's state into what came in since the point before, and returns when that was. The first point of a
    /// series is whole if the series began after we did. A point that an earlier process mapped becomes what it became there.
    pub(crate) fn advance(
        &mut self,
        key: u128,
        (start, time): (u64, u64),
        state: &mut Distribution,
    ) -> Result<u64, MappingFault> {
        let (head, place) = (BatchHead::new(self.seed, self.began), (key, start, time));
        let mut note = |earlier: &Earlier<&Distribution>, state: &Distribution| {
            self.moved.iter_mut().for_each(|moved| moved.push(head, place, earlier, state));
        };
        if let Some(earlier) = self.again.pop(&(key, time)) {
            self.again_bytes = self.again_bytes.saturating_sub(held_again(&earlier));
            note(&by_reference(&earlier), state);
            return since(earlier, start, state);
        }
        let Some(series) = self.series.get_mut(&key) else {
            let whole = start > 0 && start < time && self.began.is_some_and(|began| start >= began.0);
            let earlier = if whole { Earlier::Nothing } else { Earlier::Unknown };
            note(&earlier, state);
            self.remember(key, Series { start, time, state: state.clone() });
            return if whole { Ok(start) } else { Err(MappingFault::Baseline) };
        };
        if time <= series.time {
            return Err(MappingFault::Stale);
        }
        note(&Earlier::Point { start: series.start, time: series.time, state: &series.state }, state);
        let held = series.state.heap_bytes();
        let before = (series.start, series.time);
        series.time = time;
        series.start = start.max(series.start);
        std::mem::swap(&mut series.state, state);
        let outcome = difference(before, start, state, &mut series.state);
        self.bytes = (self.bytes + series.state.heap_bytes()).saturating_sub(held);
        self.evict();
        outcome
    }

    fn remember(&mut self, key: u128, series: Series) {
        self.bytes += series.state.heap_bytes() + SERIES_BYTES;
        if let Some(before) = self.series.put(key, series) {
            self.bytes = self.bytes.saturating_sub(before.state.heap_bytes() + SERIES_BYTES);
        }
        self.evict();
    }

    fn evict(&mut self) {
        while self.series.len() > self.series_max || self.bytes > self.bytes_max {
            let Some((_, oldest)) = self.series.pop_lru() else { return };
            self.bytes = self.bytes.saturating_sub(oldest.state.heap_bytes() + SERIES_BYTES);
        }
    }
}

/// Turns `state`, that of an earlier point by its start and time, into what came in until `later`.
fn difference(
    (earlier_start, earlier): (u64, u64),
    start: u64,
    state: &mut Distribution,
    later: &mut Distribution,
) -> Result<u64, MappingFault> {
    let continued = start <= earlier_start;
    let earlier_count = state.count;
    if continued && state.advance_to(later) {
        return Ok(earlier);
    }
    state.clone_from(later);
    match (continued, state.count < earlier_count) {
        (false, _) => Ok(start),
        // Counted anew without saying so.
        (true, true) => Ok(earlier),
        // Other buckets: nothing to compare with.
        (true, false) => Err(MappingFault::Baseline),
    }
}

/// Turns `state` into what came in since the point that it was compared with before.
fn since(compared: Earlier<Distribution>, start: u64, state: &mut Distribution) -> Result<u64, MappingFault> {
    match compared {
        Earlier::Unknown => Err(MappingFault::Baseline),
        Earlier::Nothing => Ok(start),
        Earlier::Point { start: earlier_start, time, state: earlier } => {
            let mut later = std::mem::replace(state, earlier);
            difference((earlier_start, time), start, state, &mut later)
        }
    }
}

fn by_reference(earlier: &Earlier<Distribution>) -> Earlier<&Distribution> {
    match earlier {
        Earlier::Unknown => Earlier::Unknown,
        Earlier::Nothing => Earlier::Nothing,
        Earlier::Point { start, time, state } => Earlier::Point { start: *start, time: *time, state },
    }
}

fn held_again(earlier: &Earlier<Distribution>) -> usize {
    let Earlier::Point { state, .. } = earlier else { return SERIES_BYTES };
    SERIES_BYTES + state.heap_bytes()
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
    fn a_later_process_turns_the_same_points_into_the_same_and_goes_on_from_the_last_one() {
        let mut deltas = started();
        deltas.log();
        let points = [(50, 110, 7), (50, 120, 10), (115, 130, 4), (115, 140, 9)];
        let turn = |deltas: &mut Deltas, (start, time, count): (u64, u64, u64)| {
            let mut state = counted(count);
            let outcome = deltas.advance(deltas.key(&[b"series"], &[deltas.hash(b"a")]), (start, time), &mut state);
            outcome.map(|since| (since, state))
        };
        let first: Vec<_> = points.iter().map(|point| turn(&mut deltas, *point)).collect();
        let batches = deltas.moved();
        let mut later = Deltas::default();
        later.log();
        batches.iter().for_each(|batch| later.restore(batch));
        later.begin(UnixNanos(1_000));
        // Live data goes first, and what was told last is not told twice.
        assert_eq!(turn(&mut later, (115, 150, 12)), Ok((140, counted(3))));
        let again: Vec<_> = points.iter().map(|point| turn(&mut later, *point)).collect();
        assert_eq!(again, first);
        // A third process knows what both have told.
        let mut third = Deltas::default();
        batches.iter().chain(&later.moved()).for_each(|batch| third.restore(batch));
        third.begin(UnixNanos(2_000));
        let again: Vec<_> = points.iter().map(|point| turn(&mut third, *point)).collect();
        assert_eq!(again, first);
        assert_eq!(turn(&mut third, (115, 160, 13)), Ok((150, counted(1))));
        // Of one series that began under the first process the first point is whole under the third.
        assert_eq!(third.advance(9, (105, 170), &mut counted(2)), Ok(105));
        assert_eq!(third.advance(8, (99, 170), &mut counted(2)), Err(MappingFault::Baseline));
    }

    #[test]
    fn of_two_exporters_with_one_name_the_one_that_began_later_is_believed() {
        let batches = [(100, 200), (150, 300)].map(|(began, time)| {
            let mut deltas = Deltas::default();
            deltas.log();
            deltas.begin(UnixNanos(began));
            _ = deltas.advance(deltas.key(&[b"s"], &[]), (50, time), &mut counted(time));
            deltas.moved()
        });
        let [before, after] = &batches;
        for order in [[before, after, before], [after, before, before]] {
            let mut third = Deltas::default();
            order.into_iter().flatten().for_each(|batch| third.restore(batch));
            third.begin(UnixNanos(1_000));
            let mut state = counted(303);
            assert_eq!(third.advance(third.key(&[b"s"], &[]), (50, 400), &mut state), Ok(300));
            assert_eq!(state.count, 3);
        }
    }

    #[test]
    fn what_comes_back_is_bounded_and_what_began_before_it_is_not_whole() {
        let mut deltas = Deltas::new(1_000, 1 << 20);
        deltas.log();
        deltas.begin(UnixNanos(100));
        (0..900).for_each(|key| _ = deltas.advance(key, (50, 110), &mut counted(1)));
        let mut later = Deltas::new(100, 100 * SERIES_BYTES);
        deltas.moved().iter().for_each(|batch| later.restore(batch));
        assert!(later.bytes() <= 2 * 100 * SERIES_BYTES);
        let long_after = 100 + BASELINES_KEPT.as_nanos() as u64 * 2;
        later.begin(UnixNanos(long_after));
        let outcome = later.advance(u128::MAX, (200, long_after), &mut counted(1));
        assert_eq!(outcome, Err(MappingFault::Baseline));
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
