//! `always_sample`: every trace. YAML: `{name: all, type: always_sample}`.

use crate::config::check::Section;
use crate::processors::tail_sampling::policies::{PolicyCheck, PolicyRule};

pub fn check(_section: &Section<'_>, _cx: &mut PolicyCheck<'_>, _depth: usize) -> Option<PolicyRule> {
    Some(PolicyRule::Always)
}
