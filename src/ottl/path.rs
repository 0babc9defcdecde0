//! Paths: which part of which message a name means, and how it is read from the wire.

pub mod place;
pub mod tables;

mod state;

use std::borrow::Cow;

use crate::otlp::walk::{AnyValue, Field, Fields, Wire, read_varint};
use crate::otlp::write;
use crate::ottl::check::{self, Node};
use crate::ottl::draft::without;
use crate::ottl::eval;
use crate::ottl::parse::{Key, Segment};
use crate::ottl::path::tables::{CONTEXTS_NOT_BUILT, NOT_BUILT, Part, PointPart, Points, names};
use crate::ottl::value::{Id, Moment, Step, Value, hex, pieces};
use crate::ottl::{Context, Failure, Fault, Item, Syntax};

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

/// A checked key: known, or made of the item.
#[derive(Debug)]
pub enum Place {
    Known(Step<'static>),
    Made(Node),
}

impl Place {
    pub fn check(keys: &[Key], syntax: Syntax) -> Result<Vec<Place>, Fault> {
        let place = |key: &Key| match key {
            Key::Name(name) => Ok(Place::Known(Step::Name(Cow::Owned(name.clone())))),
            Key::Index(index) => Ok(Place::Known(Step::Index(*index))),
            Key::Made(made) => check::value(made, syntax).map(Place::Made),
        };
        keys.iter().map(place).collect()
    }

    pub fn step<'a>(&'a self, item: &Item<'a>) -> Result<Step<'a>, Failure> {
        match self {
            Place::Known(Step::Name(name)) => Ok(Step::Name(Cow::Borrowed(name))),
            Place::Known(Step::Index(index)) => Ok(Step::Index(*index)),
            Place::Made(node) => match eval::value(node, item)? {
                Value::Text(name) => Ok(Step::Name(name)),
                Value::Int(index) => Ok(Step::Index(index)),
                _ => Err(Failure("a key is a string or a whole number")),
            },
        }
    }
}

/// A checked path.
#[derive(Debug)]
pub struct Path {
    pub owner: Owner,
    pub part: Part,
    pub keys: Vec<Place>,
    /// As written, for messages.
    pub name: String,
}

/// Field of the cache's own message that holds its entries.
pub const CACHE: u32 = 1;

/// The path of these names, which stand at this place in the text.
pub fn resolve(segments: &[Segment], syntax: Syntax, at: usize) -> Result<Path, Fault> {
    let wrong = |message: String| Err(Fault { at, message, not_built: false });
    let first = &segments[0];
    let prefix = Context::named(&first.name).filter(|_| segments.len() > 1 && first.keys.is_empty());
    let written = segments.iter().map(|segment| segment.name.as_str()).collect::<Vec<_>>().join(".");
    let (of, rest) = match prefix {
        Some(of) if syntax.context.sees(of) => (of, &segments[1..]),
        Some(_) => {
            return wrong(format!("`{written}` is out of sight from a {}", syntax.context.name()));
        }
        None if syntax.prefixed && !CONTEXTS_NOT_BUILT.contains(&first.name.as_str()) => {
            let seen = syntax.context.seen().map(|of| format!("{}.{written}", of.name())).collect::<Vec<_>>();
            return wrong(format!("`{written}` does not say whose; one of {}", seen.join(", ")));
        }
        None => (syntax.context, segments),
    };
    let Some((last, before)) = rest.split_last() else { return wrong("a name is missing".to_owned()) };
    if before.iter().any(|segment| !segment.keys.is_empty()) {
        return wrong("keys may stand behind the last name only".to_owned());
    }
    let name = rest.iter().map(|segment| segment.name.as_str()).collect::<Vec<_>>().join(".");
    if name == "cache" {
        if !syntax.cache || of != syntax.context {
            return wrong("there is no `cache` here".to_owned());
        }
        let keys = Place::check(&last.keys, syntax)?;
        return Ok(Path { owner: Owner::Cache, part: Part::Attributes(CACHE), keys, name: written });
    }
    let Some((_, part)) = names(of).iter().find(|(known, _)| *known == name) else {
        if NOT_BUILT.contains(&name.as_str()) || CONTEXTS_NOT_BUILT.contains(&first.name.as_str()) {
            return Err(Fault { at, message: format!("podgate does not have the path `{written}`"), not_built: true });
        }
        let known: Vec<&str> = names(of).iter().map(|(name, _)| *name).collect();
        return wrong(format!("there is no `{name}` in a {}; known are {}", of.name(), known.join(", ")));
    };
    let keyed =
        matches!(part, Part::Attributes(_) | Part::Any(_) | Part::TraceState | Part::Point(PointPart::Attributes));
    if !last.keys.is_empty() && !keyed {
        return wrong(format!("`{name}` has no keys"));
    }
    // While its pieces are run over, the message above them is without them.
    let hidden = matches!((syntax.context, of, part), (Context::SpanEvent, Context::Span, Part::Pieces(11)))
        || (syntax.context == Context::DataPoint && *part == Part::DataPoints);
    if hidden {
        let message = format!("podgate does not have `{written}` seen from a {}", syntax.context.name());
        return Err(Fault { at, message, not_built: true });
    }
    let keys = Place::check(&last.keys, syntax)?;
    Ok(Path { owner: owner(of), part: *part, keys, name: written })
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
    /// What the path names; nil where a map on the way has no such key.
    pub fn read<'a>(&'a self, item: &Item<'a>) -> Result<Value<'a>, Failure> {
        let message = item.message(self.owner);
        if self.part == Part::TraceState && !self.keys.is_empty() {
            return state::member(bytes(message, 3), &self.keys);
        }
        let mut value = self.part.read(message, item.points);
        for key in &self.keys {
            match value.at(&key.step(item)?)? {
                Some(found) => value = found,
                None => return Ok(Value::Nil),
            }
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
            Part::Id(number, length) => Value::Id(Id::of(bytes(message, number), length)),
            Part::Hex(number, length) => Value::Text(Cow::Owned(hex(Id::of(bytes(message, number), length).bytes()))),
            Part::Number(number) => Value::Int(i64::from(integer(message, number) as i32)),
            Part::Unsigned(number) => Value::Int(i64::from(integer(message, number) as u32)),
            Part::Fixed(number) | Part::Flags(number, _) => Value::Int(integer(message, number)),
            Part::Signed(number) => Value::Int(zigzag(integer(message, number))),
            Part::Moment(number) => Value::Time(Moment::of_nanos(integer(message, number))),
            Part::Double(number) => Value::Float(f64::from_bits(integer(message, number) as u64)),
            Part::Attributes(number) => Value::Map { message, number },
            Part::Any(number) => any(bytes(message, number)),
            Part::AnyText(number) => match any(bytes(message, number)).to_plain_text() {
                Ok(text) => Value::Text(Cow::Owned(text.into_owned())),
                Err(_) => Value::Text(Cow::Borrowed("")),
            },
            Part::StatusCode => Value::Int(i64::from(integer(bytes(message, 15), 3) as i32)),
            Part::StatusMessage => Value::text(bytes(bytes(message, 15), 2)),
            Part::KindName => Value::Text(Cow::Borrowed(kind_name(message, &KINDS))),
            Part::KindConstant => Value::Text(Cow::Borrowed(kind_name(message, &KIND_CONSTANTS))),
            Part::Pieces(number) => Value::Pieces(pieces(message, number).count()),
            Part::DataPoints => match points_of(message) {
                Some((_, inside)) => Value::Pieces(points_in(&inside).count()),
                None => Value::Nil,
            },
            Part::Counts(number) => packed(message, number, |word| Value::Int(word as i64)),
            Part::Doubles(number) => packed(message, number, |word| Value::Float(f64::from_bits(word))),
            Part::Offset(number) => Value::Int(zigzag(integer(bytes(message, number), 1))),
            Part::Buckets(number) => buckets(bytes(message, number)),
            Part::MetricType => Value::Int(kind_of(message).code()),
            Part::Temporality => match points_of(message) {
                Some((Points::Sum | Points::Histogram | Points::Exponential, inside)) => {
                    Value::Int(i64::from(integer(&inside, 2) as i32))
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

fn zigzag(number: i64) -> i64 {
    let number = number as u64;
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// Words of eight bytes in a repeated field, packed or not.
fn packed<'a>(message: &'a [u8], number: u32, make: impl Fn(u64) -> Value<'a>) -> Value<'a> {
    let mut words = Vec::new();
    for field in Fields::new(message).map_while(Result::ok).filter(|field| field.number == number) {
        match field.wire {
            Wire::Fixed64(word) => words.push(make(word)),
            _ => {
                let bytes = field.bytes().unwrap_or_default().chunks_exact(8);
                words
                    .extend(bytes.map(|word| make(word.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte)))));
            }
        }
    }
    Value::List(words)
}

/// The counts of an exponential histogram's buckets: varints in field 2, packed or not.
fn buckets(message: &[u8]) -> Value<'_> {
    let mut counts = Vec::new();
    for field in Fields::new(message).map_while(Result::ok).filter(|field| field.number == 2) {
        match field.wire {
            Wire::Varint(count) => counts.push(Value::Int(count as i64)),
            _ => {
                let mut rest = field.bytes().unwrap_or_default();
                while let Ok((count, length)) = read_varint(rest) {
                    counts.push(Value::Int(count as i64));
                    rest = &rest[length..];
                }
            }
        }
    }
    Value::List(counts)
}

fn kind_name(span: &[u8], names: &[&'static str; 6]) -> &'static str {
    let kind = usize::try_from(integer(span, 6)).ok().and_then(|kind| names.get(kind));
    kind.copied().unwrap_or_default()
}

/// Values of `kind.deprecated_string`, by number.
pub const KIND_CONSTANTS: [&str; 6] = [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];

/// Values of `kind.string`, by number.
pub const KINDS: [&str; 6] = ["Unspecified", "Internal", "Server", "Client", "Producer", "Consumer"];

/// The kind of a metric, as [`points_of`] has it.
fn kind_of(metric: &[u8]) -> Points {
    let fields = Fields::new(metric).map_while(Result::ok).filter(|field| field.bytes().is_ok());
    fields.map(|field| Points::of(field.number)).filter(|points| *points != Points::None).last().unwrap_or_default()
}

/// The metric without its points, as those that are asked about see it: each of them would walk all the others. Its kind
/// and what else its points' message says stay.
pub fn without_points(metric: &[u8], points: Points, holder: &[u8]) -> Vec<u8> {
    let mut shell = without(metric, points.field());
    write::bytes(&mut shell, points.field(), &without(holder, POINTS));
    shell
}

/// Field of every kind of metric that holds its points.
pub const POINTS: u32 = 1;

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
