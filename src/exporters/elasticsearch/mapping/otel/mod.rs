//! Mapping mode `otel`: documents as Elasticsearch's templates `traces-otel`, `logs-otel` and `metrics-otel` expect them.

mod frame;
mod log;
mod metric;
mod span;
mod time;

pub use log::logs;
pub use metric::metrics;
pub use span::spans;
