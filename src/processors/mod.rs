//! Components that change, hold or decide.
pub mod tail_sampling;
