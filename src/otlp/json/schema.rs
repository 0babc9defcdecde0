//! The messages of OTLP as one table: JSON name, field number, kind. Both directions of the JSON form read it.
//!
//! The rows are made of `proto/` by `build/tables.rs` and stand in its order, which is the one in which the Collector writes
//! them. A new field of the protocol is one line there.

use crate::core::data::payload::Signal;

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
    const fn new(fields: &'static [FieldSchema]) -> MessageSchema {
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

const fn plain(name: &'static str, number: u32, kind: FieldKind) -> FieldSchema {
    FieldSchema { name, number, kind, presence: Presence::Plain }
}

const fn optional(name: &'static str, number: u32, kind: FieldKind) -> FieldSchema {
    FieldSchema { name, number, kind, presence: Presence::Explicit }
}

const fn member(name: &'static str, number: u32, kind: FieldKind) -> FieldSchema {
    FieldSchema { name, number, kind, presence: Presence::Member }
}

const fn repeated(name: &'static str, number: u32, kind: FieldKind) -> FieldSchema {
    FieldSchema { name, number, kind, presence: Presence::Repeated }
}

const fn always(name: &'static str, number: u32, kind: FieldKind) -> FieldSchema {
    FieldSchema { name, number, kind, presence: Presence::Always }
}

/// What a request of one signal is made of.
pub fn request(signal: Signal) -> &'static MessageSchema {
    match signal {
        Signal::Traces => &COLLECTOR_TRACE_EXPORT_TRACE_SERVICE_REQUEST,
        Signal::Metrics => &COLLECTOR_METRICS_EXPORT_METRICS_SERVICE_REQUEST,
        Signal::Logs => &COLLECTOR_LOGS_EXPORT_LOGS_SERVICE_REQUEST,
        Signal::Profiles => &COLLECTOR_PROFILES_EXPORT_PROFILES_SERVICE_REQUEST,
    }
}

/// Whether the message is an attribute.
pub fn is_key_value(message: &'static MessageSchema) -> bool {
    std::ptr::eq(message, &COMMON_KEY_VALUE)
}

/// A value by itself, as the items of a log's body or of an attribute are.
pub fn any_value() -> &'static MessageSchema {
    &COMMON_ANY_VALUE
}

include!(concat!(env!("OUT_DIR"), "/schema.rs"));
