//! Weights: how many traces like it a kept trace stands for, the inverse of the probability with which it was kept.
//!
//! The probability is that of the whole decision (any policy, whatever its nesting), found by deciding again for each way
//! in which chance may fall: policies stay the only description of what is kept.

pub mod draw;
pub mod marking;
pub mod salted;
pub mod tick;
