//! What a histogram point counted, explicit or exponential: decoded once, subtracted from a later one, written as the
//! values and counts that Elasticsearch keeps.

use crate::exporters::elasticsearch::mapping::fault::MappingFault;
use crate::exporters::elasticsearch::mapping::metrics::points::{MetricKind, Point, zigzag};
use crate::exporters::elasticsearch::mapping::xxh64;
use crate::otlp::walk::{Fields, Wire, read_varint};
use crate::otlp::write;

/// Buckets of one side; a point with more is refused, because a counter of one byte on the wire takes eight here.
const BUCKETS_MAX: usize = 1 << 16;
/// Scales by which buckets are merged at most when two points of a series differ: the range of scales in use.
const MERGE_MAX: i64 = 64;

/// Buckets from an index on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Side {
    offset: i64,
    counts: Vec<u64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Distribution {
    pub count: u64,
    pub sum: f64,
    zero: u64,
    scale: i64,
    /// Hash of the explicit bounds.
    bounds: u64,
    negative: Side,
    /// All buckets, where bounds are explicit.
    positive: Side,
}

impl Distribution {
    /// Takes over what a point says; buffers are used again.
    pub fn read(&mut self, kind: MetricKind, point: &Point<'_>) -> Result<(), MappingFault> {
        (self.count, self.sum, self.zero, self.scale) = (point.count, point.sum, 0, 0);
        self.negative.clear();
        self.positive.clear();
        if kind == MetricKind::Exponential {
            (self.zero, self.scale) = (point.zero_count, point.scale);
            self.negative.read(point.negative)?;
            return self.positive.read(point.positive);
        }
        let (bounds, ragged) = point.bounds.as_chunks::<8>();
        let (counts, torn) = point.buckets.as_chunks::<8>();
        let fits = counts.is_empty() || counts.len() == bounds.len() + 1;
        if !ragged.is_empty() || !torn.is_empty() || !fits || counts.len() > BUCKETS_MAX {
            return Err(MappingFault::Buckets);
        }
        self.bounds = xxh64::hash(point.bounds);
        self.positive.counts.extend(counts.iter().map(|count| u64::from_le_bytes(*count)));
        Ok(())
    }

    /// Turns self, an earlier state, into what came in until `later`. False when `later` does not continue it: something
    /// counts less or has other bounds.
    pub fn advance_to(&mut self, later: &mut Distribution) -> bool {
        let coarser = self.scale.min(later.scale);
        if self.bounds != later.bounds || !self.merge_to(coarser) || !later.merge_to(coarser) {
            return false;
        }
        let sides = self.negative.advance_to(&later.negative) && self.positive.advance_to(&later.positive);
        let (Some(count), Some(zero)) = (later.count.checked_sub(self.count), later.zero.checked_sub(self.zero)) else {
            return false;
        };
        (self.count, self.zero, self.sum) = (count, zero, later.sum - self.sum);
        sides
    }

    fn merge_to(&mut self, scale: i64) -> bool {
        let by = self.scale.saturating_sub(scale);
        self.scale = scale;
        by <= MERGE_MAX && self.negative.merge(by) && self.positive.merge(by)
    }

    /// As it stands in a log.
    pub fn write(&self, out: &mut Vec<u8>) {
        let Distribution { count, sum, zero, scale, bounds, negative, positive } = self;
        write::varint(out, *count);
        out.extend_from_slice(&sum.to_le_bytes());
        write::varint(out, *zero);
        write::varint(out, unsigned(*scale));
        out.extend_from_slice(&bounds.to_le_bytes());
        for side in [negative, positive] {
            write::varint(out, unsigned(side.offset));
            write::varint(out, side.counts.len() as u64);
            side.counts.iter().for_each(|count| write::varint(out, *count));
        }
    }

    /// What [`Distribution::write`] wrote, from the front of `rest`.
    pub fn read_back(rest: &mut &[u8]) -> Option<Distribution> {
        let count = number(rest)?;
        let sum = f64::from_le_bytes(eight(rest)?);
        let (zero, scale) = (number(rest)?, zigzag(number(rest)?));
        let bounds = u64::from_le_bytes(eight(rest)?);
        let mut side = || {
            let (offset, length) = (zigzag(number(rest)?), number(rest)?);
            let length = usize::try_from(length).ok().filter(|length| *length <= BUCKETS_MAX)?;
            let counts = (0..length).map(|_| number(rest)).collect::<Option<Vec<u64>>>()?;
            offset.checked_add(length as i64)?;
            Some(Side { offset, counts })
        };
        Some(Distribution { count, sum, zero, scale, bounds, negative: side()?, positive: side()? })
    }

    /// Bytes held beyond the struct itself.
    pub fn heap_bytes(&self) -> usize {
        (self.negative.counts.capacity() + self.positive.counts.capacity()) * size_of::<u64>()
    }

    /// Appends values with their counts, in ascending order. Explicit bounds: the middle of each bucket that holds
    /// something; of the open ones the half of the first bound if positive, the bounds themselves otherwise; without
    /// bounds the mean stands for all. Exponential: the middles, negative ones first, zero between.
    pub fn push_values(
        &self,
        kind: MetricKind,
        bounds: &[u8],
        values: &mut Vec<(f64, u64)>,
    ) -> Result<(), MappingFault> {
        let start = values.len();
        if kind == MetricKind::Exponential {
            self.push_exponential(values);
        } else {
            self.push_explicit(bounds, values);
        }
        let pushed = &values[start..];
        let finite = pushed.iter().all(|(value, _)| value.is_finite());
        // Elasticsearch refuses values that do not ascend.
        let ascending = pushed.windows(2).all(|pair| pair[0].0 <= pair[1].0);
        if finite && ascending {
            return Ok(());
        }
        values.truncate(start);
        Err(if finite { MappingFault::Buckets } else { MappingFault::NotFinite })
    }

    fn push_explicit(&self, bounds: &[u8], values: &mut Vec<(f64, u64)>) {
        let (bounds, _) = bounds.as_chunks::<8>();
        let bound = |at: usize| f64::from_le_bytes(bounds[at]);
        if bounds.is_empty() {
            if self.count > 0 {
                values.push((self.sum / self.count as f64, self.count));
            }
            return;
        }
        for (at, count) in self.positive.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            let value = match at {
                0 if bound(0) > 0.0 => bound(0) / 2.0,
                0 => bound(0),
                last if last == bounds.len() => bound(last - 1),
                _ => bound(at - 1) + (bound(at) - bound(at - 1)) / 2.0,
            };
            values.push((value, *count));
        }
    }

    /// Bucket i lies between base^i and base^(i+1), where base is 2^(2^-scale).
    fn push_exponential(&self, values: &mut Vec<(f64, u64)>) {
        let base = 2f64.powf(2f64.powf(-(self.scale as f64)));
        let middle = |index: i64| {
            let lower = base.powf(index as f64);
            lower + (base.powf(index as f64 + 1.0) - lower) / 2.0
        };
        let start = values.len();
        values.extend(self.negative.filled().map(|(index, count)| (-middle(index), count)));
        values[start..].reverse();
        if self.zero > 0 {
            values.push((0.0, self.zero));
        }
        values.extend(self.positive.filled().map(|(index, count)| (middle(index), count)));
    }
}

impl Side {
    fn clear(&mut self) {
        self.offset = 0;
        self.counts.clear();
    }

    /// Offset = 1, packed counts = 2.
    fn read(&mut self, message: &[u8]) -> Result<(), MappingFault> {
        let mut packed: &[u8] = b"";
        for field in Fields::new(message) {
            let field = field?;
            match (field.number, field.wire) {
                (1, Wire::Varint(value)) => self.offset = zigzag(value),
                (2, Wire::Bytes(counts)) => packed = counts,
                _ => {}
            }
        }
        while !packed.is_empty() {
            let (count, length) = read_varint(packed)?;
            if self.counts.len() == BUCKETS_MAX {
                return Err(MappingFault::Buckets);
            }
            self.counts.push(count);
            packed = &packed[length..];
        }
        // The index of the last bucket must be a number, too.
        self.offset.checked_add(self.counts.len() as i64).map(|_| ()).ok_or(MappingFault::Buckets)
    }

    fn filled(&self) -> impl Iterator<Item = (i64, u64)> {
        let numbered = self.counts.iter().enumerate();
        numbered.filter(|(_, count)| **count > 0).map(|(at, count)| (self.offset.saturating_add(at as i64), *count))
    }

    fn get(&self, index: i64) -> u64 {
        let at = index.checked_sub(self.offset).and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| self.counts.get(at)).copied().unwrap_or(0)
    }

    /// Buckets of a scale coarser by `by`: each holds 2^by of these.
    fn merge(&mut self, by: i64) -> bool {
        if by == 0 || self.counts.is_empty() {
            return true;
        }
        let shift = u32::try_from(by).unwrap_or(u32::MAX).min(62);
        let offset = self.offset >> shift;
        let mut last = 0;
        for at in 0..self.counts.len() {
            let into = ((self.offset.saturating_add(at as i64) >> shift) - offset) as usize;
            let count = std::mem::take(&mut self.counts[at]);
            let Some(sum) = self.counts[into].checked_add(count) else { return false };
            self.counts[into] = sum;
            last = into;
        }
        self.counts.truncate(last + 1);
        self.offset = offset;
        true
    }

    /// Turns self into `later` less self; false when a bucket counts less than before.
    fn advance_to(&mut self, later: &Side) -> bool {
        if self.filled().any(|(index, count)| later.get(index) < count) {
            return false;
        }
        if self.offset != later.offset || self.counts.len() != later.counts.len() {
            let mut counts = later.counts.clone();
            for (at, count) in counts.iter_mut().enumerate() {
                *count -= self.get(later.offset.saturating_add(at as i64));
            }
            *self = Side { offset: later.offset, counts };
            return true;
        }
        for (count, later) in self.counts.iter_mut().zip(&later.counts) {
            *count = later - *count;
        }
        true
    }
}

/// The next varint.
pub fn number(rest: &mut &[u8]) -> Option<u64> {
    let (value, length) = read_varint(rest).ok()?;
    *rest = rest.get(length..)?;
    Some(value)
}

fn unsigned(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn eight(rest: &mut &[u8]) -> Option<[u8; 8]> {
    let (bytes, after) = rest.split_first_chunk::<8>()?;
    *rest = after;
    Some(*bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_reads_back_from_its_bytes() {
        let mut state = exponential(-3, -70, &[1, 0, u64::MAX - 1]);
        state.negative = Side { offset: i64::from(i32::MAX), counts: vec![3] };
        (state.sum, state.bounds, state.zero, state.count) = (1.5, u64::MAX, 9, 4);
        let mut bytes = Vec::new();
        state.write(&mut bytes);
        let mut rest = &bytes[..];
        assert_eq!((Distribution::read_back(&mut rest), rest.len()), (Some(state), 0));
        for end in 0..bytes.len() {
            assert_eq!(Distribution::read_back(&mut &bytes[..end]), None, "cut at {end}");
        }
    }

    fn exponential(scale: i64, offset: i64, counts: &[u64]) -> Distribution {
        Distribution {
            count: counts.iter().sum(),
            scale,
            positive: Side { offset, counts: counts.to_vec() },
            ..Distribution::default()
        }
    }

    #[test]
    fn the_difference_of_two_states_is_what_came_in_between() {
        let mut earlier = exponential(0, 1, &[1, 2]);
        assert!(earlier.advance_to(&mut exponential(0, 0, &[4, 1, 5])));
        assert_eq!(earlier.positive, Side { offset: 0, counts: vec![4, 0, 3] });
        assert_eq!(earlier.count, 7);
    }

    #[test]
    fn states_of_different_scales_meet_at_the_coarser_one() {
        let mut earlier = exponential(1, -1, &[1, 1, 1]);
        assert!(earlier.advance_to(&mut exponential(0, -1, &[2, 5])));
        assert_eq!(earlier.positive, Side { offset: -1, counts: vec![1, 3] });
    }

    #[test]
    fn a_state_that_counts_less_does_not_continue_another() {
        assert!(!exponential(0, 0, &[2]).advance_to(&mut exponential(0, 0, &[1])));
        assert!(!exponential(0, 5, &[2]).advance_to(&mut exponential(0, 0, &[9])));
        let other = Distribution { bounds: 1, ..Distribution::default() };
        assert!(!Distribution::default().advance_to(&mut other.clone()));
    }
}
