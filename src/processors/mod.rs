//! Components that change, hold or decide.
pub mod batch;
pub mod filter;
pub mod k8s_attributes;
pub mod memory_limiter;
pub mod tail_sampling;
pub mod transform;
