//! The messages of OTLP as one table: JSON name, field number, kind. Both directions of the JSON form read it.
//!
//! Rows stand in the order in which the Collector writes them. Profiles are in `profiles.rs`. A new field of the
//! protocol is one row here.

use crate::core::data::payload::Signal;
use crate::otlp::json::profiles;

/// One message type.
#[derive(Debug)]
pub struct MessageSchema {
    pub fields: &'static [FieldSchema],
    /// Bits of the rows that form the message's oneof; OTLP has at most one in a message.
    pub oneof: u32,
    /// `ArrayValue` and `KeyValueList`: one more level of values.
    pub nests: bool,
    /// Groups of the envelope: their length is written in a fixed width, see `read`.
    pub group: bool,
}

/// One row.
#[derive(Debug)]
pub struct FieldSchema {
    pub name: &'static str,
    pub number: u32,
    pub kind: FieldKind,
    pub presence: Presence,
}

#[derive(Clone, Copy, Debug)]
pub enum FieldKind {
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
    Message(&'static MessageSchema),
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

impl MessageSchema {
    pub const fn new(fields: &'static [FieldSchema]) -> MessageSchema {
        MessageSchema { fields, oneof: oneof_bits(fields), nests: false, group: false }
    }

    const fn group(fields: &'static [FieldSchema]) -> MessageSchema {
        MessageSchema { fields, oneof: 0, nests: false, group: true }
    }

    const fn nesting(fields: &'static [FieldSchema]) -> MessageSchema {
        MessageSchema { fields, oneof: 0, nests: true, group: false }
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

impl FieldSchema {
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

const fn oneof_bits(fields: &[FieldSchema]) -> u32 {
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

pub const fn plain(name: &'static str, number: u32, kind: FieldKind) -> FieldSchema {
    FieldSchema { name, number, kind, presence: Presence::Plain }
}

const fn optional(name: &'static str, number: u32, kind: FieldKind) -> FieldSchema {
    FieldSchema { name, number, kind, presence: Presence::Explicit }
}

const fn member(name: &'static str, number: u32, kind: FieldKind) -> FieldSchema {
    FieldSchema { name, number, kind, presence: Presence::Member }
}

pub const fn repeated(name: &'static str, number: u32, kind: FieldKind) -> FieldSchema {
    FieldSchema { name, number, kind, presence: Presence::Repeated }
}

pub const fn always(name: &'static str, number: u32, message: &'static MessageSchema) -> FieldSchema {
    FieldSchema { name, number, kind: FieldKind::Message(message), presence: Presence::Always }
}

/// What a request of one signal is made of.
pub fn request(signal: Signal) -> &'static MessageSchema {
    match signal {
        Signal::Traces => &TRACES,
        Signal::Metrics => &METRICS,
        Signal::Logs => &LOGS,
        Signal::Profiles => &profiles::PROFILES,
    }
}

static TRACES: MessageSchema = MessageSchema::new(&[repeated("resourceSpans", 1, FieldKind::Message(&RESOURCE_SPANS))]);
static METRICS: MessageSchema =
    MessageSchema::new(&[repeated("resourceMetrics", 1, FieldKind::Message(&RESOURCE_METRICS))]);
static LOGS: MessageSchema = MessageSchema::new(&[repeated("resourceLogs", 1, FieldKind::Message(&RESOURCE_LOGS))]);

/// The three rows of a resource group and of a scope group.
pub const fn resource_group(rows: &'static [FieldSchema; 3]) -> MessageSchema {
    MessageSchema::group(rows)
}

static RESOURCE_SPANS: MessageSchema = MessageSchema::group(&[
    always("resource", 1, &RESOURCE),
    repeated("scopeSpans", 2, FieldKind::Message(&SCOPE_SPANS)),
    plain("schemaUrl", 3, FieldKind::String),
]);
static SCOPE_SPANS: MessageSchema = MessageSchema::group(&[
    always("scope", 1, &SCOPE),
    repeated("spans", 2, FieldKind::Message(&SPAN)),
    plain("schemaUrl", 3, FieldKind::String),
]);
static RESOURCE_METRICS: MessageSchema = MessageSchema::group(&[
    always("resource", 1, &RESOURCE),
    repeated("scopeMetrics", 2, FieldKind::Message(&SCOPE_METRICS)),
    plain("schemaUrl", 3, FieldKind::String),
]);
static SCOPE_METRICS: MessageSchema = MessageSchema::group(&[
    always("scope", 1, &SCOPE),
    repeated("metrics", 2, FieldKind::Message(&METRIC)),
    plain("schemaUrl", 3, FieldKind::String),
]);
static RESOURCE_LOGS: MessageSchema = MessageSchema::group(&[
    always("resource", 1, &RESOURCE),
    repeated("scopeLogs", 2, FieldKind::Message(&SCOPE_LOGS)),
    plain("schemaUrl", 3, FieldKind::String),
]);
static SCOPE_LOGS: MessageSchema = MessageSchema::group(&[
    always("scope", 1, &SCOPE),
    repeated("logRecords", 2, FieldKind::Message(&LOG_RECORD)),
    plain("schemaUrl", 3, FieldKind::String),
]);

pub static RESOURCE: MessageSchema = MessageSchema::new(&[
    attributes(1),
    plain("droppedAttributesCount", 2, FieldKind::Uint32),
    repeated("entityRefs", 3, FieldKind::Message(&ENTITY_REF)),
]);
static ENTITY_REF: MessageSchema = MessageSchema::new(&[
    plain("schemaUrl", 1, FieldKind::String),
    plain("type", 2, FieldKind::String),
    repeated("idKeys", 3, FieldKind::String),
    repeated("descriptionKeys", 4, FieldKind::String),
]);
pub static SCOPE: MessageSchema = MessageSchema::new(&[
    plain("name", 1, FieldKind::String),
    plain("version", 2, FieldKind::String),
    attributes(3),
    plain("droppedAttributesCount", 4, FieldKind::Uint32),
]);

const fn attributes(number: u32) -> FieldSchema {
    repeated("attributes", number, FieldKind::Message(&KEY_VALUE))
}

static KEY_VALUE: MessageSchema = MessageSchema::new(&[
    plain("key", 1, FieldKind::String),
    always("value", 2, &ANY_VALUE),
    plain("keyStrindex", 3, FieldKind::Int32),
]);
pub static ANY_VALUE: MessageSchema = MessageSchema::new(&[
    member("stringValue", 1, FieldKind::String),
    member("boolValue", 2, FieldKind::Bool),
    member("intValue", 3, FieldKind::Int64),
    member("doubleValue", 4, FieldKind::Double),
    member("arrayValue", 5, FieldKind::Message(&ARRAY_VALUE)),
    member("kvlistValue", 6, FieldKind::Message(&KEY_VALUE_LIST)),
    member("bytesValue", 7, FieldKind::Bytes),
    member("stringValueStrindex", 8, FieldKind::Int32),
]);
static ARRAY_VALUE: MessageSchema = MessageSchema::nesting(&[repeated("values", 1, FieldKind::Message(&ANY_VALUE))]);
static KEY_VALUE_LIST: MessageSchema = MessageSchema::nesting(&[repeated("values", 1, FieldKind::Message(&KEY_VALUE))]);

static SPAN: MessageSchema = MessageSchema::new(&[
    plain("traceId", 1, FieldKind::LooseId(16)),
    plain("spanId", 2, FieldKind::LooseId(8)),
    plain("traceState", 3, FieldKind::String),
    plain("parentSpanId", 4, FieldKind::LooseId(8)),
    plain("flags", 16, FieldKind::Fixed32),
    plain("name", 5, FieldKind::String),
    plain("kind", 6, FieldKind::Enum(SPAN_KIND)),
    plain("startTimeUnixNano", 7, FieldKind::Fixed64),
    plain("endTimeUnixNano", 8, FieldKind::Fixed64),
    attributes(9),
    plain("droppedAttributesCount", 10, FieldKind::Uint32),
    repeated("events", 11, FieldKind::Message(&EVENT)),
    plain("droppedEventsCount", 12, FieldKind::Uint32),
    repeated("links", 13, FieldKind::Message(&LINK)),
    plain("droppedLinksCount", 14, FieldKind::Uint32),
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
static EVENT: MessageSchema = MessageSchema::new(&[
    plain("timeUnixNano", 1, FieldKind::Fixed64),
    plain("name", 2, FieldKind::String),
    attributes(3),
    plain("droppedAttributesCount", 4, FieldKind::Uint32),
]);
static LINK: MessageSchema = MessageSchema::new(&[
    plain("traceId", 1, FieldKind::LooseId(16)),
    plain("spanId", 2, FieldKind::LooseId(8)),
    plain("traceState", 3, FieldKind::String),
    attributes(4),
    plain("droppedAttributesCount", 5, FieldKind::Uint32),
    plain("flags", 6, FieldKind::Fixed32),
]);
static STATUS: MessageSchema = MessageSchema::new(&[
    plain("message", 2, FieldKind::String),
    plain("code", 3, FieldKind::Enum(&["STATUS_CODE_UNSET", "STATUS_CODE_OK", "STATUS_CODE_ERROR"])),
]);

static LOG_RECORD: MessageSchema = MessageSchema::new(&[
    plain("timeUnixNano", 1, FieldKind::Fixed64),
    plain("observedTimeUnixNano", 11, FieldKind::Fixed64),
    plain("severityNumber", 2, FieldKind::Enum(SEVERITY)),
    plain("severityText", 3, FieldKind::String),
    always("body", 5, &ANY_VALUE),
    attributes(6),
    plain("droppedAttributesCount", 7, FieldKind::Uint32),
    plain("flags", 8, FieldKind::Fixed32),
    plain("traceId", 9, FieldKind::LooseId(16)),
    plain("spanId", 10, FieldKind::LooseId(8)),
    plain("eventName", 12, FieldKind::String),
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

static METRIC: MessageSchema = MessageSchema::new(&[
    plain("name", 1, FieldKind::String),
    plain("description", 2, FieldKind::String),
    plain("unit", 3, FieldKind::String),
    member("gauge", 5, FieldKind::Message(&GAUGE)),
    member("sum", 7, FieldKind::Message(&SUM)),
    member("histogram", 9, FieldKind::Message(&HISTOGRAM)),
    member("exponentialHistogram", 10, FieldKind::Message(&EXPONENTIAL_HISTOGRAM)),
    member("summary", 11, FieldKind::Message(&SUMMARY)),
    repeated("metadata", 12, FieldKind::Message(&KEY_VALUE)),
]);
static GAUGE: MessageSchema = MessageSchema::new(&[repeated("dataPoints", 1, FieldKind::Message(&NUMBER_DATA_POINT))]);
static SUM: MessageSchema = MessageSchema::new(&[
    repeated("dataPoints", 1, FieldKind::Message(&NUMBER_DATA_POINT)),
    plain("aggregationTemporality", 2, FieldKind::Enum(TEMPORALITY)),
    plain("isMonotonic", 3, FieldKind::Bool),
]);
static HISTOGRAM: MessageSchema = MessageSchema::new(&[
    repeated("dataPoints", 1, FieldKind::Message(&HISTOGRAM_DATA_POINT)),
    plain("aggregationTemporality", 2, FieldKind::Enum(TEMPORALITY)),
]);
static EXPONENTIAL_HISTOGRAM: MessageSchema = MessageSchema::new(&[
    repeated("dataPoints", 1, FieldKind::Message(&EXPONENTIAL_DATA_POINT)),
    plain("aggregationTemporality", 2, FieldKind::Enum(TEMPORALITY)),
]);
static SUMMARY: MessageSchema =
    MessageSchema::new(&[repeated("dataPoints", 1, FieldKind::Message(&SUMMARY_DATA_POINT))]);
const TEMPORALITY: &[&str] =
    &["AGGREGATION_TEMPORALITY_UNSPECIFIED", "AGGREGATION_TEMPORALITY_DELTA", "AGGREGATION_TEMPORALITY_CUMULATIVE"];

static NUMBER_DATA_POINT: MessageSchema = MessageSchema::new(&[
    attributes(7),
    plain("startTimeUnixNano", 2, FieldKind::Fixed64),
    plain("timeUnixNano", 3, FieldKind::Fixed64),
    member("asDouble", 4, FieldKind::Double),
    member("asInt", 6, FieldKind::Sfixed64),
    repeated("exemplars", 5, FieldKind::Message(&EXEMPLAR)),
    plain("flags", 8, FieldKind::Uint32),
]);
static HISTOGRAM_DATA_POINT: MessageSchema = MessageSchema::new(&[
    attributes(9),
    plain("startTimeUnixNano", 2, FieldKind::Fixed64),
    plain("timeUnixNano", 3, FieldKind::Fixed64),
    plain("count", 4, FieldKind::Fixed64),
    optional("sum", 5, FieldKind::Double),
    repeated("bucketCounts", 6, FieldKind::Fixed64),
    repeated("explicitBounds", 7, FieldKind::Double),
    repeated("exemplars", 8, FieldKind::Message(&EXEMPLAR)),
    plain("flags", 10, FieldKind::Uint32),
    optional("min", 11, FieldKind::Double),
    optional("max", 12, FieldKind::Double),
]);
static EXPONENTIAL_DATA_POINT: MessageSchema = MessageSchema::new(&[
    attributes(1),
    plain("startTimeUnixNano", 2, FieldKind::Fixed64),
    plain("timeUnixNano", 3, FieldKind::Fixed64),
    plain("count", 4, FieldKind::Fixed64),
    optional("sum", 5, FieldKind::Double),
    plain("scale", 6, FieldKind::Sint32),
    plain("zeroCount", 7, FieldKind::Fixed64),
    always("positive", 8, &BUCKETS),
    always("negative", 9, &BUCKETS),
    plain("flags", 10, FieldKind::Uint32),
    repeated("exemplars", 11, FieldKind::Message(&EXEMPLAR)),
    optional("min", 12, FieldKind::Double),
    optional("max", 13, FieldKind::Double),
    plain("zeroThreshold", 14, FieldKind::Double),
]);
static BUCKETS: MessageSchema =
    MessageSchema::new(&[plain("offset", 1, FieldKind::Sint32), repeated("bucketCounts", 2, FieldKind::Uint64)]);
static SUMMARY_DATA_POINT: MessageSchema = MessageSchema::new(&[
    attributes(7),
    plain("startTimeUnixNano", 2, FieldKind::Fixed64),
    plain("timeUnixNano", 3, FieldKind::Fixed64),
    plain("count", 4, FieldKind::Fixed64),
    plain("sum", 5, FieldKind::Double),
    repeated("quantileValues", 6, FieldKind::Message(&QUANTILE)),
    plain("flags", 8, FieldKind::Uint32),
]);
static QUANTILE: MessageSchema =
    MessageSchema::new(&[plain("quantile", 1, FieldKind::Double), plain("value", 2, FieldKind::Double)]);
static EXEMPLAR: MessageSchema = MessageSchema::new(&[
    repeated("filteredAttributes", 7, FieldKind::Message(&KEY_VALUE)),
    plain("timeUnixNano", 2, FieldKind::Fixed64),
    member("asDouble", 3, FieldKind::Double),
    member("asInt", 6, FieldKind::Sfixed64),
    plain("spanId", 4, FieldKind::LooseId(8)),
    plain("traceId", 5, FieldKind::LooseId(16)),
]);
