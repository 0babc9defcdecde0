//! What a part of a trace says of itself, so that a trace whose spans are with several gateways can be decided as one.
//!
//! A [`PartSummary`] has the bits and sums that the policies ask, and nothing else of the spans. Parts merge in any order; the
//! whole trace is one part, so the engine decides what it holds through the same [`judge`]. How parts travel is not known
//! here (issue 20, item 4).

pub mod digest;
pub mod judge;
pub mod wire;

use crate::processors::tail_sampling::policies::decision::TraceSummary;
use crate::processors::tail_sampling::summaries::digest::PolicyDigest;
use crate::processors::tail_sampling::weights::draw::TraceMarks;
use crate::processors::tail_sampling::weights::tick::DrawnTrace;

/// One part of a trace, or all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartSummary {
    /// The policies whose questions the bits answer.
    pub policies: PolicyDigest,
    /// Bits, times and sums; of the bits only those that these policies ask.
    pub summary: TraceSummary,
    /// What samplers before wrote into its trace states; nothing unless weights are on.
    pub marks: TraceMarks,
}

/// Why two parts are not one trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotOneTrace {
    /// The bits answer the questions of other policies.
    OtherPolicies,
    OtherTrace,
}

impl PartSummary {
    /// Adds another part of the same trace. Associative and commutative; a part that is added twice counts twice.
    pub fn merge(&mut self, other: &PartSummary) -> Result<(), NotOneTrace> {
        if self.policies != other.policies {
            return Err(NotOneTrace::OtherPolicies);
        }
        if self.summary.trace_id != other.summary.trace_id {
            return Err(NotOneTrace::OtherTrace);
        }
        self.summary.merge(&other.summary);
        self.marks.merge(other.marks);
        Ok(())
    }

    /// What is decided: the summary, and how chance falls for the trace.
    pub fn drawn(&self) -> DrawnTrace {
        DrawnTrace { summary: self.summary, draw: self.marks.draw(&self.summary.trace_id) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::processors::tail_sampling::policies::predicates::LeafBits;

    fn part(rng: &mut fastrand::Rng) -> PartSummary {
        let some = |rng: &mut fastrand::Rng, most: u64| if rng.bool() { rng.u64(..most) } else { 0 };
        let sum = |rng: &mut fastrand::Rng| if rng.u8(..8) == 0 { u64::MAX - rng.u64(..4) } else { rng.u64(..100) };
        let marks = (rng.bool(), rng.bool());
        PartSummary {
            policies: PolicyDigest::default(),
            summary: TraceSummary {
                trace_id: [7; 16],
                bits: LeafBits::of_words([rng.u64(..), rng.u64(..), 0, rng.u64(..)]),
                min_start: some(rng, 100),
                max_end: some(rng, 100),
                spans: sum(rng),
                bytes: sum(rng),
            },
            marks: TraceMarks {
                randomness: marks.0.then(|| rng.u64(..4)),
                likeliest: marks.1.then(|| (rng.u64(..4), rng.u32(..4))),
            },
        }
    }

    fn merged(parts: &[PartSummary]) -> PartSummary {
        let mut parts = parts.iter();
        let mut whole = *parts.next().expect("at least one");
        parts.for_each(|part| whole.merge(part).expect("the same trace and policies"));
        whole
    }

    #[test]
    fn parts_merge_to_the_same_in_any_order_and_in_any_grouping() {
        let mut rng = fastrand::Rng::with_seed(20);
        for round in 0..2_000 {
            let mut parts: Vec<PartSummary> = (0..rng.usize(2..6)).map(|_| part(&mut rng)).collect();
            let whole = merged(&parts);
            rng.shuffle(&mut parts);
            let at = rng.usize(1..parts.len());
            let grouped = merged(&[merged(&parts[..at]), merged(&parts[at..])]);
            assert_eq!(grouped, whole, "seed 20, round {round}");
            assert_eq!(grouped.drawn().draw, whole.drawn().draw, "seed 20, round {round}");
        }
    }

    #[test]
    fn parts_of_other_policies_and_of_other_traces_are_refused_and_change_nothing() {
        let mine = part(&mut fastrand::Rng::with_seed(1));
        let mut whole = mine;
        let others = PartSummary { policies: PolicyDigest::of_bytes([1; PolicyDigest::BYTES]), ..mine };
        assert_eq!(whole.merge(&others), Err(NotOneTrace::OtherPolicies));
        let mut other = mine;
        other.summary.trace_id[15] ^= 1;
        assert_eq!(whole.merge(&other), Err(NotOneTrace::OtherTrace));
        assert_eq!(whole, mine);
    }
}
