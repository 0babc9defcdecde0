//! The Collector's keys that every such receiver has: `retry_on_failure` and `storage`.

use std::time::Duration;

use crate::config::check::Section;
use crate::core::stage::component::ComponentId;
use crate::core::stage::factory::CheckContext;

/// Waits between attempts to hand on what a stage refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedRetry {
    pub first: Duration,
    pub longest: Duration,
    /// When records are given up; `None`: they stay in their source until they are taken.
    pub at_most: Option<Duration>,
}

/// `retry_on_failure`, with the Collector's waits.
pub fn refused_retry(section: &Section<'_>) -> RefusedRetry {
    let mut retry = RefusedRetry { first: Duration::from_secs(1), longest: Duration::from_secs(30), at_most: None };
    let Some(keys) = section.section("retry_on_failure") else { return retry };
    // What is not taken stays in its source whether or not it is enabled.
    keys.bool("enabled");
    retry.first = keys.duration("initial_interval").unwrap_or(retry.first).max(Duration::from_millis(10));
    retry.longest = keys.duration("max_interval").unwrap_or(retry.longest).max(retry.first);
    retry.at_most = keys.duration("max_elapsed_time").filter(|most| !most.is_zero());
    keys.finish();
    retry
}

/// `storage`: the id of the extension in whose folder the receiver keeps how far it came.
pub fn storage(cx: &CheckContext<'_>, section: &Section<'_>) -> Option<String> {
    let text = section.string("storage").filter(|text| !text.is_empty())?;
    let Some(id) = ComponentId::parse(&text) else {
        return section.invalid("storage", format!("{text:?} is no id"), "the id of an extension such as file_storage");
    };
    let wanted = (id.clone(), section.child_path("storage"), section.place_of("storage"));
    cx.checks.storages.borrow_mut().push(wanted);
    Some(id.to_string())
}
