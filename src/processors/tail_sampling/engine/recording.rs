//! What the journal is told of a decision: its trigger, the facts it rests on, and the services of the trace.
//!
//! Apart from the decision itself, which nothing here may change.

use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::advice::sizes::MeasuredTrace;
use crate::processors::tail_sampling::engine::{DecisionTrigger, Engine};
use crate::processors::tail_sampling::held::store::RunAt;
use crate::processors::tail_sampling::held::traces::Trace;
use crate::processors::tail_sampling::journal::record::{
    DecisionRecord, LateRecord, Orphans, RecordedTrigger, TraceServices,
};
use crate::processors::tail_sampling::policies::circumstances::LimitAnswers;
use crate::processors::tail_sampling::policies::decision::{CastVotes, Decision};
use crate::processors::tail_sampling::weights::marking::KeptWeight;
use crate::processors::tail_sampling::weights::tick::WeighedDecision;

/// Runs of a trace whose services are looked at.
const RUNS_MAX: usize = 64;

/// A decision, and how it came about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Verdict {
    pub decision: Decision,
    pub votes: CastVotes,
    pub answers: LimitAnswers,
    /// How many policies voted for the trace.
    pub in_favour: u16,
    /// The randomness by which it was decided, and its weight once kept; `None` where weights are off.
    pub weighing: Option<(u64, KeptWeight)>,
    /// What the shadow policies would have decided.
    pub shadow: Option<Decision>,
}

/// What of a trace that is decided says how large stores and waits have to be.
pub(super) fn measured(trace: &Trace) -> MeasuredTrace {
    MeasuredTrace {
        spread: u64::from(trace.spread_millis),
        duration: u64::try_from(trace.summary.duration_millis()).unwrap_or(0),
        spans: trace.summary.spans,
        bytes: trace.held,
    }
}

impl Verdict {
    /// Of a decision, with the randomness by which it was weighed where weights are on.
    pub fn of(decided: &WeighedDecision, randomness: Option<u64>) -> Verdict {
        let WeighedDecision { decision, votes, answers, in_favour, weight } = *decided;
        let kept = weight
            .map_or(KeptWeight::UNKNOWN, |weight| KeptWeight { weight: weight.weight, threshold: weight.threshold });
        let weighing = randomness.map(|randomness| (randomness, kept));
        Verdict { decision, votes, answers, in_favour, weighing, shadow: None }
    }

    /// A decision for which no policy was asked.
    pub fn unasked(decision: Decision) -> Verdict {
        let (votes, answers) = (CastVotes::default(), LimitAnswers::default());
        Verdict { decision, votes, answers, in_favour: 0, weighing: None, shadow: None }
    }
}

impl Engine {
    /// The record of a decision on a trace that is still held.
    pub(super) fn record(
        &mut self,
        slot: u32,
        verdict: &Verdict,
        trigger: RecordedTrigger,
        now: UnixNanos,
    ) -> DecisionRecord {
        let Trace { summary, has_root, last, .. } = *self.traces.at(slot);
        DecisionRecord {
            at: now,
            decision: verdict.decision,
            version: self.settings.version,
            trigger,
            votes: verdict.votes,
            answers: verdict.answers,
            summary,
            has_root,
            orphans: Orphans::NotLookedAt,
            weighing: verdict.weighing,
            shadow_keeps: verdict.shadow.map(|shadow| shadow.kept),
            services: if self.journal.is_on() { self.services(last) } else { TraceServices::default() },
        }
    }

    fn services(&mut self, last: RunAt) -> TraceServices {
        let mut services = TraceServices::default();
        let (mut at, mut group) = (last, u32::MAX);
        for _ in 0..RUNS_MAX {
            if at.is_none() {
                return services;
            }
            let header = self.store.header(at);
            at = header.previous;
            // Runs of one request stand next to each other and mostly share their resource.
            if std::mem::replace(&mut group, header.group) == header.group {
                continue;
            }
            let ring = self.journal.ring();
            if let Some(service) = self.groups.service(header.group, |resource| ring.number_of(resource)) {
                services.add(service);
            }
        }
        services.more |= !at.is_none();
        services
    }

    /// A wait that is over is the root's if the root made it shorter.
    pub(super) fn trigger_of(&self, slot: u32, cause: DecisionTrigger) -> RecordedTrigger {
        let trace = self.traces.at(slot);
        match cause {
            DecisionTrigger::Early(early) => RecordedTrigger::Early(early),
            DecisionTrigger::Due if self.settings.root_wait.is_none() || !trace.has_root => RecordedTrigger::Timeout,
            DecisionTrigger::Due => {
                let whole_wait = self.wheel.tick_of(trace.first_seen.saturating_add(self.settings.decision_wait));
                if trace.tick < whole_wait { RecordedTrigger::Root } else { RecordedTrigger::Timeout }
            }
        }
    }

    /// Late spans followed a decision, which was made at `decided_at` where that is known.
    pub(super) fn record_late(
        &mut self,
        trace_id: [u8; 16],
        spans: u64,
        decided_at: Option<UnixNanos>,
        now: UnixNanos,
    ) {
        let after_millis = decided_at.map(|at| now.since(at).as_millis() as u64);
        self.journal.followed(&LateRecord { trace_id, at: now, kept: decided_at.is_some(), spans, after_millis });
    }
}
