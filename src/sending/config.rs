//! The keys every exporter has for sending: `timeout`, `sending_queue`, `retry_on_failure`. Names and defaults are the
//! Collector's (exporterhelper).

use std::time::Duration;

use crate::config::check::Section;
use crate::config::metadata::metadata_keys;
use crate::core::limits::REQUEST_BYTES_MAX;
use crate::core::stage::component::ComponentId;
use crate::core::stage::factory::Checks;
use crate::sending::backoff::RetrySettings;
use crate::sending::queue::{BatchRule, Sizer};

/// What sending is configured with.
#[derive(Clone, Debug, PartialEq)]
pub struct SendingSettings {
    /// Of one attempt.
    pub timeout: Duration,
    /// `None` sends while the caller waits.
    pub queue: Option<QueueSettings>,
    /// `None` tries once.
    pub retry: Option<RetrySettings>,
    /// Larger requests are cut before they are sent.
    pub request_bytes_max: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSettings {
    pub num_consumers: usize,
    /// In units of `sizer`.
    pub queue_size: u64,
    pub sizer: Sizer,
    pub block_on_overflow: bool,
    pub wait_for_result: bool,
    pub batch: Option<BatchRule>,
    /// The id of the log on disk; without one what is queued is in memory alone.
    pub storage: Option<String>,
}

impl Default for QueueSettings {
    fn default() -> QueueSettings {
        QueueSettings {
            num_consumers: 10,
            queue_size: 1000,
            sizer: Sizer::Requests,
            block_on_overflow: false,
            wait_for_result: false,
            batch: None,
            storage: None,
        }
    }
}

impl SendingSettings {
    /// Headers by which the queue's batches are kept apart; `None` where it makes none.
    pub fn merges_by(&self) -> Option<&[String]> {
        let batch = self.queue.as_ref()?.batch.as_ref()?;
        Some(&batch.metadata_keys)
    }

    /// Reads the sending keys of an exporter's section.
    pub fn check(section: &Section<'_>, checks: &Checks, timeout: Duration) -> SendingSettings {
        let queue = queue(section, checks, QueueSettings::default());
        let is_stored = queue.as_ref().is_some_and(|queue| queue.storage.is_some());
        SendingSettings {
            timeout: section.duration("timeout").unwrap_or(timeout),
            queue,
            retry: retry(section, is_stored),
            request_bytes_max: REQUEST_BYTES_MAX,
        }
    }
}

/// A positive number, or the default after reporting.
fn positive(section: &Section<'_>, key: &str, default: u64) -> u64 {
    match section.u64(key) {
        Some(0) => section.invalid(key, format!("`{key}` is 0"), "a number of 1 or more").unwrap_or(default),
        value => value.unwrap_or(default),
    }
}

const SIZERS: &[(&str, Sizer)] = &[("requests", Sizer::Requests), ("items", Sizer::Items), ("bytes", Sizer::Bytes)];

/// Reads `sending_queue`; what is not written is as in `default`.
pub fn queue(section: &Section<'_>, checks: &Checks, default: QueueSettings) -> Option<QueueSettings> {
    let Some(keys) = section.section("sending_queue") else { return Some(default) };
    let enabled = keys.bool("enabled").unwrap_or(true);
    let num_consumers = usize::try_from(positive(&keys, "num_consumers", default.num_consumers as u64));
    let settings = QueueSettings {
        num_consumers: num_consumers.unwrap_or(default.num_consumers).min(1_000),
        queue_size: positive(&keys, "queue_size", default.queue_size),
        sizer: keys.choice("sizer", SIZERS).unwrap_or(default.sizer),
        block_on_overflow: keys.bool("block_on_overflow").unwrap_or(default.block_on_overflow),
        wait_for_result: keys.bool("wait_for_result").unwrap_or(default.wait_for_result),
        batch: None,
        storage: None,
    };
    let batch = batch(&keys, &settings, default.batch);
    let storage = storage(&keys, checks, enabled, settings.wait_for_result);
    keys.finish();
    enabled.then_some(QueueSettings { batch, storage, ..settings })
}

/// The id of the log that keeps the queue. Whether there is one of that id is seen when all components are known.
fn storage(keys: &Section<'_>, checks: &Checks, enabled: bool, wait_for_result: bool) -> Option<String> {
    if keys.node("storage").is_none_or(|node| node.is_null()) {
        return None;
    }
    let written = keys.string("storage")?;
    let Some(id) = ComponentId::parse(&written) else {
        return keys.invalid("storage", format!("{written:?} is no id"), "the id of a `file_storage` extension");
    };
    if !enabled {
        keys.without_effect("storage", "there is no queue to keep: `enabled` is false");
        return None;
    }
    if wait_for_result {
        let message = "`storage` keeps what was acknowledged, and with `wait_for_result` the acknowledgement comes after delivery";
        return keys.invalid("storage", message, "one of the two keys");
    }
    checks.storages.borrow_mut().push((id.clone(), keys.child_path("storage"), keys.place_of("storage")));
    Some(id.to_string())
}

/// The field's defaults for a `batch` block, where an exporter has none of its own.
const BATCH: BatchRule = BatchRule {
    flush_timeout: Duration::from_millis(200),
    min_size: 8192,
    max_size: 0,
    sizer: Sizer::Items,
    apart_by: None,
    metadata_keys: Vec::new(),
};

fn batch(keys: &Section<'_>, queue: &QueueSettings, absent: Option<BatchRule>) -> Option<BatchRule> {
    let Some(keys) = keys.section("batch") else { return absent };
    let default = absent.unwrap_or(BATCH);
    let metadata_keys = partition(&keys);
    // An `enabled: false` written into the block is how the Collector's users turn it off in an overlay.
    let enabled = keys.bool("enabled").unwrap_or(true);
    let min_size = keys.u64("min_size").unwrap_or(default.min_size);
    let rule = BatchRule {
        flush_timeout: keys.duration("flush_timeout").unwrap_or(default.flush_timeout),
        min_size,
        // A smallest size above the default of the largest one moves it along.
        max_size: keys.u64("max_size").unwrap_or(if default.max_size == 0 {
            0
        } else {
            default.max_size.max(min_size)
        }),
        sizer: keys.choice("sizer", &SIZERS[1..]).unwrap_or(default.sizer),
        apart_by: default.apart_by,
        metadata_keys,
    };
    if rule.flush_timeout.is_zero() {
        keys.invalid::<()>("flush_timeout", "`flush_timeout` is 0", "a duration such as 200ms");
    }
    if rule.max_size > 0 && rule.max_size < rule.min_size {
        let message = format!("`max_size` {} is below `min_size` {}", rule.max_size, rule.min_size);
        keys.invalid::<()>("max_size", message, "0 or a size of at least min_size");
    }
    if queue.sizer == rule.sizer && rule.min_size > queue.queue_size {
        let message = format!("`min_size` {} can never be reached in a queue of {}", rule.min_size, queue.queue_size);
        keys.invalid::<()>("min_size", message, "a size below queue_size");
    }
    keys.finish();
    enabled.then_some(rule)
}

/// The headers of `partition: {metadata_keys: [...]}`, in lower case.
fn partition(keys: &Section<'_>) -> Vec<String> {
    let Some(keys) = keys.section("partition") else { return Vec::new() };
    let names = metadata_keys(&keys);
    keys.finish();
    names
}

/// What stands on disk is not given up after a time unless the configuration says so.
fn retry(section: &Section<'_>, is_stored: bool) -> Option<RetrySettings> {
    let mut default = RetrySettings::default();
    if is_stored {
        default.max_elapsed_time = Duration::ZERO;
    }
    let Some(keys) = section.section("retry_on_failure") else { return Some(default) };
    let enabled = keys.bool("enabled").unwrap_or(true);
    let settings = RetrySettings {
        initial_interval: keys.duration("initial_interval").unwrap_or(default.initial_interval),
        randomization_factor: keys.f64("randomization_factor").unwrap_or(default.randomization_factor),
        multiplier: keys.f64("multiplier").unwrap_or(default.multiplier),
        max_interval: keys.duration("max_interval").unwrap_or(default.max_interval),
        max_elapsed_time: keys.duration("max_elapsed_time").unwrap_or(default.max_elapsed_time),
    };
    if !(0.0..=1.0).contains(&settings.randomization_factor) {
        let message = format!("{} is outside", settings.randomization_factor);
        keys.invalid::<()>("randomization_factor", message, "a number from 0 to 1");
    }
    if !(0.0..=100.0).contains(&settings.multiplier) {
        keys.invalid::<()>("multiplier", format!("{} is outside", settings.multiplier), "a number from 1 to 100");
    }
    if settings.initial_interval.is_zero() {
        keys.invalid::<()>("initial_interval", "`initial_interval` is 0", "a duration such as 5s");
    }
    let elapsed = settings.max_elapsed_time;
    if !elapsed.is_zero() && elapsed < settings.initial_interval {
        let message = "`max_elapsed_time` is below `initial_interval`, so nothing is ever retried";
        keys.invalid::<()>("max_elapsed_time", message, "0 (no end) or a longer duration");
    }
    keys.finish();
    enabled.then_some(settings)
}
