//! `trace_flags`: any span whose W3C sampled flag is set (lowest bit of `flags`). YAML: `{name: s, type: trace_flags}`.

use crate::config::check::Section;
use crate::processors::tail_sampling::policies::leaf::Leaf;
use crate::processors::tail_sampling::policies::{PolicyCheck, PolicyRule};

pub fn check(_section: &Section<'_>, cx: &mut PolicyCheck<'_>, _depth: usize) -> Option<PolicyRule> {
    Some(PolicyRule::Leaf(Leaf::plain(cx.leaves.sampled_flag())))
}
