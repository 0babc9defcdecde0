//! Attributes of the pod itself, the same for each of its resources: worked out once and cached.

pub mod announce;
pub mod attribute_cache;
pub mod attributes;
