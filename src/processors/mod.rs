//! Components that change, hold or decide.
pub mod attributes;
pub mod batch;
pub mod filter;
pub mod k8s_attributes;
pub mod memory_limiter;
pub mod probabilistic_sampler;
pub mod resource;
pub mod resource_detection;
pub mod tail_sampling;
pub mod transform;
