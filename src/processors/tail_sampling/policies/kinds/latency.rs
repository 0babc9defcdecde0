//! `latency`: whole milliseconds from the earliest start to the latest end of the trace.
//!
//! YAML: `latency: {threshold_ms: 500, upper_threshold_ms: 5000}`. Kept when longer than the threshold and, with an upper
//! one, no longer than that (0 = none). The Collector compares while it adds span after span, so that with an upper bound
//! the order of spans changes its verdict (contrib #43948); here only the whole trace counts.

use crate::config::check::Section;
use crate::processors::tail_sampling::policies::decision::TraceSummary;
use crate::processors::tail_sampling::policies::{PolicyCheck, PolicyRule};

#[derive(Clone, Copy, Debug)]
pub struct LatencyPolicy {
    /// Milliseconds, exclusive.
    pub above: i64,
    /// Milliseconds, inclusive.
    pub up_to: Option<i64>,
}

pub fn check(section: &Section<'_>, _cx: &mut PolicyCheck<'_>, _depth: usize) -> Option<PolicyRule> {
    let above = section.i64("threshold_ms").unwrap_or(0);
    let up_to = section.i64("upper_threshold_ms").filter(|limit| *limit != 0);
    if up_to.is_some_and(|limit| limit < above) {
        return section.invalid(
            "upper_threshold_ms",
            "the upper bound is below the lower one",
            "more than threshold_ms",
        );
    }
    Some(PolicyRule::Latency(LatencyPolicy { above, up_to }))
}

impl LatencyPolicy {
    pub fn matches(&self, summary: &TraceSummary) -> bool {
        let millis = summary.duration_millis();
        millis > self.above && self.up_to.is_none_or(|limit| millis <= limit)
    }
}
