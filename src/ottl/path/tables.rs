//! Which names each context knows and where they stand on the wire (opentelemetry-proto v1; names as in contrib
//! pkg/ottl/contexts). Tables only: reading and writing is next door.

use crate::ottl::Context;

/// How a part is read from its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
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
    pub fn within(self, points: Points) -> Option<Part> {
        let number = matches!(points, Points::Gauge | Points::Sum);
        let part = match (self, points) {
            (_, Points::None) => return None,
            (PointPart::Attributes, Points::Histogram) => Part::Attributes(9),
            (PointPart::Attributes, Points::Exponential) => Part::Attributes(1),
            (PointPart::Attributes, _) => Part::Attributes(7),
            (PointPart::ValueDouble, _) if number => Part::Double(4),
            (PointPart::ValueInt, _) if number => Part::Fixed(6),
            (PointPart::ValueDouble | PointPart::ValueInt, _) => return None,
            (PointPart::Flags, Points::Histogram | Points::Exponential) => Part::Unsigned(10),
            (PointPart::Flags, _) => Part::Unsigned(8),
            (PointPart::Count, _) if !number => Part::Fixed(4),
            (PointPart::Sum, _) if !number => Part::Double(5),
            (PointPart::Scale, Points::Exponential) => Part::Signed(6),
            (PointPart::ZeroCount, Points::Exponential) => Part::Fixed(7),
            (PointPart::Exemplars, Points::Histogram) => Part::Pieces(8),
            (PointPart::Exemplars, Points::Exponential) => Part::Pieces(11),
            (PointPart::Exemplars, _) if number => Part::Pieces(5),
            (PointPart::BucketCounts, Points::Histogram) => Part::Counts(6),
            (PointPart::ExplicitBounds, Points::Histogram) => Part::Doubles(7),
            (PointPart::PositiveOffset, Points::Exponential) => Part::Offset(8),
            (PointPart::PositiveCounts, Points::Exponential) => Part::Buckets(8),
            (PointPart::NegativeOffset, Points::Exponential) => Part::Offset(9),
            (PointPart::NegativeCounts, Points::Exponential) => Part::Buckets(9),
            (PointPart::Quantiles, Points::Summary) => Part::Pieces(6),
            _ => return None,
        };
        Some(part)
    }
}

type Table = &'static [(&'static str, Part)];

const SPAN: Table = &[
    ("attributes", Part::Attributes(9)),
    ("trace_id", Part::Id(1, 16)),
    ("trace_id.string", Part::Hex(1, 16)),
    ("span_id", Part::Id(2, 8)),
    ("span_id.string", Part::Hex(2, 8)),
    ("parent_span_id", Part::Id(4, 8)),
    ("parent_span_id.string", Part::Hex(4, 8)),
    ("trace_state", Part::TraceState),
    ("name", Part::Text(5)),
    ("kind", Part::Number(6)),
    ("kind.string", Part::KindName),
    ("kind.deprecated_string", Part::KindConstant),
    ("events", Part::Pieces(11)),
    ("links", Part::Pieces(13)),
    ("start_time_unix_nano", Part::Fixed(7)),
    ("end_time_unix_nano", Part::Fixed(8)),
    ("start_time", Part::Moment(7)),
    ("end_time", Part::Moment(8)),
    ("dropped_attributes_count", Part::Unsigned(10)),
    ("dropped_events_count", Part::Unsigned(12)),
    ("dropped_links_count", Part::Unsigned(14)),
    ("status.code", Part::StatusCode),
    ("status.message", Part::StatusMessage),
    ("flags", Part::Flags(16, true)),
];

const EVENT: Table = &[
    ("attributes", Part::Attributes(3)),
    ("time_unix_nano", Part::Fixed(1)),
    ("time", Part::Moment(1)),
    ("name", Part::Text(2)),
    ("dropped_attributes_count", Part::Unsigned(4)),
];

const LOG: Table = &[
    ("attributes", Part::Attributes(6)),
    ("body", Part::Any(5)),
    ("body.string", Part::AnyText(5)),
    ("time_unix_nano", Part::Fixed(1)),
    ("observed_time_unix_nano", Part::Fixed(11)),
    ("time", Part::Moment(1)),
    ("observed_time", Part::Moment(11)),
    ("severity_number", Part::Number(2)),
    ("severity_text", Part::Text(3)),
    ("dropped_attributes_count", Part::Unsigned(7)),
    ("flags", Part::Flags(8, false)),
    ("trace_id", Part::Id(9, 16)),
    ("trace_id.string", Part::Hex(9, 16)),
    ("span_id", Part::Id(10, 8)),
    ("span_id.string", Part::Hex(10, 8)),
    ("event_name", Part::Text(12)),
];

const METRIC: Table = &[
    ("name", Part::Text(1)),
    ("description", Part::Text(2)),
    ("unit", Part::Text(3)),
    ("type", Part::MetricType),
    ("aggregation_temporality", Part::Temporality),
    ("is_monotonic", Part::Monotonic),
    ("metadata", Part::Attributes(12)),
    ("data_points", Part::DataPoints),
];

const POINT: Table = &[
    ("attributes", Part::Point(PointPart::Attributes)),
    ("start_time_unix_nano", Part::Fixed(2)),
    ("time_unix_nano", Part::Fixed(3)),
    ("start_time", Part::Moment(2)),
    ("time", Part::Moment(3)),
    ("value_double", Part::Point(PointPart::ValueDouble)),
    ("value_int", Part::Point(PointPart::ValueInt)),
    ("flags", Part::Point(PointPart::Flags)),
    ("count", Part::Point(PointPart::Count)),
    ("sum", Part::Point(PointPart::Sum)),
    ("scale", Part::Point(PointPart::Scale)),
    ("zero_count", Part::Point(PointPart::ZeroCount)),
    ("exemplars", Part::Point(PointPart::Exemplars)),
    ("bucket_counts", Part::Point(PointPart::BucketCounts)),
    ("explicit_bounds", Part::Point(PointPart::ExplicitBounds)),
    ("positive.offset", Part::Point(PointPart::PositiveOffset)),
    ("positive.bucket_counts", Part::Point(PointPart::PositiveCounts)),
    ("negative.offset", Part::Point(PointPart::NegativeOffset)),
    ("negative.bucket_counts", Part::Point(PointPart::NegativeCounts)),
    ("quantile_values", Part::Point(PointPart::Quantiles)),
];

const SCOPE: Table = &[
    ("attributes", Part::Attributes(3)),
    ("name", Part::Text(1)),
    ("version", Part::Text(2)),
    ("dropped_attributes_count", Part::Unsigned(4)),
];

const RESOURCE: Table = &[("attributes", Part::Attributes(1)), ("dropped_attributes_count", Part::Unsigned(2))];

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
