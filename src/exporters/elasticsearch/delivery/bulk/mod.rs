//! One `_bulk` request: its lines, the node it goes to, how many run at once, and what the answer means.

pub mod batch;
pub mod concurrency;
pub mod loss;
pub mod nodes;
pub mod post;
pub mod progress;
pub mod verdict;
