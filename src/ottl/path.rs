//! Paths: the names under which parts of a span, its event, scope and resource are asked for, and how they are read.
//!
//! Names are the Collector's (contrib pkg/ottl/contexts). Everything is read from wire bytes; the last field of a number
//! counts, as everywhere in protobuf.

use std::borrow::Cow;

use crate::otlp::walk::{Field, Fields, Wire};
use crate::ottl::parse::{Key, Segment};
use crate::ottl::value::Value;
use crate::ottl::{Context, Failure, Item};

/// Whose part is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Owner {
    Span,
    Event,
    Scope,
    Resource,
}

/// How a part is read from its owner's message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Text(u32),
    Bytes(u32),
    Hex(u32),
    /// Varint as an integer.
    Number(u32),
    Time(u32),
    Flags(u32),
    Attributes(u32),
    StatusCode,
    StatusMessage,
    KindName,
    TraceState,
}

/// A checked path.
#[derive(Clone, Debug)]
pub struct Path {
    owner: Owner,
    part: Part,
    keys: Vec<Key>,
}

const SPAN: &[(&str, Part)] = &[
    ("attributes", Part::Attributes(9)),
    ("trace_id", Part::Bytes(1)),
    ("trace_id.string", Part::Hex(1)),
    ("span_id", Part::Bytes(2)),
    ("span_id.string", Part::Hex(2)),
    ("parent_span_id", Part::Bytes(4)),
    ("parent_span_id.string", Part::Hex(4)),
    ("trace_state", Part::TraceState),
    ("name", Part::Text(5)),
    ("kind", Part::Number(6)),
    ("kind.string", Part::KindName),
    ("start_time_unix_nano", Part::Time(7)),
    ("end_time_unix_nano", Part::Time(8)),
    ("dropped_attributes_count", Part::Number(10)),
    ("dropped_events_count", Part::Number(12)),
    ("dropped_links_count", Part::Number(14)),
    ("status.code", Part::StatusCode),
    ("status.message", Part::StatusMessage),
    ("flags", Part::Flags(16)),
];

const EVENT: &[(&str, Part)] = &[
    ("attributes", Part::Attributes(3)),
    ("time_unix_nano", Part::Time(1)),
    ("name", Part::Text(2)),
    ("dropped_attributes_count", Part::Number(4)),
];

const SCOPE: &[(&str, Part)] = &[
    ("attributes", Part::Attributes(3)),
    ("name", Part::Text(1)),
    ("version", Part::Text(2)),
    ("dropped_attributes_count", Part::Number(4)),
];

const RESOURCE: &[(&str, Part)] = &[("attributes", Part::Attributes(1)), ("dropped_attributes_count", Part::Number(2))];

/// Resolves a path; the message says what is wrong with it.
pub fn resolve(segments: &[Segment], context: Context) -> Result<Path, String> {
    let own = match context {
        Context::Span => Owner::Span,
        Context::SpanEvent => Owner::Event,
    };
    let first = segments[0].name.as_str();
    let prefix = match (first, context) {
        _ if segments.len() == 1 || !segments[0].keys.is_empty() => None,
        ("resource", _) => Some(Owner::Resource),
        ("scope" | "instrumentation_scope", _) => Some(Owner::Scope),
        ("span", _) => Some(Owner::Span),
        ("spanevent", Context::SpanEvent) => Some(Owner::Event),
        _ => None,
    };
    let (owner, rest) = match prefix {
        Some(owner) => (owner, &segments[1..]),
        None => (own, segments),
    };
    let (last, before) = rest.split_last().ok_or("a name is missing")?;
    if before.iter().any(|segment| !segment.keys.is_empty()) {
        return Err("keys may stand behind the last name only".to_owned());
    }
    let name = rest.iter().map(|segment| segment.name.as_str()).collect::<Vec<_>>().join(".");
    let known = match owner {
        Owner::Span => SPAN,
        Owner::Event => EVENT,
        Owner::Scope => SCOPE,
        Owner::Resource => RESOURCE,
    };
    let Some((_, part)) = known.iter().find(|(known, _)| *known == name) else {
        let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
        return Err(format!("there is no `{name}` here; known are {}", names.join(", ")));
    };
    if !last.keys.is_empty() && !matches!(part, Part::Attributes(_) | Part::TraceState) {
        return Err(format!("`{name}` has no keys"));
    }
    Ok(Path { owner, part: *part, keys: last.keys.clone() })
}

impl Path {
    pub fn read<'a>(&self, item: &Item<'a>) -> Result<Value<'a>, Failure> {
        let message = match self.owner {
            Owner::Span => item.span,
            Owner::Event => item.event.unwrap_or_default(),
            Owner::Scope => item.scope,
            Owner::Resource => item.resource,
        };
        if self.part == Part::TraceState {
            return trace_state(bytes(message, 3), &self.keys);
        }
        let mut value = self.part.read(message);
        for key in &self.keys {
            value = value.get(key)?;
        }
        Ok(value)
    }
}

impl Part {
    fn read<'a>(self, message: &'a [u8]) -> Value<'a> {
        match self {
            Part::Text(number) => Value::text(bytes(message, number)),
            Part::TraceState => Value::text(bytes(message, 3)),
            Part::Bytes(number) => Value::Bytes(Cow::Borrowed(bytes(message, number))),
            Part::Hex(number) => {
                let digits = bytes(message, number).iter().map(|byte| format!("{byte:02x}")).collect();
                Value::Text(Cow::Owned(digits))
            }
            Part::Number(number) | Part::Time(number) | Part::Flags(number) => Value::Int(integer(message, number)),
            Part::Attributes(number) => Value::Map { message, number },
            Part::StatusCode => Value::Int(integer(bytes(message, 15), 3)),
            Part::StatusMessage => Value::text(bytes(bytes(message, 15), 2)),
            Part::KindName => {
                let kinds = ["Unspecified", "Internal", "Server", "Client", "Producer", "Consumer"];
                let kind = usize::try_from(integer(message, 6)).ok().and_then(|kind| kinds.get(kind));
                Value::Text(Cow::Borrowed(kind.copied().unwrap_or_default()))
            }
        }
    }
}

fn last(message: &[u8], number: u32) -> Option<Field<'_>> {
    Fields::new(message).map_while(Result::ok).filter(|field| field.number == number).last()
}

fn bytes(message: &[u8], number: u32) -> &[u8] {
    last(message, number).and_then(|field| field.bytes().ok()).unwrap_or_default()
}

fn integer(message: &[u8], number: u32) -> i64 {
    match last(message, number).map(|field| field.wire) {
        Some(Wire::Varint(value) | Wire::Fixed64(value)) => value as i64,
        Some(Wire::Fixed32(value)) => i64::from(value),
        _ => 0,
    }
}

fn trace_state<'a>(text: &'a [u8], keys: &[Key]) -> Result<Value<'a>, Failure> {
    match keys {
        [] => Ok(Value::text(text)),
        [Key::Name(name)] => {
            let members = text.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            let mut pairs = members.filter_map(|member| {
                let equals = member.iter().position(|byte| *byte == b'=')?;
                Some((&member[..equals], &member[equals + 1..]))
            });
            let found = pairs.find(|(key, _)| *key == name.as_bytes());
            Ok(found.map_or(Value::text(b""), |(_, value)| Value::text(value)))
        }
        _ => Err(Failure("trace_state has one key")),
    }
}
