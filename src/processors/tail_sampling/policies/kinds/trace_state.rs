//! `trace_state`: any span whose W3C trace state has this member. YAML: `trace_state: {key: vendor, values: [abc]}`.

use crate::config::check::Section;
use crate::processors::tail_sampling::policies::leaf::Leaf;
use crate::processors::tail_sampling::policies::trace_state_list::TraceStateTest;
use crate::processors::tail_sampling::policies::{PolicyCheck, PolicyRule};

pub fn check(section: &Section<'_>, cx: &mut PolicyCheck<'_>, _depth: usize) -> Option<PolicyRule> {
    let key = section.string("key").or_else(|| section.missing("key", "the key of a trace state member"));
    let values = section.strings("values").unwrap_or_default();
    let values = values.into_iter().map(|value| value.into_bytes().into()).collect();
    let test = TraceStateTest { key: key?.into_bytes().into(), values };
    Some(PolicyRule::Leaf(Leaf::plain(cx.leaves.trace_state(test))))
}
