//! What the exporter tells of itself: metrics, log lines, and the cure for each failure.

pub mod cure;
pub mod log;
pub mod metrics;
