//! The weight where each policy hashes with its own salt: hashes of different salts are independent of each other.
//!
//! Chance falls in as many ways as there are intervals between thresholds, salt by salt; each way has its probability and its
//! decision. Exact, whatever is nested in what, for up to 65,536 ways (16 salts with one threshold each). Reckoned when
//! somebody asks, never while deciding.

use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::journal::record::DecisionRecord;
use crate::processors::tail_sampling::policies::circumstances::{Chance, Circumstances, LimitAnswers, Limits};
use crate::processors::tail_sampling::policies::decision::{Ballot, CastVotes, PolicySet, TraceSummary, decide};
use crate::processors::tail_sampling::policies::kinds::probabilistic::Probabilistic;
use crate::processors::tail_sampling::policies::{Policy, PolicyRule};

/// Ways in which chance may fall.
const WAYS_MAX: usize = 1 << 16;

/// One salt: for each interval of hashes between thresholds its last hash and its probability.
struct SaltedIntervals {
    salted: u64,
    intervals: Vec<(u64, f64)>,
}

/// The policies whose decisions are weighed.
#[derive(Clone, Copy)]
pub struct WeighedPolicies<'a> {
    pub policies: &'a [Policy],
    pub rules: PolicySet,
    /// How many limits there are.
    pub meters: usize,
}

impl WeighedPolicies<'_> {
    /// The probability with which the trace of this record was kept; `None` where a limit could have changed the outcome, or
    /// chance could have fallen in too many ways.
    pub fn kept_share(&self, record: &DecisionRecord) -> Option<f64> {
        if !record.decision.kept || self.meters > LimitAnswers::METERS_MAX {
            return None;
        }
        let salts = salts(self.policies);
        let ways = salts.iter().try_fold(1usize, |ways, salt| ways.checked_mul(salt.intervals.len()));
        ways.filter(|ways| *ways <= WAYS_MAX)?;
        let share = |granted: u64| self.share_of(&record.summary, &salts, LimitAnswers { asked: u64::MAX, granted });
        let share_of_all = share(u64::MAX);
        // Whether the limits had room says nothing of how often they have.
        let unlimited = self.meters == 0 || share(0).to_bits() == share_of_all.to_bits();
        (unlimited && share_of_all > 0.0).then_some(share_of_all)
    }

    fn share_of(&self, summary: &TraceSummary, salts: &[SaltedIntervals], answers: LimitAnswers) -> f64 {
        let mut turn = vec![0; salts.len()];
        let mut share = 0.0;
        loop {
            let falls = salts.iter().zip(&turn).map(|(salt, at)| (salt.salted, salt.intervals[*at]));
            let hashes: Vec<(u64, u64)> = falls.clone().map(|(salted, (hash, _))| (salted, hash)).collect();
            if self.keeps(summary, Chance::Assumed(&hashes), answers) {
                share += falls.map(|(_, (_, probability))| probability).product::<f64>();
            }
            // As a counter counts, the last salt turning fastest.
            let Some(next) = (0..salts.len()).rev().find(|at| turn[*at] + 1 < salts[*at].intervals.len()) else {
                return share;
            };
            turn[next] += 1;
            turn[next + 1..].fill(0);
        }
    }

    fn keeps(&self, summary: &TraceSummary, chance: Chance<'_>, answers: LimitAnswers) -> bool {
        let circumstances = Circumstances::new(Limits::Answered(answers), chance, UnixNanos::default());
        let mut ballot =
            Ballot { circumstances, votes: &mut [], cast: CastVotes::default(), in_favour: 0, watch: None };
        decide(self.policies, self.rules, summary, &mut ballot).kept
    }
}

fn salts(policies: &[Policy]) -> Vec<SaltedIntervals> {
    let mut found: Vec<(u64, Vec<u64>)> = Vec::new();
    for policy in policies {
        policy.rule.each(&mut |rule| {
            let PolicyRule::Probabilistic(Probabilistic { salted, threshold, .. }) = rule else { return };
            match found.iter_mut().find(|(known, _)| known == salted) {
                Some((_, thresholds)) => thresholds.push(*threshold),
                None => found.push((*salted, vec![*threshold])),
            }
        });
    }
    let intervals = |mut thresholds: Vec<u64>| {
        thresholds.push(u64::MAX);
        thresholds.sort_unstable();
        thresholds.dedup();
        let mut from = 0.0;
        let mut interval = |to: u64| {
            let before = std::mem::replace(&mut from, (to as f64 + 1.0) / 2f64.powi(64));
            (to, from - before)
        };
        thresholds.into_iter().map(&mut interval).collect()
    };
    found.into_iter().map(|(salted, thresholds)| SaltedIntervals { salted, intervals: intervals(thresholds) }).collect()
}
