//! `drop`: when every sub-policy votes for the trace, it is dropped whatever the others say.
//!
//! YAML: `drop: {drop_sub_policy: [{name: a, type: ...}, ...]}`. Drop policies are asked before all others. One that does
//! not match says nothing; one that cannot be evaluated is skipped, so the trace may be kept.

use crate::config::check::Section;
use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::policies::decision::{TraceSummary, Vote};
use crate::processors::tail_sampling::policies::kinds::and;
use crate::processors::tail_sampling::policies::meter::RateMeters;
use crate::processors::tail_sampling::policies::{PolicyCheck, PolicyRule, check_list};

pub fn check(section: &Section<'_>, cx: &mut PolicyCheck<'_>, depth: usize) -> Option<PolicyRule> {
    let rules = check_list(section, "drop_sub_policy", cx, depth)?;
    Some(PolicyRule::Drop(rules.into_iter().map(|(_, rule)| rule).collect()))
}

pub fn vote(rules: &[PolicyRule], summary: &TraceSummary, meters: &RateMeters, now: UnixNanos) -> Vote {
    match and::vote(rules, summary, meters, now) {
        Vote::Sampled => Vote::Dropped,
        other => other,
    }
}
