//! The values that several components read alike: addresses, durations, sizes, patterns, secrets.

pub mod address;
pub mod duration;
pub mod pattern;
pub mod secret;
pub mod size;
