//! Policies: one file per type, each checking its body and compiling to a [`Rule`] over bits and sums.
//!
//! A rule is evaluated on the merged summary of a trace. Rules nest to any reasonable depth, without the Collector's
//! limits on what may stand inside `and`, `not`, `drop` and `composite`.

pub mod always_sample;
pub mod and;
pub mod boolean_attribute;
pub mod bytes_limiting;
pub mod composite;
pub mod drop;
pub mod latency;
pub mod leaf;
pub mod meter;
pub mod not;
pub mod numeric_attribute;
pub mod ottl_condition;
pub mod probabilistic;
pub mod rate_limiting;
pub mod span_count;
pub mod status_code;
pub mod string_attribute;
pub mod trace_flags;
pub mod trace_state;

use crate::config::check::{Section, nearest};
use crate::core::diagnostic::{Diagnostics, code};
use crate::core::node::Node;
use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::decision::{Summary, Vote};
use crate::processors::tail_sampling::leaves::LeavesBuilder;
use crate::processors::tail_sampling::policies::meter::{MeterPlan, Meters};

/// What a policy asks of a trace.
#[derive(Debug)]
pub enum Rule {
    Always,
    Leaf(leaf::Leaf),
    Latency(latency::Latency),
    Probabilistic(probabilistic::Probabilistic),
    SpanCount(span_count::SpanCount),
    RateLimiting(meter::MeterId),
    BytesLimiting(meter::MeterId),
    Ottl(ottl_condition::Ottl),
    And(Vec<Rule>),
    Not(Box<Rule>),
    Drop(Vec<Rule>),
    Composite(composite::Composite),
}

impl Rule {
    pub fn vote(&self, summary: &Summary, meters: &Meters, now: UnixNanos) -> Vote {
        match self {
            Rule::Always => Vote::Sampled,
            Rule::Leaf(leaf) => leaf.vote(summary),
            Rule::Latency(latency) => yes_or_no(latency.matches(summary)),
            Rule::Probabilistic(chance) => yes_or_no(chance.matches(&summary.trace_id)),
            Rule::SpanCount(range) => yes_or_no(range.matches(summary.spans)),
            Rule::RateLimiting(meter) => yes_or_no(meters.take(*meter, summary.spans, now)),
            Rule::BytesLimiting(meter) => yes_or_no(meters.take(*meter, summary.bytes, now)),
            Rule::Ottl(ottl) => ottl.vote(summary),
            Rule::And(rules) => and::vote(rules, summary, meters, now),
            Rule::Not(rule) => not::vote(rule, summary, meters, now),
            Rule::Drop(rules) => drop::vote(rules, summary, meters, now),
            Rule::Composite(composite) => composite.vote(summary, meters, now),
        }
    }

    /// How many traces one that this rule keeps stands for.
    pub fn weight(&self) -> f32 {
        match self {
            Rule::Probabilistic(chance) => chance.weight(),
            // All of them draw from the same id, so the rarest decides.
            Rule::And(rules) => rules.iter().map(Rule::weight).fold(1.0, f32::max),
            _ => 1.0,
        }
    }

    /// True when the outcome depends on what was decided before, or on spans still to come.
    pub fn is_stateful(&self) -> bool {
        match self {
            Rule::RateLimiting(_) | Rule::BytesLimiting(_) => true,
            Rule::Latency(latency) => latency.up_to.is_some(),
            Rule::SpanCount(range) => range.max.is_some(),
            Rule::And(rules) | Rule::Drop(rules) => rules.iter().any(Rule::is_stateful),
            Rule::Not(rule) => rule.is_stateful(),
            Rule::Composite(composite) => composite.rules().any(Rule::is_stateful),
            Rule::Always | Rule::Leaf(_) | Rule::Probabilistic(_) | Rule::Ottl(_) => false,
        }
    }
}

fn yes_or_no(yes: bool) -> Vote {
    if yes { Vote::Sampled } else { Vote::NotSampled }
}

/// Whether a `NotSampled` of this policy counts against a trace (only inverted matches before v0.144 ask).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Voter,
    Drop,
}

/// One policy of the top level.
#[derive(Debug)]
pub struct Policy {
    pub name: String,
    /// Its place in the configuration; drop policies are evaluated first wherever they stand.
    pub place: u16,
    pub role: Role,
    pub rule: Rule,
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
    pub invert: InvertMeaning,
    /// Whether the old meaning of `invert_match` was asked for, so that nobody has to be told of the new one.
    pub invert_chosen: bool,
}

/// How far policies may nest; a limit on recursion, not on taste.
pub const NESTING_MAX: usize = 16;

type CheckBody = fn(&Section<'_>, &mut PolicyCheck<'_>, usize) -> Option<Rule>;

/// Every policy type with its check; the body stands under a key of the same name.
const TYPES: &[(&str, CheckBody)] = &[
    ("always_sample", always_sample::check),
    ("and", and::check),
    ("boolean_attribute", boolean_attribute::check),
    ("bytes_limiting", bytes_limiting::check),
    ("composite", composite::check),
    ("drop", drop::check),
    ("latency", latency::check),
    ("not", not::check),
    ("numeric_attribute", numeric_attribute::check),
    ("ottl_condition", ottl_condition::check),
    ("probabilistic", probabilistic::check),
    ("rate_limiting", rate_limiting::check),
    ("span_count", span_count::check),
    ("status_code", status_code::check),
    ("string_attribute", string_attribute::check),
    ("trace_flags", trace_flags::check),
    ("trace_state", trace_state::check),
];

/// The names of all policy types.
pub fn types() -> impl Iterator<Item = &'static str> + Clone {
    TYPES.iter().map(|(name, _)| *name)
}

/// Checks one policy; `depth` is 0 at the top level. Returns its name and rule.
pub fn check(node: &Node, path: String, cx: &mut PolicyCheck<'_>, depth: usize) -> Option<(String, Rule)> {
    let section = Section::new(node, path, cx.diagnostics);
    if depth > NESTING_MAX {
        section.error("type", code::LIMIT, format!("policies nest deeper than {NESTING_MAX}"), None);
        return None;
    }
    let name = section.string("name").or_else(|| section.missing("name", "a name, unique among the policies"));
    let kind = section.string("type").or_else(|| section.missing("type", "a policy type"));
    let rule = kind.and_then(|kind| check_type(&section, &kind, cx, depth));
    section.finish();
    Some((name?, rule?))
}

fn check_type(section: &Section<'_>, kind: &str, cx: &mut PolicyCheck<'_>, depth: usize) -> Option<Rule> {
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
pub fn check_list(
    section: &Section<'_>,
    key: &str,
    cx: &mut PolicyCheck<'_>,
    depth: usize,
) -> Option<Vec<(String, Rule)>> {
    let items = match section.list(key) {
        Some(items) if !items.is_empty() => items,
        Some(_) => return section.invalid(key, "the list is empty", "at least one policy"),
        None => return section.missing(key, "a list of policies"),
    };
    let path = section.child_path(key);
    let checked: Vec<_> =
        items.iter().enumerate().map(|(at, item)| check(item, format!("{path}::{at}"), cx, depth + 1)).collect();
    checked.into_iter().collect()
}
