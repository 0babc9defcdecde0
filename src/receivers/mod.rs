//! Components that take data in.

pub mod otlp;
