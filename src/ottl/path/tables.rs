//! Which names each context knows and where they stand on the wire (opentelemetry-proto v1; names as in contrib
//! pkg/ottl/contexts). Tables only: reading and writing is next door.

use crate::ottl::Context;

/// How a part is read from its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathPart {
    Text(u32),
    /// An id: empty or so many bytes.
    Id(u32, usize),
    Hex(u32, usize),
    /// Varint as an enumeration: 32 bits with a sign.
    Number(u32),
    /// Varint as a count: 32 bits without a sign.
    Unsigned(u32),
    /// Zigzag varint.
    Signed(u32),
    /// Eight bytes as an integer: times in nanoseconds, counts.
    Fixed(u32),
    /// Eight bytes as a moment.
    Moment(u32),
    Double(u32),
    /// Four bytes. Wider numbers are refused, or lose their upper bits.
    Flags(u32, bool),
    Attributes(u32),
    /// An `AnyValue` message.
    Any(u32),
    /// The same as text.
    AnyText(u32),
    StatusCode,
    StatusMessage,
    KindName,
    /// The name that the kind had in protobuf.
    KindConstant,
    TraceState,
    /// Messages of which there is only a number.
    Pieces(u32),
    /// The points of a metric.
    DataPoints,
    /// Numbers of eight bytes, side by side.
    Counts(u32),
    Doubles(u32),
    /// Where the buckets in this field begin.
    Offset(u32),
    /// The buckets in this field.
    Buckets(u32),
    MetricType,
    Temporality,
    Monotonic,
    /// Depends on the kind of data point.
    Point(PointPart),
}

/// Parts of data points, whose numbers differ from kind to kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointPart {
    Attributes,
    ValueDouble,
    ValueInt,
    Flags,
    Count,
    Sum,
    Scale,
    ZeroCount,
    Exemplars,
    BucketCounts,
    ExplicitBounds,
    PositiveOffset,
    PositiveCounts,
    NegativeOffset,
    NegativeCounts,
    Quantiles,
}

/// The kind of a metric: field of the metric that holds its points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Points {
    #[default]
    None,
    Gauge,
    Sum,
    Histogram,
    Exponential,
    Summary,
}

impl Points {
    /// By field number in `Metric`.
    pub fn of(field: u32) -> Points {
        match field {
            5 => Points::Gauge,
            7 => Points::Sum,
            9 => Points::Histogram,
            10 => Points::Exponential,
            11 => Points::Summary,
            _ => Points::None,
        }
    }

    /// Field number in `Metric`; 0 for none.
    pub fn field(self) -> u32 {
        match self {
            Points::None => 0,
            Points::Gauge => 5,
            Points::Sum => 7,
            Points::Histogram => 9,
            Points::Exponential => 10,
            Points::Summary => 11,
        }
    }

    /// The value of `metric.type` (pmetric.MetricType).
    pub fn code(self) -> i64 {
        self as i64
    }
}

impl PointPart {
    /// Where the part stands in a point of this kind; `None` where such points have none.
    pub fn within(self, points: Points) -> Option<PathPart> {
        let number = matches!(points, Points::Gauge | Points::Sum);
        let part = match (self, points) {
            (_, Points::None) => return None,
            (PointPart::Attributes, Points::Histogram) => PathPart::Attributes(9),
            (PointPart::Attributes, Points::Exponential) => PathPart::Attributes(1),
            (PointPart::Attributes, _) => PathPart::Attributes(7),
            (PointPart::ValueDouble, _) if number => PathPart::Double(4),
            (PointPart::ValueInt, _) if number => PathPart::Fixed(6),
            (PointPart::ValueDouble | PointPart::ValueInt, _) => return None,
            (PointPart::Flags, Points::Histogram | Points::Exponential) => PathPart::Unsigned(10),
            (PointPart::Flags, _) => PathPart::Unsigned(8),
            (PointPart::Count, _) if !number => PathPart::Fixed(4),
            (PointPart::Sum, _) if !number => PathPart::Double(5),
            (PointPart::Scale, Points::Exponential) => PathPart::Signed(6),
            (PointPart::ZeroCount, Points::Exponential) => PathPart::Fixed(7),
            (PointPart::Exemplars, Points::Histogram) => PathPart::Pieces(8),
            (PointPart::Exemplars, Points::Exponential) => PathPart::Pieces(11),
            (PointPart::Exemplars, _) if number => PathPart::Pieces(5),
            (PointPart::BucketCounts, Points::Histogram) => PathPart::Counts(6),
            (PointPart::ExplicitBounds, Points::Histogram) => PathPart::Doubles(7),
            (PointPart::PositiveOffset, Points::Exponential) => PathPart::Offset(8),
            (PointPart::PositiveCounts, Points::Exponential) => PathPart::Buckets(8),
            (PointPart::NegativeOffset, Points::Exponential) => PathPart::Offset(9),
            (PointPart::NegativeCounts, Points::Exponential) => PathPart::Buckets(9),
            (PointPart::Quantiles, Points::Summary) => PathPart::Pieces(6),
            _ => return None,
        };
        Some(part)
    }
}

type Table = &'static [(&'static str, PathPart)];

const SPAN: Table = &[
    ("attributes", PathPart::Attributes(9)),
    ("trace_id", PathPart::Id(1, 16)),
    ("trace_id.string", PathPart::Hex(1, 16)),
    ("span_id", PathPart::Id(2, 8)),
    ("span_id.string", PathPart::Hex(2, 8)),
    ("parent_span_id", PathPart::Id(4, 8)),
    ("parent_span_id.string", PathPart::Hex(4, 8)),
    ("trace_state", PathPart::TraceState),
    ("name", PathPart::Text(5)),
    ("kind", PathPart::Number(6)),
    ("kind.string", PathPart::KindName),
    ("kind.deprecated_string", PathPart::KindConstant),
    ("events", PathPart::Pieces(11)),
    ("links", PathPart::Pieces(13)),
    ("start_time_unix_nano", PathPart::Fixed(7)),
    ("end_time_unix_nano", PathPart::Fixed(8)),
    ("start_time", PathPart::Moment(7)),
    ("end_time", PathPart::Moment(8)),
    ("dropped_attributes_count", PathPart::Unsigned(10)),
    ("dropped_events_count", PathPart::Unsigned(12)),
    ("dropped_links_count", PathPart::Unsigned(14)),
    ("status.code", PathPart::StatusCode),
    ("status.message", PathPart::StatusMessage),
    ("flags", PathPart::Flags(16, true)),
];

const EVENT: Table = &[
    ("attributes", PathPart::Attributes(3)),
    ("time_unix_nano", PathPart::Fixed(1)),
    ("time", PathPart::Moment(1)),
    ("name", PathPart::Text(2)),
    ("dropped_attributes_count", PathPart::Unsigned(4)),
];

const LOG: Table = &[
    ("attributes", PathPart::Attributes(6)),
    ("body", PathPart::Any(5)),
    ("body.string", PathPart::AnyText(5)),
    ("time_unix_nano", PathPart::Fixed(1)),
    ("observed_time_unix_nano", PathPart::Fixed(11)),
    ("time", PathPart::Moment(1)),
    ("observed_time", PathPart::Moment(11)),
    ("severity_number", PathPart::Number(2)),
    ("severity_text", PathPart::Text(3)),
    ("dropped_attributes_count", PathPart::Unsigned(7)),
    ("flags", PathPart::Flags(8, false)),
    ("trace_id", PathPart::Id(9, 16)),
    ("trace_id.string", PathPart::Hex(9, 16)),
    ("span_id", PathPart::Id(10, 8)),
    ("span_id.string", PathPart::Hex(10, 8)),
    ("event_name", PathPart::Text(12)),
];

const METRIC: Table = &[
    ("name", PathPart::Text(1)),
    ("description", PathPart::Text(2)),
    ("unit", PathPart::Text(3)),
    ("type", PathPart::MetricType),
    ("aggregation_temporality", PathPart::Temporality),
    ("is_monotonic", PathPart::Monotonic),
    ("metadata", PathPart::Attributes(12)),
    ("data_points", PathPart::DataPoints),
];

const POINT: Table = &[
    ("attributes", PathPart::Point(PointPart::Attributes)),
    ("start_time_unix_nano", PathPart::Fixed(2)),
    ("time_unix_nano", PathPart::Fixed(3)),
    ("start_time", PathPart::Moment(2)),
    ("time", PathPart::Moment(3)),
    ("value_double", PathPart::Point(PointPart::ValueDouble)),
    ("value_int", PathPart::Point(PointPart::ValueInt)),
    ("flags", PathPart::Point(PointPart::Flags)),
    ("count", PathPart::Point(PointPart::Count)),
    ("sum", PathPart::Point(PointPart::Sum)),
    ("scale", PathPart::Point(PointPart::Scale)),
    ("zero_count", PathPart::Point(PointPart::ZeroCount)),
    ("exemplars", PathPart::Point(PointPart::Exemplars)),
    ("bucket_counts", PathPart::Point(PointPart::BucketCounts)),
    ("explicit_bounds", PathPart::Point(PointPart::ExplicitBounds)),
    ("positive.offset", PathPart::Point(PointPart::PositiveOffset)),
    ("positive.bucket_counts", PathPart::Point(PointPart::PositiveCounts)),
    ("negative.offset", PathPart::Point(PointPart::NegativeOffset)),
    ("negative.bucket_counts", PathPart::Point(PointPart::NegativeCounts)),
    ("quantile_values", PathPart::Point(PointPart::Quantiles)),
];

const SCOPE: Table = &[
    ("attributes", PathPart::Attributes(3)),
    ("name", PathPart::Text(1)),
    ("version", PathPart::Text(2)),
    ("dropped_attributes_count", PathPart::Unsigned(4)),
];

const RESOURCE: Table = &[("attributes", PathPart::Attributes(1)), ("dropped_attributes_count", PathPart::Unsigned(2))];

/// What a context knows under its own name.
pub fn names(context: Context) -> Table {
    match context {
        Context::Resource => RESOURCE,
        Context::Scope => SCOPE,
        Context::Span => SPAN,
        Context::SpanEvent => EVENT,
        Context::Metric => METRIC,
        Context::DataPoint => POINT,
        Context::Log => LOG,
    }
}

/// Names a Collector has and podgate has not, so that a fault can tell them from a slip of the pen.
pub const NOT_BUILT: &[&str] = &["status", "positive", "negative", "schema_url"];

/// The same for contexts: first names of paths.
pub const CONTEXTS_NOT_BUILT: &[&str] = &["otelcol", "profile", "profilesample", "exemplar"];
