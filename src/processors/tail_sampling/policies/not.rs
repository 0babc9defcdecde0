//! `not`: the opposite of its sub-policy. YAML: `not: {not_sub_policy: {name: a, type: ...}}`.
//!
//! A failed evaluation stays failed, and so does a drop.

use crate::config::check::Section;
use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::decision::{Summary, Vote};
use crate::processors::tail_sampling::policies::meter::Meters;
use crate::processors::tail_sampling::policies::{self, PolicyCheck, Rule};

pub fn check(section: &Section<'_>, cx: &mut PolicyCheck<'_>, depth: usize) -> Option<Rule> {
    let Some(node) = section.node("not_sub_policy") else {
        return section.missing("not_sub_policy", "one policy");
    };
    let (_, rule) = policies::check(node, section.child_path("not_sub_policy"), cx, depth + 1)?;
    Some(Rule::Not(Box::new(rule)))
}

pub fn vote(rule: &Rule, summary: &Summary, meters: &Meters, now: UnixNanos) -> Vote {
    match rule.vote(summary, meters, now) {
        Vote::Sampled | Vote::WeaklySampled => Vote::NotSampled,
        Vote::NotSampled | Vote::Veto => Vote::Sampled,
        other => other,
    }
}
