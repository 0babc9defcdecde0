//! `composite`: the first sub-policy that wants the trace owns it, and each has a share of the spans a second.
//!
//! YAML: `composite: {max_total_spans_per_second: 1000, policy_order: [a, b], composite_sub_policy: [{name: a, type: ...},
//! ...], rate_allocation: [{policy: a, percent: 50}]}`. Without an allocation, or with one of 0 percent or without a number,
//! a sub-policy gets an equal share of the maximum (contrib #49828, #49857). Over its share a trace is not kept, and later sub-policies are not asked (contrib #36959).

use crate::config::check::Section;
use crate::core::diagnostic::code;
use crate::processors::tail_sampling::policies::circumstances::Circumstances;
use crate::processors::tail_sampling::policies::decision::{TraceSummary, Vote};
use crate::processors::tail_sampling::policies::meter::{MeterId, MeterPlan};
use crate::processors::tail_sampling::policies::{PolicyCheck, PolicyRule, SubPolicy, check_list};

/// A sub-policy, and what it may take of the spans a second.
#[derive(Debug)]
pub struct AllottedPolicy {
    pub part: SubPolicy,
    pub meter: MeterId,
    /// Spans a second.
    pub allowed: u64,
}

#[derive(Debug)]
pub struct Composite {
    pub shares: Vec<AllottedPolicy>,
}

impl Composite {
    pub fn rules(&self) -> impl Iterator<Item = &PolicyRule> {
        self.shares.iter().map(|share| &share.part.rule)
    }

    pub fn vote(&self, summary: &TraceSummary, cx: &Circumstances<'_>) -> Vote {
        for share in &self.shares {
            match share.part.rule.vote(summary, cx) {
                Vote::Sampled | Vote::WeaklySampled if cx.take(share.meter, summary.spans) => return Vote::Sampled,
                Vote::Sampled | Vote::WeaklySampled => return Vote::NotSampled,
                Vote::Failed => return Vote::Failed,
                Vote::NotSampled | Vote::Veto | Vote::Dropped => {}
            }
        }
        Vote::NotSampled
    }
}

pub fn check(section: &Section<'_>, cx: &mut PolicyCheck<'_>, depth: usize) -> Option<PolicyRule> {
    let total = section.u64("max_total_spans_per_second");
    let total = total.or_else(|| section.missing("max_total_spans_per_second", "spans a second"));
    let order = section.strings("policy_order").unwrap_or_default();
    let percents = check_allocation(section, cx);
    let rules = check_list(section, "composite_sub_policy", cx, depth)?;
    let total = total?.max(1);
    let equal_share = total / rules.len() as u64;
    let names: Vec<String> = rules.iter().map(|part| part.name.clone()).collect();
    for (name, _) in percents.iter().filter(|(name, _)| !names.contains(name)) {
        let message = format!("`{name}` is not one of the sub-policies");
        section.error("rate_allocation", code::INVALID_VALUE, message, None);
    }
    let mut rules = rules;
    check_order(section, &order, &names)?;
    if !order.is_empty() {
        rules.retain(|part| order.contains(&part.name));
        rules.sort_by_key(|part| order.iter().position(|wanted| *wanted == part.name));
    }
    let shares = rules.into_iter().map(|part| {
        let percent = percents.iter().find(|(policy, _)| *policy == part.name).map(|(_, percent)| *percent);
        let percent = percent.filter(|percent| *percent != 0.0);
        let allowed = percent.map_or(equal_share, |percent| (total as f64 * percent / 100.0) as u64).min(total);
        let meter = cx.meter(&part.name, MeterPlan::PerSecond { allowed });
        AllottedPolicy { part, meter, allowed }
    });
    Some(PolicyRule::Composite(Composite { shares: shares.collect() }))
}

fn check_order(section: &Section<'_>, order: &[String], names: &[String]) -> Option<()> {
    for (at, name) in order.iter().enumerate() {
        if !names.contains(name) {
            return section.invalid("policy_order", format!("`{name}` is not one of the sub-policies"), "their names");
        }
        if order[..at].contains(name) {
            return section.invalid("policy_order", format!("`{name}` stands here twice"), "each name once");
        }
    }
    if let Some(left) = names.iter().find(|name| !order.is_empty() && !order.contains(name)) {
        let message = format!("`{left}` is not in policy_order and is never asked");
        section.warn("policy_order", code::LINT, message, None);
    }
    Some(())
}

fn check_allocation(section: &Section<'_>, cx: &PolicyCheck<'_>) -> Vec<(String, f64)> {
    let path = section.child_path("rate_allocation");
    let items = section.list("rate_allocation").unwrap_or_default();
    let checked = items.iter().enumerate().map(|(at, item)| {
        let entry = Section::new(item, format!("{path}::{at}"), cx.diagnostics);
        let policy = entry.string("policy").or_else(|| entry.missing("policy", "the name of a sub-policy"));
        let percent = entry.f64("percent").unwrap_or(0.0);
        if !(0.0..=100.0).contains(&percent) {
            entry.invalid::<()>("percent", format!("{percent} is not a percentage"), "0 to 100");
        }
        entry.finish();
        policy.map(|policy| (policy, percent))
    });
    checked.flatten().collect()
}
