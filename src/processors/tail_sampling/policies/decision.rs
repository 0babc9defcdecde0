//! From votes to a decision: what a policy thinks of a trace is a [`Vote`], what happens to the trace a [`Decision`].
//!
//! Works on the merged summary of a trace, never on spans: cost and outcome depend neither on their number nor on their
//! order. Precedence is the Collector's (contrib tailsamplingprocessor, makeDecision).

use std::time::Duration;

use tokio::time::Instant;

use crate::processors::tail_sampling::clock::Stopwatch;
use crate::processors::tail_sampling::policies::circumstances::Circumstances;
use crate::processors::tail_sampling::policies::predicates::LeafBits;
use crate::processors::tail_sampling::policies::{Policy, PolicyRole};

/// Everything known of a trace that decisions may use; sums merge in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceSummary {
    pub trace_id: [u8; 16],
    pub bits: LeafBits,
    /// Earliest start other than zero, in nanoseconds since the epoch; zero when no span has one.
    pub min_start: u64,
    pub max_end: u64,
    pub spans: u64,
    /// Size of the trace as the Collector counts it: its `ResourceSpans` messages, resource and scope repeated for each.
    pub bytes: u64,
}

impl TraceSummary {
    /// Merges another part of the same trace: associative and commutative.
    #[inline]
    pub fn merge(&mut self, part: &TraceSummary) {
        self.bits.merge(&part.bits);
        self.min_start = match (self.min_start, part.min_start) {
            (0, start) | (start, 0) => start,
            (mine, other) => mine.min(other),
        };
        self.max_end = self.max_end.max(part.max_end);
        self.spans = self.spans.saturating_add(part.spans);
        self.bytes = self.bytes.saturating_add(part.bytes);
    }

    /// Whole milliseconds from the earliest start to the latest end, truncated towards zero; negative when times are missing.
    pub fn duration_millis(&self) -> i64 {
        let nanos = i128::from(self.max_end) - i128::from(self.min_start);
        (nanos / 1_000_000).clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
    }
}

/// A policy's opinion of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vote {
    Sampled,
    NotSampled,
    /// A drop policy matched: ends the vote.
    Dropped,
    /// Inverted match before v0.144: against the trace, and stronger than any `Sampled`.
    Veto,
    /// Inverted match before v0.144: for the trace, unless another policy voted against it.
    WeaklySampled,
    /// The policy could not be evaluated; it is skipped.
    Failed,
}

impl Vote {
    const ALL: [Vote; 6] =
        [Vote::Sampled, Vote::NotSampled, Vote::Dropped, Vote::Veto, Vote::WeaklySampled, Vote::Failed];

    /// The word of the admin page.
    pub fn name(self) -> &'static str {
        match self {
            Vote::Sampled => "sampled",
            Vote::NotSampled => "not_sampled",
            Vote::Dropped => "dropped",
            Vote::Veto => "veto",
            Vote::WeaklySampled => "weakly_sampled",
            Vote::Failed => "failed",
        }
    }
}

/// How each policy voted on one trace, by its place in the configuration: four bits for each of the first 32, so that
/// the record of a decision has one size whatever is configured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CastVotes(u128);

impl CastVotes {
    /// Policies beyond these leave no trace here.
    pub const POLICIES_MAX: u16 = 32;

    fn note(&mut self, place: u16, vote: Vote) {
        if place < CastVotes::POLICIES_MAX {
            self.0 |= (vote as u128 + 1) << (4 * place);
        }
    }

    /// As four bits a policy, the first in the lowest.
    pub fn bits(self) -> u128 {
        self.0
    }

    /// What [`CastVotes::bits`] gave.
    pub fn from_bits(bits: u128) -> CastVotes {
        CastVotes(bits)
    }

    /// `None` when the policy was not asked, or stands beyond [`CastVotes::POLICIES_MAX`].
    pub fn of(self, place: u16) -> Option<Vote> {
        let bits = self.0.checked_shr(4 * u32::from(place))? & 0xf;
        Vote::ALL.get((bits as usize).checked_sub(1)?).copied()
    }
}

/// Why a trace was kept or dropped. Policies are named by their place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Why {
    /// The first policy that voted for it.
    Policy(u16),
    /// The drop policy that matched, or the inverted match that vetoed.
    DroppedBy(u16),
    /// No policy voted for it: `podgate.default` decided.
    NoMatch,
    /// Larger than `maximum_trace_size_bytes`.
    TooLarge,
}

/// What happens to a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    pub kept: bool,
    pub why: Why,
}

impl Decision {
    pub fn kept(why: Why) -> Decision {
        Decision { kept: true, why }
    }

    pub fn dropped(why: Why) -> Decision {
        Decision { kept: false, why }
    }
}

/// What a trace gets when no policy voted for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fallback {
    Keep,
    #[default]
    Drop,
}

/// How a policy set is evaluated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PolicySet {
    pub sample_on_first_match: bool,
    pub fallback: Fallback,
}

/// Votes of one policy since they were last taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Votes {
    pub sampled: u64,
    pub not_sampled: u64,
    pub dropped: u64,
    pub failed: u64,
    /// Time of the measured ones.
    pub nanos: u64,
}

impl Votes {
    pub fn total(&self) -> u64 {
        self.sampled + self.not_sampled + self.dropped + self.failed
    }

    pub fn merge(&mut self, other: Votes) {
        self.sampled += other.sampled;
        self.not_sampled += other.not_sampled;
        self.dropped += other.dropped;
        self.failed += other.failed;
        self.nanos += other.nanos;
    }

    fn count(&mut self, vote: Vote) {
        match vote {
            Vote::Sampled | Vote::WeaklySampled => self.sampled += 1,
            Vote::NotSampled | Vote::Veto => self.not_sampled += 1,
            Vote::Dropped => self.dropped += 1,
            Vote::Failed => self.failed += 1,
        }
    }
}

/// What a decision depends on and may change: limits and chance, and the count of votes, which has one place for each
/// policy, or none where nobody counts.
pub struct Ballot<'a> {
    pub circumstances: Circumstances<'a>,
    pub votes: &'a mut [Votes],
    /// Filled: what each policy said of this trace.
    pub cast: CastVotes,
    /// Filled: how many policies voted for the trace.
    pub in_favour: u16,
    /// When given, the time of each policy is measured.
    pub watch: Option<Stopwatch>,
}

/// Time from policy to policy, less what it takes to read the clock.
struct Laps {
    watch: Stopwatch,
    last: Instant,
    reading: Duration,
}

impl Laps {
    fn start(watch: Stopwatch) -> Laps {
        let first = watch();
        let last = watch();
        Laps { watch, last, reading: last - first }
    }

    fn lap(&mut self) -> Duration {
        let now = (self.watch)();
        let lap = now - std::mem::replace(&mut self.last, now);
        lap.saturating_sub(self.reading)
    }
}

/// Drop policies come first in `policies`. Dropped > veto > sampled > weakly sampled without a vote against > fallback.
pub fn decide(policies: &[Policy], rules: PolicySet, summary: &TraceSummary, ballot: &mut Ballot<'_>) -> Decision {
    let mut tally = Tally::default();
    let mut laps = ballot.watch.map(Laps::start);
    for policy in policies {
        let vote = policy.rule.vote(summary, &ballot.circumstances);
        ballot.cast.note(policy.place, vote);
        if let Some(votes) = ballot.votes.get_mut(usize::from(policy.place)) {
            votes.count(vote);
            if let Some(laps) = &mut laps {
                votes.nanos += laps.lap().as_nanos() as u64;
            }
        }
        match vote {
            Vote::Dropped => return Decision::dropped(Why::DroppedBy(policy.place)),
            Vote::Sampled => {
                tally.sampled.get_or_insert(policy.place);
                ballot.in_favour += 1;
                if rules.sample_on_first_match {
                    break;
                }
            }
            Vote::NotSampled => tally.against |= policy.role == PolicyRole::Voter,
            Vote::Veto => _ = tally.veto.get_or_insert(policy.place),
            Vote::WeaklySampled => _ = tally.weak.get_or_insert(policy.place),
            Vote::Failed => {}
        }
    }
    tally.outcome(rules.fallback)
}

#[derive(Default)]
struct Tally {
    sampled: Option<u16>,
    weak: Option<u16>,
    veto: Option<u16>,
    against: bool,
}

impl Tally {
    fn outcome(self, fallback: Fallback) -> Decision {
        if let Some(place) = self.veto {
            return Decision::dropped(Why::DroppedBy(place));
        }
        if let Some(place) = self.sampled {
            return Decision::kept(Why::Policy(place));
        }
        if let (Some(place), false) = (self.weak, self.against) {
            return Decision::kept(Why::Policy(place));
        }
        match fallback {
            Fallback::Keep => Decision::kept(Why::NoMatch),
            Fallback::Drop => Decision::dropped(Why::NoMatch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policys_vote_is_told_by_its_place_and_who_was_not_asked_has_none() {
        let mut cast = CastVotes::default();
        for (place, vote) in Vote::ALL.into_iter().enumerate() {
            cast.note(5 * place as u16, vote);
        }
        cast.note(31, Vote::Failed);
        cast.note(32, Vote::Sampled);
        for (place, vote) in Vote::ALL.into_iter().enumerate() {
            assert_eq!(cast.of(5 * place as u16), Some(vote));
        }
        assert_eq!([cast.of(31), cast.of(32), cast.of(1), cast.of(u16::MAX)], [Some(Vote::Failed), None, None, None]);
    }
}
