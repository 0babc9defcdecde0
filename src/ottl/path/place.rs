//! Where a new value goes: the bytes of a field and the range they replace. Plans only, so that the value may be read
//! from the very messages it will change.

use std::ops::Range;

use crate::otlp::fields::metric_data;
use crate::otlp::fields::metrics::{number_data_point, sum};
use crate::otlp::fields::trace::{span, status};
use crate::otlp::ids::hex_to_bytes;
use crate::otlp::walk::{AnyValue, Fields};
use crate::otlp::write;
use crate::ottl::checked::Path;
use crate::ottl::edit::encode::{MapItem, check_nesting, entries, put_attribute, put_double, put_value, set_in};
use crate::ottl::edit::message_edit::{MessageEdit, places, slot, without};
use crate::ottl::edit::target::{Buffers, EditTarget};
use crate::ottl::item::Item;
use crate::ottl::path::tables::{PathPart, PointPart, Points};
use crate::ottl::path::{BUCKETS_COUNTS, BUCKETS_OFFSET, KIND_CONSTANTS, KINDS, POINTS, bytes, points_of, state};
use crate::ottl::value::failure::EvalFailure;
use crate::ottl::value::{OttlValue, ValueStep};

/// Sets what the path names. Nil empties maps, lists and values that may be of any kind, and is a failure elsewhere.
pub fn set(
    scene: &mut EditTarget<'_>,
    path: &Path,
    plan: impl FnOnce(&Item<'_>, &mut Buffers) -> Result<Option<Range<usize>>, EvalFailure>,
) -> Result<(), EvalFailure> {
    scene.draft(path.owner).may_change()?;
    let mut buffers = std::mem::take(&mut scene.buffers);
    buffers.ready();
    let planned = plan(&scene.view(), &mut buffers);
    let done = planned.and_then(|range| match range {
        Some(range) => put(scene.draft(path.owner), path.part, range, &buffers.out),
        None => Ok(()),
    });
    scene.buffers = buffers;
    done
}

fn put(draft: &mut MessageEdit<'_>, part: PathPart, range: Range<usize>, bytes: &[u8]) -> Result<(), EvalFailure> {
    draft.replace(range, bytes)?;
    // A point's value is one of two.
    match part {
        PathPart::Point(PointPart::ValueDouble) => draft.remove(|number, _| number == number_data_point::AS_INT),
        PathPart::Point(PointPart::ValueInt) => draft.remove(|number, _| number == number_data_point::AS_DOUBLE),
        _ => Ok(()),
    }
}

impl Path {
    /// False for what no statement can set.
    pub fn can_be_set(&self) -> bool {
        !matches!(self.part, PathPart::MetricType | PathPart::Place)
    }

    /// Writes what gives what the path names this value, and says what that replaces; `None` where there is nothing to set.
    pub fn plan(
        &self,
        item: &Item<'_>,
        value: &OttlValue<'_>,
        buffers: &mut Buffers,
    ) -> Result<Option<Range<usize>>, EvalFailure> {
        let message = item.message(self.owner);
        let part = match self.part {
            PathPart::Point(part) => {
                part.within(item.points).ok_or(EvalFailure("such points have no field of this name"))?
            }
            part => part,
        };
        let bytes = &mut buffers.out;
        let range = match part {
            PathPart::Attributes(number) => self.attributes(number, value, item, buffers)?,
            PathPart::Any(number) => {
                self.any(number, value, item, bytes)?;
                slot(message, number)
            }
            PathPart::TraceState if !self.keys.is_empty() => {
                let OttlValue::Text(text) = value else { return Err(EvalFailure("expected a string")) };
                let Some(state) = state::with_member(super::bytes(message, span::TRACE_STATE), &self.keys, text)?
                else {
                    return Ok(None);
                };
                write::bytes(bytes, span::TRACE_STATE, &state);
                slot(message, span::TRACE_STATE)
            }
            PathPart::StatusCode | PathPart::StatusMessage => {
                put_in_status(message, part, value, buffers)?;
                slot(message, span::STATUS)
            }
            PathPart::Temporality | PathPart::Monotonic => match holder(message, part, value, buffers)? {
                Some(number) => slot(message, number),
                None => return Ok(None),
            },
            PathPart::SchemaUrl => {
                let OttlValue::Text(url) = value else { return Err(EvalFailure("expected a string")) };
                bytes.extend_from_slice(url.as_bytes());
                0..message.len()
            }
            PathPart::Pieces(number) => {
                emptied(value)?;
                *bytes = without(message, number);
                0..message.len()
            }
            PathPart::DataPoints => {
                emptied(value)?;
                let Some((points, inside)) = points_of(message) else { return Ok(None) };
                *bytes = without(message, points.field());
                write::bytes(bytes, points.field(), &without(&inside, POINTS));
                0..message.len()
            }
            PathPart::Counts(number) | PathPart::Doubles(number) => {
                *bytes = without(message, number);
                write::bytes(bytes, number, &words(part, value)?);
                0..message.len()
            }
            PathPart::Offset(number) | PathPart::Buckets(number) => {
                let inner = if part == PathPart::Offset(number) { BUCKETS_OFFSET } else { BUCKETS_COUNTS };
                let mut inside = without(super::bytes(message, number), inner);
                inside.extend_from_slice(&buckets(part, value)?);
                write::bytes(bytes, number, &inside);
                slot(message, number)
            }
            part => slot(message, scalar(part, value, bytes)?),
        };
        Ok(Some(range))
    }

    /// One attribute, or all of them.
    fn attributes(
        &self,
        number: u32,
        value: &OttlValue<'_>,
        item: &Item<'_>,
        Buffers { out, made }: &mut Buffers,
    ) -> Result<Range<usize>, EvalFailure> {
        let (message, keys) = (item.message(self.owner), &self.keys[..]);
        let Some((first, rest)) = keys.split_first() else {
            let entries = if value.is_nil() { Vec::new() } else { entries(value)? };
            entries.iter().try_for_each(|entry| check_nesting(&entry.value))?;
            all(message, number, &entries, out);
            return Ok(0..message.len());
        };
        let ValueStep::Name(name) = first.step(item)? else { return Err(EvalFailure("attributes have no index")) };
        made.clear();
        put_value(made, value)?;
        let found = find(message, number, name.as_bytes());
        if !rest.is_empty() {
            *made = set_in(found.as_ref().map_or(b"", |(_, value)| value), rest, item, made)?;
        }
        check_nesting(made)?;
        put_attribute(out, number, name.as_bytes(), made);
        Ok(found.map_or(message.len()..message.len(), |(range, _)| range))
    }

    /// A value that is of any kind, or a part of it, which a map or list must be there for.
    fn any(&self, number: u32, value: &OttlValue<'_>, item: &Item<'_>, out: &mut Vec<u8>) -> Result<(), EvalFailure> {
        let mut made = Vec::new();
        put_value(&mut made, value)?;
        if !self.keys.is_empty() {
            let old = bytes(item.message(self.owner), number);
            if !matches!(AnyValue::read(old), Ok(AnyValue::KvList(_) | AnyValue::Array(_))) {
                return Err(EvalFailure("the value has no such keys"));
            }
            made = set_in(old, &self.keys, item, &made)?;
        }
        check_nesting(&made)?;
        write::bytes(out, number, &made);
        Ok(())
    }
}

/// Messages of other kinds than attributes can be emptied and nothing else.
fn emptied(value: &OttlValue<'_>) -> Result<(), EvalFailure> {
    if value.is_nil() { Ok(()) } else { Err(EvalFailure("this can only be set to nil")) }
}

/// A list of numbers as words of eight bytes.
fn words(part: PathPart, value: &OttlValue<'_>) -> Result<Vec<u8>, EvalFailure> {
    let mut out = Vec::new();
    for element in numbers(value)? {
        match (part, element) {
            (PathPart::Counts(_), OttlValue::Int(count)) => out.extend_from_slice(&count.to_le_bytes()),
            (PathPart::Doubles(_), OttlValue::Float(bound)) => out.extend_from_slice(&bound.to_le_bytes()),
            _ => return Err(EvalFailure("an element of the list is of another kind")),
        }
    }
    Ok(out)
}

/// The field of an exponential histogram's side that this is.
fn buckets(part: PathPart, value: &OttlValue<'_>) -> Result<Vec<u8>, EvalFailure> {
    let mut out = Vec::new();
    match (part, value) {
        (PathPart::Offset(_), OttlValue::Int(offset)) => put_signed(&mut out, BUCKETS_OFFSET, *offset),
        (PathPart::Offset(_), _) => return Err(EXPECTED_INT),
        _ => {
            let mut counts = Vec::new();
            for element in numbers(value)? {
                let OttlValue::Int(count) = element else { return Err(EXPECTED_INT) };
                write::varint(&mut counts, count as u64);
            }
            write::bytes(&mut out, BUCKETS_COUNTS, &counts);
        }
    }
    Ok(out)
}

fn numbers<'a>(value: &OttlValue<'a>) -> Result<Vec<OttlValue<'a>>, EvalFailure> {
    match value {
        OttlValue::Nil => Ok(Vec::new()),
        list => list.elements().ok_or(EvalFailure("expected a list of numbers")),
    }
}

const EXPECTED_INT: EvalFailure = EvalFailure("expected a whole number");

/// Appends the field of a scalar and gives its number.
fn scalar(part: PathPart, value: &OttlValue<'_>, out: &mut Vec<u8>) -> Result<u32, EvalFailure> {
    let whole = || if let OttlValue::Int(number) = value { Ok(*number) } else { Err(EXPECTED_INT) };
    let text =
        || if let OttlValue::Text(text) = value { Ok(text.as_bytes()) } else { Err(EvalFailure("expected a string")) };
    let number = match part {
        PathPart::Text(number) => {
            write::bytes(out, number, text()?);
            number
        }
        PathPart::TraceState => {
            write::bytes(out, span::TRACE_STATE, text()?);
            span::TRACE_STATE
        }
        PathPart::AnyText(number) => {
            text()?;
            let mut any = Vec::new();
            put_value(&mut any, value)?;
            write::bytes(out, number, &any);
            number
        }
        PathPart::Id(number, length) => match value {
            OttlValue::Id(id) if id.bytes().len() == length => {
                put_id(out, number, id.bytes());
                number
            }
            _ => return Err(EvalFailure("expected an id")),
        },
        PathPart::Hex(number, length) => {
            let digits = text()?;
            let id = match length {
                16 => hex_to_bytes::<16>(digits).map(|id| id.to_vec()),
                _ => hex_to_bytes::<8>(digits).map(|id| id.to_vec()),
            };
            put_id(out, number, &id.ok_or(EvalFailure("expected the hex digits of an id"))?);
            number
        }
        // What is wider loses its upper bits, as in a Collector.
        PathPart::Number(number) => put_varint(out, number, i64::from(whole()? as i32) as u64),
        PathPart::Unsigned(number) => put_varint(out, number, u64::from(whole()? as u32)),
        PathPart::Signed(number) => {
            put_signed(out, number, whole()?);
            number
        }
        PathPart::Fixed(number) => put_fixed(out, number, whole()?),
        PathPart::Moment(number) => match value {
            OttlValue::Time(moment) => put_fixed(out, number, moment.nanos()),
            _ => return Err(EvalFailure("expected a time")),
        },
        PathPart::Double(number) => match value {
            OttlValue::Float(value) => {
                put_double(out, number, *value);
                number
            }
            _ => return Err(EvalFailure("expected a double")),
        },
        PathPart::Flags(number, strict) => {
            let flags = match u32::try_from(whole()?) {
                Err(_) if strict => return Err(EvalFailure("the flags have more than 32 bits")),
                flags => flags.unwrap_or(whole()? as u32),
            };
            write::key(out, number, write::FIXED32);
            out.extend_from_slice(&flags.to_le_bytes());
            number
        }
        PathPart::KindName | PathPart::KindConstant => {
            let (name, names) = (text()?, if part == PathPart::KindName { KINDS } else { KIND_CONSTANTS });
            let kind = names.iter().position(|kind| kind.as_bytes() == name);
            put_varint(out, span::KIND, kind.ok_or(EvalFailure("there is no such span kind"))? as u64)
        }
        _ => return Err(EvalFailure("this cannot be set")),
    };
    Ok(number)
}

/// An id of zeros is none.
fn put_id(out: &mut Vec<u8>, number: u32, id: &[u8]) {
    let id = if id.iter().all(|byte| *byte == 0) { b"" } else { id };
    write::bytes(out, number, id);
}

/// A number of 32 bits, its sign last.
fn put_signed(out: &mut Vec<u8>, number: u32, value: i64) {
    let value = value as i32;
    put_varint(out, number, u64::from((value << 1 ^ value >> 31) as u32));
}

fn put_varint(out: &mut Vec<u8>, number: u32, value: u64) -> u32 {
    write::key(out, number, write::VARINT);
    write::varint(out, value);
    number
}

fn put_fixed(out: &mut Vec<u8>, number: u32, value: i64) -> u32 {
    write::key(out, number, write::FIXED64);
    out.extend_from_slice(&value.to_le_bytes());
    number
}

/// The message with these entries where its first one stood.
pub fn all(message: &[u8], number: u32, entries: &[MapItem<'_>], out: &mut Vec<u8>) {
    let mut pending = true;
    let put = |out: &mut Vec<u8>| entries.iter().for_each(|entry| entry.put(out, number));
    for (found, range) in places(message) {
        if found != number {
            out.extend_from_slice(&message[range]);
        } else if std::mem::take(&mut pending) {
            put(out);
        }
    }
    if pending {
        put(out);
    }
}

/// Where the first attribute of this name stands, and its value.
pub fn find<'a>(message: &'a [u8], number: u32, name: &[u8]) -> Option<(Range<usize>, &'a [u8])> {
    let mut fields = Fields::new(message);
    loop {
        let start = fields.position();
        let field = fields.next()?.ok()?;
        if field.number != number {
            continue;
        }
        let entry = MapItem::read(field.bytes().ok()?);
        if *entry.key == *name {
            let value = if let std::borrow::Cow::Borrowed(value) = entry.value { value } else { b"" };
            return Some((start..fields.position(), value));
        }
    }
}

fn put_in_status(
    message: &[u8],
    part: PathPart,
    value: &OttlValue<'_>,
    buffers: &mut Buffers,
) -> Result<(), EvalFailure> {
    let inner = match part {
        PathPart::StatusCode => PathPart::Number(status::CODE),
        _ => PathPart::Text(status::MESSAGE),
    };
    buffers.made.clear();
    let number = scalar(inner, value, &mut buffers.made)?;
    put_spliced(&mut buffers.out, (span::STATUS, bytes(message, span::STATUS)), (number, &buffers.made));
    Ok(())
}

/// Temporality and monotony stand in the message that holds the points; gives that message's field number.
fn holder(
    message: &[u8],
    part: PathPart,
    value: &OttlValue<'_>,
    buffers: &mut Buffers,
) -> Result<Option<u32>, EvalFailure> {
    match (part, value) {
        (PathPart::Temporality, OttlValue::Int(_)) | (PathPart::Monotonic, OttlValue::Bool(_)) => {}
        (PathPart::Temporality, _) => return Err(EXPECTED_INT),
        _ => return Err(EvalFailure("expected true or false")),
    }
    let Some((points, _)) = points_of(message) else { return Ok(None) };
    let number = match (part, points) {
        (PathPart::Temporality, Points::Sum | Points::Histogram | Points::Exponential) => points.field(),
        (PathPart::Monotonic, Points::Sum) => points.field(),
        _ => return Ok(None),
    };
    let field = &mut buffers.made;
    field.clear();
    let inner = match (part, value) {
        (PathPart::Temporality, OttlValue::Int(code)) => {
            put_varint(field, metric_data::AGGREGATION_TEMPORALITY, *code as u64)
        }
        (PathPart::Monotonic, OttlValue::Bool(truth)) => put_varint(field, sum::IS_MONOTONIC, u64::from(*truth)),
        (PathPart::Temporality, _) => return Err(EXPECTED_INT),
        _ => return Err(EvalFailure("expected true or false")),
    };
    put_spliced(&mut buffers.out, (number, bytes(message, number)), (inner, field));
    Ok(Some(number))
}

/// Appends a field that holds the message with one of its fields in place of the one that counted.
fn put_spliced(out: &mut Vec<u8>, (number, message): (u32, &[u8]), (inner, field): (u32, &[u8])) {
    let range = slot(message, inner);
    let (before, behind) = (&message[..range.start], &message[range.end..]);
    write::key(out, number, write::LEN);
    write::varint(out, (before.len() + field.len() + behind.len()) as u64);
    [before, field, behind].into_iter().for_each(|part| out.extend_from_slice(part));
}
