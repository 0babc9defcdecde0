//! A histogram of latencies: 32 steps for each doubling, so that a quantile is off by at most 3 %, in 16 KB.

use std::time::Duration;

const STEPS: usize = 32;
const STEPS_BITS: u32 = STEPS.trailing_zeros();

#[derive(Clone, Debug)]
pub struct LatencyHistogram {
    /// Below 32 us one bucket per microsecond, then 32 for each power of two.
    buckets: Vec<u64>,
    count: u64,
    longest_micros: u64,
}

impl Default for LatencyHistogram {
    fn default() -> LatencyHistogram {
        LatencyHistogram { buckets: vec![0; STEPS * 60], count: 0, longest_micros: 0 }
    }
}

impl LatencyHistogram {
    pub fn record(&mut self, latency: Duration) {
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        let bucket = bucket_of(micros).min(self.buckets.len() - 1);
        self.buckets[bucket] += 1;
        self.count += 1;
        self.longest_micros = self.longest_micros.max(micros);
    }

    pub fn merge(&mut self, other: &LatencyHistogram) {
        for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
            *mine += theirs;
        }
        self.count += other.count;
        self.longest_micros = self.longest_micros.max(other.longest_micros);
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn longest(&self) -> Duration {
        Duration::from_micros(self.longest_micros)
    }

    /// The latency that the share `quantile` (0 to 1) of all records did not exceed; zero without records.
    pub fn quantile(&self, quantile: f64) -> Duration {
        let rank = (self.count as f64 * quantile).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= rank && *count > 0 {
                return Duration::from_micros(upper_micros(bucket).min(self.longest_micros));
            }
        }
        Duration::ZERO
    }
}

fn bucket_of(micros: u64) -> usize {
    if micros < STEPS as u64 {
        return micros as usize;
    }
    let doublings = 63 - micros.leading_zeros() - STEPS_BITS;
    let step = (micros >> doublings) as usize - STEPS;
    STEPS * (doublings as usize + 1) + step
}

/// The largest value that falls into the bucket.
fn upper_micros(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let doublings = bucket / STEPS - 1;
    let step = (bucket % STEPS + STEPS + 1) as u64;
    (step << doublings) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_lies_in_a_bucket_whose_upper_end_is_at_most_4_percent_above() {
        for micros in (0..200u64).chain((8..40).flat_map(|bit| [(1 << bit) - 1, 1 << bit, (1 << bit) + 12_345])) {
            let upper = upper_micros(bucket_of(micros));
            assert!(upper >= micros, "{micros}");
            assert!(upper <= micros + micros / 31 + 1, "{micros} in a bucket up to {upper}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_records() {
        let mut latency = LatencyHistogram::default();
        for millis in 1..=100 {
            latency.record(Duration::from_millis(millis));
        }
        let p50 = latency.quantile(0.5).as_secs_f64();
        assert!((0.050..0.052).contains(&p50), "{p50}");
        assert_eq!(latency.quantile(1.0), Duration::from_millis(100));
        assert_eq!(LatencyHistogram::default().quantile(0.99), Duration::ZERO);
    }
}
