//! Envelopes taken apart and joined: by trace, by size, by item.

pub mod latest_time;
pub mod portion;
pub mod rewrite;
pub mod split;
