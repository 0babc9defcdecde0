//! Paths: which part of which message a name means, and how it is read from the wire.

pub mod place;
pub mod state;
pub mod tables;

use std::borrow::Cow;

use crate::otlp::fields::trace::{span, span_kind, status};
use crate::otlp::fields::{metric_data, metrics};
use crate::otlp::span::KIND_WORDS;
use crate::otlp::walk::{AnyValue, Field, Fields, Wire, read_varint};
use crate::otlp::write;
use crate::ottl::edit::message_edit::{places, put_without};
use crate::ottl::path::tables::{PathPart, Points};
use crate::ottl::value::{IdBytes, OttlValue, ZonedTime, hex, pieces};

/// Field of the cache's own message that holds its entries.
pub const CACHE: u32 = 1;

impl PathPart {
    /// The part in a message whose points, if it has any, are of this kind; nil where there is no such thing.
    pub(super) fn read(self, message: &[u8], points: Points) -> OttlValue<'_> {
        match self {
            PathPart::Text(number) => OttlValue::text(bytes(message, number)),
            PathPart::SchemaUrl => OttlValue::text(message),
            // Not in the message: `Path::read` asks the item.
            PathPart::Place => OttlValue::Nil,
            PathPart::TraceState => OttlValue::text(bytes(message, span::TRACE_STATE)),
            PathPart::Id(number, length) => OttlValue::Id(IdBytes::of(bytes(message, number), length)),
            PathPart::Hex(number, length) => {
                OttlValue::Text(Cow::Owned(hex(IdBytes::of(bytes(message, number), length).bytes())))
            }
            PathPart::Number(number) => OttlValue::Int(i64::from(integer(message, number) as i32)),
            PathPart::Unsigned(number) => OttlValue::Int(i64::from(integer(message, number) as u32)),
            PathPart::Fixed(number) | PathPart::Flags(number, _) => OttlValue::Int(integer(message, number)),
            PathPart::Signed(number) => OttlValue::Int(zigzag(integer(message, number))),
            PathPart::Moment(number) => OttlValue::Time(ZonedTime::of_nanos(integer(message, number))),
            PathPart::Double(number) => OttlValue::Float(f64::from_bits(integer(message, number) as u64)),
            PathPart::Attributes(number) => OttlValue::Map { message, number },
            PathPart::Any(number) => any(bytes(message, number)),
            PathPart::AnyText(number) => match any(bytes(message, number)).to_plain_text() {
                Ok(text) => OttlValue::Text(Cow::Owned(text.into_owned())),
                Err(_) => OttlValue::Text(Cow::Borrowed("")),
            },
            PathPart::StatusCode => {
                OttlValue::Int(i64::from(integer(bytes(message, span::STATUS), status::CODE) as i32))
            }
            PathPart::StatusMessage => OttlValue::text(bytes(bytes(message, span::STATUS), status::MESSAGE)),
            PathPart::KindName => OttlValue::Text(Cow::Borrowed(kind_name(message, KINDS))),
            PathPart::KindConstant => OttlValue::Text(Cow::Borrowed(kind_name(message, KIND_CONSTANTS))),
            PathPart::Pieces(number) => OttlValue::Pieces(pieces(message, number).count()),
            PathPart::DataPoints => match points_of(message) {
                Some((_, inside)) => OttlValue::Pieces(points_in(&inside).count()),
                None => OttlValue::Nil,
            },
            PathPart::Counts(number) => packed(message, number, |word| OttlValue::Int(word as i64)),
            PathPart::Doubles(number) => packed(message, number, |word| OttlValue::Float(f64::from_bits(word))),
            PathPart::Offset(number) => OttlValue::Int(zigzag(integer(bytes(message, number), BUCKETS_OFFSET))),
            PathPart::Buckets(number) => buckets(bytes(message, number)),
            PathPart::MetricType => OttlValue::Int(kind_of(message).code()),
            PathPart::Temporality => match points_of(message) {
                Some((Points::Sum | Points::Histogram | Points::Exponential, inside)) => {
                    OttlValue::Int(i64::from(integer(&inside, metric_data::AGGREGATION_TEMPORALITY) as i32))
                }
                _ => OttlValue::Nil,
            },
            PathPart::Monotonic => match points_of(message) {
                Some((Points::Sum, inside)) => OttlValue::Bool(integer(&inside, metrics::sum::IS_MONOTONIC) != 0),
                _ => OttlValue::Nil,
            },
            PathPart::Point(part) => part.within(points).map_or(OttlValue::Nil, |part| part.read(message, points)),
        }
    }
}

/// Where an exponential histogram's buckets have their offset and their counts.
const BUCKETS_OFFSET: u32 = metrics::exponential_histogram_data_point_buckets::OFFSET;
const BUCKETS_COUNTS: u32 = metrics::exponential_histogram_data_point_buckets::BUCKET_COUNTS;

/// The number behind a varint whose last bit is its sign.
pub fn zigzag(number: i64) -> i64 {
    let number = number as u64;
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// Words of eight bytes in a repeated field, packed or not.
pub fn words(message: &[u8], number: u32) -> Vec<u64> {
    let mut words = Vec::new();
    for field in Fields::new(message).map_while(Result::ok).filter(|field| field.number == number) {
        match field.wire {
            Wire::Fixed64(word) => words.push(word),
            _ => {
                let bytes = field.bytes().unwrap_or_default().chunks_exact(8);
                words.extend(bytes.map(|word| word.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte))));
            }
        }
    }
    words
}

fn packed<'a>(message: &[u8], number: u32, make: impl Fn(u64) -> OttlValue<'a>) -> OttlValue<'a> {
    OttlValue::List(words(message, number).into_iter().map(make).collect())
}

/// The counts of an exponential histogram's buckets: varints, packed or not.
pub fn bucket_counts(buckets: &[u8]) -> Vec<u64> {
    let mut counts = Vec::new();
    for field in Fields::new(buckets).map_while(Result::ok).filter(|field| field.number == BUCKETS_COUNTS) {
        match field.wire {
            Wire::Varint(count) => counts.push(count),
            _ => {
                let mut rest = field.bytes().unwrap_or_default();
                while let Ok((count, length)) = read_varint(rest) {
                    counts.push(count);
                    rest = &rest[length..];
                }
            }
        }
    }
    counts
}

/// Where an exponential histogram's buckets begin.
pub fn bucket_offset(buckets: &[u8]) -> i32 {
    zigzag(integer(buckets, BUCKETS_OFFSET)) as i32
}

fn buckets(message: &[u8]) -> OttlValue<'_> {
    OttlValue::List(bucket_counts(message).into_iter().map(|count| OttlValue::Int(count as i64)).collect())
}

fn kind_name(message: &[u8], names: &[&'static str]) -> &'static str {
    let kind = usize::try_from(integer(message, span::KIND)).ok().and_then(|kind| names.get(kind));
    kind.copied().unwrap_or_default()
}

/// Values of `kind.deprecated_string`, by number.
pub const KIND_CONSTANTS: &[&str] = span_kind::NAMES;

/// Values of `kind.string`, by number.
pub const KINDS: &[&str] = &KIND_WORDS;

/// The kind of a metric, as [`points_of`] has it.
fn kind_of(metric: &[u8]) -> Points {
    let fields = Fields::new(metric).map_while(Result::ok).filter(|field| field.bytes().is_ok());
    fields.map(|field| Points::of(field.number)).filter(|points| *points != Points::None).last().unwrap_or_default()
}

/// Appends the metric without its points, as those that are asked about see it: each of them would walk all the others. Its
/// kind and what else its points' message says stay.
pub fn put_without_points(out: &mut Vec<u8>, metric: &[u8], points: Points, holder: &[u8]) {
    put_without(out, metric, points.field());
    let others = places(holder).filter(|(found, _)| *found != POINTS);
    write::key(out, points.field(), write::LEN);
    write::varint(out, others.map(|(_, range)| range.len() as u64).sum());
    put_without(out, holder, POINTS);
}

/// Field of every kind of metric that holds its points.
pub const POINTS: u32 = metric_data::DATA_POINTS;

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
    let fields = Fields::new(holder).map_while(Result::ok).filter(|field| field.number == POINTS);
    fields.filter_map(|field| field.bytes().ok())
}

fn any(message: &[u8]) -> OttlValue<'_> {
    AnyValue::read(message).map_or(OttlValue::Nil, OttlValue::of)
}

/// The field that counts.
pub fn last(message: &[u8], number: u32) -> Option<Field<'_>> {
    Fields::new(message).map_while(Result::ok).filter(|field| field.number == number).last()
}

pub fn bytes(message: &[u8], number: u32) -> &[u8] {
    last(message, number).and_then(|field| field.bytes().ok()).unwrap_or_default()
}

/// The number in a field; 0 where there is none.
pub fn integer(message: &[u8], number: u32) -> i64 {
    match last(message, number).map(|field| field.wire) {
        Some(Wire::Varint(value) | Wire::Fixed64(value)) => value as i64,
        Some(Wire::Fixed32(value)) => i64::from(value),
        _ => 0,
    }
}
