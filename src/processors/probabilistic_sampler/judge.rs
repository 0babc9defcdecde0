//! The decision over one item, whatever its signal: randomness against threshold, with a priority's word.
//!
//! Follows contrib's processor step by step (v0.161, sampler_mode.go), so that both keep the same items and write the same
//! marks. Pure: what an item says comes in, what becomes of it goes out.

use super::state::Marks;
use super::threshold::{ALWAYS, HIGHEST, NEVER, of_probability, probability};

/// How the threshold is found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Mode {
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
    pub mode: Mode,
    /// Significant hexadecimal digits of thresholds.
    pub precision: usize,
    /// Items that cannot be judged go.
    pub fail_closed: bool,
}

/// Where the randomness comes from; the label `policy` of the counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    TraceIdHash,
    TraceIdW3c,
    Randomness,
    Priority,
    Missing,
    Attribute,
}

impl Policy {
    pub const ALL: [Policy; 6] = [
        Policy::TraceIdHash,
        Policy::TraceIdW3c,
        Policy::Randomness,
        Policy::Priority,
        Policy::Missing,
        Policy::Attribute,
    ];
}

/// What an item says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    pub randomness: u64,
    pub policy: Policy,
    /// Marks to be written again; `None` when they cannot be read or are not ours to change.
    pub marks: Option<Marks>,
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
pub struct Verdict {
    pub kept: bool,
    pub policy: Policy,
    /// What is written into an item that is kept.
    pub marks: Option<Marks>,
}

impl Judge {
    /// Puts marks and randomness of an item together: `hash` is asked in `hash_seed` mode, `id` in the others. `marks` are
    /// those that came, `None` when they cannot be read.
    pub fn read(
        &self,
        marks: Option<Marks>,
        hash: impl FnOnce(u32) -> Option<(u64, Policy)>,
        id: impl FnOnce() -> Option<u64>,
    ) -> Reading {
        let missing = (HIGHEST, Policy::Missing);
        let ((randomness, policy), marks, faulty) = match (self.mode, marks) {
            (Mode::Never, marks) => ((HIGHEST, Policy::Priority), marks, marks.is_none()),
            (Mode::HashSeed { seed, .. }, Some(Marks { randomness: None, threshold: None })) => {
                let hashed = hash(seed);
                let marks = Marks { randomness: hashed.map(|(value, _)| value), threshold: None };
                (hashed.unwrap_or(missing), Some(marks), false)
            }
            // Marks of consistent sampling are not changed by hashes.
            (Mode::HashSeed { seed, .. }, _) => (hash(seed).unwrap_or(missing), None, true),
            (_, None) => (missing, None, true),
            (_, Some(marks)) => {
                let given = marks.randomness.map(|value| (value, Policy::Randomness));
                let given = given.or_else(|| id().map(|value| (value, Policy::TraceIdW3c)));
                (given.unwrap_or(missing), Some(marks), false)
            }
        };
        Reading { randomness, policy, marks, faulty }
    }

    pub fn judge(&self, reading: Reading, priority: Priority) -> Verdict {
        let Reading { randomness, mut policy, mut marks, mut faulty } = reading;
        if !faulty {
            faulty = policy == Policy::Missing;
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
            (threshold, policy) = (demanded, Policy::Priority);
        }
        let kept = randomness >= threshold;
        if let Some(marks) = &mut marks
            && marks.threshold.is_none_or(|came| came <= threshold)
        {
            // A share can only fall on the way, never rise.
            marks.threshold = Some(threshold);
        }
        Verdict { kept, policy, marks: marks.filter(|_| kept) }
    }

    fn threshold(&self, came: Option<u64>) -> u64 {
        match self.mode {
            Mode::Never => NEVER,
            Mode::HashSeed { threshold, .. } => threshold,
            Mode::Equalizing { threshold } => came.map_or(threshold, |came| came.max(threshold)),
            Mode::Proportional { share } => {
                let came = came.map_or(1.0, probability);
                of_probability(came * share, self.precision).unwrap_or(NEVER)
            }
        }
    }
}
