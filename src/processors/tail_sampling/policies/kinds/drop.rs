//! `drop`: when every sub-policy votes for the trace, it is dropped whatever the others say.
//!
//! YAML: `drop: {drop_sub_policy: [{name: a, type: ...}, ...]}`. Drop policies are asked before all others. One that does
//! not match says nothing; one that cannot be evaluated is skipped, so the trace may be kept.

use crate::config::check::Section;
use crate::processors::tail_sampling::policies::circumstances::Circumstances;
use crate::processors::tail_sampling::policies::decision::{TraceSummary, Vote};
use crate::processors::tail_sampling::policies::kinds::and;
use crate::processors::tail_sampling::policies::{PolicyCheck, PolicyRule, SubPolicy, check_list};

pub fn check(section: &Section<'_>, cx: &mut PolicyCheck<'_>, depth: usize) -> Option<PolicyRule> {
    Some(PolicyRule::Drop(check_list(section, "drop_sub_policy", cx, depth)?))
}

pub fn vote(rules: &[SubPolicy], summary: &TraceSummary, cx: &Circumstances<'_>) -> Vote {
    match and::vote(rules, summary, cx) {
        Vote::Sampled => Vote::Dropped,
        other => other,
    }
}
