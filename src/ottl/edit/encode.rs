//! Values to the wire: `AnyValue` messages, attributes, and new values in the depth of old ones.
//!
//! What nests deeper than the limit is refused here, so that nothing behind can be made to recurse further.

use std::borrow::Cow;

use crate::core::limits::DEPTH_MAX;
use crate::otlp::fields::common::{any_value, key_value};
use crate::otlp::fields::value_list::VALUES;
use crate::otlp::walk::{AnyValue, Fields, plain_attribute};
use crate::otlp::write;
use crate::ottl::checked::KeyStep;
use crate::ottl::item::Item;
use crate::ottl::value::failure::EvalFailure;
use crate::ottl::value::{ELEMENTS_MAX, OttlValue, ValueStep, pieces};

const TOO_DEEP: EvalFailure = EvalFailure("the value nests too deep");
/// Elements that a list may be filled up with to reach an index.
const FILL_MAX: i64 = 1_000;

/// One attribute of a map.
#[derive(Clone, Debug)]
pub struct MapItem<'a> {
    pub key: Cow<'a, [u8]>,
    /// `AnyValue` message.
    pub value: Cow<'a, [u8]>,
    /// `KeyValue` message as it stood there, while key and value are as they were.
    raw: Option<&'a [u8]>,
}

impl<'a> MapItem<'a> {
    pub fn new(key: impl Into<Cow<'a, [u8]>>, value: impl Into<Cow<'a, [u8]>>) -> MapItem<'a> {
        MapItem { key: key.into(), value: value.into(), raw: None }
    }

    pub fn read(raw: &'a [u8]) -> MapItem<'a> {
        let (key, value) = match plain_attribute(raw) {
            Some(found) => found,
            None => {
                let (mut key, mut value) = (&b""[..], &b""[..]);
                for field in Fields::new(raw).map_while(Result::ok) {
                    match field.number {
                        key_value::KEY => key = field.bytes().unwrap_or_default(),
                        key_value::VALUE => value = field.bytes().unwrap_or_default(),
                        _ => {}
                    }
                }
                (key, value)
            }
        };
        MapItem { key: Cow::Borrowed(key), value: Cow::Borrowed(value), raw: Some(raw) }
    }

    pub fn any(&self) -> AnyValue<'_> {
        AnyValue::read(&self.value).unwrap_or(AnyValue::Empty)
    }

    pub fn set_value(&mut self, value: Vec<u8>) {
        self.value = Cow::Owned(value);
        self.raw = None;
    }

    pub fn set_key(&mut self, key: Vec<u8>) {
        self.key = Cow::Owned(key);
        self.raw = None;
    }

    /// The entry as a field of this number.
    pub fn put(&self, out: &mut Vec<u8>, number: u32) {
        match self.raw {
            Some(raw) => write::bytes(out, number, raw),
            None => put_attribute(out, number, &self.key, &self.value),
        }
    }
}

pub fn put_attribute(out: &mut Vec<u8>, number: u32, key: &[u8], value: &[u8]) {
    write::key(out, number, write::LEN);
    write::varint(
        out,
        (write::field_len(key_value::KEY, key.len()) + write::field_len(key_value::VALUE, value.len())) as u64,
    );
    write::bytes(out, key_value::KEY, key);
    write::bytes(out, key_value::VALUE, value);
}

/// The entries of a map value.
pub fn entries<'a>(value: &OttlValue<'a>) -> Result<Vec<MapItem<'a>>, EvalFailure> {
    match value {
        OttlValue::Map { message, number } => {
            let found: Vec<MapItem<'a>> =
                raw_entries(message, *number).map(MapItem::read).take(ELEMENTS_MAX + 1).collect();
            if found.len() > ELEMENTS_MAX { Err(EvalFailure("the map has too many entries")) } else { Ok(found) }
        }
        OttlValue::Object(pairs) => {
            let entry = |(key, value): &(Cow<'a, str>, OttlValue<'a>)| {
                let mut bytes = Vec::new();
                put_nested(&mut bytes, value, 1)?;
                Ok(MapItem::new(key.as_bytes().to_vec(), bytes))
            };
            pairs.iter().map(entry).collect()
        }
        _ => Err(EvalFailure("expected a map")),
    }
}

/// The `KeyValue` messages in field `number`.
pub fn raw_entries(message: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    pieces(message, number)
}

/// Appends the value as the content of an `AnyValue`.
pub fn put_value(out: &mut Vec<u8>, value: &OttlValue<'_>) -> Result<(), EvalFailure> {
    put_nested(out, value, 0)
}

fn put_nested(out: &mut Vec<u8>, value: &OttlValue<'_>, depth: usize) -> Result<(), EvalFailure> {
    if depth > DEPTH_MAX {
        return Err(TOO_DEEP);
    }
    match value {
        OttlValue::Nil => {}
        OttlValue::Text(text) => write::bytes(out, any_value::STRING_VALUE, text.as_bytes()),
        OttlValue::Bool(truth) => {
            write::key(out, any_value::BOOL_VALUE, write::VARINT);
            out.push(u8::from(*truth));
        }
        OttlValue::Int(number) => put_int(out, *number),
        OttlValue::Float(number) => put_double(out, any_value::DOUBLE_VALUE, *number),
        OttlValue::Bytes(bytes) => write::bytes(out, any_value::BYTES_VALUE, bytes),
        OttlValue::Map { message, number } => {
            let mut inside = Vec::with_capacity(message.len());
            raw_entries(message, *number).for_each(|raw| write::bytes(&mut inside, VALUES, raw));
            write::bytes(out, any_value::KVLIST_VALUE, &inside);
        }
        OttlValue::Array(message) => write::bytes(out, any_value::ARRAY_VALUE, message),
        OttlValue::List(values) => {
            let (mut inside, mut one) = (Vec::new(), Vec::new());
            for value in values {
                one.clear();
                put_nested(&mut one, value, depth + 1)?;
                write::bytes(&mut inside, VALUES, &one);
            }
            write::bytes(out, any_value::ARRAY_VALUE, &inside);
        }
        OttlValue::Object(pairs) => {
            let (mut inside, mut one) = (Vec::new(), Vec::new());
            for (key, value) in pairs {
                one.clear();
                put_nested(&mut one, value, depth + 1)?;
                put_attribute(&mut inside, VALUES, key.as_bytes(), &one);
            }
            write::bytes(out, any_value::KVLIST_VALUE, &inside);
        }
        OttlValue::Time(_) | OttlValue::Duration(_) => return Err(EvalFailure("a time cannot be kept; convert it")),
        OttlValue::Id(_) => return Err(EvalFailure("an id cannot be kept; take its `.string`")),
        OttlValue::Pieces(_) => return Err(EvalFailure("messages of this kind cannot be kept")),
    }
    Ok(())
}

fn put_int(out: &mut Vec<u8>, number: i64) {
    write::key(out, any_value::INT_VALUE, write::VARINT);
    write::varint(out, number as u64);
}

pub fn put_double(out: &mut Vec<u8>, field: u32, number: f64) {
    write::key(out, field, write::FIXED64);
    out.extend_from_slice(&number.to_bits().to_le_bytes());
}

/// The `AnyValue` that comes of putting `value` under these keys of an old one; maps and lists that are missing are made
/// (contrib pkg/ottl/contexts/internal/ctxutil).
pub fn set_in(old: &[u8], keys: &[KeyStep], item: &Item<'_>, value: &[u8]) -> Result<Vec<u8>, EvalFailure> {
    let Some((key, rest)) = keys.split_first() else { return Ok(value.to_vec()) };
    let key = key.step(item)?;
    let old = AnyValue::read(old).unwrap_or(AnyValue::Empty);
    let mut out = Vec::new();
    let mut inside = Vec::new();
    match (&key, old) {
        (ValueStep::Name(name), AnyValue::KvList(_) | AnyValue::Empty) => {
            let map = if let AnyValue::KvList(map) = old { map } else { b"" };
            put_in_map(&mut inside, (map, VALUES), name.as_bytes(), |old| set_in(old, rest, item, value))?;
            write::bytes(&mut out, any_value::KVLIST_VALUE, &inside);
        }
        (ValueStep::Index(index), AnyValue::Array(_) | AnyValue::Empty) => {
            let list = if let AnyValue::Array(list) = old { list } else { b"" };
            let mut elements: Vec<&[u8]> = raw_entries(list, VALUES).take(ELEMENTS_MAX + 1).collect();
            if elements.len() > ELEMENTS_MAX {
                return Err(EvalFailure("the list has too many elements"));
            }
            if matches!(old, AnyValue::Empty) && (0..FILL_MAX).contains(index) {
                elements.resize(*index as usize + 1, b"");
            }
            let at = usize::try_from(*index).ok().filter(|at| *at < elements.len());
            let at = at.ok_or(EvalFailure("the index is out of bounds"))?;
            let made = set_in(elements[at], rest, item, value)?;
            elements[at] = &made;
            elements.iter().for_each(|element| write::bytes(&mut inside, VALUES, element));
            write::bytes(&mut out, any_value::ARRAY_VALUE, &inside);
        }
        _ => return Err(EvalFailure("the value has no such keys")),
    }
    Ok(out)
}

/// Appends the entries of a map with the one of this key replaced or added.
fn put_in_map(
    out: &mut Vec<u8>,
    (map, number): (&[u8], u32),
    key: &[u8],
    make: impl FnOnce(&[u8]) -> Result<Vec<u8>, EvalFailure>,
) -> Result<(), EvalFailure> {
    let mut make = Some(make);
    for raw in raw_entries(map, number) {
        let entry = MapItem::read(raw);
        match make.take() {
            Some(make) if *entry.key == *key => put_attribute(out, number, key, &make(&entry.value)?),
            later => {
                write::bytes(out, number, raw);
                make = later;
            }
        }
    }
    if let Some(make) = make {
        put_attribute(out, number, key, &make(b"")?);
    }
    Ok(())
}

/// Refuses an `AnyValue` that nests deeper than the limit.
pub fn check_nesting(any: &[u8]) -> Result<(), EvalFailure> {
    if nests(any, 0) { Ok(()) } else { Err(TOO_DEEP) }
}

fn nests(any: &[u8], depth: usize) -> bool {
    match AnyValue::read(any) {
        Ok(AnyValue::Array(_) | AnyValue::KvList(_)) if depth == DEPTH_MAX => false,
        Ok(AnyValue::Array(list)) => raw_entries(list, VALUES).all(|element| nests(element, depth + 1)),
        Ok(AnyValue::KvList(map)) => raw_entries(map, VALUES).all(|raw| nests(&MapItem::read(raw).value, depth + 1)),
        _ => true,
    }
}
