//! How deep attribute values nest: no item with values deeper than `DEPTH_MAX` goes on, so that nothing behind this can
//! be made to recurse further. On the way it finds ids of a wrong length, for which a Collector behind us would refuse the
//! whole request; log records and points go on without them. Separate from reading facts, because it has to enter every
//! attribute.

use crate::core::data::payload::Signal;
use crate::core::limits::DEPTH_MAX;
use crate::otlp::fields::common::{any_value, key_value};
use crate::otlp::fields::trace::{span, span_event, span_link};
use crate::otlp::fields::{keys, short_key, value_list};
use crate::otlp::walk::{Fields, Malformed, plain_attribute};
use crate::otlp::write;

/// What a field holds, as far as values can hide in it.
#[derive(Clone, Copy)]
enum Holds {
    /// `KeyValue`.
    KeyValue,
    /// `AnyValue`.
    Value,
    /// A trace or span id: empty or so many bytes.
    Id(usize),
    /// A message that holds values in these fields.
    Message(&'static [(u32, Holds)]),
}

use Holds::{Id, KeyValue, Message, Value};

const TRACE_ID: usize = 16;
const SPAN_ID: usize = 8;

// LOG_RECORD and METRIC, made of `proto/` by `build/tables.rs`.
include!(concat!(env!("OUT_DIR"), "/depth.rs"));

/// Refuses an item whose values nest deeper than `DEPTH_MAX`, whose fields and attributes cannot be walked or whose ids
/// have a wrong length: passed on, it would make the next hop refuse its whole request. Recurses at most that deep. Profiles keep their attributes in
/// the request's dictionary and pass.
pub fn check_depth(signal: Signal, item: &[u8]) -> Result<(), Malformed> {
    match signal {
        Signal::Traces => check_span(item),
        Signal::Logs => check_message(item, LOG_RECORD),
        Signal::Metrics => check_message(item, METRIC),
        Signal::Profiles => Ok(()),
    }
}

/// The messages whose ids tell only where they were made: an item is worth keeping without them. A span is its ids.
fn with_loose_ids(signal: Signal) -> Option<&'static [(u32, Holds)]> {
    match signal {
        Signal::Logs => Some(LOG_RECORD),
        Signal::Metrics => Some(METRIC),
        Signal::Traces | Signal::Profiles => None,
    }
}

/// Appends the item without its ids of a wrong length (OTLP: a receiver assumes that a record with an invalid id is not
/// part of a trace), never more bytes than it has. `None` for a span, and for what is faulty beside its ids.
pub fn push_without_bad_ids(signal: Signal, item: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let inside = with_loose_ids(signal)?;
    let before = out.len();
    push_loose(item, inside, out).ok()?;
    check_message(&out[before..], inside).ok()
}

fn push_loose(message: &[u8], inside: &[(u32, Holds)], out: &mut Vec<u8>) -> Result<(), Malformed> {
    each_kept(message, inside, &mut |bytes, nested| {
        let Some((number, inner, inside)) = nested else {
            out.extend_from_slice(bytes); // granted: by the caller, who has room for the item
            return Ok(());
        };
        write::key(out, number, write::LEN);
        write::varint(out, loose_len(inner, inside)? as u64);
        push_loose(inner, inside, out)
    })
}

/// Asked again at each of the four levels there are at most, instead of keeping the lengths.
fn loose_len(message: &[u8], inside: &[(u32, Holds)]) -> Result<usize, Malformed> {
    let mut length = 0;
    each_kept(message, inside, &mut |bytes, nested| {
        length += match nested {
            Some((number, inner, inside)) => write::field_len(number, loose_len(inner, inside)?),
            None => bytes.len(),
        };
        Ok(())
    })?;
    Ok(length)
}

/// A field's number, its message and what that holds.
type Nested<'a> = (u32, &'a [u8], &'static [(u32, Holds)]);

/// Every field but the bad ids, as it stands; with its message where ids may be inside.
fn each_kept<'a>(
    message: &'a [u8],
    inside: &[(u32, Holds)],
    keep: &mut dyn FnMut(&'a [u8], Option<Nested<'a>>) -> Result<(), Malformed>,
) -> Result<(), Malformed> {
    let mut fields = Fields::new(message);
    let mut from = 0;
    while let Some(field) = fields.next() {
        let field = field?;
        let bytes = &message[from..fields.position()];
        from = fields.position();
        match inside.iter().find(|(number, _)| *number == field.number) {
            Some((_, Id(length))) if check_id(field.bytes()?, *length).is_err() => {}
            Some((number, Message(inside))) => keep(bytes, Some((*number, field.bytes()?, *inside)))?,
            _ => keep(bytes, None)?,
        }
    }
    Ok(())
}

/// The same for the attributes of a resource (field 1) or scope (field 3).
pub fn check_attributes(message: &[u8], number: u32) -> Result<(), Malformed> {
    let mut fields = Fields::new(message);
    loop {
        check_run(&mut fields, list_key(number))?;
        let Some(field) = fields.next() else { return Ok(()) };
        let field = field?;
        if field.number == number {
            check_key_value(field.bytes()?, 0)?;
        }
    }
}

/// The key of a length-delimited field whose number is below 16.
const fn list_key(number: u32) -> u8 {
    short_key(number, write::LEN)
}

const SPAN_ATTRIBUTES: u8 = list_key(span::ATTRIBUTES);
const EVENTS: u8 = list_key(span::EVENTS);
const EVENT_ATTRIBUTES: u8 = list_key(span_event::ATTRIBUTES);
const LINK_ATTRIBUTES: u8 = list_key(span_link::ATTRIBUTES);

/// What the tables above say for other items, spelled out: every span passes here, and most of its bytes are attributes
/// side by side. What stands before them is read in the order in which every encoder writes it, which costs one comparison
/// a field; whatever comes in another order or shape is left to the loop over all fields.
fn check_span(message: &[u8]) -> Result<(), Malformed> {
    let mut fields = Fields::new(message);
    if let Some(id) = fields.next_of(list_key(span::TRACE_ID)) {
        check_id(id, TRACE_ID)?;
    }
    if let Some(id) = fields.next_of(list_key(span::SPAN_ID)) {
        check_id(id, SPAN_ID)?;
    }
    if let Some(id) = fields.next_of(list_key(span::PARENT_SPAN_ID)) {
        check_id(id, SPAN_ID)?;
    }
    fields.next_of(list_key(span::NAME));
    fields.next_small_of(short_key(span::KIND, write::VARINT));
    fields.next_fixed64_of(short_key(span::START_TIME_UNIX_NANO, write::FIXED64));
    fields.next_fixed64_of(short_key(span::END_TIME_UNIX_NANO, write::FIXED64));
    loop {
        check_run(&mut fields, SPAN_ATTRIBUTES)?;
        while let Some(event) = fields.next_of(EVENTS) {
            check_part::<EVENT_ATTRIBUTES>(event)?;
        }
        let Some(field) = fields.next() else { return Ok(()) };
        let field = field?;
        match field.number {
            span::TRACE_ID => check_id(field.bytes()?, TRACE_ID)?,
            span::SPAN_ID | span::PARENT_SPAN_ID => check_id(field.bytes()?, SPAN_ID)?,
            span::ATTRIBUTES => check_key_value(field.bytes()?, 0)?,
            span::EVENTS => check_part::<EVENT_ATTRIBUTES>(field.bytes()?)?,
            span::LINKS => check_part::<LINK_ATTRIBUTES>(field.bytes()?)?,
            _ => {}
        }
    }
}

/// Empty, or exactly as long as W3C Trace Context has it (opentelemetry-proto, trace.proto; the Collector's pdata refuses
/// to decode anything else).
#[inline(always)]
fn check_id(id: &[u8], length: usize) -> Result<(), Malformed> {
    if id.len() == length || id.is_empty() { Ok(()) } else { Err(Malformed::Id) }
}

/// An event or a link, whose attributes stand under `KEY`. Only links have ids.
#[inline]
fn check_part<const KEY: u8>(part: &[u8]) -> Result<(), Malformed> {
    let mut fields = Fields::new(part);
    if KEY == EVENT_ATTRIBUTES {
        fields.next_fixed64_of(short_key(span_event::TIME_UNIX_NANO, write::FIXED64));
        fields.next_of(list_key(span_event::NAME));
    }
    loop {
        check_run(&mut fields, KEY)?;
        let Some(field) = fields.next() else { return Ok(()) };
        let field = field?;
        match field.number {
            number if number == u32::from(KEY >> 3) => check_key_value(field.bytes()?, 0)?,
            span_link::TRACE_ID if KEY == LINK_ATTRIBUTES => check_id(field.bytes()?, TRACE_ID)?,
            span_link::SPAN_ID if KEY == LINK_ATTRIBUTES => check_id(field.bytes()?, SPAN_ID)?,
            _ => {}
        }
    }
}

/// Attributes side by side under one key, up to whatever else comes.
#[inline(always)]
fn check_run(fields: &mut Fields<'_>, key: u8) -> Result<(), Malformed> {
    loop {
        // Where most end: one comparison of a length less for each.
        while let Some(attribute) = fields.next_short_of(key) {
            check_key_value(attribute, 0)?;
        }
        let Some(attribute) = fields.next_of(key) else { return Ok(()) };
        check_key_value(attribute, 0)?;
    }
}

fn check_message(message: &[u8], inside: &[(u32, Holds)]) -> Result<(), Malformed> {
    for field in Fields::new(message) {
        let field = field?;
        match inside.iter().find(|(number, _)| *number == field.number) {
            None => {}
            Some((_, KeyValue)) => check_key_value(field.bytes()?, 0)?,
            Some((_, Value)) => check_value(field.bytes()?, 0)?,
            Some((_, Id(length))) => check_id(field.bytes()?, *length)?,
            Some((_, Message(inside))) => check_message(field.bytes()?, inside)?,
        }
    }
    Ok(())
}

#[inline(always)]
fn check_key_value(message: &[u8], depth: usize) -> Result<(), Malformed> {
    if is_short_attribute(message) { Ok(()) } else { check_long_key_value(message, depth) }
}

/// True for a key and one short string, bool, number below 16,384 or double and nothing else, 127 bytes in all: what most
/// attributes are. They are too short to nest too deep; what is left to see is that they can be walked. False says only
/// that the fields have to be read.
#[inline(always)]
fn is_short_attribute(message: &[u8]) -> bool {
    // No length in so short a message takes two bytes and comes to its end.
    let [keys::KEY, key, rest @ ..] = message else { return false };
    let Some([keys::VALUE, length, kind, first, more @ ..]) = rest.get(usize::from(*key)..) else { return false };
    if message.len() >= 0x80 || usize::from(*length) != more.len() + 2 {
        return false;
    }
    match *kind {
        keys::STRING => usize::from(*first) == more.len(),
        keys::BOOL => more.is_empty() && *first < 0x80,
        keys::INT => matches!((*first, more), (0..0x80, []) | (0x80.., [0..0x80])),
        keys::DOUBLE => more.len() == 7,
        _ => false,
    }
}

#[inline(never)]
fn check_long_key_value(message: &[u8], depth: usize) -> Result<(), Malformed> {
    match plain_attribute(message) {
        Some((_, value)) => check_value(value, depth),
        None => check_any_key_value(message, depth),
    }
}

fn check_any_key_value(message: &[u8], depth: usize) -> Result<(), Malformed> {
    for field in Fields::new(message) {
        let field = field?;
        match field.number {
            key_value::KEY => _ = field.bytes()?,
            key_value::VALUE => check_value(field.bytes()?, depth)?,
            _ => {}
        }
    }
    Ok(())
}

/// `depth` is the number of lists and maps around this value.
#[inline(always)]
fn check_value(message: &[u8], depth: usize) -> Result<(), Malformed> {
    if is_plain_value(message) { Ok(()) } else { check_any_value(message, depth) }
}

/// True for one short string, one bool, one number and nothing else; false says only that the fields have to be read.
#[inline(always)]
fn is_plain_value(message: &[u8]) -> bool {
    match message {
        [keys::STRING, length @ 0..0x80, text @ ..] => usize::from(*length) == text.len(),
        [keys::STRING, low, high @ 0..0x80, text @ ..] => {
            usize::from(low & 0x7f) | usize::from(*high) << 7 == text.len()
        }
        // A varint of up to nine bytes: the tenth would have to be looked at.
        [keys::BOOL | keys::INT, more @ .., 0..0x80] => more.len() < 9 && more.iter().all(|byte| *byte >= 0x80),
        [keys::DOUBLE, double @ ..] => double.len() == 8,
        _ => false,
    }
}

fn check_any_value(message: &[u8], depth: usize) -> Result<(), Malformed> {
    for field in Fields::new(message) {
        let field = field?;
        match field.number {
            any_value::STRING_VALUE | any_value::BYTES_VALUE => _ = field.bytes()?,
            any_value::BOOL_VALUE | any_value::INT_VALUE => _ = field.varint()?,
            any_value::DOUBLE_VALUE => _ = field.fixed64()?,
            any_value::ARRAY_VALUE | any_value::KVLIST_VALUE if depth == DEPTH_MAX => return Err(Malformed::Depth),
            any_value::ARRAY_VALUE => check_list(field.bytes()?, |entry| check_value(entry, depth + 1))?,
            any_value::KVLIST_VALUE => check_list(field.bytes()?, |entry| check_key_value(entry, depth + 1))?,
            _ => {}
        }
    }
    Ok(())
}

/// Lists and maps hold their entries in the same field.
fn check_list(list: &[u8], check: impl Fn(&[u8]) -> Result<(), Malformed>) -> Result<(), Malformed> {
    for entry in Fields::new(list) {
        let entry = entry?;
        if entry.number == value_list::VALUES {
            check(entry.bytes()?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::write;

    /// An attribute whose value is `levels` lists around a string.
    fn nested(levels: usize) -> Vec<u8> {
        let mut value = Vec::new();
        write::bytes(&mut value, 1, b"x");
        for _ in 0..levels {
            let mut list = Vec::new();
            write::bytes(&mut list, 1, &value);
            value.clear();
            write::bytes(&mut value, 5, &list);
        }
        let mut attribute = Vec::new();
        write::bytes(&mut attribute, 2, &value);
        attribute
    }

    fn within(path: &[u32], levels: usize) -> Vec<u8> {
        path.iter().rev().fold(nested(levels), |inner, number| {
            let mut outer = Vec::new();
            write::bytes(&mut outer, *number, &inner);
            outer
        })
    }

    #[test]
    fn values_nest_64_deep_and_no_deeper_wherever_they_stand() {
        let places: &[(Signal, &[u32])] = &[
            (Signal::Traces, &[9]),
            (Signal::Traces, &[11, 3]),
            (Signal::Traces, &[13, 4]),
            (Signal::Logs, &[6]),
            (Signal::Metrics, &[5, 1, 7]),
            (Signal::Metrics, &[7, 1, 5, 7]),
            (Signal::Metrics, &[9, 1, 9]),
            (Signal::Metrics, &[10, 1, 1]),
            (Signal::Metrics, &[10, 1, 11, 7]),
            (Signal::Metrics, &[11, 1, 7]),
            (Signal::Metrics, &[12]),
        ];
        for (signal, path) in places {
            assert_eq!(check_depth(*signal, &within(path, DEPTH_MAX)), Ok(()), "{signal:?} {path:?}");
            let deeper = check_depth(*signal, &within(path, DEPTH_MAX + 1));
            assert_eq!(deeper, Err(Malformed::Depth), "{signal:?} {path:?}");
        }
        assert_eq!(check_attributes(&within(&[1], DEPTH_MAX + 1), 1), Err(Malformed::Depth));
    }

    /// What the tables say for a span, walked with no shortcut at all.
    fn walk_in_full(message: &[u8], inside: &[(u32, Holds)]) -> Result<(), Malformed> {
        for field in Fields::new(message) {
            let field = field?;
            match inside.iter().find(|(number, _)| *number == field.number) {
                None => {}
                Some((_, KeyValue)) => walk_pair_in_full(field.bytes()?)?,
                Some((_, Value)) => check_any_value(field.bytes()?, 0)?,
                Some((_, Id(length))) => check_id(field.bytes()?, *length)?,
                Some((_, Message(inside))) => walk_in_full(field.bytes()?, inside)?,
            }
        }
        Ok(())
    }

    fn walk_pair_in_full(pair: &[u8]) -> Result<(), Malformed> {
        for field in Fields::new(pair) {
            let field = field?;
            match field.number {
                1 => _ = field.bytes()?,
                2 => check_any_value(field.bytes()?, 0)?,
                _ => {}
            }
        }
        Ok(())
    }

    #[test]
    fn shortcuts_agree_with_the_full_walk_on_damaged_spans() {
        const SPAN: &[(u32, Holds)] = &[
            (1, Id(TRACE_ID)),
            (2, Id(SPAN_ID)),
            (4, Id(SPAN_ID)),
            (9, KeyValue),
            (11, Message(&[(3, KeyValue)])),
            (13, Message(&[(1, Id(TRACE_ID)), (2, Id(SPAN_ID)), (4, KeyValue)])),
        ];
        let values: &[&[u8]] = &[
            b"",
            b"\x0a\x03GET",
            b"\x10\x01",
            b"\x18\xc8\x01",
            b"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x21\0\0\0\0\0\0\xf0\x3f",
            b"\x2a\x04\x0a\x02\x10\x01",
            &[&b"\x0a\xac\x02"[..], &[b'x'; 300]].concat(),
        ];
        let mut span = Vec::new();
        write::bytes(&mut span, 1, &[7; 16]);
        write::bytes(&mut span, 2, &[7; 8]);
        let mut link = Vec::new();
        write::bytes(&mut link, 1, &[7; 16]);
        write::bytes(&mut link, 2, &[7; 8]);
        write::bytes(&mut span, 13, &link);
        for (number, inner) in [(9, None), (11, Some(3)), (13, Some(4))] {
            for value in values {
                let mut attribute = Vec::new();
                write::bytes(&mut attribute, 1, b"key");
                write::bytes(&mut attribute, 2, value);
                if let Some(inner) = inner {
                    let bare = std::mem::take(&mut attribute);
                    write::bytes(&mut attribute, inner, &bare);
                }
                write::bytes(&mut span, number, &attribute);
            }
        }
        assert_eq!(check_depth(Signal::Traces, &span), Ok(()));
        let mut rng = fastrand::Rng::with_seed(11);
        let mut refused = 0;
        for round in 0..50_000 {
            let mut damaged = span.clone();
            for _ in 0..rng.usize(1..3) {
                let at = rng.usize(..damaged.len());
                damaged[at] = if rng.bool() { rng.u8(..) } else { damaged[at].wrapping_add(1) };
            }
            damaged.truncate(if rng.u8(..8) == 0 { rng.usize(..span.len()) } else { span.len() });
            let full = walk_in_full(&damaged, SPAN);
            refused += u32::from(full.is_err());
            assert_eq!(check_depth(Signal::Traces, &damaged), full, "seed 11, round {round}: {damaged:02x?}");
        }
        assert!(refused > 5_000, "only {refused} of the damaged spans are refused at all");
    }

    #[test]
    fn an_id_is_empty_or_of_its_length_wherever_it_stands() {
        let places: &[(Signal, &[u32], usize)] = &[
            (Signal::Traces, &[1], 16),
            (Signal::Traces, &[2], 8),
            (Signal::Traces, &[4], 8),
            (Signal::Traces, &[13, 1], 16),
            (Signal::Traces, &[13, 2], 8),
            (Signal::Logs, &[9], 16),
            (Signal::Logs, &[10], 8),
            (Signal::Metrics, &[7, 1, 5, 5], 16),
            (Signal::Metrics, &[9, 1, 8, 4], 8),
        ];
        for (signal, path, length) in places {
            for found in [0, 1, length - 1, *length, length + 1, 300] {
                let item = path.iter().rev().fold(vec![7; found], |inner, number| {
                    let mut outer = Vec::new();
                    write::bytes(&mut outer, *number, &inner);
                    outer
                });
                let expected = if found == 0 || found == *length { Ok(()) } else { Err(Malformed::Id) };
                assert_eq!(check_depth(*signal, &item), expected, "{signal:?} {path:?} {found}");
            }
        }
    }

    #[test]
    fn what_cannot_be_walked_is_refused_wherever_it_stands() {
        let torn_value: &[u8] = &[0x0a, 0x01, b'k', 0x12, 0x02, 0x0a, 0x7f];
        let torn_key: &[u8] = &[0x0a, 0x7f];
        let number_as_string: &[u8] = &[0x12, 0x02, 0x08, 0x01];
        for attribute in [torn_value, torn_key, number_as_string] {
            for path in [&[9][..], &[11, 3], &[13, 4]] {
                let item = path.iter().rev().fold(attribute.to_vec(), |inner, number| {
                    let mut outer = Vec::new();
                    write::bytes(&mut outer, *number, &inner);
                    outer
                });
                check_depth(Signal::Traces, &item).unwrap_err();
            }
        }
        check_depth(Signal::Logs, &[0x32, 0x01]).unwrap_err();
        check_depth(Signal::Metrics, &[0x28, 0x01]).unwrap_err();
    }
}
