//! Components that change, hold or decide.

pub mod batch;
pub mod k8s_attributes;
pub mod memory_limiter;
