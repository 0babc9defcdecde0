//! Mapping mode `otel`: documents as Elasticsearch's templates `traces-otel`, `logs-otel` and `metrics-otel` expect them.

mod frame;
mod log;
mod metric;
mod span;

pub use log::logs;
pub use metric::metrics;
pub use span::spans;

use crate::exporters::elasticsearch::mapping::json::push_key;
use crate::otlp::json::text;

/// A time as the templates take it with nanoseconds: a string of milliseconds, point, remaining nanoseconds (not padded;
/// the mapping reads them so).
#[inline]
fn push_time(out: &mut Vec<u8>, key: &str, nanos: u64) {
    push_key(out, key);
    out.push(b'"');
    text::push_unsigned(out, nanos / 1_000_000);
    out.push(b'.');
    text::push_unsigned(out, nanos % 1_000_000);
    out.extend_from_slice(b"\",");
}
