//! Decisions with weights: probabilistic policies decide by the trace's own randomness R, and the limits cut by R among the
//! traces that are decided together.
//!
//! A limit takes the traces of a tick in falling order of R and closes at the first that does not fit: whoever lies above
//! that R got in, whoever lies below did not, so the cut is a threshold that does not depend on the R of any trace above
//! it. The weight of a kept trace is the inverse of the share of all R with which the same policies would have kept it,
//! found by deciding again once for each interval between thresholds. Pure; knows no spans.

use std::cell::Cell;

use crate::core::time::UnixNanos;
use crate::otlp::consistency::threshold::NEVER;
use crate::processors::tail_sampling::clock::Stopwatch;
use crate::processors::tail_sampling::policies::circumstances::{Chance, Circumstances, LimitAnswers, Limits};
use crate::processors::tail_sampling::policies::decision::{
    Ballot, CastVotes, Decision, PolicySet, TraceSummary, Votes, decide,
};
use crate::processors::tail_sampling::policies::meter::{MeterId, RateMeters};
use crate::processors::tail_sampling::policies::{Policy, PolicyRule};
use crate::processors::tail_sampling::weights::draw::TraceDraw;

/// Distinct thresholds of one set of policies; with more, weights are unknown.
const CUTS_MAX: usize = 256;

/// What a trace of this randomness asks of a limit.
#[derive(Clone, Copy, Debug)]
pub struct LimitClaim {
    pub meter: MeterId,
    pub amount: u64,
    pub randomness: u64,
}

/// Where the limits cut one tick, in R. Shared by its traces while they are decided.
pub struct TickCuts {
    meters: Vec<MeterCut>,
}

struct MeterCut {
    /// What there was when the tick began.
    room: f64,
    /// Lowest R that still gets in; 0 while all do.
    lowest: Cell<u64>,
    /// Traces that alone are larger than what there was: whatever their R, they could not get in.
    hopeless: Cell<u64>,
}

impl TickCuts {
    fn new(meters: &RateMeters, now: UnixNanos) -> TickCuts {
        let cut = |meter| MeterCut {
            room: meters.room(MeterId(meter), now),
            lowest: Cell::default(),
            hopeless: Cell::default(),
        };
        TickCuts { meters: (0..meters.len()).map(cut).collect() }
    }

    /// Takes from a meter, or closes it.
    pub fn take(&self, meters: &RateMeters, claim: LimitClaim, now: UnixNanos) -> bool {
        let LimitClaim { meter, amount, randomness } = claim;
        let cut = &self.meters[meter.0];
        if amount as f64 > cut.room {
            cut.hopeless.set(cut.hopeless.get() + 1);
            return false;
        }
        if cut.lowest.get() > 0 {
            return false;
        }
        let granted = meters.take(meter, amount, now);
        if !granted {
            cut.lowest.set(randomness + 1);
        }
        granted
    }

    /// Whether a trace of this size and randomness gets in, once all were decided.
    pub fn grants(&self, claim: LimitClaim) -> bool {
        let LimitClaim { meter, amount, randomness } = claim;
        let cut = &self.meters[meter.0];
        amount as f64 <= cut.room && randomness >= cut.lowest.get()
    }
}

/// How many traces a kept one stands for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TraceWeight {
    pub weight: f64,
    /// The threshold of consistent sampling that says the same; `None` where none does.
    pub threshold: Option<u64>,
}

/// A decision with its weight; `None` of a kept trace says that it is unknown.
#[derive(Clone, Copy, Debug)]
pub struct WeighedDecision {
    pub decision: Decision,
    pub votes: CastVotes,
    pub answers: LimitAnswers,
    pub in_favour: u16,
    pub weight: Option<TraceWeight>,
}

/// A trace that is decided.
#[derive(Clone, Copy, Debug)]
pub struct DrawnTrace {
    pub summary: TraceSummary,
    pub draw: TraceDraw,
}

/// What decides, with the thresholds at which the probabilistic policies change their vote.
#[derive(Clone, Copy)]
pub struct ConsistentPolicies<'a> {
    pub policies: &'a [Policy],
    pub rules: PolicySet,
    pub cuts: &'a ChanceCuts,
    pub meters: &'a RateMeters,
}

/// Where the probabilistic policies of a set change their vote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChanceCuts {
    /// Their thresholds, rising.
    thresholds: Vec<u64>,
    /// What is kept with some R is kept with any higher one, so that nobody need ask further up.
    pub only_rises: bool,
}

impl ChanceCuts {
    pub fn of(policies: &[Policy]) -> ChanceCuts {
        let mut thresholds = Vec::new();
        for policy in policies {
            policy.rule.each(&mut |rule| {
                if let PolicyRule::Probabilistic(chance) = rule {
                    thresholds.push(chance.cut);
                }
            });
        }
        thresholds.sort_unstable();
        thresholds.dedup();
        ChanceCuts { thresholds, only_rises: policies.iter().all(|policy| only_rises(&policy.rule)) }
    }

    fn above(&self, from: u64) -> Option<u64> {
        self.thresholds.get(self.thresholds.partition_point(|cut| *cut <= from)).copied()
    }
}

/// False where something turns a vote around that a higher R gives: `not` and `drop` over chance or a limit, and the
/// first sub-policy of a `composite` that wants a trace and has no room.
fn only_rises(rule: &PolicyRule) -> bool {
    let by_chance = |outer: &PolicyRule| {
        let mut found = false;
        outer.each(&mut |inner| {
            use PolicyRule::{BytesLimiting, Composite, Probabilistic, RateLimiting};
            found |= matches!(inner, Probabilistic(_) | RateLimiting(_) | BytesLimiting(_) | Composite(_));
        });
        found
    };
    let mut rises = true;
    rule.each(&mut |outer| {
        rises &= match outer {
            PolicyRule::Not(part) => !by_chance(&part.rule),
            PolicyRule::Drop(parts) => !parts.iter().any(|part| by_chance(&part.rule)),
            PolicyRule::Composite(composite) => !composite.rules().any(by_chance),
            _ => true,
        };
    });
    rises
}

impl ConsistentPolicies<'_> {
    /// Decides traces of one tick together. `hopeless` counts the traces that no draw could have brought past a limit.
    pub fn decide_tick(
        &self,
        traces: &[DrawnTrace],
        votes: &mut [Votes],
        now: UnixNanos,
        hopeless: &mut u64,
    ) -> Vec<WeighedDecision> {
        let cuts = TickCuts::new(self.meters, now);
        let mut order: Vec<usize> = (0..traces.len()).collect();
        order.sort_by_key(|at| std::cmp::Reverse(traces[*at].draw.randomness));
        let mut decided: Vec<Option<WeighedDecision>> = vec![None; traces.len()];
        for at in order {
            let limits = Limits::Together(self.meters, &cuts);
            decided[at] = Some(self.decide(&traces[at], limits, votes, (now, None)));
        }
        *hopeless += cuts.meters.iter().map(|cut| cut.hopeless.get()).sum::<u64>();
        let weigh = |(trace, decided): (&DrawnTrace, Option<WeighedDecision>)| {
            let mut decided = decided?;
            if decided.decision.kept {
                decided.weight = self.weight(trace, Limits::Cut(&cuts));
            }
            Some(decided)
        };
        traces.iter().zip(decided).filter_map(weigh).collect()
    }

    /// Decides one trace for itself. Where a limit could have changed the outcome, its weight is unknown: whether there was
    /// room says nothing of how often there is.
    pub fn decide_alone(
        &self,
        trace: &DrawnTrace,
        votes: &mut [Votes],
        now: UnixNanos,
        watch: Option<Stopwatch>,
    ) -> WeighedDecision {
        let mut decided = self.decide(trace, Limits::Metered(self.meters), votes, (now, watch));
        if decided.decision.kept {
            let with = |granted| {
                let answers = LimitAnswers { asked: u64::MAX, granted };
                self.weight(trace, Limits::Answered(answers))
            };
            let known = self.meters.len() <= LimitAnswers::METERS_MAX;
            let same = |weight: &TraceWeight| self.meters.is_empty() || with(0) == Some(*weight);
            decided.weight = with(u64::MAX).filter(|weight| known && same(weight));
        }
        decided
    }

    fn decide(
        &self,
        trace: &DrawnTrace,
        limits: Limits<'_>,
        votes: &mut [Votes],
        (now, watch): (UnixNanos, Option<Stopwatch>),
    ) -> WeighedDecision {
        let circumstances = Circumstances::new(limits, Chance::Shared(trace.draw.randomness), now);
        let mut ballot = Ballot { circumstances, votes, cast: CastVotes::default(), in_favour: 0, watch };
        let decision = decide(self.policies, self.rules, &trace.summary, &mut ballot);
        let Ballot { circumstances, cast, in_favour, .. } = ballot;
        WeighedDecision { decision, votes: cast, answers: circumstances.answers(), in_favour, weight: None }
    }

    /// The next R at which some vote may change.
    fn edge_above(&self, from: u64, limits: Limits<'_>) -> u64 {
        let mut edge = self.cuts.above(from).map_or(NEVER, |cut| cut.min(NEVER));
        if let Limits::Cut(cuts) = limits {
            let lowest = cuts.meters.iter().map(|cut| cut.lowest.get()).filter(|lowest| *lowest > from);
            edge = lowest.fold(edge, u64::min);
        }
        edge
    }

    /// `None` when no draw keeps the trace, or there are too many thresholds.
    fn weight(&self, trace: &DrawnTrace, limits: Limits<'_>) -> Option<TraceWeight> {
        let (mut kept, mut lowest, mut gap_above) = (0, None, false);
        let (mut from, mut intervals) = (trace.draw.threshold, 0);
        while from < NEVER {
            intervals += 1;
            if intervals >= CUTS_MAX {
                return None;
            }
            let drawn = DrawnTrace { draw: TraceDraw { randomness: from, ..trace.draw }, ..*trace };
            let keeps = self.decide(&drawn, limits, &mut [], (UnixNanos::default(), None)).decision.kept;
            let to = if keeps && self.cuts.only_rises { NEVER } else { self.edge_above(from, limits) };
            if keeps {
                kept += to - from;
                lowest.get_or_insert(from);
            } else {
                gap_above |= lowest.is_some();
            }
            from = to;
        }
        let share = kept as f64 / NEVER as f64;
        // The older specification draws another number, so both probabilities multiply and no threshold says that.
        let older = 2f64.powi(trace.draw.exponent.min(1023) as i32);
        let threshold = lowest.filter(|_| !gap_above && trace.draw.exponent == 0);
        (kept > 0).then(|| TraceWeight { weight: older / share, threshold })
    }
}
