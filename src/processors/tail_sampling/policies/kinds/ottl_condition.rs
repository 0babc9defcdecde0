//! `ottl_condition`: any span or span event that satisfies any of these conditions.
//!
//! YAML: `ottl_condition: {error_mode: ignore, span: ['attributes["k"] == "v"'], spanevent: ['name == "exception"']}`. With
//! `error_mode: propagate` a condition that fails on any span fails the policy for the whole trace, whatever the order of
//! spans; with `ignore` and `silent` only that condition counts as not met for that span.

use crate::config::check::Section;
use crate::ottl::{Condition, Context};
use crate::processors::tail_sampling::policies::decision::{TraceSummary, Vote};
use crate::processors::tail_sampling::policies::predicates::LeafId;
use crate::processors::tail_sampling::policies::{PolicyCheck, PolicyRule};

#[derive(Clone, Copy, Debug)]
pub struct Ottl {
    pub hit: LeafId,
    pub failed: LeafId,
    /// A failure fails the policy.
    pub propagate: bool,
}

impl Ottl {
    pub fn vote(&self, summary: &TraceSummary) -> Vote {
        if summary.bits.has(self.failed) {
            return Vote::Failed;
        }
        if summary.bits.has(self.hit) { Vote::Sampled } else { Vote::NotSampled }
    }
}

pub fn check(section: &Section<'_>, cx: &mut PolicyCheck<'_>, _depth: usize) -> Option<PolicyRule> {
    let modes = [("ignore", false), ("silent", false), ("propagate", true)];
    let propagate = section.choice("error_mode", &modes).unwrap_or(true);
    let spans = check_conditions(section, "span", Context::Span);
    let events = check_conditions(section, "spanevent", Context::SpanEvent);
    let (spans, events) = (spans?, events?);
    if spans.is_empty() && events.is_empty() {
        return section.missing("span", "at least one condition under span or spanevent");
    }
    let texts = |key| section.strings(key).unwrap_or_default().join(" or ");
    let question = match (texts("span"), texts("spanevent")) {
        (span, event) if event.is_empty() => format!("span with {span}"),
        (span, event) if span.is_empty() => format!("span event with {event}"),
        (span, event) => format!("span with {span}, or span event with {event}"),
    };
    let (hit, failed) = cx.leaves.conditions(spans, events, propagate, question);
    Some(PolicyRule::Ottl(Ottl { hit, failed, propagate }))
}

fn check_conditions(section: &Section<'_>, key: &str, context: Context) -> Option<Vec<Condition>> {
    let texts = section.strings(key).unwrap_or_default();
    let parsed: Vec<Option<Condition>> = texts
        .iter()
        .map(|text| match Condition::parse(text, context) {
            Ok(condition) => Some(condition),
            Err(fault) => section.invalid(key, format!("{fault} in {text:?}"), "an OTTL condition"),
        })
        .collect();
    parsed.into_iter().collect()
}
