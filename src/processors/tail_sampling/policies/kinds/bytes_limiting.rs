//! `bytes_limiting`: traces while their bytes fit a token bucket.
//!
//! YAML: `bytes_limiting: {bytes_per_second: 1000000, burst_capacity: 2000000}`; the burst is twice the rate unless
//! written. A trace larger than the burst never passes.

use crate::config::check::Section;
use crate::processors::tail_sampling::policies::kinds::rate_limiting::check_bucket;
use crate::processors::tail_sampling::policies::{PolicyCheck, PolicyRule};

pub fn check(section: &Section<'_>, cx: &mut PolicyCheck<'_>, _depth: usize) -> Option<PolicyRule> {
    let plan = check_bucket(section, "bytes_per_second")?;
    Some(PolicyRule::BytesLimiting(cx.meter("", plan)))
}
