//! `span_count`: how many spans the trace has. YAML: `span_count: {min_spans: 2, max_spans: 20}`.
//!
//! Both ends belong to the range; 0 or absent means no bound.

use crate::config::check::Section;
use crate::processors::tail_sampling::policies::{PolicyCheck, PolicyRule};

#[derive(Clone, Copy, Debug)]
pub struct SpanCount {
    pub min: u64,
    pub max: Option<u64>,
}

pub fn check(section: &Section<'_>, _cx: &mut PolicyCheck<'_>, _depth: usize) -> Option<PolicyRule> {
    let min = section.u64("min_spans").unwrap_or(0);
    let max = section.u64("max_spans").filter(|max| *max != 0);
    if max.is_some_and(|max| max < min) {
        return section.invalid("max_spans", "the upper bound is below the lower one", "at least min_spans");
    }
    Some(PolicyRule::SpanCount(SpanCount { min, max }))
}

impl SpanCount {
    pub fn matches(&self, spans: u64) -> bool {
        spans >= self.min && self.max.is_none_or(|max| spans <= max)
    }
}
