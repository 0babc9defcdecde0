//! Where a new value goes: the bytes of a field and the range they replace. Plans only, so that the value may be read
//! from the very messages it will change.

use std::ops::Range;

use crate::otlp::ids::hex_to_bytes;
use crate::otlp::walk::Fields;
use crate::otlp::write;
use crate::ottl::draft::{last_range, places, slot};
use crate::ottl::encode::{Entry, check_nesting, entries, put_attribute, put_double, put_value, set_in};
use crate::ottl::parse::Key;
use crate::ottl::path::tables::{Part, PointPart, Points};
use crate::ottl::path::{KINDS, Path, bytes, points_of};
use crate::ottl::scene::Scene;
use crate::ottl::value::Value;
use crate::ottl::{Failure, Item};

/// Sets what the path names. Nil sets nothing, as upstream's `set`.
pub fn set(
    scene: &mut Scene<'_>,
    path: &Path,
    value: impl FnOnce(&Item<'_>) -> Result<Option<Planned>, Failure>,
) -> Result<(), Failure> {
    let planned = value(&scene.view())?;
    let Some(Planned { range, bytes }) = planned else { return Ok(()) };
    let draft = scene.draft(path.owner);
    draft.replace(range, &bytes)?;
    // A point's value is one of two.
    match path.part {
        Part::Point(PointPart::ValueDouble) => draft.remove(|number, _| number == 6),
        Part::Point(PointPart::ValueInt) => draft.remove(|number, _| number == 4),
        _ => Ok(()),
    }
}

/// Bytes to write and what they replace.
pub struct Planned {
    pub range: Range<usize>,
    pub bytes: Vec<u8>,
}

impl Path {
    /// False for what no statement can set.
    pub fn can_be_set(&self) -> bool {
        self.part != Part::MetricType
    }

    /// How to give what the path names this value; `None` where there is nothing to set.
    pub fn plan(&self, item: &Item<'_>, value: &Value<'_>) -> Result<Option<Planned>, Failure> {
        if *value == Value::Nil {
            return Ok(None);
        }
        let message = item.message(self.owner);
        let part = match self.part {
            Part::Point(part) => match part.within(item.points) {
                Some(part) => part,
                None => return Ok(None),
            },
            part => part,
        };
        let mut bytes = Vec::new();
        let range = match part {
            Part::Attributes(number) => attributes(message, number, &self.keys, value, &mut bytes)?,
            Part::Any(number) => {
                any(message, number, &self.keys, value, &mut bytes)?;
                slot(message, number)
            }
            Part::TraceState => {
                trace_state(message, &self.keys, value, &mut bytes)?;
                slot(message, 3)
            }
            Part::StatusCode | Part::StatusMessage => {
                status(message, part, value, &mut bytes)?;
                slot(message, 15)
            }
            Part::Temporality | Part::Monotonic => match holder(message, part, value, &mut bytes)? {
                Some(number) => slot(message, number),
                None => return Ok(None),
            },
            part => slot(message, scalar(part, value, &mut bytes)?),
        };
        Ok(Some(Planned { range, bytes }))
    }
}

const EXPECTED_INT: Failure = Failure("expected a whole number");

/// Appends the field of a scalar and gives its number.
fn scalar(part: Part, value: &Value<'_>, out: &mut Vec<u8>) -> Result<u32, Failure> {
    let whole = || if let Value::Int(number) = value { Ok(*number) } else { Err(EXPECTED_INT) };
    let text = || if let Value::Text(text) = value { Ok(text.as_bytes()) } else { Err(Failure("expected a string")) };
    let number = match part {
        Part::Text(number) => {
            write::bytes(out, number, text()?);
            number
        }
        Part::AnyText(number) => {
            text()?;
            let mut any = Vec::new();
            put_value(&mut any, value)?;
            write::bytes(out, number, &any);
            number
        }
        Part::Id(number, length) => match value {
            Value::Bytes(id) if id.len() == length || id.is_empty() => {
                write::bytes(out, number, id);
                number
            }
            _ => return Err(Failure("expected an id")),
        },
        Part::Hex(number, length) => {
            let digits = text()?;
            let id = match length {
                16 => hex_to_bytes::<16>(digits).map(|id| id.to_vec()),
                _ => hex_to_bytes::<8>(digits).map(|id| id.to_vec()),
            };
            write::bytes(out, number, &id.ok_or(Failure("expected the hex digits of an id"))?);
            number
        }
        Part::Number(number) => put_varint(out, number, whole()? as u64),
        Part::Signed(number) => {
            let value = whole()?;
            put_varint(out, number, (value << 1 ^ value >> 63) as u64)
        }
        Part::Fixed(number) => put_fixed(out, number, whole()?),
        Part::Moment(number) => match value {
            Value::Time(nanos) => put_fixed(out, number, *nanos),
            _ => return Err(Failure("expected a time")),
        },
        Part::Double(number) => match value {
            Value::Float(value) => {
                put_double(out, number, *value);
                number
            }
            _ => return Err(Failure("expected a double")),
        },
        Part::Flags(number) => {
            let flags = u32::try_from(whole()?).map_err(|_| Failure("the flags have more than 32 bits"))?;
            write::key(out, number, write::FIXED32);
            out.extend_from_slice(&flags.to_le_bytes());
            number
        }
        Part::KindName => {
            let name = text()?;
            let kind = KINDS.iter().position(|kind| kind.as_bytes() == name);
            put_varint(out, 6, kind.ok_or(Failure("there is no such span kind"))? as u64)
        }
        _ => return Err(Failure("this cannot be set")),
    };
    Ok(number)
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

/// One attribute, or all of them.
fn attributes(
    message: &[u8],
    number: u32,
    keys: &[Key],
    value: &Value<'_>,
    out: &mut Vec<u8>,
) -> Result<Range<usize>, Failure> {
    let (name, rest) = match keys {
        [] => {
            let entries = entries(value)?;
            entries.iter().try_for_each(|entry| check_nesting(&entry.value))?;
            all(message, number, &entries, out);
            return Ok(0..message.len());
        }
        [Key::Name(name), rest @ ..] => (name, rest),
        [Key::Index(_), ..] => return Err(Failure("attributes have no index")),
    };
    let mut made = Vec::new();
    put_value(&mut made, value)?;
    let found = find(message, number, name.as_bytes());
    if !rest.is_empty() {
        made = set_in(found.as_ref().map_or(b"", |(_, value)| value), rest, &made)?;
    }
    check_nesting(&made)?;
    put_attribute(out, number, name.as_bytes(), &made);
    Ok(found.map_or(message.len()..message.len(), |(range, _)| range))
}

/// The message with these entries where its first one stood.
pub fn all(message: &[u8], number: u32, entries: &[Entry<'_>], out: &mut Vec<u8>) {
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
        let entry = Entry::read(field.bytes().ok()?);
        if *entry.key == *name {
            let value = if let std::borrow::Cow::Borrowed(value) = entry.value { value } else { b"" };
            return Some((start..fields.position(), value));
        }
    }
}

/// A value that is of any kind, or a part of it.
fn any(message: &[u8], number: u32, keys: &[Key], value: &Value<'_>, out: &mut Vec<u8>) -> Result<(), Failure> {
    let mut made = Vec::new();
    put_value(&mut made, value)?;
    if !keys.is_empty() {
        made = set_in(bytes(message, number), keys, &made)?;
    }
    check_nesting(&made)?;
    write::bytes(out, number, &made);
    Ok(())
}

fn status(message: &[u8], part: Part, value: &Value<'_>, out: &mut Vec<u8>) -> Result<(), Failure> {
    let mut field = Vec::new();
    let inner = match part {
        Part::StatusCode => Part::Number(3),
        _ => Part::Text(2),
    };
    let number = scalar(inner, value, &mut field)?;
    write::bytes(out, 15, &spliced(bytes(message, 15), number, &field));
    Ok(())
}

/// Temporality and monotony stand in the message that holds the points; gives that message's field number.
fn holder(message: &[u8], part: Part, value: &Value<'_>, out: &mut Vec<u8>) -> Result<Option<u32>, Failure> {
    let Some((points, _)) = points_of(message) else { return Ok(None) };
    let number = match (part, points, value) {
        (Part::Temporality, Points::Sum, _) => 7,
        (Part::Temporality, Points::Histogram, _) => 9,
        (Part::Temporality, Points::Exponential, _) => 10,
        (Part::Monotonic, Points::Sum, _) => 7,
        _ => return Ok(None),
    };
    let mut field = Vec::new();
    let inner = match (part, value) {
        (Part::Temporality, Value::Int(code)) => put_varint(&mut field, 2, *code as u64),
        (Part::Monotonic, Value::Bool(truth)) => put_varint(&mut field, 3, u64::from(*truth)),
        (Part::Temporality, _) => return Err(EXPECTED_INT),
        _ => return Err(Failure("expected true or false")),
    };
    write::bytes(out, number, &spliced(bytes(message, number), inner, &field));
    Ok(Some(number))
}

/// The message with this field in place of the one that counted.
fn spliced(message: &[u8], number: u32, field: &[u8]) -> Vec<u8> {
    let range = last_range(message, number).unwrap_or(message.len()..message.len());
    [&message[..range.start], field, &message[range.end..]].concat()
}

fn trace_state(message: &[u8], keys: &[Key], value: &Value<'_>, out: &mut Vec<u8>) -> Result<(), Failure> {
    let Value::Text(text) = value else { return Err(Failure("expected a string")) };
    let name = match keys {
        [] => {
            write::bytes(out, 3, text.as_bytes());
            return Ok(());
        }
        [Key::Name(name)] => name,
        _ => return Err(Failure("trace_state has one key")),
    };
    // The member that changed goes first (W3C Trace Context, 3.3.1.4).
    let old = bytes(message, 3);
    let mut state = format!("{name}={text}").into_bytes();
    for member in old.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty()) {
        if member.split(|byte| *byte == b'=').next() != Some(name.as_bytes()) {
            state.push(b',');
            state.extend_from_slice(member);
        }
    }
    write::bytes(out, 3, &state);
    Ok(())
}
