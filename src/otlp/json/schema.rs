//! The messages of OTLP as one table: JSON name, field number, kind. Both directions of the JSON form read it.
//!
//! Rows stand in the order in which the Collector writes them. Profiles are in `profiles.rs`. A new field of the
//! protocol is one row here.

use crate::core::payload::Signal;
use crate::otlp::json::profiles;

/// One message type.
#[derive(Debug)]
pub struct Message {
    pub fields: &'static [Field],
    /// Bits of the rows that form the message's oneof; OTLP has at most one in a message.
    pub oneof: u32,
    /// `ArrayValue` and `KeyValueList`: one more level of values.
    pub nests: bool,
    /// Groups of the envelope: their length is written in a fixed width, see `read`.
    pub group: bool,
}

/// One row.
#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    pub number: u32,
    pub kind: Kind,
    pub presence: Presence,
}

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    String,
    /// Base64 in JSON.
    Bytes,
    /// A trace (16), span (8) or profile (16) id: hex in JSON, this many bytes.
    Id(usize),
    /// The same where one that cannot be an id costs its item or less: it is written with a length that no id has, and met
    /// where those of protobuf are (`otlp::readable`).
    LooseId(usize),
    Bool,
    Int32,
    Sint32,
    Uint32,
    Fixed32,
    Int64,
    Uint64,
    Fixed64,
    Sfixed64,
    Double,
    Enum(&'static [&'static str]),
    Message(&'static Message),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Zero and absent are the same.
    Plain,
    /// Zero is a value: `optional` fields and members of a oneof.
    Explicit,
    Member,
    Repeated,
    /// A message the Collector writes even when it is absent.
    Always,
}

impl Message {
    pub const fn new(fields: &'static [Field]) -> Message {
        Message { fields, oneof: oneof_bits(fields), nests: false, group: false }
    }

    const fn group(fields: &'static [Field]) -> Message {
        Message { fields, oneof: 0, nests: false, group: true }
    }

    const fn nesting(fields: &'static [Field]) -> Message {
        Message { fields, oneof: 0, nests: true, group: false }
    }

    /// Row of a JSON key: lowerCamelCase, or the snake_case of the .proto file, which the Collector reads too. Looks
    /// from `hint` on first, because keys mostly come in one order.
    #[inline]
    pub fn row(&self, key: &[u8], hint: usize) -> Option<usize> {
        let hint = hint.min(self.fields.len());
        let (before, after) = self.fields.split_at(hint);
        let found = after.iter().position(|field| field.is_named(key)).map(|at| at + hint);
        found.or_else(|| before.iter().position(|field| field.is_named(key)))
    }

    #[inline]
    pub fn row_of_number(&self, number: u32) -> Option<usize> {
        self.fields.iter().position(|field| field.number == number)
    }
}

impl Field {
    #[inline]
    fn is_named(&self, key: &[u8]) -> bool {
        self.name.as_bytes() == key || (key.contains(&b'_') && is_snake_of(key, self.name.as_bytes()))
    }
}

/// Whether `snake` is the snake_case spelling of `camel`.
fn is_snake_of(snake: &[u8], camel: &[u8]) -> bool {
    let mut at = 0;
    for letter in camel {
        if letter.is_ascii_uppercase() {
            if snake.get(at) != Some(&b'_') {
                return false;
            }
            at += 1;
        }
        if snake.get(at) != Some(&letter.to_ascii_lowercase()) {
            return false;
        }
        at += 1;
    }
    at == snake.len()
}

const fn oneof_bits(fields: &[Field]) -> u32 {
    let mut bits = 0;
    let mut row = 0;
    while row < fields.len() {
        if matches!(fields[row].presence, Presence::Member) {
            bits |= 1 << row;
        }
        row += 1;
    }
    bits
}

pub const fn plain(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, presence: Presence::Plain }
}

const fn optional(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, presence: Presence::Explicit }
}

const fn member(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, presence: Presence::Member }
}

pub const fn repeated(name: &'static str, number: u32, kind: Kind) -> Field {
    Field { name, number, kind, presence: Presence::Repeated }
}

pub const fn always(name: &'static str, number: u32, message: &'static Message) -> Field {
    Field { name, number, kind: Kind::Message(message), presence: Presence::Always }
}

/// What a request of one signal is made of.
pub fn request(signal: Signal) -> &'static Message {
    match signal {
        Signal::Traces => &TRACES,
        Signal::Metrics => &METRICS,
        Signal::Logs => &LOGS,
        Signal::Profiles => &profiles::PROFILES,
    }
}

static TRACES: Message = Message::new(&[repeated("resourceSpans", 1, Kind::Message(&RESOURCE_SPANS))]);
static METRICS: Message = Message::new(&[repeated("resourceMetrics", 1, Kind::Message(&RESOURCE_METRICS))]);
static LOGS: Message = Message::new(&[repeated("resourceLogs", 1, Kind::Message(&RESOURCE_LOGS))]);

/// The three rows of a resource group and of a scope group.
pub const fn resource_group(rows: &'static [Field; 3]) -> Message {
    Message::group(rows)
}

static RESOURCE_SPANS: Message = Message::group(&[
    always("resource", 1, &RESOURCE),
    repeated("scopeSpans", 2, Kind::Message(&SCOPE_SPANS)),
    plain("schemaUrl", 3, Kind::String),
]);
static SCOPE_SPANS: Message = Message::group(&[
    always("scope", 1, &SCOPE),
    repeated("spans", 2, Kind::Message(&SPAN)),
    plain("schemaUrl", 3, Kind::String),
]);
static RESOURCE_METRICS: Message = Message::group(&[
    always("resource", 1, &RESOURCE),
    repeated("scopeMetrics", 2, Kind::Message(&SCOPE_METRICS)),
    plain("schemaUrl", 3, Kind::String),
]);
static SCOPE_METRICS: Message = Message::group(&[
    always("scope", 1, &SCOPE),
    repeated("metrics", 2, Kind::Message(&METRIC)),
    plain("schemaUrl", 3, Kind::String),
]);
static RESOURCE_LOGS: Message = Message::group(&[
    always("resource", 1, &RESOURCE),
    repeated("scopeLogs", 2, Kind::Message(&SCOPE_LOGS)),
    plain("schemaUrl", 3, Kind::String),
]);
static SCOPE_LOGS: Message = Message::group(&[
    always("scope", 1, &SCOPE),
    repeated("logRecords", 2, Kind::Message(&LOG_RECORD)),
    plain("schemaUrl", 3, Kind::String),
]);

pub static RESOURCE: Message = Message::new(&[
    attributes(1),
    plain("droppedAttributesCount", 2, Kind::Uint32),
    repeated("entityRefs", 3, Kind::Message(&ENTITY_REF)),
]);
static ENTITY_REF: Message = Message::new(&[
    plain("schemaUrl", 1, Kind::String),
    plain("type", 2, Kind::String),
    repeated("idKeys", 3, Kind::String),
    repeated("descriptionKeys", 4, Kind::String),
]);
pub static SCOPE: Message = Message::new(&[
    plain("name", 1, Kind::String),
    plain("version", 2, Kind::String),
    attributes(3),
    plain("droppedAttributesCount", 4, Kind::Uint32),
]);

const fn attributes(number: u32) -> Field {
    repeated("attributes", number, Kind::Message(&KEY_VALUE))
}

static KEY_VALUE: Message = Message::new(&[
    plain("key", 1, Kind::String),
    always("value", 2, &ANY_VALUE),
    plain("keyStrindex", 3, Kind::Int32),
]);
pub static ANY_VALUE: Message = Message::new(&[
    member("stringValue", 1, Kind::String),
    member("boolValue", 2, Kind::Bool),
    member("intValue", 3, Kind::Int64),
    member("doubleValue", 4, Kind::Double),
    member("arrayValue", 5, Kind::Message(&ARRAY_VALUE)),
    member("kvlistValue", 6, Kind::Message(&KEY_VALUE_LIST)),
    member("bytesValue", 7, Kind::Bytes),
    member("stringValueStrindex", 8, Kind::Int32),
]);
static ARRAY_VALUE: Message = Message::nesting(&[repeated("values", 1, Kind::Message(&ANY_VALUE))]);
static KEY_VALUE_LIST: Message = Message::nesting(&[repeated("values", 1, Kind::Message(&KEY_VALUE))]);

static SPAN: Message = Message::new(&[
    plain("traceId", 1, Kind::LooseId(16)),
    plain("spanId", 2, Kind::LooseId(8)),
    plain("traceState", 3, Kind::String),
    plain("parentSpanId", 4, Kind::LooseId(8)),
    plain("flags", 16, Kind::Fixed32),
    plain("name", 5, Kind::String),
    plain("kind", 6, Kind::Enum(SPAN_KIND)),
    plain("startTimeUnixNano", 7, Kind::Fixed64),
    plain("endTimeUnixNano", 8, Kind::Fixed64),
    attributes(9),
    plain("droppedAttributesCount", 10, Kind::Uint32),
    repeated("events", 11, Kind::Message(&EVENT)),
    plain("droppedEventsCount", 12, Kind::Uint32),
    repeated("links", 13, Kind::Message(&LINK)),
    plain("droppedLinksCount", 14, Kind::Uint32),
    always("status", 15, &STATUS),
]);
const SPAN_KIND: &[&str] = &[
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];
static EVENT: Message = Message::new(&[
    plain("timeUnixNano", 1, Kind::Fixed64),
    plain("name", 2, Kind::String),
    attributes(3),
    plain("droppedAttributesCount", 4, Kind::Uint32),
]);
static LINK: Message = Message::new(&[
    plain("traceId", 1, Kind::LooseId(16)),
    plain("spanId", 2, Kind::LooseId(8)),
    plain("traceState", 3, Kind::String),
    attributes(4),
    plain("droppedAttributesCount", 5, Kind::Uint32),
    plain("flags", 6, Kind::Fixed32),
]);
static STATUS: Message = Message::new(&[
    plain("message", 2, Kind::String),
    plain("code", 3, Kind::Enum(&["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"])),
]);

static LOG_RECORD: Message = Message::new(&[
    plain("timeUnixNano", 1, Kind::Fixed64),
    plain("observedTimeUnixNano", 11, Kind::Fixed64),
    plain("severityNumber", 2, Kind::Enum(SEVERITY)),
    plain("severityText", 3, Kind::String),
    always("body", 5, &ANY_VALUE),
    attributes(6),
    plain("droppedAttributesCount", 7, Kind::Uint32),
    plain("flags", 8, Kind::Fixed32),
    plain("traceId", 9, Kind::LooseId(16)),
    plain("spanId", 10, Kind::LooseId(8)),
    plain("eventName", 12, Kind::String),
]);
#[rustfmt::skip]
const SEVERITY: &[&str] = &[
    "SEVERITY_NUMBER_UNSPECIFIED",
    "SEVERITY_NUMBER_TRACE", "SEVERITY_NUMBER_TRACE2", "SEVERITY_NUMBER_TRACE3", "SEVERITY_NUMBER_TRACE4",
    "SEVERITY_NUMBER_DEBUG", "SEVERITY_NUMBER_DEBUG2", "SEVERITY_NUMBER_DEBUG3", "SEVERITY_NUMBER_DEBUG4",
    "SEVERITY_NUMBER_INFO", "SEVERITY_NUMBER_INFO2", "SEVERITY_NUMBER_INFO3", "SEVERITY_NUMBER_INFO4",
    "SEVERITY_NUMBER_WARN", "SEVERITY_NUMBER_WARN2", "SEVERITY_NUMBER_WARN3", "SEVERITY_NUMBER_WARN4",
    "SEVERITY_NUMBER_ERROR", "SEVERITY_NUMBER_ERROR2", "SEVERITY_NUMBER_ERROR3", "SEVERITY_NUMBER_ERROR4",
    "SEVERITY_NUMBER_FATAL", "SEVERITY_NUMBER_FATAL2", "SEVERITY_NUMBER_FATAL3", "SEVERITY_NUMBER_FATAL4",
];

static METRIC: Message = Message::new(&[
    plain("name", 1, Kind::String),
    plain("description", 2, Kind::String),
    plain("unit", 3, Kind::String),
    member("gauge", 5, Kind::Message(&GAUGE)),
    member("sum", 7, Kind::Message(&SUM)),
    member("histogram", 9, Kind::Message(&HISTOGRAM)),
    member("exponentialHistogram", 10, Kind::Message(&EXPONENTIAL_HISTOGRAM)),
    member("summary", 11, Kind::Message(&SUMMARY)),
    repeated("metadata", 12, Kind::Message(&KEY_VALUE)),
]);
static GAUGE: Message = Message::new(&[repeated("dataPoints", 1, Kind::Message(&NUMBER_DATA_POINT))]);
static SUM: Message = Message::new(&[
    repeated("dataPoints", 1, Kind::Message(&NUMBER_DATA_POINT)),
    plain("aggregationTemporality", 2, Kind::Enum(TEMPORALITY)),
    plain("isMonotonic", 3, Kind::Bool),
]);
static HISTOGRAM: Message = Message::new(&[
    repeated("dataPoints", 1, Kind::Message(&HISTOGRAM_DATA_POINT)),
    plain("aggregationTemporality", 2, Kind::Enum(TEMPORALITY)),
]);
static EXPONENTIAL_HISTOGRAM: Message = Message::new(&[
    repeated("dataPoints", 1, Kind::Message(&EXPONENTIAL_DATA_POINT)),
    plain("aggregationTemporality", 2, Kind::Enum(TEMPORALITY)),
]);
static SUMMARY: Message = Message::new(&[repeated("dataPoints", 1, Kind::Message(&SUMMARY_DATA_POINT))]);
const TEMPORALITY: &[&str] =
    &["AGGREGATION_TEMPORALITY_UNSPECIFIED", "AGGREGATION_TEMPORALITY_DELTA", "AGGREGATION_TEMPORALITY_CUMULATIVE"];

static NUMBER_DATA_POINT: Message = Message::new(&[
    attributes(7),
    plain("startTimeUnixNano", 2, Kind::Fixed64),
    plain("timeUnixNano", 3, Kind::Fixed64),
    member("asDouble", 4, Kind::Double),
    member("asInt", 6, Kind::Sfixed64),
    repeated("exemplars", 5, Kind::Message(&EXEMPLAR)),
    plain("flags", 8, Kind::Uint32),
]);
static HISTOGRAM_DATA_POINT: Message = Message::new(&[
    attributes(9),
    plain("startTimeUnixNano", 2, Kind::Fixed64),
    plain("timeUnixNano", 3, Kind::Fixed64),
    plain("count", 4, Kind::Fixed64),
    optional("sum", 5, Kind::Double),
    repeated("bucketCounts", 6, Kind::Fixed64),
    repeated("explicitBounds", 7, Kind::Double),
    repeated("exemplars", 8, Kind::Message(&EXEMPLAR)),
    plain("flags", 10, Kind::Uint32),
    optional("min", 11, Kind::Double),
    optional("max", 12, Kind::Double),
]);
static EXPONENTIAL_DATA_POINT: Message = Message::new(&[
    attributes(1),
    plain("startTimeUnixNano", 2, Kind::Fixed64),
    plain("timeUnixNano", 3, Kind::Fixed64),
    plain("count", 4, Kind::Fixed64),
    optional("sum", 5, Kind::Double),
    plain("scale", 6, Kind::Sint32),
    plain("zeroCount", 7, Kind::Fixed64),
    always("positive", 8, &BUCKETS),
    always("negative", 9, &BUCKETS),
    plain("flags", 10, Kind::Uint32),
    repeated("exemplars", 11, Kind::Message(&EXEMPLAR)),
    optional("min", 12, Kind::Double),
    optional("max", 13, Kind::Double),
    plain("zeroThreshold", 14, Kind::Double),
]);
static BUCKETS: Message = Message::new(&[plain("offset", 1, Kind::Sint32), repeated("bucketCounts", 2, Kind::Uint64)]);
static SUMMARY_DATA_POINT: Message = Message::new(&[
    attributes(7),
    plain("startTimeUnixNano", 2, Kind::Fixed64),
    plain("timeUnixNano", 3, Kind::Fixed64),
    plain("count", 4, Kind::Fixed64),
    plain("sum", 5, Kind::Double),
    repeated("quantileValues", 6, Kind::Message(&QUANTILE)),
    plain("flags", 8, Kind::Uint32),
]);
static QUANTILE: Message = Message::new(&[plain("quantile", 1, Kind::Double), plain("value", 2, Kind::Double)]);
static EXEMPLAR: Message = Message::new(&[
    repeated("filteredAttributes", 7, Kind::Message(&KEY_VALUE)),
    plain("timeUnixNano", 2, Kind::Fixed64),
    member("asDouble", 3, Kind::Double),
    member("asInt", 6, Kind::Sfixed64),
    plain("spanId", 4, Kind::LooseId(8)),
    plain("traceId", 5, Kind::LooseId(16)),
]);
