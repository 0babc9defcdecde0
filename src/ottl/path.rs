//! Paths: which part of which message a name means, and how it is read from the wire.

pub mod place;
pub mod tables;

use std::borrow::Cow;

use crate::otlp::ids::push_hex;
use crate::otlp::walk::{AnyValue, Field, Fields, Wire};
use crate::ottl::parse::{Key, Segment};
use crate::ottl::path::tables::{CONTEXTS_NOT_BUILT, NOT_BUILT, Part, PointPart, Points, names};
use crate::ottl::value::Value;
use crate::ottl::{Context, Failure, Item, Syntax};

/// Whose part it is, seen from the item in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Resource,
    Scope,
    /// The span, metric or log record.
    Item,
    /// The span's event or the metric's data point.
    Piece,
    /// What statements remember among themselves.
    Cache,
}

/// A checked path.
#[derive(Clone, Debug)]
pub struct Path {
    pub owner: Owner,
    pub part: Part,
    pub keys: Vec<Key>,
    /// As written, for messages.
    pub name: String,
}

/// Field of the cache's own message that holds its entries.
pub const CACHE: u32 = 1;

/// Resolves a path; the message says what is wrong with it.
pub fn resolve(segments: &[Segment], syntax: Syntax) -> Result<Path, String> {
    let first = &segments[0];
    let prefix = Context::named(&first.name).filter(|_| segments.len() > 1 && first.keys.is_empty());
    let written = segments.iter().map(|segment| segment.name.as_str()).collect::<Vec<_>>().join(".");
    let (of, rest) = match prefix {
        Some(of) if syntax.context.sees(of) => (of, &segments[1..]),
        Some(_) => {
            return Err(format!("`{written}` is out of sight from a {}", syntax.context.name()));
        }
        None if syntax.prefixed && !CONTEXTS_NOT_BUILT.contains(&first.name.as_str()) => {
            let seen = syntax.context.seen().map(|of| format!("{}.{written}", of.name())).collect::<Vec<_>>();
            return Err(format!("`{written}` does not say whose; one of {}", seen.join(", ")));
        }
        None => (syntax.context, segments),
    };
    let (last, before) = rest.split_last().ok_or("a name is missing")?;
    if before.iter().any(|segment| !segment.keys.is_empty()) {
        return Err("keys may stand behind the last name only".to_owned());
    }
    let name = rest.iter().map(|segment| segment.name.as_str()).collect::<Vec<_>>().join(".");
    if name == "cache" {
        if !syntax.cache || of != syntax.context {
            return Err("there is no `cache` here".to_owned());
        }
        return Ok(Path { owner: Owner::Cache, part: Part::Attributes(CACHE), keys: last.keys.clone(), name: written });
    }
    let Some((_, part)) = names(of).iter().find(|(known, _)| *known == name) else {
        if NOT_BUILT.contains(&name.as_str()) || CONTEXTS_NOT_BUILT.contains(&first.name.as_str()) {
            return Err(format!("podgate does not have the path `{written}`"));
        }
        let known: Vec<&str> = names(of).iter().map(|(name, _)| *name).collect();
        return Err(format!("there is no `{name}` in a {}; known are {}", of.name(), known.join(", ")));
    };
    let keyed =
        matches!(part, Part::Attributes(_) | Part::Any(_) | Part::TraceState | Part::Point(PointPart::Attributes));
    if !last.keys.is_empty() && !keyed {
        return Err(format!("`{name}` has no keys"));
    }
    Ok(Path { owner: owner(of), part: *part, keys: last.keys.clone(), name: written })
}

fn owner(of: Context) -> Owner {
    match of {
        Context::Resource => Owner::Resource,
        Context::Scope => Owner::Scope,
        Context::Span | Context::Metric | Context::Log => Owner::Item,
        Context::SpanEvent | Context::DataPoint => Owner::Piece,
    }
}

impl Path {
    pub fn read<'a>(&self, item: &Item<'a>) -> Result<Value<'a>, Failure> {
        let message = item.message(self.owner);
        if self.part == Part::TraceState {
            return trace_state(bytes(message, 3), &self.keys);
        }
        let mut value = self.part.read(message, item.points);
        for key in &self.keys {
            value = value.get(key)?;
        }
        Ok(value)
    }
}

impl Part {
    /// The part in a message whose points, if it has any, are of this kind; nil where there is no such thing.
    fn read(self, message: &[u8], points: Points) -> Value<'_> {
        match self {
            Part::Text(number) => Value::text(bytes(message, number)),
            Part::TraceState => Value::text(bytes(message, 3)),
            Part::Id(number, _) => Value::Bytes(Cow::Borrowed(bytes(message, number))),
            Part::Hex(number, _) => {
                let mut digits = Vec::new();
                push_hex(&mut digits, bytes(message, number));
                Value::Text(Cow::Owned(String::from_utf8_lossy(&digits).into_owned()))
            }
            Part::Number(number) | Part::Fixed(number) | Part::Flags(number) => Value::Int(integer(message, number)),
            Part::Signed(number) => {
                let zigzag = integer(message, number) as u64;
                Value::Int((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64))
            }
            Part::Moment(number) => Value::Time(integer(message, number)),
            Part::Double(number) => Value::Float(f64::from_bits(integer(message, number) as u64)),
            Part::Attributes(number) => Value::Map { message, number },
            Part::Any(number) => any(bytes(message, number)),
            Part::AnyText(number) => match any(bytes(message, number)).to_text() {
                Some(text) => Value::Text(Cow::Owned(text.into_owned())),
                None => Value::Text(Cow::Borrowed("")),
            },
            Part::StatusCode => Value::Int(integer(bytes(message, 15), 3)),
            Part::StatusMessage => Value::text(bytes(bytes(message, 15), 2)),
            Part::KindName => {
                let kind = usize::try_from(integer(message, 6)).ok().and_then(|kind| KINDS.get(kind));
                Value::Text(Cow::Borrowed(kind.copied().unwrap_or_default()))
            }
            Part::MetricType => Value::Int(points_of(message).map_or(0, |(points, _)| points.code())),
            Part::Temporality => match points_of(message) {
                Some((Points::Sum | Points::Histogram | Points::Exponential, inside)) => {
                    Value::Int(integer(&inside, 2))
                }
                _ => Value::Nil,
            },
            Part::Monotonic => match points_of(message) {
                Some((Points::Sum, inside)) => Value::Bool(integer(&inside, 3) != 0),
                _ => Value::Nil,
            },
            Part::Point(part) => part.within(points).map_or(Value::Nil, |part| part.read(message, points)),
        }
    }
}

/// Values of `kind.string`, by number.
pub const KINDS: [&str; 6] = ["Unspecified", "Internal", "Server", "Client", "Producer", "Consumer"];

/// The kind of a metric and the message that holds its points. Of several kinds the last counts, as a oneof is read;
/// of one kind that comes several times all are one message, as protobuf merges them.
pub fn points_of(metric: &[u8]) -> Option<(Points, Cow<'_, [u8]>)> {
    let mut found: Option<(Points, Cow<'_, [u8]>)> = None;
    for field in Fields::new(metric).map_while(Result::ok) {
        let points = Points::of(field.number);
        let Some(inside) = field.bytes().ok().filter(|_| points != Points::None) else { continue };
        match &mut found {
            Some((known, merged)) if *known == points => merged.to_mut().extend_from_slice(inside),
            _ => found = Some((points, Cow::Borrowed(inside))),
        }
    }
    found
}

/// The points of a metric, undecoded.
pub fn points_in(holder: &[u8]) -> impl Iterator<Item = &[u8]> {
    let fields = Fields::new(holder).map_while(Result::ok).filter(|field| field.number == 1);
    fields.filter_map(|field| field.bytes().ok())
}

fn any(message: &[u8]) -> Value<'_> {
    AnyValue::read(message).map_or(Value::Nil, Value::of)
}

fn last(message: &[u8], number: u32) -> Option<Field<'_>> {
    Fields::new(message).map_while(Result::ok).filter(|field| field.number == number).last()
}

pub fn bytes(message: &[u8], number: u32) -> &[u8] {
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
