//! Times that can be trusted: when items were made, whether the wall clock stepped, and the moment a resource is looked at.

pub mod clock_steps;
pub mod item_times;
pub mod moment;
