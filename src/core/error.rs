//! The few errors that cross stages, and the fixed vocabulary of reasons under which items are counted.

use std::time::Duration;

/// Why items were dropped or refused: a metric label, so the set is fixed at compile time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reason(pub &'static str);

impl Reason {
    /// Bytes that are not valid protobuf, or an item nested deeper than the limit.
    pub const MALFORMED: Reason = Reason("malformed");
    /// Sent to the `nop` exporter on purpose.
    pub const NOP: Reason = Reason("nop");
    /// The byte budget or a store's account had no room.
    pub const MEMORY: Reason = Reason("memory");
    pub const QUEUE_FULL: Reason = Reason("queue_full");
    /// The next hop answered with a permanent error.
    pub const PERMANENT: Reason = Reason("permanent");
    /// The next hop accepted the request but named these items as rejected.
    pub const PARTIAL_SUCCESS: Reason = Reason("partial_success");
    /// Retries used up their time.
    pub const RETRIES_EXHAUSTED: Reason = Reason("retries_exhausted");
    /// The next hop is not reachable or asked to come back later.
    pub const UNAVAILABLE: Reason = Reason("unavailable");
    /// The drain deadline came first.
    pub const SHUTDOWN: Reason = Reason("shutdown");
    /// A panic in our own code; a bug.
    pub const INTERNAL: Reason = Reason("internal");
    /// Larger than the configured maximum.
    pub const TOO_LARGE: Reason = Reason("too_large");
    /// The next hop has another record of the same identity.
    pub const CONFLICT: Reason = Reason("conflict");
    /// The index takes no writes, or none of ours.
    pub const BLOCKED: Reason = Reason("blocked");
    /// Not delivered, and kept in the dead-letter file.
    pub const DEAD_LETTER: Reason = Reason("dead_letter");
    /// A filter's condition held.
    pub const FILTERED: Reason = Reason("filtered");
    /// A statement of the transform took items away, or made one of several.
    pub const TRANSFORMED: Reason = Reason("transformed");
    /// A condition or statement failed, and its error mode says that the payload fails with it.
    pub const STATEMENT: Reason = Reason("statement");
    /// Whoever waited for the answer went away between two attempts, and a part had been taken already.
    pub const ABANDONED: Reason = Reason("abandoned");
    /// The fan-out answered for this branch with another branch's error.
    pub const OTHER_BRANCH: Reason = Reason("other_branch_failed");

    /// Dropped because the configuration says so: no loss that a sender is told of.
    pub fn is_on_purpose(self) -> bool {
        self == Reason::FILTERED || self == Reason::TRANSFORMED || self == Reason::NOP
    }
}

/// The answer of a stage that did not accept a payload.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsumeError {
    /// Not now: the sender keeps the data and may retry, at the earliest after `after`.
    #[error("refused ({}): {message}", reason.0)]
    Refused { reason: Reason, after: Option<Duration>, message: String },
    /// Never: the same bytes would be rejected again.
    #[error("rejected ({}): {message}", reason.0)]
    Rejected { reason: Reason, message: String },
}

impl ConsumeError {
    pub fn refused(reason: Reason, message: impl Into<String>) -> ConsumeError {
        ConsumeError::Refused { reason, after: None, message: message.into() }
    }

    pub fn rejected(reason: Reason, message: impl Into<String>) -> ConsumeError {
        ConsumeError::Rejected { reason, message: message.into() }
    }

    pub fn reason(&self) -> Reason {
        match self {
            ConsumeError::Refused { reason, .. } | ConsumeError::Rejected { reason, .. } => *reason,
        }
    }

    pub fn is_retryable(&self) -> bool {
        matches!(self, ConsumeError::Refused { .. })
    }
}

/// A component could not start (a port in use, a file not writable). The process exits with code 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{component}: {message}{}", help.as_ref().map(|help| format!("; {help}")).unwrap_or_default())]
pub struct StartError {
    /// Path of the component in the configuration, `receivers::otlp`.
    pub component: String,
    pub message: String,
    /// What the reader can do about it.
    pub help: Option<String>,
}
