//! OTLP/JSON to protobuf bytes in one pass: what is read is written at once, the length of a message is put in front of
//! it when it ends.

use bytes::Bytes;

use crate::core::data::budget::{OverBudget, Ticket};
use crate::core::data::granted::{Allowance, Granted};
use crate::core::data::payload::Signal;
use crate::core::limits::DEPTH_MAX;
use crate::otlp::ids::hex_to_bytes;
use crate::otlp::json::base64;
use crate::otlp::json::number::{self, Whole};
use crate::otlp::json::pair::PlainPair;
use crate::otlp::json::scan::{JsonError, Quoted, Scanner};
use crate::otlp::json::schema::{self, FieldKind, FieldSchema, MessageSchema, Presence};
use crate::otlp::walk::Fields;
use crate::otlp::write;

/// Width of a length that is written before it is known. Padding a varint is valid protobuf; it is done where moving
/// the message to make room would cost most: groups (whose heads are written anew on the way out) and deep values.
const PADDED_LENGTH: usize = 5;
/// Levels of values from which lengths are padded, so that one long string inside many lists is not moved at each level.
const PADDED_DEPTH: usize = 4;
/// Keys with a list or message that may come again in one request. Taking back the earlier value walks what was
/// written, so it must not be had for three bytes a time.
const REPEATED_KEYS_MAX: usize = 8;

/// What a field needs beside its text: key, length or number, and the room a length takes when it grows.
const FIELD_BYTES: usize = 32;

/// Why a body was not transcoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TranscodeError {
    #[error(transparent)]
    Json(#[from] JsonError),
    #[error(transparent)]
    OverBudget(#[from] OverBudget),
}

type Read<T> = Result<T, TranscodeError>;

/// Transcodes an OTLP/JSON export request to protobuf bytes.
///
/// Unknown fields are skipped, null leaves a field unset, of a repeated key the last value counts. Text that is not
/// UTF-8 becomes U+FFFD. A value that nests deeper than `DEPTH_MAX` is cut one level below that, where `check_depth`
/// finds its item and drops it alone; so does an id that cannot be one.
pub fn to_wire(signal: Signal, body: &[u8]) -> Result<Bytes, TranscodeError> {
    to_wire_within(signal, body, &Ticket::free())
}

/// The same under a budget: `ticket` has grown by what is allocated before it is, and keeps the result's.
pub fn to_wire_within(signal: Signal, body: &[u8], ticket: &Ticket) -> Result<Bytes, TranscodeError> {
    transcode(signal, body, ticket).map(|transcoded| transcoded.wire)
}

/// A request in protobuf.
#[derive(Debug)]
pub struct Transcoded {
    pub wire: Bytes,
    /// Where the first id stands that cannot be one. Its bytes have a length that no id has.
    pub bad_id: Option<JsonError>,
}

/// As [`to_wire_within`], and says where a bad id was.
pub fn transcode(signal: Signal, body: &[u8], ticket: &Ticket) -> Result<Transcoded, TranscodeError> {
    let (out, room) = (Granted::new(), Allowance::of(ticket));
    let scan = Scanner::new(body);
    let is_utf8 = std::str::from_utf8(body).is_ok();
    let mut reader = Reader { scan, is_utf8, out, room, depth: 0, repeats: REPEATED_KEYS_MAX, bad_id: None };
    reader.room(body.len() / 2 + FIELD_BYTES)?;
    reader.message(schema::request(signal))?;
    reader.scan.end()?;
    Ok(Transcoded { wire: reader.out.freeze(&mut reader.room)?, bad_id: reader.bad_id })
}

struct Reader<'j> {
    scan: Scanner<'j>,
    /// Of the whole text, so that no string need be looked at.
    is_utf8: bool,
    /// Whole fields of every message that is still open.
    out: Granted<u8>,
    room: Allowance,
    /// Lists and maps around the value being read.
    depth: usize,
    repeats: usize,
    bad_id: Option<JsonError>,
}

/// A message whose length is not known yet.
struct Open {
    /// Where its body starts.
    body: usize,
    padded: bool,
}

impl<'j> Reader<'j> {
    /// One JSON object; its fields are appended to the output.
    fn message(&mut self, message: &'static MessageSchema) -> Read<()> {
        let start = self.out.len();
        let mut seen = 0u32;
        let mut hint = 0;
        self.scan.expect(b'{', "an object")?;
        if self.scan.take(b'}') {
            return Ok(());
        }
        loop {
            let key = self.scan.string("a key")?;
            self.scan.expect(b':', "`:`")?;
            match row_of(message, &key, hint) {
                Some(row) => {
                    let again = seen & 1 << row != 0;
                    seen |= 1 << row;
                    hint = row + 1;
                    self.field(&message.fields[row], start, again)?;
                }
                None => self.scan.skip()?,
            }
            if !self.scan.more(b'}')? {
                return Ok(());
            }
        }
    }

    /// Grows the output by `more` bytes, once the ticket covers them.
    #[inline]
    fn room(&mut self, more: usize) -> Read<()> {
        Ok(self.out.reserve(more, &mut self.room)?)
    }

    /// The value of a known key. `start` is where the fields of its message begin, `again` says the key came before.
    fn field(&mut self, field: &'static FieldSchema, start: usize, again: bool) -> Read<()> {
        let null = self.scan.literal("null");
        let composite = matches!(field.kind, FieldKind::Message(_)) || field.presence == Presence::Repeated;
        if again && (null || composite) {
            self.take_back(field, start)?;
        }
        if null {
            return Ok(());
        }
        match (field.presence, field.kind) {
            (Presence::Repeated, _) => self.list(field),
            (_, FieldKind::Message(inner)) => self.nested(field, inner),
            // A zero must be written when it replaces an earlier value.
            (presence, _) => {
                let before = self.out.len();
                let zero = self.scalar(field, Some(field.number))?;
                if zero && presence == Presence::Plain && !again {
                    self.out.truncate(before);
                }
                Ok(())
            }
        }
    }

    fn list(&mut self, field: &'static FieldSchema) -> Read<()> {
        if !self.scan.take(b'[') {
            return Err(self.expected(field, "an array"));
        }
        if self.scan.take(b']') {
            return Ok(());
        }
        match field.kind {
            FieldKind::Message(inner) => loop {
                if schema::is_key_value(inner) && self.pair(field)? {
                    // Read and written.
                } else if self.scan.literal("null") {
                    self.room(FIELD_BYTES)?;
                    write::bytes(self.out.within(), field.number, b"");
                } else {
                    self.nested(field, inner)?;
                }
                if !self.scan.more(b']')? {
                    return Ok(());
                }
            },
            FieldKind::String | FieldKind::Bytes | FieldKind::Id(_) | FieldKind::LooseId(_) => loop {
                self.scalar(field, Some(field.number))?;
                if !self.scan.more(b']')? {
                    return Ok(());
                }
            },
            _ => self.packed(field),
        }
    }

    /// An attribute in its plainest form; false when the next one has another.
    fn pair(&mut self, field: &'static FieldSchema) -> Read<bool> {
        let Some(pair) = PlainPair::read(self.scan.rest()).filter(|_| self.is_utf8) else { return Ok(false) };
        self.room(pair.room())?;
        pair.write(&mut self.out, field.number);
        self.scan.pass(pair.length);
        Ok(true)
    }

    /// A list of numbers, in one field as proto3 packs them.
    fn packed(&mut self, field: &'static FieldSchema) -> Read<()> {
        let open = self.open(field.number, false)?;
        loop {
            self.scalar(field, None)?;
            if !self.scan.more(b']')? {
                break;
            }
        }
        self.close(&open)
    }

    fn nested(&mut self, field: &FieldSchema, message: &'static MessageSchema) -> Read<()> {
        if self.scan.peek() != Some(b'{') {
            return Err(self.expected(field, "an object"));
        }
        let open = self.open(field.number, message.group || self.depth >= PADDED_DEPTH)?;
        self.depth += usize::from(message.nests);
        if self.depth > DEPTH_MAX {
            self.scan.skip()?;
        } else {
            self.message(message)?;
        }
        self.depth -= usize::from(message.nests);
        self.close(&open)
    }

    fn open(&mut self, number: u32, padded: bool) -> Read<Open> {
        self.room(FIELD_BYTES)?;
        write::key(self.out.within(), number, write::LEN);
        let width = if padded { PADDED_LENGTH } else { 1 };
        let body = self.out.len() + width;
        self.out.within().resize(body, 0);
        Ok(Open { body, padded })
    }

    fn close(&mut self, open: &Open) -> Read<()> {
        self.room(PADDED_LENGTH)?;
        let length = self.out.len() - open.body;
        if open.padded {
            let head = &mut self.out[open.body - PADDED_LENGTH..open.body];
            for (index, byte) in head.iter_mut().enumerate() {
                let more = if index + 1 < PADDED_LENGTH { 0x80 } else { 0 };
                *byte = (length >> (7 * index)) as u8 & 0x7f | more;
            }
        } else if length < 0x80 {
            self.out[open.body - 1] = length as u8;
        } else {
            let width = write::varint_len(length as u64);
            let end = self.out.len();
            self.out.within().resize(end + width - 1, 0);
            self.out.copy_within(open.body..end, open.body + width - 1);
            for index in 0..width {
                let more = if index + 1 < width { 0x80 } else { 0 };
                self.out[open.body - 1 + index] = (length >> (7 * index)) as u8 & 0x7f | more;
            }
        }
        Ok(())
    }

    /// Removes what an earlier key of the same name wrote.
    fn take_back(&mut self, field: &FieldSchema, start: usize) -> Read<()> {
        if self.repeats == 0 {
            let at = self.scan.position();
            let why = format!("the key `{}` is repeated; too many keys are repeated", field.name);
            return Err(self.fault(at, why));
        }
        self.repeats -= 1;
        let (mut from, mut kept) = (start, start);
        while from < self.out.len() {
            let mut fields = Fields::new(&self.out[from..]);
            let Some(Ok(found)) = fields.next() else { break };
            let (number, end) = (found.number, from + fields.position());
            if number != field.number {
                self.out.copy_within(from..end, kept);
                kept += end - from;
            }
            from = end;
        }
        self.out.truncate(kept);
        Ok(())
    }

    /// One string, number or bool; with its key, or without in a packed list. True when it is the default value.
    fn scalar(&mut self, field: &'static FieldSchema, number: Option<u32>) -> Read<bool> {
        self.room(FIELD_BYTES)?;
        self.scan.peek();
        let at = self.scan.position();
        match field.kind {
            FieldKind::String | FieldKind::Bytes | FieldKind::Id(_) | FieldKind::LooseId(_) => self.text(field, at),
            FieldKind::Double => {
                let value = self.double(field, at)?;
                self.fixed64(number, value.to_bits());
                Ok(value.to_bits() == 0)
            }
            FieldKind::Bool => {
                let value = self.scan.literal("true");
                if !value && !self.scan.literal("false") {
                    return Err(self.expected(field, "true or false"));
                }
                self.varint(number, u64::from(value));
                Ok(!value)
            }
            FieldKind::Enum(names) => {
                let value = self.enumeration(field, names, at)?;
                self.varint(number, i64::from(value) as u64);
                Ok(value == 0)
            }
            _ => self.whole(field, number, at),
        }
    }

    fn whole(&mut self, field: &'static FieldSchema, number: Option<u32>, at: usize) -> Read<bool> {
        let text = self.digits(field, "a whole number")?;
        let whole = Whole::parse(text);
        let signed = whole.and_then(Whole::signed);
        let unsigned = whole.and_then(Whole::unsigned);
        let narrow = signed.and_then(|value| i32::try_from(value).ok());
        let bits = match field.kind {
            FieldKind::Int32 => narrow.map(|value| i64::from(value) as u64),
            FieldKind::Sint32 => narrow.map(|value| u64::from((value << 1 ^ value >> 31) as u32)),
            FieldKind::Uint32 | FieldKind::Fixed32 => unsigned.filter(|value| *value <= u64::from(u32::MAX)),
            FieldKind::Int64 | FieldKind::Sfixed64 => signed.map(|value| value as u64),
            _ => unsigned,
        };
        let Some(bits) = bits else {
            let found = String::from_utf8_lossy(&text[..text.len().min(40)]);
            let range = range_of(field.kind);
            return Err(self.fault(at, format!("expected {range} for `{}`, found {found}", field.name)));
        };
        match field.kind {
            FieldKind::Fixed64 | FieldKind::Sfixed64 => self.fixed64(number, bits),
            FieldKind::Fixed32 => self.fixed32(number, bits as u32),
            _ => self.varint(number, bits),
        }
        Ok(bits == 0)
    }

    /// The bytes of a number, quoted or not.
    fn digits(&mut self, field: &FieldSchema, what: &str) -> Read<&'j [u8]> {
        if self.scan.peek() == Some(b'"') {
            return Ok(self.scan.string("a string")?.raw);
        }
        match self.scan.peek() {
            Some(b'-' | b'0'..=b'9') => Ok(self.scan.number("a number")?),
            _ => Err(self.expected(field, what)),
        }
    }

    fn double(&mut self, field: &FieldSchema, at: usize) -> Read<f64> {
        let quoted = self.scan.peek() == Some(b'"');
        let text = self.digits(field, "a number")?;
        let value = match text {
            b"NaN" if quoted => Some(f64::NAN),
            b"Infinity" if quoted => Some(f64::INFINITY),
            b"-Infinity" if quoted => Some(f64::NEG_INFINITY),
            _ => number::double(text),
        };
        value.ok_or_else(|| self.fault(at, format!("expected a 64-bit float for `{}`", field.name)))
    }

    /// A number, known or not, or one of the names.
    fn enumeration(&mut self, field: &FieldSchema, names: &[&str], at: usize) -> Read<i32> {
        if self.scan.peek() != Some(b'"') {
            let value = Whole::parse(self.digits(field, "a whole number")?).and_then(Whole::signed);
            let narrow = value.and_then(|value| i32::try_from(value).ok());
            return narrow.ok_or_else(|| self.fault(at, format!("expected a 32-bit number for `{}`", field.name)));
        }
        let name = self.scan.string("a string")?.raw;
        let known = names.iter().position(|known| known.as_bytes() == name);
        let known = known.and_then(|value| i32::try_from(value).ok());
        known.ok_or_else(|| self.fault(at, format!("this is no value of `{}`", field.name)))
    }

    /// A string, base64 bytes or an id, as a field. True when it is empty.
    fn text(&mut self, field: &'static FieldSchema, at: usize) -> Read<bool> {
        if self.scan.peek() != Some(b'"') {
            return Err(self.expected(field, "a string"));
        }
        let quoted = self.scan.string("a string")?;
        // Escapes and base64 only shrink; a byte that is not UTF-8 becomes the three of U+FFFD.
        let utf8 = self.is_utf8
            || matches!(field.kind, FieldKind::Bytes | FieldKind::Id(_) | FieldKind::LooseId(_))
            || std::str::from_utf8(quoted.raw).is_ok();
        self.room(quoted.raw.len() * if utf8 { 1 } else { 3 } + FIELD_BYTES)?;
        let open = self.open(field.number, false)?;
        match field.kind {
            FieldKind::Bytes => {
                if base64::decode(self.out.within(), quoted.raw).is_none() {
                    return Err(self.fault(at, format!("expected base64 for `{}`", field.name)));
                }
            }
            FieldKind::Id(length) | FieldKind::LooseId(length) => self.id(field, &quoted, length, at)?,
            _ if self.is_utf8 && !quoted.escaped => self.out.within().extend_from_slice(quoted.raw),
            _ => {
                if quoted.push_to(self.out.within()).is_none() {
                    return Err(self.fault(at, format!("`{}` has an escape that JSON does not know", field.name)));
                }
            }
        }
        self.close(&open)?;
        Ok(quoted.raw.is_empty())
    }

    fn id(&mut self, field: &FieldSchema, quoted: &Quoted<'j>, length: usize, at: usize) -> Read<()> {
        if quoted.raw.is_empty() {
            return Ok(());
        }
        let start = self.out.len();
        match length {
            8 => self.out.within().extend(hex_to_bytes::<8>(quoted.raw).into_iter().flatten()),
            _ => self.out.within().extend(hex_to_bytes::<16>(quoted.raw).into_iter().flatten()),
        }
        if self.out.len() > start {
            return Ok(());
        }
        // The place is counted from the start of the text: once in a request.
        let fault = || {
            let message = format!("expected {} hex digits or an empty string for `{}`", 2 * length, field.name);
            self.scan.fault(at, message)
        };
        if matches!(field.kind, FieldKind::Id(_)) {
            return Err(fault().into());
        }
        if self.bad_id.is_none() {
            self.bad_id = Some(fault());
        }
        self.out.within().push(0);
        Ok(())
    }

    #[inline]
    fn varint(&mut self, number: Option<u32>, value: u64) {
        if let Some(number) = number {
            write::key(self.out.within(), number, write::VARINT);
        }
        write::varint(self.out.within(), value);
    }

    #[inline]
    fn fixed64(&mut self, number: Option<u32>, value: u64) {
        if let Some(number) = number {
            write::key(self.out.within(), number, write::FIXED64);
        }
        self.out.within().extend_from_slice(&value.to_le_bytes());
    }

    #[inline]
    fn fixed32(&mut self, number: Option<u32>, value: u32) {
        if let Some(number) = number {
            write::key(self.out.within(), number, write::FIXED32);
        }
        self.out.within().extend_from_slice(&value.to_le_bytes());
    }

    #[cold]
    fn expected(&mut self, field: &FieldSchema, what: &str) -> TranscodeError {
        self.scan.unexpected(&format!("{what} for `{}`", field.name)).into()
    }

    #[cold]
    fn fault(&self, at: usize, message: String) -> TranscodeError {
        self.scan.fault(at, message).into()
    }
}

/// No known key is longer than this with all its characters escaped.
const ESCAPED_KEY_MAX: usize = 512;

/// Row of a key as it stands in the text; a key with escapes is unescaped first.
#[inline]
fn row_of(message: &MessageSchema, key: &Quoted<'_>, hint: usize) -> Option<usize> {
    if !key.escaped {
        return message.row(key.raw, hint);
    }
    if key.raw.len() > ESCAPED_KEY_MAX {
        return None;
    }
    let mut plain = Vec::new();
    key.push_to(&mut plain)?;
    message.row(&plain, hint)
}

fn range_of(kind: FieldKind) -> &'static str {
    match kind {
        FieldKind::Int32 | FieldKind::Sint32 => "a whole number of 32 bits",
        FieldKind::Uint32 | FieldKind::Fixed32 => "a whole number from 0 to 4294967295",
        FieldKind::Int64 | FieldKind::Sfixed64 => "a whole number of 64 bits",
        _ => "a whole number from 0 to 18446744073709551615",
    }
}
