//! A member of a consumer group: the partitions it has, what is on its way of each, and what it commits.

pub mod held;
pub mod partition;
pub mod window;
