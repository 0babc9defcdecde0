//! What inflating may make, and why it ends.

use bytes::Bytes;

use crate::core::data::budget::{OverBudget, Ticket};
use crate::core::limits::LONG_WORK_BYTES;
use crate::core::offload::Aside;

/// A body that grows more than a hundredfold and beyond this is an attack, not telemetry.
pub const RATIO_MAX: u64 = 100;

const RATIO_FREE_BYTES: u64 = 8 << 20;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    #[error("the decompressed request is larger than the limit of {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("the request decompresses to more than {RATIO_MAX} times its size")]
    Ratio,
    #[error(transparent)]
    OverBudget(#[from] OverBudget),
    /// The name of the format and what is wrong.
    #[error("the body is not valid {0}: {1}")]
    Corrupt(&'static str, String),
}

/// The largest output allowed, and which rule set it.
#[derive(Clone, Copy, Debug)]
pub struct Cap {
    pub(super) bytes: u64,
    by_ratio: bool,
    limit: u64,
}

impl Cap {
    pub(super) fn of(compressed: u64, limit: u64) -> Cap {
        let ratio = compressed.saturating_mul(RATIO_MAX).max(RATIO_FREE_BYTES);
        Cap { bytes: limit.min(ratio), by_ratio: ratio < limit, limit }
    }

    /// No more than `limit`, whatever it is made of.
    #[cfg(feature = "kafka")]
    pub(super) fn exact(limit: u64) -> Cap {
        Cap { bytes: limit, by_ratio: false, limit }
    }

    pub(super) fn error(self) -> InflateError {
        if self.by_ratio { InflateError::Ratio } else { InflateError::TooLarge { limit: self.limit } }
    }
}

/// What a decoder may produce: the cap, and the ticket that grows with it.
pub struct Output<'a> {
    pub(super) limit: Cap,
    pub(super) ticket: &'a Ticket,
    pub(super) aside: &'a Aside,
}

/// How many bytes of protobuf are read while one compressed byte is inflated, at most: twenty bytes can state codes that
/// take microseconds to set up, and give nothing.
pub const EFFORT: u64 = 8;

/// Whether so many compressed bytes are inflated beside the worker's other tasks whatever comes of them.
pub fn is_long(input: &Bytes) -> bool {
    input.len() as u64 * EFFORT >= LONG_WORK_BYTES
}

impl Output<'_> {
    /// Room for a size that is known beforehand.
    pub(super) fn exactly(&self, bytes: u64) -> Result<Vec<u8>, InflateError> {
        if bytes > self.limit.bytes {
            return Err(self.limit.error());
        }
        self.ticket.grow(bytes)?;
        // granted: the ticket has grown for it
        Ok(Vec::with_capacity(usize::try_from(bytes).unwrap_or(usize::MAX)))
    }
}

/// Adds the format's name to a decoder's complaint.
pub fn corrupt(format: &'static str, error: impl ToString) -> InflateError {
    InflateError::Corrupt(format, error.to_string())
}
