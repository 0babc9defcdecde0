//! Which names each context knows and where they stand on the wire (opentelemetry-proto v1; names as in contrib
//! pkg/ottl/contexts). Tables only: reading and writing is next door.

use crate::otlp::fields::common::instrumentation_scope;
use crate::otlp::fields::logs::log_record;
use crate::otlp::fields::metric_data;
use crate::otlp::fields::metrics::{
    exponential_histogram_data_point as exponential, histogram_data_point as histogram, metric,
    number_data_point as number_point, summary_data_point as summary,
};
use crate::otlp::fields::resource::resource;
use crate::otlp::fields::trace::{span, span_event};
use crate::ottl::context::Context;

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
    /// A text that stands beside its message.
    SchemaUrl,
    /// Which of its item's pieces a piece is, from 0 on.
    Place,
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
            metric::GAUGE => Points::Gauge,
            metric::SUM => Points::Sum,
            metric::HISTOGRAM => Points::Histogram,
            metric::EXPONENTIAL_HISTOGRAM => Points::Exponential,
            metric::SUMMARY => Points::Summary,
            _ => Points::None,
        }
    }

    /// Field number in `Metric`; 0 for none.
    pub fn field(self) -> u32 {
        match self {
            Points::None => 0,
            Points::Gauge => metric::GAUGE,
            Points::Sum => metric::SUM,
            Points::Histogram => metric::HISTOGRAM,
            Points::Exponential => metric::EXPONENTIAL_HISTOGRAM,
            Points::Summary => metric::SUMMARY,
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
            (PointPart::Attributes, Points::Histogram) => PathPart::Attributes(histogram::ATTRIBUTES),
            (PointPart::Attributes, Points::Exponential) => PathPart::Attributes(exponential::ATTRIBUTES),
            (PointPart::Attributes, Points::Summary) => PathPart::Attributes(summary::ATTRIBUTES),
            (PointPart::Attributes, _) => PathPart::Attributes(number_point::ATTRIBUTES),
            (PointPart::ValueDouble, _) if number => PathPart::Double(number_point::AS_DOUBLE),
            (PointPart::ValueInt, _) if number => PathPart::Fixed(number_point::AS_INT),
            (PointPart::ValueDouble | PointPart::ValueInt, _) => return None,
            (PointPart::Flags, Points::Histogram) => PathPart::Unsigned(histogram::FLAGS),
            (PointPart::Flags, Points::Exponential) => PathPart::Unsigned(exponential::FLAGS),
            (PointPart::Flags, Points::Summary) => PathPart::Unsigned(summary::FLAGS),
            (PointPart::Flags, _) => PathPart::Unsigned(number_point::FLAGS),
            (PointPart::Count, _) if !number => PathPart::Fixed(metric_data::POINT_COUNT),
            (PointPart::Sum, _) if !number => PathPart::Double(metric_data::POINT_SUM),
            (PointPart::Scale, Points::Exponential) => PathPart::Signed(exponential::SCALE),
            (PointPart::ZeroCount, Points::Exponential) => PathPart::Fixed(exponential::ZERO_COUNT),
            (PointPart::Exemplars, Points::Histogram) => PathPart::Pieces(histogram::EXEMPLARS),
            (PointPart::Exemplars, Points::Exponential) => PathPart::Pieces(exponential::EXEMPLARS),
            (PointPart::Exemplars, _) if number => PathPart::Pieces(number_point::EXEMPLARS),
            (PointPart::BucketCounts, Points::Histogram) => PathPart::Counts(histogram::BUCKET_COUNTS),
            (PointPart::ExplicitBounds, Points::Histogram) => PathPart::Doubles(histogram::EXPLICIT_BOUNDS),
            (PointPart::PositiveOffset, Points::Exponential) => PathPart::Offset(exponential::POSITIVE),
            (PointPart::PositiveCounts, Points::Exponential) => PathPart::Buckets(exponential::POSITIVE),
            (PointPart::NegativeOffset, Points::Exponential) => PathPart::Offset(exponential::NEGATIVE),
            (PointPart::NegativeCounts, Points::Exponential) => PathPart::Buckets(exponential::NEGATIVE),
            (PointPart::Quantiles, Points::Summary) => PathPart::Pieces(summary::QUANTILE_VALUES),
            _ => return None,
        };
        Some(part)
    }
}

type Table = &'static [(&'static str, PathPart)];

const SPAN: Table = &[
    ("attributes", PathPart::Attributes(span::ATTRIBUTES)),
    ("trace_id", PathPart::Id(span::TRACE_ID, 16)),
    ("trace_id.string", PathPart::Hex(span::TRACE_ID, 16)),
    ("span_id", PathPart::Id(span::SPAN_ID, 8)),
    ("span_id.string", PathPart::Hex(span::SPAN_ID, 8)),
    ("parent_span_id", PathPart::Id(span::PARENT_SPAN_ID, 8)),
    ("parent_span_id.string", PathPart::Hex(span::PARENT_SPAN_ID, 8)),
    ("trace_state", PathPart::TraceState),
    ("name", PathPart::Text(span::NAME)),
    ("kind", PathPart::Number(span::KIND)),
    ("kind.string", PathPart::KindName),
    ("kind.deprecated_string", PathPart::KindConstant),
    ("events", PathPart::Pieces(span::EVENTS)),
    ("links", PathPart::Pieces(span::LINKS)),
    ("start_time_unix_nano", PathPart::Fixed(span::START_TIME_UNIX_NANO)),
    ("end_time_unix_nano", PathPart::Fixed(span::END_TIME_UNIX_NANO)),
    ("start_time", PathPart::Moment(span::START_TIME_UNIX_NANO)),
    ("end_time", PathPart::Moment(span::END_TIME_UNIX_NANO)),
    ("dropped_attributes_count", PathPart::Unsigned(span::DROPPED_ATTRIBUTES_COUNT)),
    ("dropped_events_count", PathPart::Unsigned(span::DROPPED_EVENTS_COUNT)),
    ("dropped_links_count", PathPart::Unsigned(span::DROPPED_LINKS_COUNT)),
    ("status.code", PathPart::StatusCode),
    ("status.message", PathPart::StatusMessage),
    ("flags", PathPart::Flags(span::FLAGS, true)),
];

const EVENT: Table = &[
    ("attributes", PathPart::Attributes(span_event::ATTRIBUTES)),
    ("time_unix_nano", PathPart::Fixed(span_event::TIME_UNIX_NANO)),
    ("time", PathPart::Moment(span_event::TIME_UNIX_NANO)),
    ("name", PathPart::Text(span_event::NAME)),
    ("dropped_attributes_count", PathPart::Unsigned(span_event::DROPPED_ATTRIBUTES_COUNT)),
    ("event_index", PathPart::Place),
];

const LOG: Table = &[
    ("attributes", PathPart::Attributes(log_record::ATTRIBUTES)),
    ("body", PathPart::Any(log_record::BODY)),
    ("body.string", PathPart::AnyText(log_record::BODY)),
    ("time_unix_nano", PathPart::Fixed(log_record::TIME_UNIX_NANO)),
    ("observed_time_unix_nano", PathPart::Fixed(log_record::OBSERVED_TIME_UNIX_NANO)),
    ("time", PathPart::Moment(log_record::TIME_UNIX_NANO)),
    ("observed_time", PathPart::Moment(log_record::OBSERVED_TIME_UNIX_NANO)),
    ("severity_number", PathPart::Number(log_record::SEVERITY_NUMBER)),
    ("severity_text", PathPart::Text(log_record::SEVERITY_TEXT)),
    ("dropped_attributes_count", PathPart::Unsigned(log_record::DROPPED_ATTRIBUTES_COUNT)),
    ("flags", PathPart::Flags(log_record::FLAGS, false)),
    ("trace_id", PathPart::Id(log_record::TRACE_ID, 16)),
    ("trace_id.string", PathPart::Hex(log_record::TRACE_ID, 16)),
    ("span_id", PathPart::Id(log_record::SPAN_ID, 8)),
    ("span_id.string", PathPart::Hex(log_record::SPAN_ID, 8)),
    ("event_name", PathPart::Text(log_record::EVENT_NAME)),
];

const METRIC: Table = &[
    ("name", PathPart::Text(metric::NAME)),
    ("description", PathPart::Text(metric::DESCRIPTION)),
    ("unit", PathPart::Text(metric::UNIT)),
    ("type", PathPart::MetricType),
    ("aggregation_temporality", PathPart::Temporality),
    ("is_monotonic", PathPart::Monotonic),
    ("metadata", PathPart::Attributes(metric::METADATA)),
    ("data_points", PathPart::DataPoints),
];

const POINT: Table = &[
    ("attributes", PathPart::Point(PointPart::Attributes)),
    ("start_time_unix_nano", PathPart::Fixed(metric_data::POINT_START_TIME_UNIX_NANO)),
    ("time_unix_nano", PathPart::Fixed(metric_data::POINT_TIME_UNIX_NANO)),
    ("start_time", PathPart::Moment(metric_data::POINT_START_TIME_UNIX_NANO)),
    ("time", PathPart::Moment(metric_data::POINT_TIME_UNIX_NANO)),
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
    ("attributes", PathPart::Attributes(instrumentation_scope::ATTRIBUTES)),
    ("name", PathPart::Text(instrumentation_scope::NAME)),
    ("version", PathPart::Text(instrumentation_scope::VERSION)),
    ("dropped_attributes_count", PathPart::Unsigned(instrumentation_scope::DROPPED_ATTRIBUTES_COUNT)),
    ("schema_url", PathPart::SchemaUrl),
];

const RESOURCE: Table = &[
    ("attributes", PathPart::Attributes(resource::ATTRIBUTES)),
    ("dropped_attributes_count", PathPart::Unsigned(resource::DROPPED_ATTRIBUTES_COUNT)),
    ("schema_url", PathPart::SchemaUrl),
];

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
pub const NOT_BUILT: &[&str] = &["status", "positive", "negative"];

/// The same for contexts: first names of paths.
pub const CONTEXTS_NOT_BUILT: &[&str] = &["otelcol", "profile", "profilesample", "exemplar"];
