//! What the receiver tells of itself: metrics, first data, refusals, and the page of its peers.

pub mod first_data;
pub mod metrics;
pub mod peers;
pub mod refusals;
