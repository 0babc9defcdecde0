//! Components that take data in.

#[cfg(feature = "kafka")]
pub mod kafka;
pub mod otlp;
