//! Components that hand data on.

pub mod elasticsearch;
pub mod otlp;
pub mod sending;
