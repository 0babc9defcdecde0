//! The walker: protobuf fields of one message as borrowed values, lengths and wire types checked, nothing allocated.
//!
//! Everything that reads OTLP bytes reads through here. No input panics; a fault ends the iteration with an error.

use crate::core::limits::DEPTH_MAX;
use crate::otlp::fields::common::{any_value, key_value};
use crate::otlp::fields::keys;

/// Bytes that are not protobuf, or not the shape asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("a varint is longer than ten bytes or runs past the end")]
    Varint,
    #[error("a length runs past the end of its message")]
    Length,
    #[error("wire type {0} does not exist, or ends a group that did not begin")]
    WireType(u8),
    #[error("field number 0")]
    FieldNumber,
    #[error("field {0} has another wire type than OTLP gives it")]
    Unexpected(u32),
    #[error("values nest deeper than 64")]
    Depth,
    #[error("an id must be empty or have its full length")]
    Id,
    #[error("a string is not UTF-8")]
    Utf8,
    #[error("more empty messages than a request may hold")]
    Crowded,
}

/// The value of one field as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
    /// A group, which OTLP has none of: whatever it holds is an unknown field's, and was passed over.
    Group,
}

/// One field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    pub number: u32,
    pub wire: Wire<'a>,
}

impl<'a> Field<'a> {
    /// The bytes of a length-delimited field; an error when the wire type is another.
    pub fn bytes(&self) -> Result<&'a [u8], Malformed> {
        match self.wire {
            Wire::Bytes(bytes) => Ok(bytes),
            _ => Err(Malformed::Unexpected(self.number)),
        }
    }

    pub fn varint(&self) -> Result<u64, Malformed> {
        match self.wire {
            Wire::Varint(value) => Ok(value),
            _ => Err(Malformed::Unexpected(self.number)),
        }
    }

    pub fn fixed64(&self) -> Result<u64, Malformed> {
        match self.wire {
            Wire::Fixed64(value) => Ok(value),
            _ => Err(Malformed::Unexpected(self.number)),
        }
    }

    pub fn fixed32(&self) -> Result<u32, Malformed> {
        match self.wire {
            Wire::Fixed32(value) => Ok(value),
            _ => Err(Malformed::Unexpected(self.number)),
        }
    }
}

/// Iterates over the fields of one message.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    /// Bytes not read yet.
    rest: &'a [u8],
    length: usize,
}

impl<'a> Fields<'a> {
    pub fn new(message: &'a [u8]) -> Fields<'a> {
        Fields { rest: message, length: message.len() }
    }

    /// Offset of the next field within the message.
    pub fn position(&self) -> usize {
        self.length - self.rest.len()
    }

    /// Bytes not read yet.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// The bytes of the next field, if it comes under this one-byte key of a length-delimited field and its length takes
    /// one or two bytes; otherwise nothing is read, neither another field nor a fault, which the next read reports.
    /// Entries of a list stand side by side, so this goes through the attributes of a span in a fraction of the time.
    #[inline(always)]
    pub fn next_of(&mut self, key: u8) -> Option<&'a [u8]> {
        let (length, body) = match self.rest {
            [first, length @ 0..0x80, body @ ..] if *first == key => (usize::from(*length), body),
            [first, low, high @ 0..0x80, body @ ..] if *first == key => {
                (usize::from(low & 0x7f) | usize::from(*high) << 7, body)
            }
            _ => return None,
        };
        let (bytes, rest) = body.split_at_checked(length)?;
        self.rest = rest;
        Some(bytes)
    }

    /// Like [`Fields::next_of`] for fields of less than 128 bytes.
    #[inline(always)]
    pub fn next_short_of(&mut self, key: u8) -> Option<&'a [u8]> {
        let [first, length @ 0..0x80, body @ ..] = self.rest else { return None };
        if *first != key {
            return None;
        }
        let (bytes, rest) = body.split_at_checked(usize::from(*length))?;
        self.rest = rest;
        Some(bytes)
    }

    /// Passes over all fields that [`Fields::next_of`] would give.
    #[inline(always)]
    pub fn skip_run(&mut self, key: u8) {
        while self.next_of(key).is_some() {}
    }

    /// Like [`Fields::next_of`] for a field of eight bytes.
    #[inline(always)]
    pub fn next_fixed64_of(&mut self, key: u8) -> Option<u64> {
        let (first, body) = self.rest.split_first()?;
        let (bytes, rest) = body.split_first_chunk()?;
        if *first != key {
            return None;
        }
        self.rest = rest;
        Some(u64::from_le_bytes(*bytes))
    }

    /// Like [`Fields::next_of`] for a varint of one byte.
    #[inline(always)]
    pub fn next_small_of(&mut self, key: u8) -> Option<u8> {
        let [first, value @ 0..0x80, rest @ ..] = self.rest else { return None };
        if *first != key {
            return None;
        }
        self.rest = rest;
        Some(*value)
    }

    /// Keys and lengths mostly take one byte.
    #[inline(always)]
    fn varint(&mut self) -> Result<u64, Malformed> {
        match self.rest {
            [byte @ 0..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let (value, read) = read_varint(self.rest)?;
        self.rest = &self.rest[read..];
        Ok(value)
    }

    #[inline(always)]
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Malformed::Length)?;
        self.rest = rest;
        Ok(bytes)
    }

    #[inline(always)]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(Malformed::Length)?;
        self.rest = rest;
        Ok(*bytes)
    }

    /// Passes over a group up to its end, groups within it included.
    #[cold]
    fn skip_group(&mut self, number: u32) -> Result<(), Malformed> {
        let mut open = [number; DEPTH_MAX];
        let mut depth = 1;
        while depth > 0 {
            let key = self.varint()?;
            let number = u32::try_from(key >> 3).map_err(|_| Malformed::FieldNumber)?;
            match key & 7 {
                0 => _ = self.varint()?,
                1 => _ = self.array::<8>()?,
                2 => {
                    let length = usize::try_from(self.varint()?).map_err(|_| Malformed::Length)?;
                    self.take(length)?;
                }
                3 if depth == DEPTH_MAX => return Err(Malformed::Depth),
                3 => {
                    open[depth] = number;
                    depth += 1;
                }
                4 if open[depth - 1] == number => depth -= 1,
                5 => _ = self.array::<4>()?,
                other => return Err(Malformed::WireType(other as u8)),
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn read(&mut self) -> Result<Field<'a>, Malformed> {
        let key = self.varint()?;
        let number = u32::try_from(key >> 3)
            .ok()
            .filter(|number| (1..1 << 29).contains(number))
            .ok_or(Malformed::FieldNumber)?;
        let wire = match key & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed::Length)?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(self.array()?)),
            3 => {
                self.skip_group(number)?;
                Wire::Group
            }
            other => return Err(Malformed::WireType(other as u8)),
        };
        Ok(Field { number, wire })
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Malformed>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// The varint at the head of `bytes` and its length, 1 to 10.
#[inline]
pub fn read_varint(bytes: &[u8]) -> Result<(u64, usize), Malformed> {
    let mut value = 0u64;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            // The tenth byte has room for one bit only.
            return if index == 9 && *byte > 1 { Err(Malformed::Varint) } else { Ok((value, index + 1)) };
        }
    }
    Err(Malformed::Varint)
}

/// An attribute's value (`AnyValue`) as it stands on the wire. Strings are not checked for UTF-8: only what leaves as
/// JSON or is matched as text needs that.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AnyValue<'a> {
    /// No value set, or a field this version does not know.
    Empty,
    Str(&'a [u8]),
    Bool(bool),
    Int(i64),
    Double(f64),
    /// `ArrayValue` message, undecoded.
    Array(&'a [u8]),
    /// `KeyValueList` message, undecoded.
    KvList(&'a [u8]),
    Bytes(&'a [u8]),
}

impl<'a> AnyValue<'a> {
    /// Reads an `AnyValue` message; of a repeated oneof the last field wins.
    #[inline]
    pub fn read(message: &'a [u8]) -> Result<AnyValue<'a>, Malformed> {
        match message {
            // Most values are one short string, bool or small number.
            [keys::STRING, length @ 0..0x80, text @ ..] if usize::from(*length) == text.len() => {
                Ok(AnyValue::Str(text))
            }
            [keys::BOOL, bit @ 0..0x80] => Ok(AnyValue::Bool(*bit != 0)),
            [keys::INT, number @ 0..0x80] => Ok(AnyValue::Int(i64::from(*number))),
            [keys::INT, low @ 0x80..=0xff, high @ 0..0x80] => {
                Ok(AnyValue::Int(i64::from(low & 0x7f) | i64::from(*high) << 7))
            }
            _ => AnyValue::read_any(message),
        }
    }

    fn read_any(message: &'a [u8]) -> Result<AnyValue<'a>, Malformed> {
        let mut value = AnyValue::Empty;
        for field in Fields::new(message) {
            let field = field?;
            value = match field.number {
                any_value::STRING_VALUE => AnyValue::Str(field.bytes()?),
                any_value::BOOL_VALUE => AnyValue::Bool(field.varint()? != 0),
                any_value::INT_VALUE => AnyValue::Int(field.varint()? as i64),
                any_value::DOUBLE_VALUE => AnyValue::Double(f64::from_bits(field.fixed64()?)),
                any_value::ARRAY_VALUE => AnyValue::Array(field.bytes()?),
                any_value::KVLIST_VALUE => AnyValue::KvList(field.bytes()?),
                any_value::BYTES_VALUE => AnyValue::Bytes(field.bytes()?),
                _ => value,
            };
        }
        Ok(value)
    }

    /// The text of a string value that is valid UTF-8.
    pub fn as_str(&self) -> Option<&'a str> {
        match self {
            AnyValue::Str(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }
}

/// Key and value of a `KeyValue` message as nearly every encoder writes it: a key of less than 128 bytes, then a value of
/// less than 16 KiB, and nothing else. None says only that the message has to be read field by field.
#[inline(always)]
pub fn plain_attribute(message: &[u8]) -> Option<(&[u8], &[u8])> {
    let [keys::KEY, length @ 0..0x80, rest @ ..] = message else { return None };
    let (key, rest) = rest.split_at_checked(usize::from(*length))?;
    let (length, value) = match rest {
        [keys::VALUE, length @ 0..0x80, value @ ..] => (usize::from(*length), value),
        [keys::VALUE, low, high @ 0..0x80, value @ ..] => (usize::from(low & 0x7f) | usize::from(*high) << 7, value),
        _ => return None,
    };
    (length == value.len()).then_some((key, value))
}

/// One attribute: `KeyValue` on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attribute<'a> {
    pub key: &'a [u8],
    pub value: AnyValue<'a>,
}

impl<'a> Attribute<'a> {
    /// Reads a `KeyValue` message.
    #[inline(always)]
    pub fn read(message: &'a [u8]) -> Result<Attribute<'a>, Malformed> {
        if let Some((key, value)) = plain_attribute(message) {
            return Ok(Attribute { key, value: AnyValue::read(value)? });
        }
        Attribute::read_any(message)
    }

    #[inline(never)]
    fn read_any(message: &'a [u8]) -> Result<Attribute<'a>, Malformed> {
        let mut attribute = Attribute { key: b"", value: AnyValue::Empty };
        for field in Fields::new(message) {
            let field = field?;
            match field.number {
                key_value::KEY => attribute.key = field.bytes()?,
                key_value::VALUE => attribute.value = AnyValue::read(field.bytes()?)?,
                _ => {}
            }
        }
        Ok(attribute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `levels` groups of field 20 around a varint, between two fields.
    fn grouped(levels: usize) -> Vec<u8> {
        let begin: &[u8] = &[0xa3, 0x01];
        let end: &[u8] = &[0xa4, 0x01];
        [b"\x0a\x01a", &begin.repeat(levels)[..], b"\x08\x01", &end.repeat(levels), b"\x12\x01b"].concat()
    }

    #[test]
    fn groups_are_passed_over_as_unknown_fields_up_to_64_of_them_in_each_other() {
        for levels in [1, 2, 64] {
            let message = grouped(levels);
            let fields: Vec<Field<'_>> = Fields::new(&message).collect::<Result<_, _>>().unwrap();
            let wires: Vec<Wire<'_>> = fields.iter().map(|field| field.wire).collect();
            assert_eq!(wires, [Wire::Bytes(b"a"), Wire::Group, Wire::Bytes(b"b")], "{levels}");
            assert_eq!(fields[1].bytes(), Err(Malformed::Unexpected(20)), "a field that should be something else");
        }
        let too_deep = grouped(65);
        assert_eq!(Fields::new(&too_deep).find_map(Result::err), Some(Malformed::Depth));
    }

    #[test]
    fn groups_that_do_not_end_as_they_began_are_faults() {
        for (message, fault) in [
            (&b"\xa3\x01"[..], Malformed::Varint),
            (b"\xa3\x01\x08", Malformed::Varint),
            (b"\xa3\x01\xac\x01", Malformed::WireType(4)),
            (b"\xa4\x01", Malformed::WireType(4)),
            (b"\xa3\x01\x0a\x05ab", Malformed::Length),
            (b"\xa3\x01\x0f", Malformed::WireType(7)),
        ] {
            assert_eq!(Fields::new(message).collect::<Result<Vec<_>, _>>(), Err(fault), "{message:x?}");
        }
    }
}
