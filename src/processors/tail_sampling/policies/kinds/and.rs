//! `and`: every sub-policy must vote for the trace; the first that does not ends the question.
//!
//! YAML: `and: {and_sub_policy: [{name: a, type: ...}, ...]}`. Different spans may satisfy different sub-policies.

use crate::config::check::Section;
use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::policies::decision::{TraceSummary, Vote};
use crate::processors::tail_sampling::policies::meter::RateMeters;
use crate::processors::tail_sampling::policies::{PolicyCheck, PolicyRule, check_list};

pub fn check(section: &Section<'_>, cx: &mut PolicyCheck<'_>, depth: usize) -> Option<PolicyRule> {
    let rules = check_list(section, "and_sub_policy", cx, depth)?;
    Some(PolicyRule::And(rules.into_iter().map(|(_, rule)| rule).collect()))
}

pub fn vote(rules: &[PolicyRule], summary: &TraceSummary, meters: &RateMeters, now: UnixNanos) -> Vote {
    for rule in rules {
        match rule.vote(summary, meters, now) {
            Vote::Sampled | Vote::WeaklySampled => {}
            Vote::Failed => return Vote::Failed,
            Vote::NotSampled | Vote::Veto | Vote::Dropped => return Vote::NotSampled,
        }
    }
    Vote::Sampled
}
