//! `status_code`: any span with one of these statuses. YAML: `status_code: {status_codes: [ERROR, UNSET]}`.

use crate::config::check::{Section, text_of};
use crate::processors::tail_sampling::policies::leaf::Leaf;
use crate::processors::tail_sampling::policies::predicates::SpanStatus;
use crate::processors::tail_sampling::policies::{PolicyCheck, PolicyRule};

pub fn check(section: &Section<'_>, cx: &mut PolicyCheck<'_>, _depth: usize) -> Option<PolicyRule> {
    let items = match section.list("status_codes") {
        Some(items) if !items.is_empty() => items,
        Some(_) => return section.invalid("status_codes", "the list is empty", "OK, ERROR or UNSET"),
        None => return section.missing("status_codes", "a list of OK, ERROR, UNSET"),
    };
    let codes: Option<Vec<SpanStatus>> = items
        .iter()
        .map(|item| match text_of(item).as_deref() {
            Some("OK") => Some(SpanStatus::Ok),
            Some("ERROR") => Some(SpanStatus::Error),
            Some("UNSET") => Some(SpanStatus::Unset),
            other => {
                let found = other.unwrap_or("this").to_owned();
                section.invalid("status_codes", format!("{found:?} is not a status code"), "OK, ERROR or UNSET")
            }
        })
        .collect();
    Some(PolicyRule::Leaf(Leaf::plain(cx.leaves.status(&codes?))))
}
