//! Quantiles of whole numbers in a fixed space: counts by the order of magnitude, four buckets to each doubling.
//!
//! A quantile is told by the upper end of its bucket, at most a quarter above the value itself. Pure.

/// Values up to this many bits are told apart; what is larger counts as the largest.
const BITS: u32 = 40;
/// Buckets to each doubling, as a power of two.
const FINE: u32 = 2;
const BUCKETS: usize = ((BITS - FINE + 1) << FINE) as usize;

/// Counts of values by their bucket.
#[derive(Clone, Debug)]
pub struct ValueSketch {
    counts: [u32; BUCKETS],
}

impl Default for ValueSketch {
    fn default() -> ValueSketch {
        ValueSketch { counts: [0; BUCKETS] }
    }
}

fn bucket(value: u64) -> usize {
    let value = value.min((1 << BITS) - 1);
    if value < 1 << FINE {
        return value as usize;
    }
    let octave = u64::BITS - 1 - value.leading_zeros() - FINE;
    // The bits behind the first one tell the part of the doubling.
    ((octave + 1) << FINE) as usize + ((value >> octave) as usize & ((1 << FINE) - 1))
}

/// The largest value of a bucket.
fn end(bucket: usize) -> u64 {
    let (octave, part) = ((bucket >> FINE) as u32, (bucket & ((1 << FINE) - 1)) as u64);
    if octave == 0 {
        return part;
    }
    (((1 << FINE) + part + 1) << (octave - 1)) - 1
}

impl ValueSketch {
    pub fn add(&mut self, value: u64) {
        let count = &mut self.counts[bucket(value)];
        *count = count.saturating_add(1);
    }

    /// Takes everything out of `other`.
    pub fn take_from(&mut self, other: &mut ValueSketch) {
        for (mine, theirs) in self.counts.iter_mut().zip(&mut other.counts) {
            *mine = mine.saturating_add(std::mem::take(theirs));
        }
    }

    /// Forgets half, so that what is new counts more.
    pub fn halve(&mut self) {
        self.counts.iter_mut().for_each(|count| *count /= 2);
    }

    pub fn count(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }

    /// The value that `share` of all values are not above; `None` without any.
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let wanted = ((self.count() as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        let mut reaches = |count: &u32| {
            seen += u64::from(*count);
            seen >= wanted
        };
        self.counts.iter().position(&mut reaches).map(end)
    }

    /// How many values are above this one; those of its own bucket are not.
    pub fn above(&self, value: u64) -> u64 {
        self.counts[bucket(value) + 1..].iter().map(|count| u64::from(*count)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_and_end_a_quarter_above_their_values_at_most() {
        let mut before = 0;
        for value in (0..5000).chain((13..BITS).flat_map(|bits| [(1 << bits) - 1, 1 << bits, (1 << bits) + 1])) {
            let at = bucket(value);
            assert!(at == before || at == before + 1 || value > 5000, "{value}");
            before = at;
            let end = end(at);
            assert!(end >= value && end as f64 <= value as f64 * 1.25 + 0.001, "{value} ends at {end}");
            assert_eq!(bucket(end), at, "{value}");
            assert_eq!(bucket(end + 1), at + 1, "{value}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_those_of_the_values_within_a_quarter() {
        let mut rng = fastrand::Rng::with_seed(7);
        let mut values: Vec<u64> = (0..10_000).map(|_| (rng.f64() * 16.0).exp2() as u64).collect();
        let (mut one, mut other) = (ValueSketch::default(), ValueSketch::default());
        assert_eq!(one.quantile(0.5), None);
        values.iter().enumerate().for_each(|(at, value)| if at % 2 == 0 { one.add(*value) } else { other.add(*value) });
        one.take_from(&mut other);
        assert_eq!((one.count(), other.count()), (10_000, 0));
        values.sort_unstable();
        for share in [0.01, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let value = values[(10_000.0 * share) as usize - 1];
            let told = one.quantile(share).expect("values");
            assert!(told >= value && told as f64 <= value as f64 * 1.25 + 1.0, "{share}: {told} for {value}");
        }
        let above = values.iter().filter(|value| **value > 1023).count() as u64;
        assert_eq!(one.above(1023), above, "1023 ends a bucket");
        one.halve();
        assert!((4_900..=5_000).contains(&one.count()), "{}", one.count());
    }
}
