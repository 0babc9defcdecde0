//! `numeric_attribute`: any resource or span whose attribute lies in a range.
//!
//! YAML: `numeric_attribute: {key: http.status_code, min_value: 400, max_value: 599, invert_match: false}`. Both ends
//! belong to the range; a bound of 0 is no bound, and a value that is no integer reads as 0, as in the Collector.

use crate::config::check::Section;
use crate::processors::tail_sampling::policies::leaf::Leaf;
use crate::processors::tail_sampling::policies::matching::ValueTest;
use crate::processors::tail_sampling::policies::{PolicyCheck, PolicyRule};

pub fn check(section: &Section<'_>, cx: &mut PolicyCheck<'_>, depth: usize) -> Option<PolicyRule> {
    let key = section.string("key").or_else(|| section.missing("key", "the name of an attribute"));
    let min = section.i64("min_value").filter(|bound| *bound != 0);
    let max = section.i64("max_value").filter(|bound| *bound != 0);
    let invert = section.bool("invert_match");
    Leaf::lint_invert(section, invert, cx, depth);
    if min.is_none() && max.is_none() {
        return section.missing("min_value", "min_value or max_value other than 0");
    }
    if let (Some(low), Some(high)) = (min, max)
        && low > high
    {
        return section.invalid("max_value", "the upper bound is below the lower one", "at least min_value");
    }
    let leaf = cx.leaves.attribute(&key?, ValueTest::Within { min, max });
    Some(PolicyRule::Leaf(Leaf::with_invert(leaf, invert, cx.invert, depth)))
}
