//! `not`: the opposite of its sub-policy. YAML: `not: {not_sub_policy: {name: a, type: ...}}`.
//!
//! A failed evaluation stays failed, and so does a drop.

use crate::config::check::Section;
use crate::processors::tail_sampling::policies::circumstances::Circumstances;
use crate::processors::tail_sampling::policies::decision::{TraceSummary, Vote};
use crate::processors::tail_sampling::policies::{self, PolicyCheck, PolicyRule, SubPolicy};

pub fn check(section: &Section<'_>, cx: &mut PolicyCheck<'_>, depth: usize) -> Option<PolicyRule> {
    let Some(node) = section.node("not_sub_policy") else {
        return section.missing("not_sub_policy", "one policy");
    };
    let (name, rule) = policies::check(node, section.child_path("not_sub_policy"), cx, depth + 1)?;
    Some(PolicyRule::Not(Box::new(SubPolicy { name, rule })))
}

pub fn vote(part: &SubPolicy, summary: &TraceSummary, cx: &Circumstances<'_>) -> Vote {
    match part.rule.vote(summary, cx) {
        Vote::Sampled | Vote::WeaklySampled => Vote::NotSampled,
        Vote::NotSampled | Vote::Veto => Vote::Sampled,
        other => other,
    }
}
