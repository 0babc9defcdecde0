//! What the sampler tells of itself: counts, metrics, and the page `/v1/sampling`.

pub mod counts;
pub mod early;
pub mod given_shadow;
pub mod metrics;
pub mod page;
pub mod policy_counts;
pub mod recent;
