//! Points of cumulative series as they stand in a log on disk, each with the point it was compared with, so that a later
//! process writes the same difference for it. Pure bytes.
//!
//! A batch: version 1, the seed by which series are named, when the exporter began; then points until the end.

use bytes::Bytes;

use crate::core::time::UnixNanos;
use crate::exporters::elasticsearch::mapping::metrics::distribution::{Distribution, number};
use crate::otlp::write;

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 1 + 8 + 8;
/// A batch that has grown to this is followed by another; a log takes no batch of more than a megabyte.
const BATCH_BYTES: usize = 256 << 10;
/// A point of thousands of buckets is not logged.
const POINT_BYTES_MAX: usize = 512 << 10;
/// What waits for the log at most; the oldest goes beyond.
const WAITING_BYTES_MAX: usize = 8 << 20;

/// What a point was compared with.
#[derive(Clone, Debug, PartialEq)]
pub enum Earlier<D> {
    /// It was the first one known of a series that may have begun before.
    Unknown,
    /// Nothing came before it: it is whole.
    Nothing,
    Point {
        start: u64,
        time: u64,
        state: D,
    },
}

/// A point that was mapped.
#[derive(Clone, Debug, PartialEq)]
pub struct MappedPoint {
    pub key: u128,
    pub start: u64,
    pub time: u64,
    pub earlier: Earlier<Distribution>,
    pub state: Distribution,
}

/// What stands in front of the points of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct BatchHead {
    pub seed: u64,
    pub began: u64,
}

/// Points on their way to the log, oldest first.
#[derive(Debug, Default)]
pub struct BaselineBatches {
    batches: Vec<Vec<u8>>,
    point: Vec<u8>,
}

impl BaselineBatches {
    pub fn push(
        &mut self,
        head: BatchHead,
        (key, start, time): (u128, u64, u64),
        earlier: &Earlier<&Distribution>,
        state: &Distribution,
    ) {
        let out = &mut self.point;
        out.clear();
        out.extend_from_slice(&key.to_le_bytes());
        write::varint(out, start);
        write::varint(out, time);
        match earlier {
            Earlier::Unknown => out.push(0),
            Earlier::Nothing => out.push(1),
            Earlier::Point { start, time, state } => {
                out.push(2);
                write::varint(out, *start);
                write::varint(out, *time);
                state.write(out);
            }
        }
        state.write(out);
        if out.len() > POINT_BYTES_MAX {
            *out = Vec::new();
            return;
        }
        if self.batches.last().is_none_or(|batch| batch.len() + out.len() > BATCH_BYTES) {
            let head = [&[VERSION][..], &head.seed.to_le_bytes(), &head.began.to_le_bytes()].concat();
            self.batches.push(head);
            let bytes = self.batches.iter().map(Vec::len).sum::<usize>();
            if bytes > WAITING_BYTES_MAX {
                self.batches.remove(0);
            }
        }
        self.batches.iter_mut().last().into_iter().for_each(|batch| batch.extend_from_slice(out));
    }

    /// Everything that was pushed since the last time.
    pub fn take(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.batches).into_iter().map(Bytes::from).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }
}

/// Reads a batch; of bytes that were cut the points in front of the cut, and nothing of a later version.
pub fn read(batch: &[u8]) -> Option<(BatchHead, Vec<MappedPoint>)> {
    let (head, mut rest) = batch.split_at_checked(HEAD_BYTES)?;
    let (version, numbers) = head.split_first()?;
    let ([seed, began], true) = (numbers.as_chunks::<8>().0, *version == VERSION) else { return None };
    let head = BatchHead { seed: u64::from_le_bytes(*seed), began: u64::from_le_bytes(*began) };
    Some((head, std::iter::from_fn(|| read_point(&mut rest)).collect()))
}

fn read_point(rest: &mut &[u8]) -> Option<MappedPoint> {
    let (key, after) = rest.split_first_chunk::<16>()?;
    *rest = after;
    let (start, time) = (number(rest)?, number(rest)?);
    let (tag, after) = rest.split_first()?;
    *rest = after;
    let earlier = match tag {
        0 => Earlier::Unknown,
        1 => Earlier::Nothing,
        _ => Earlier::Point { start: number(rest)?, time: number(rest)?, state: Distribution::read_back(rest)? },
    };
    Some(MappedPoint { key: u128::from_le_bytes(*key), start, time, earlier, state: Distribution::read_back(rest)? })
}

impl BatchHead {
    pub fn new(seed: u64, began: Option<UnixNanos>) -> BatchHead {
        BatchHead { seed, began: began.unwrap_or_default().0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_read_back_and_no_cut_of_them_panics() {
        let state = |count| {
            let mut state = Distribution::default();
            (state.count, state.sum) = (count, -0.5);
            state
        };
        let head = BatchHead { seed: 7, began: 9 };
        let point = |key, earlier| MappedPoint { key, start: 1, time: u64::MAX, earlier, state: state(300) };
        let points = [
            point(1, Earlier::Unknown),
            point(2, Earlier::Nothing),
            point(u128::MAX, Earlier::Point { start: 1, time: 2, state: state(5) }),
        ];
        let mut batches = BaselineBatches::default();
        for MappedPoint { key, start, time, earlier, state } in &points {
            let earlier = match earlier {
                Earlier::Unknown => Earlier::Unknown,
                Earlier::Nothing => Earlier::Nothing,
                Earlier::Point { start, time, state } => Earlier::Point { start: *start, time: *time, state },
            };
            batches.push(head, (*key, *start, *time), &earlier, state);
        }
        let taken = batches.take();
        assert_eq!((taken.len(), batches.is_empty()), (1, true));
        assert_eq!(read(&taken[0]), Some((head, points.to_vec())));
        for end in 0..taken[0].len() {
            assert!(read(&taken[0][..end]).is_none_or(|(_, points)| points.len() < 3), "cut at {end}");
        }
        assert_eq!(read(&[2; 40]), None, "a later version");
    }

    #[test]
    fn what_waits_for_the_log_is_bounded_and_comes_in_parts_that_a_log_takes() {
        let mut batches = BaselineBatches::default();
        let state = Distribution::default();
        for key in 0..400_000 {
            batches.push(BatchHead::default(), (key, 0, 0), &Earlier::Nothing, &state);
        }
        let taken = batches.take();
        assert!(taken.iter().all(|batch| batch.len() <= BATCH_BYTES));
        assert!(taken.iter().map(Bytes::len).sum::<usize>() <= WAITING_BYTES_MAX + BATCH_BYTES);
        let last =
            taken.last().and_then(|batch| read(batch)).and_then(|(_, points)| points.last().map(|last| last.key));
        assert_eq!(last, Some(399_999));
    }
}
