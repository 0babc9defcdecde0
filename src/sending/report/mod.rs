//! What an exporter tells of its next hop: the Collector's metrics, and one log line when its state changes.

pub mod condition;
pub mod cure;
pub mod log;
pub mod metrics;
