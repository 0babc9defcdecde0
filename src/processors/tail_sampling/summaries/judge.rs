//! One set of policies with its limits: decides a trace by the summary of all of its parts.
//!
//! The engine decides by it each trace that it holds, a trace of one part; whoever merges the parts of several gateways asks
//! it in the same way. Knows no spans.

use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::clock::Stopwatch;
use crate::processors::tail_sampling::config::{SamplingSettings, Strategy};
use crate::processors::tail_sampling::policies::circumstances::{Chance, Circumstances, Limits};
use crate::processors::tail_sampling::policies::decision::{
    Ballot, CastVotes, Decision, PolicySet, TraceSummary, Votes, Why, decide,
};
use crate::processors::tail_sampling::policies::meter::RateMeters;
use crate::processors::tail_sampling::policies::only_gains_by_spans;
use crate::processors::tail_sampling::summaries::PartSummary;
use crate::processors::tail_sampling::weights::tick::{ConsistentPolicies, DrawnTrace, WeighedDecision};

/// Why a summary is not decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Undecidable {
    /// Its bits answer the questions of other policies.
    OtherPolicies,
    /// With `sampling_strategy: span-ingest` the first spans that come decide, which a summary does not know; it is decided
    /// only by policies whose vote further spans cannot take back.
    SpanIngest,
}

#[derive(Clone, Copy)]
pub struct PolicyJudge<'a> {
    pub settings: &'a SamplingSettings,
    /// The settings' own, unless the trace may still get spans.
    pub rules: PolicySet,
    pub meters: &'a RateMeters,
}

impl<'a> PolicyJudge<'a> {
    pub fn new(settings: &'a SamplingSettings, meters: &'a RateMeters) -> PolicyJudge<'a> {
        PolicyJudge { settings, rules: settings.rules, meters }
    }

    /// Decides a trace whose parts were merged, as if its spans had been held in one place.
    pub fn decide_merged(&self, whole: &PartSummary, now: UnixNanos) -> Result<Decision, Undecidable> {
        if whole.policies != self.settings.digest {
            return Err(Undecidable::OtherPolicies);
        }
        let any_order = || self.settings.policies.iter().all(|policy| only_gains_by_spans(&policy.rule));
        if self.settings.strategy == Strategy::SpanIngest && !any_order() {
            return Err(Undecidable::SpanIngest);
        }
        if is_too_large(self.settings, &whole.summary) {
            return Ok(Decision::dropped(Why::TooLarge));
        }
        Ok(self.decide(&whole.drawn(), &mut [], (now, None)).decision)
    }

    /// Decides one trace for itself, and weighs it where weights are on. `votes` has one place for each policy, or none
    /// where nobody counts; with a watch the time of each policy is measured.
    pub fn decide(
        &self,
        trace: &DrawnTrace,
        votes: &mut [Votes],
        (now, watch): (UnixNanos, Option<Stopwatch>),
    ) -> WeighedDecision {
        if self.settings.weights.is_on() {
            return self.consistent().decide_alone(trace, votes, now, watch);
        }
        let circumstances = Circumstances::new(Limits::Metered(self.meters), Chance::Salted, now);
        let mut ballot = Ballot { circumstances, votes, cast: CastVotes::default(), in_favour: 0, watch };
        let decision = decide(&self.settings.policies, self.rules, &trace.summary, &mut ballot);
        let Ballot { circumstances, cast, in_favour, .. } = ballot;
        WeighedDecision { decision, votes: cast, answers: circumstances.answers(), in_favour, weight: None }
    }

    /// The policies for decisions with weights.
    pub fn consistent(&self) -> ConsistentPolicies<'a> {
        let PolicyJudge { settings, rules, meters } = *self;
        ConsistentPolicies { policies: &settings.policies, rules, cuts: &settings.cuts, meters }
    }
}

/// Whether a trace is beyond `maximum_trace_size_bytes`, which drops it whatever the policies say.
pub fn is_too_large(settings: &SamplingSettings, summary: &TraceSummary) -> bool {
    settings.trace_bytes_max.is_some_and(|most| summary.bytes > most)
}
