//! Why an item, or a data point, has no document.

use crate::otlp::walk::Malformed;

/// Why an item, or a data point, has no document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingFault {
    #[error("the bytes cannot be walked: {0}")]
    Malformed(#[from] Malformed),
    #[error("the first point of a cumulative histogram only sets the baseline")]
    Baseline,
    #[error("a point of a cumulative histogram came later than a newer one")]
    Stale,
    #[error("a histogram that says neither delta nor cumulative")]
    Temporality,
    #[error("the value is not a finite number")]
    NotFinite,
    #[error("the point says that no value was recorded")]
    NoRecordedValue,
    #[error("another point of the same metric, time and attributes came first")]
    Duplicate,
    #[error("the point has no value")]
    Empty,
    #[error("the metric's data comes in several parts")]
    Parts,
    #[error("the metric has no name")]
    Unnamed,
    #[error("the numbers of bucket counts and bounds do not match")]
    Buckets,
    #[error("the mapping mode that the scope names does not exist or is not allowed")]
    Mode,
    #[error("the mapping mode has no documents for this signal")]
    Unsupported,
    #[error("mode bodymap takes only records whose body is a map")]
    Body,
    #[error("profiles have no documents yet")]
    Profiles,
}

impl MappingFault {
    /// A short word for metrics.
    pub fn reason(self) -> &'static str {
        match self {
            MappingFault::Malformed(_) => "malformed",
            MappingFault::Baseline => "cumulative_baseline",
            MappingFault::Stale => "cumulative_stale",
            MappingFault::Temporality => "temporality",
            MappingFault::NotFinite => "not_finite",
            MappingFault::NoRecordedValue => "no_recorded_value",
            MappingFault::Duplicate => "duplicate_point",
            MappingFault::Empty => "empty_point",
            MappingFault::Parts => "metric_in_parts",
            MappingFault::Unnamed => "unnamed_metric",
            MappingFault::Buckets => "bad_buckets",
            MappingFault::Mode => "mapping_mode",
            MappingFault::Unsupported | MappingFault::Profiles => "unsupported_signal",
            MappingFault::Body => "body_not_a_map",
        }
    }
}
