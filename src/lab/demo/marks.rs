//! What spans were given, by the time at which they were made.

use std::collections::BTreeMap;

use crate::core::time::UnixNanos;

/// What the spans of a lane were given, by the time at which they were made.
#[derive(Clone, Debug, Default)]
pub struct SpanMarks(pub BTreeMap<u64, SlotMark>);

impl SpanMarks {
    /// Nanoseconds of a slot.
    pub const SLOT: u64 = 250_000_000;

    pub fn slot(at: UnixNanos) -> u64 {
        at.0 / SpanMarks::SLOT
    }
}

/// The runs that a span of one slot was given: by podgate and by the hint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotMark {
    pub podgate: Given,
    pub hint: Given,
}

/// Ordered by how much it matters to whoever looks: of several in one slot the last in this order is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Given {
    #[default]
    Nothing,
    /// There was a span, and it was given no id.
    Missing,
    Right(i64),
    Wrong(i64),
}
