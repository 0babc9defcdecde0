//! `and`: every sub-policy must vote for the trace; the first that does not ends the question.
//!
//! YAML: `and: {and_sub_policy: [{name: a, type: ...}, ...]}`. Different spans may satisfy different sub-policies.

use crate::config::check::Section;
use crate::processors::tail_sampling::policies::circumstances::Circumstances;
use crate::processors::tail_sampling::policies::decision::{TraceSummary, Vote};
use crate::processors::tail_sampling::policies::{PolicyCheck, PolicyRule, SubPolicy, check_list};

pub fn check(section: &Section<'_>, cx: &mut PolicyCheck<'_>, depth: usize) -> Option<PolicyRule> {
    Some(PolicyRule::And(check_list(section, "and_sub_policy", cx, depth)?))
}

pub fn vote(rules: &[SubPolicy], summary: &TraceSummary, cx: &Circumstances<'_>) -> Vote {
    for part in rules {
        match part.rule.vote(summary, cx) {
            Vote::Sampled | Vote::WeaklySampled => {}
            Vote::Failed => return Vote::Failed,
            Vote::NotSampled | Vote::Veto | Vote::Dropped => return Vote::NotSampled,
        }
    }
    Vote::Sampled
}
