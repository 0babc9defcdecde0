//! From a plan to what runs, and from what runs to what another plan wants.

pub mod restart;
pub mod units;
pub mod wire;
