//! The two tables: what JSON calls each field and how it is written, and where values and ids can hide in an item.

use protox::prost_reflect::prost_types::FieldDescriptorProto;
use protox::prost_reflect::prost_types::field_descriptor_proto::{Label, Type};

use super::protocol::{Message, Protocol};

const REQUESTS: [&str; 4] = [
    "opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest",
    "opentelemetry.proto.collector.metrics.v1.ExportMetricsServiceRequest",
    "opentelemetry.proto.collector.logs.v1.ExportLogsServiceRequest",
    "opentelemetry.proto.collector.profiles.v1development.ExportProfilesServiceRequest",
];
const LOG_RECORD: &str = "opentelemetry.proto.logs.v1.LogRecord";
const METRIC: &str = "opentelemetry.proto.metrics.v1.Metric";
const KEY_VALUE: &str = "opentelemetry.proto.common.v1.KeyValue";
const ANY_VALUE: &str = "opentelemetry.proto.common.v1.AnyValue";

/// Messages within messages, which are followed no further.
const NESTING_MAX: usize = 16;

/// Bytes of an id by the name of its field; W3C Trace Context gives the lengths.
fn id_length(field: &FieldDescriptorProto) -> Option<usize> {
    match field.name() {
        "trace_id" | "profile_id" => Some(16),
        "span_id" | "parent_span_id" => Some(8),
        _ => None,
    }
}

/// `schema.rs`: one static for each message that a request can hold, its rows in the order of `proto/`.
pub fn schema(protocol: &Protocol<'_>) -> Result<String, String> {
    let mut done: Vec<&str> = Vec::new();
    let mut waiting = REQUESTS.iter().map(|name| protocol.named(name)).collect::<Result<Vec<_>, _>>()?;
    let mut tables = String::new();
    while let Some(message) = waiting.pop() {
        if done.contains(&message.full_name.as_str()) {
            continue;
        }
        done.push(&message.full_name);
        let mut rows = String::new();
        for field in &message.descriptor.field {
            rows += &row(protocol, message, field)?;
            if field.r#type() == Type::Message {
                waiting.push(protocol.message_of(field)?);
            }
        }
        let maker = maker(message);
        tables += &format!("static {}: MessageSchema = MessageSchema::{maker}(&[\n{rows}]);\n", message.table());
    }
    Ok(tables)
}

/// How the table is made: as a group of the envelope, as one more level of values, or as any other message.
fn maker(message: &Message<'_>) -> &'static str {
    let has = |name: &str| message.descriptor.field.iter().any(|field| field.name() == name);
    let is_group = has("schema_url") && (has("resource") || has("scope"));
    match message.descriptor.name() {
        _ if is_group => "group",
        "ArrayValue" | "KeyValueList" => "nesting",
        _ => "new",
    }
}

fn row(protocol: &Protocol<'_>, message: &Message<'_>, field: &FieldDescriptorProto) -> Result<String, String> {
    let kind = match field.r#type() {
        Type::String => "String".to_owned(),
        Type::Bytes => match (id_length(field), message.package.as_str()) {
            (None, _) => "Bytes".to_owned(),
            (Some(length), "profiles") => format!("Id({length})"),
            (Some(length), _) => format!("LooseId({length})"),
        },
        Type::Enum => {
            let found = protocol.enum_of(field)?;
            format!("Enum(crate::otlp::fields::{}::{}::NAMES)", found.package, found.module)
        }
        Type::Message => format!("Message(&{})", protocol.message_of(field)?.table()),
        scalar => format!("{scalar:?}"),
    };
    let presence = match (field.label(), field.r#type()) {
        (Label::Repeated, _) => "repeated",
        _ if field.proto3_optional() => "optional",
        _ if field.oneof_index.is_some() => "member",
        (_, Type::Message) => "always",
        _ => "plain",
    };
    Ok(format!("{presence}({:?}, {}, FieldKind::{kind}),\n", field.json_name(), field.number()))
}

/// `depth.rs`: the tables of the items that are checked by table.
pub fn depth(protocol: &Protocol<'_>) -> Result<String, String> {
    let mut tables = String::new();
    for (name, item) in [("LOG_RECORD", LOG_RECORD), ("METRIC", METRIC)] {
        let rows = hiding(protocol, protocol.named(item)?, 0)?;
        tables += &format!("const {name}: &[(u32, Holds)] = &[{rows}];\n");
    }
    Ok(tables)
}

/// The fields of a message that are attributes, values or ids, or messages with such fields.
fn hiding(protocol: &Protocol<'_>, message: &Message<'_>, nesting: usize) -> Result<String, String> {
    if nesting > NESTING_MAX {
        return Err(format!("proto/: {} holds itself; only AnyValue may", message.full_name));
    }
    let mut rows = String::new();
    for field in &message.descriptor.field {
        let holds = match (field.r#type(), id_length(field)) {
            (Type::Bytes, Some(length)) => format!("Id({length})"),
            (Type::Message, _) => match protocol.message_of(field)? {
                inner if inner.full_name == KEY_VALUE => "KeyValue".to_owned(),
                inner if inner.full_name == ANY_VALUE => "Value".to_owned(),
                inner => match hiding(protocol, inner, nesting + 1)? {
                    none if none.is_empty() => continue,
                    rows => format!("Message(&[{rows}])"),
                },
            },
            _ => continue,
        };
        rows += &format!("({}, {holds}), ", field.number());
    }
    Ok(rows)
}
