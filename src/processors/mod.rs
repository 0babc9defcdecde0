//! Components that change, hold or decide.

pub mod batch;
pub mod memory_limiter;
