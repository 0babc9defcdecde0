//! Components that take data in.

pub mod file_log;
pub mod journald;
pub mod k8s_audit;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod otlp;
mod source;
