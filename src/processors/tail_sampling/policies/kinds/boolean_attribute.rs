//! `boolean_attribute`: any resource or span whose attribute has this value.
//!
//! YAML: `boolean_attribute: {key: cache.hit, value: true, invert_match: false}`. A value that is no boolean reads as
//! false, as in the Collector.

use crate::config::check::Section;
use crate::processors::tail_sampling::policies::leaf::Leaf;
use crate::processors::tail_sampling::policies::matching::ValueTest;
use crate::processors::tail_sampling::policies::{PolicyCheck, PolicyRule};

pub fn check(section: &Section<'_>, cx: &mut PolicyCheck<'_>, depth: usize) -> Option<PolicyRule> {
    let key = section.string("key").or_else(|| section.missing("key", "the name of an attribute"));
    let value = section.bool("value").unwrap_or(false);
    let invert = section.bool("invert_match");
    Leaf::lint_invert(section, invert, cx, depth);
    let leaf = cx.leaves.attribute(&key?, ValueTest::Is(value));
    Some(PolicyRule::Leaf(Leaf::with_invert(leaf, invert, cx.invert, depth)))
}
