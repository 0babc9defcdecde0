//! Components that hand data on.

pub mod otlp;
pub mod sending;
