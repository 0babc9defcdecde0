//! Values while a condition is evaluated: what kinds there are, how they compare, and how they are shown.

mod compare;
pub mod failure;
mod kinds;
pub mod moment;
mod shown;

pub use kinds::{DEPTH_MAX, ELEMENTS_MAX, IdBytes, OttlValue, ValueStep, pieces};
pub use moment::ZonedTime;
pub use shown::hex;
