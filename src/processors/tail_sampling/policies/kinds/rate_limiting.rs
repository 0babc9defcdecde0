//! `rate_limiting`: traces while their spans fit a token bucket.
//!
//! YAML: `rate_limiting: {spans_per_second: 100, burst_capacity: 200}`; the burst is twice the rate unless written. A
//! trace with more spans than the burst never passes.

use crate::config::check::Section;
use crate::processors::tail_sampling::policies::meter::MeterPlan;
use crate::processors::tail_sampling::policies::{PolicyCheck, PolicyRule};

pub fn check(section: &Section<'_>, cx: &mut PolicyCheck<'_>, _depth: usize) -> Option<PolicyRule> {
    let plan = check_bucket(section, "spans_per_second")?;
    Some(PolicyRule::RateLimiting(cx.meter("", plan)))
}

/// Reads a rate, under the key given, and `burst_capacity`.
pub fn check_bucket(section: &Section<'_>, key: &str) -> Option<MeterPlan> {
    let burst = section.u64("burst_capacity").filter(|burst| *burst != 0);
    let Some(rate) = section.u64(key) else {
        return section.missing(key, "a whole number a second");
    };
    if rate == 0 {
        return section.invalid(key, "a rate of 0 keeps nothing", "1 or more");
    }
    let burst = burst.unwrap_or(rate.saturating_mul(2));
    Some(MeterPlan::Bucket { rate: rate as f64, burst: burst as f64 })
}
