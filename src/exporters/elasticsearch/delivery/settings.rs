//! What delivery is configured with, as the keys say it.

use std::time::Duration;

use crate::exporters::elasticsearch::delivery::bulk::concurrency::Waits;
use crate::exporters::elasticsearch::delivery::bulk::post::PostSettings;
use crate::exporters::elasticsearch::delivery::bulk::verdict::RetryableStatuses;
use crate::exporters::elasticsearch::delivery::dead_letter::file::DeadLetterSettings;
use crate::exporters::elasticsearch::mapping::MappingSettings;

/// What delivery is configured with.
#[derive(Clone, Debug)]
pub struct DeliverySettings {
    pub post: PostSettings,
    pub mapping: MappingSettings,
    pub retry: RetryRule,
    pub bulk_bytes: usize,
    pub parked_bytes: usize,
    pub dead_letter: Option<DeadLetterSettings>,
    pub show_reasons: bool,
    pub requests_at_once: usize,
    pub telemetry: DebugLogging,
    /// Without a queue, or with `wait_for_result`, the sender waits no longer than this; `None` when nobody waits.
    pub sender_waits: Option<Duration>,
}

/// What the keys under `retry` say.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryRule {
    /// `None` repeats until the document is taken or refused for good.
    pub max_retries: Option<u32>,
    pub waits: Waits,
    pub statuses: RetryableStatuses,
    pub document_statuses: RetryableStatuses,
}

/// What the keys under `telemetry` say: what of the traffic stands in the debug log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DebugLogging {
    pub request_body: bool,
    pub response_body: bool,
    pub failed_documents: bool,
    pub failed_documents_every: Duration,
}
