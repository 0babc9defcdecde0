//! The decision over one item, whatever its signal: randomness against threshold, with a priority's word.
//!
//! Follows contrib's processor step by step (v0.161, sampler_mode.go), so that both keep the same items and write the same
//! marks. Pure: what an item says comes in, what becomes of it goes out.

use crate::otlp::consistency::threshold::{ALWAYS, HIGHEST, NEVER, of_probability, probability};
use crate::otlp::consistency::tracestate::SamplingMarks;

/// How the threshold is found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SamplerMode {
    /// 0 %: nothing passes.
    Never,
    /// A hash of the id, 14 bits of it.
    HashSeed { seed: u32, threshold: u64 },
    /// The threshold is the same for all, whatever came before.
    Equalizing { threshold: u64 },
    /// The share is one of what arrives.
    Proportional { share: f64 },
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Judge {
    pub mode: SamplerMode,
    /// Significant hexadecimal digits of thresholds.
    pub precision: usize,
    /// Items that cannot be judged go.
    pub fail_closed: bool,
}

/// Where the randomness comes from; the label `policy` of the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RandomnessSource {
    TraceIdHash,
    TraceIdW3c,
    Randomness,
    Priority,
    Missing,
    Attribute,
}

impl RandomnessSource {
    pub const ALL: [RandomnessSource; 6] = [
        RandomnessSource::TraceIdHash,
        RandomnessSource::TraceIdW3c,
        RandomnessSource::Randomness,
        RandomnessSource::Priority,
        RandomnessSource::Missing,
        RandomnessSource::Attribute,
    ];
}

/// What an item says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemRandomness {
    pub randomness: u64,
    pub policy: RandomnessSource,
    /// Marks to be written again; `None` when they cannot be read or are not ours to change.
    pub marks: Option<SamplingMarks>,
    /// The marks are wrong, or contradict the mode.
    pub faulty: bool,
}

/// What the item's priority demands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    None,
    Threshold(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemVerdict {
    pub kept: bool,
    pub policy: RandomnessSource,
    /// What is written into an item that is kept.
    pub marks: Option<SamplingMarks>,
}

impl Judge {
    /// Puts marks and randomness of an item together: `hash` is asked in `hash_seed` mode, `id` in the others. `marks` are
    /// those that came, `None` when they cannot be read.
    pub fn read(
        &self,
        marks: Option<SamplingMarks>,
        hash: impl FnOnce(u32) -> Option<(u64, RandomnessSource)>,
        id: impl FnOnce() -> Option<u64>,
    ) -> ItemRandomness {
        let missing = (HIGHEST, RandomnessSource::Missing);
        let ((randomness, policy), marks, faulty) = match (self.mode, marks) {
            (SamplerMode::Never, marks) => ((HIGHEST, RandomnessSource::Priority), marks, marks.is_none()),
            (SamplerMode::HashSeed { seed, .. }, Some(SamplingMarks { randomness: None, threshold: None, .. })) => {
                let hashed = hash(seed);
                let marks = SamplingMarks { randomness: hashed.map(|(value, _)| value), ..SamplingMarks::default() };
                (hashed.unwrap_or(missing), Some(marks), false)
            }
            // Marks of consistent sampling are not changed by hashes.
            (SamplerMode::HashSeed { seed, .. }, _) => (hash(seed).unwrap_or(missing), None, true),
            (_, None) => (missing, None, true),
            (_, Some(marks)) => {
                let given = marks.randomness.map(|value| (value, RandomnessSource::Randomness));
                let given = given.or_else(|| id().map(|value| (value, RandomnessSource::TraceIdW3c)));
                (given.unwrap_or(missing), Some(marks), false)
            }
        };
        ItemRandomness { randomness, policy, marks, faulty }
    }

    pub fn judge(&self, reading: ItemRandomness, priority: Priority) -> ItemVerdict {
        let ItemRandomness { randomness, mut policy, mut marks, mut faulty } = reading;
        if !faulty {
            faulty = policy == RandomnessSource::Missing;
            // An item whose own threshold its randomness does not reach should not be here; the threshold is a lie.
            if let Some(marks) = &mut marks
                && !faulty
                && marks.threshold.is_some_and(|threshold| randomness < threshold)
            {
                marks.threshold = None;
                faulty = true;
            }
        }
        let mut threshold = match (faulty, self.fail_closed) {
            (true, true) => NEVER,
            (true, false) => ALWAYS,
            (false, _) => self.threshold(marks.and_then(|marks| marks.threshold)),
        };
        if let Priority::Threshold(demanded) = priority {
            (threshold, policy) = (demanded, RandomnessSource::Priority);
        }
        let kept = randomness >= threshold;
        if let Some(marks) = &mut marks
            && marks.threshold.is_none_or(|came| came <= threshold)
        {
            // A share can only fall on the way, never rise.
            marks.threshold = Some(threshold);
        }
        ItemVerdict { kept, policy, marks: marks.filter(|_| kept) }
    }

    fn threshold(&self, came: Option<u64>) -> u64 {
        match self.mode {
            SamplerMode::Never => NEVER,
            SamplerMode::HashSeed { threshold, .. } => threshold,
            SamplerMode::Equalizing { threshold } => came.map_or(threshold, |came| came.max(threshold)),
            SamplerMode::Proportional { share } => {
                let came = came.map_or(1.0, probability);
                of_probability(came * share, self.precision).unwrap_or(NEVER)
            }
        }
    }
}
