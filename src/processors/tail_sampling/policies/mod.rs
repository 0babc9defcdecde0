//! Policies: one file per type, each checking its body and compiling to a [`PolicyRule`] over bits and sums.
//!
//! A rule is evaluated on the merged summary of a trace. Rules nest to any reasonable depth, without the Collector's
//! limits on what may stand inside `and`, `not`, `drop` and `composite`.

pub mod circumstances;
pub mod decision;
mod keys;
pub mod kinds;
pub mod leaf;
pub mod matching;
pub mod meter;
pub mod predicates;
pub mod trace_state_list;

use crate::config::check::{Section, nearest};
use crate::core::diagnostic::{Diagnostics, code};
use crate::core::node::Node;
use crate::processors::tail_sampling::policies::circumstances::Circumstances;
use crate::processors::tail_sampling::policies::decision::{TraceSummary, Vote};
use crate::processors::tail_sampling::policies::meter::{MeterId, MeterPlan};
use crate::processors::tail_sampling::policies::predicates::LeavesBuilder;

/// What a policy asks of a trace.
#[derive(Debug)]
pub enum PolicyRule {
    Always,
    Leaf(leaf::Leaf),
    Latency(kinds::latency::LatencyPolicy),
    Probabilistic(kinds::probabilistic::Probabilistic),
    SpanCount(kinds::span_count::SpanCount),
    RateLimiting(meter::MeterId),
    BytesLimiting(meter::MeterId),
    Ottl(kinds::ottl_condition::Ottl),
    And(Vec<SubPolicy>),
    Not(Box<SubPolicy>),
    Drop(Vec<SubPolicy>),
    Composite(kinds::composite::Composite),
}

impl PolicyRule {
    pub fn vote(&self, summary: &TraceSummary, cx: &Circumstances<'_>) -> Vote {
        match self {
            PolicyRule::Always => Vote::Sampled,
            PolicyRule::Leaf(leaf) => leaf.vote(summary),
            PolicyRule::Latency(latency) => yes_or_no(latency.matches(summary)),
            PolicyRule::Probabilistic(chance) => yes_or_no(chance.passes(cx.chance, &summary.trace_id)),
            PolicyRule::SpanCount(range) => yes_or_no(range.matches(summary.spans)),
            PolicyRule::RateLimiting(meter) => yes_or_no(cx.take(*meter, summary.spans)),
            PolicyRule::BytesLimiting(meter) => yes_or_no(cx.take(*meter, summary.bytes)),
            PolicyRule::Ottl(ottl) => ottl.vote(summary),
            PolicyRule::And(rules) => kinds::and::vote(rules, summary, cx),
            PolicyRule::Not(rule) => kinds::not::vote(rule, summary, cx),
            PolicyRule::Drop(rules) => kinds::drop::vote(rules, summary, cx),
            PolicyRule::Composite(composite) => composite.vote(summary, cx),
        }
    }

    /// Shows this rule and every rule in it.
    pub fn each<'r>(&'r self, see: &mut dyn FnMut(&'r PolicyRule)) {
        see(self);
        match self {
            PolicyRule::And(parts) | PolicyRule::Drop(parts) => parts.iter().for_each(|part| part.rule.each(see)),
            PolicyRule::Not(part) => part.rule.each(see),
            PolicyRule::Composite(composite) => composite.rules().for_each(|rule| rule.each(see)),
            _ => {}
        }
    }

    /// True when the outcome depends on what was decided before, or on spans still to come.
    pub fn is_stateful(&self) -> bool {
        match self {
            PolicyRule::RateLimiting(_) | PolicyRule::BytesLimiting(_) => true,
            PolicyRule::Latency(latency) => latency.up_to.is_some(),
            PolicyRule::SpanCount(range) => range.max.is_some(),
            PolicyRule::And(rules) | PolicyRule::Drop(rules) => rules.iter().any(|part| part.rule.is_stateful()),
            PolicyRule::Not(part) => part.rule.is_stateful(),
            PolicyRule::Composite(composite) => composite.rules().any(PolicyRule::is_stateful),
            PolicyRule::Always | PolicyRule::Leaf(_) | PolicyRule::Probabilistic(_) | PolicyRule::Ottl(_) => false,
        }
    }
}

/// False where further spans can take a vote for a trace back: inverted matches, `not`, `drop`, upper bounds, limits, and
/// conditions whose failure fails their policy.
pub fn only_gains_by_spans(rule: &PolicyRule) -> bool {
    let mut gains = true;
    rule.each(&mut |rule| {
        gains &= match rule {
            PolicyRule::Not(_) | PolicyRule::Drop(_) | PolicyRule::Composite(_) => false,
            PolicyRule::Leaf(leaf) => leaf.sense == leaf::Sense::Plain,
            PolicyRule::Ottl(ottl) => !ottl.propagate,
            PolicyRule::Always | PolicyRule::Probabilistic(_) | PolicyRule::And(_) => true,
            PolicyRule::Latency(_) | PolicyRule::SpanCount(_) => !rule.is_stateful(),
            PolicyRule::RateLimiting(_) | PolicyRule::BytesLimiting(_) => false,
        };
    });
    gains
}

fn yes_or_no(yes: bool) -> Vote {
    if yes { Vote::Sampled } else { Vote::NotSampled }
}

/// A policy inside of another.
#[derive(Debug)]
pub struct SubPolicy {
    pub name: String,
    pub rule: PolicyRule,
}

/// Whether a `NotSampled` of this policy counts against a trace (only inverted matches before v0.144 ask).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyRole {
    Voter,
    Drop,
}

/// One policy of the top level.
#[derive(Debug)]
pub struct Policy {
    pub name: String,
    /// Its place in the configuration; drop policies are evaluated first wherever they stand.
    pub place: u16,
    pub role: PolicyRole,
    pub rule: PolicyRule,
}

/// What `invert_match` means at the top level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InvertMeaning {
    /// v0.144 and later: a plain yes or no.
    #[default]
    Plain,
    /// Before: a match vetoes the trace, no match is a weak yes.
    Veto,
}

/// What the checks of all policies of one processor share.
pub struct PolicyCheck<'a> {
    pub diagnostics: &'a Diagnostics,
    pub leaves: LeavesBuilder,
    pub meters: Vec<MeterPlan>,
    /// Of each meter, the names of the policies it stands in.
    pub meter_names: Vec<String>,
    /// The names of the policies that are being checked, from the outermost.
    pub within: Vec<String>,
    pub invert: InvertMeaning,
    /// Whether the old meaning of `invert_match` was asked for, so that nobody has to be told of the new one.
    pub invert_chosen: bool,
}

impl PolicyCheck<'_> {
    /// Adds the meter of the policy that is being checked, or of a part of it.
    pub fn meter(&mut self, part: &str, plan: MeterPlan) -> MeterId {
        let mut name = self.within.join("/");
        name.extend(std::iter::once("/").filter(|_| !part.is_empty()).chain([part]));
        self.meter_names.push(name);
        self.meters.push(plan);
        MeterId(self.meters.len() - 1)
    }
}

/// How far policies may nest; a limit on recursion, not on taste.
pub const NESTING_MAX: usize = 16;

type CheckBody = fn(&Section<'_>, &mut PolicyCheck<'_>, usize) -> Option<PolicyRule>;

/// Every policy type with its check; the body stands under a key of the same name.
const TYPES: &[(&str, CheckBody)] = &[
    ("always_sample", kinds::always_sample::check),
    ("and", kinds::and::check),
    ("boolean_attribute", kinds::boolean_attribute::check),
    ("bytes_limiting", kinds::bytes_limiting::check),
    ("composite", kinds::composite::check),
    ("drop", kinds::drop::check),
    ("latency", kinds::latency::check),
    ("not", kinds::not::check),
    ("numeric_attribute", kinds::numeric_attribute::check),
    ("ottl_condition", kinds::ottl_condition::check),
    ("probabilistic", kinds::probabilistic::check),
    ("rate_limiting", kinds::rate_limiting::check),
    ("span_count", kinds::span_count::check),
    ("status_code", kinds::status_code::check),
    ("string_attribute", kinds::string_attribute::check),
    ("trace_flags", kinds::trace_flags::check),
    ("trace_state", kinds::trace_state::check),
];

/// The names of all policy types.
pub fn types() -> impl Iterator<Item = &'static str> + Clone {
    TYPES.iter().map(|(name, _)| *name)
}

/// Checks one policy; `depth` is 0 at the top level. Returns its name and rule.
pub fn check(node: &Node, path: String, cx: &mut PolicyCheck<'_>, depth: usize) -> Option<(String, PolicyRule)> {
    let section = Section::new(node, path, cx.diagnostics);
    if depth > NESTING_MAX {
        section.error("type", code::LIMIT, format!("policies nest deeper than {NESTING_MAX}"), None);
        return None;
    }
    let name = section.string("name").or_else(|| section.missing("name", "a name, unique among the policies"));
    let kind = section.string("type").or_else(|| section.missing("type", "a policy type"));
    cx.within.push(name.clone().unwrap_or_default());
    let rule = kind.and_then(|kind| check_type(&section, &kind, cx, depth));
    cx.within.pop();
    section.finish();
    Some((name?, rule?))
}

fn check_type(section: &Section<'_>, kind: &str, cx: &mut PolicyCheck<'_>, depth: usize) -> Option<PolicyRule> {
    let known = types();
    for other in known.clone().filter(|other| *other != kind) {
        section.without_effect(other, "the policy's type is another");
    }
    let Some((_, check)) = TYPES.iter().find(|(name, _)| *name == kind) else {
        let expected = match nearest(kind, known.clone()) {
            Some(near) => format!("`{near}`"),
            None => format!("one of {}", known.collect::<Vec<_>>().join(", ")),
        };
        return section.invalid("type", format!("{kind:?} is not a policy type"), &expected);
    };
    let empty = Node::null(section.place());
    let body = section.node(kind).unwrap_or(&empty);
    let body = Section::new(body, section.child_path(kind), cx.diagnostics);
    let rule = check(&body, cx, depth);
    body.finish();
    rule
}

/// Checks a list of sub-policies under `key`; none at all is an error.
pub fn check_list(section: &Section<'_>, key: &str, cx: &mut PolicyCheck<'_>, depth: usize) -> Option<Vec<SubPolicy>> {
    let items = match section.list(key) {
        Some(items) if !items.is_empty() => items,
        Some(_) => return section.invalid(key, "the list is empty", "at least one policy"),
        None => return section.missing(key, "a list of policies"),
    };
    let path = section.child_path(key);
    let mut part = |(at, item)| {
        let (name, rule) = check(item, format!("{path}::{at}"), cx, depth + 1)?;
        Some(SubPolicy { name, rule })
    };
    let checked: Vec<_> = items.iter().enumerate().map(&mut part).collect();
    checked.into_iter().collect()
}
