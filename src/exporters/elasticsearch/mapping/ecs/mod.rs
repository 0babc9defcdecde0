//! Mapping mode `ecs`: nested objects under the names of the Elastic Common Schema, as the Collector's exporter writes
//! them for Elastic's APM streams.
//!
//! Attributes stand at the root, resource before scope before record, and the document's own fields come last: of two
//! values for one name the last stays.

mod log;
mod metric;
mod rename;
mod shared;
mod span;

pub use log::logs;
pub use metric::metrics;
pub use span::spans;
