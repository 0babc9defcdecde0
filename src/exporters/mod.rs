//! Components that hand data on.

pub mod debug;
pub mod elasticsearch;
pub mod file;
#[cfg(feature = "kafka")]
pub mod kafka;
pub mod nop;
pub mod otlp;
pub mod writing;
