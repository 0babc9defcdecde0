//! The keys under `retry`: how often, how long, and for which statuses.

use std::time::Duration;

use crate::config::check::Section;
use crate::core::diagnostic::code;
use crate::core::node::Value;
use crate::exporters::elasticsearch::delivery::bulk::concurrency::Waits;
use crate::exporters::elasticsearch::delivery::bulk::verdict::RetryableStatuses;
use crate::exporters::elasticsearch::delivery::settings::RetryRule;

const INITIAL: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(60);

/// Without the block everything passing is repeated until it is taken: ids make that safe, and the queue is bounded. Upstream
/// gives up after two attempts more.
pub fn check(section: &Section<'_>) -> RetryRule {
    let mut rule = RetryRule {
        max_retries: None,
        waits: Waits { initial: INITIAL, longest: LONGEST },
        statuses: RetryableStatuses::default(),
        document_statuses: RetryableStatuses::default(),
    };
    let Some(keys) = section.section("retry") else { return rule };
    let enabled = keys.bool("enabled").unwrap_or(true);
    let number = |key| keys.u64(key).map(|count| u32::try_from(count).unwrap_or(u32::MAX));
    rule.max_retries = number("max_retries").filter(|count| *count > 0);
    if let Some(requests) = number("max_requests") {
        keys.warn(
            "max_requests",
            code::IGNORED_KEY,
            "`max_requests` counts the first attempt",
            Some("write max_retries, one less"),
        );
        rule.max_retries = rule.max_retries.or((requests > 0).then(|| requests.saturating_sub(1)));
    }
    rule.waits.initial = keys.duration("initial_interval").unwrap_or(INITIAL);
    rule.waits.longest = keys.duration("max_interval").unwrap_or(LONGEST);
    for (key, wait) in [("initial_interval", rule.waits.initial), ("max_interval", rule.waits.longest)] {
        if wait.is_zero() {
            keys.invalid::<()>(key, format!("`{key}` is 0"), "a duration such as 100ms");
        }
    }
    rule.waits.longest = rule.waits.longest.max(rule.waits.initial);
    if let Some(list) = statuses(&keys, "retry_on_status") {
        rule.statuses = list.clone();
        rule.document_statuses = list;
    }
    if let Some(list) = statuses(&keys, "retry_on_document_status") {
        rule.document_statuses = list;
    }
    keys.finish();
    if !enabled {
        rule.max_retries = Some(0);
    }
    rule
}

fn statuses(keys: &Section<'_>, key: &str) -> Option<RetryableStatuses> {
    let list = keys.list(key)?;
    let mut read = Vec::new();
    for node in list.iter() {
        match node.value {
            Value::Int(status @ 100..=599) => read.extend(u16::try_from(status)),
            _ => return keys.invalid(key, "an entry is no HTTP status", "numbers from 100 to 599, such as [429, 503]"),
        }
    }
    Some(RetryableStatuses::new(read))
}
