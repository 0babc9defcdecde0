//! Attribute values as JSON, in the forms that Elasticsearch takes: doubles keep a radix point so that a field is not
//! mapped as whole numbers, bytes are hex, what is not finite is null, arrays of mixed kinds become strings.

use std::borrow::Cow;
use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashSet;

use crate::core::limits::DEPTH_MAX;
use crate::exporters::elasticsearch::mapping::json::known_keys::KnownLists;
use crate::exporters::elasticsearch::mapping::record::LONG_MAX;
use crate::otlp::ids::push_hex;
use crate::otlp::json::text;
use crate::otlp::walk::{AnyValue, Attribute, Fields, Malformed};

/// Keys up to which a list is searched from end to end; beyond it a set is used, so that a list of a million keys does
/// not cost their square.
const FEW_KEYS: usize = 64;

/// The keys written so far in each object that is open, innermost last. Elasticsearch refuses a document with a key
/// twice; of two equal keys the first stays.
#[derive(Debug, Default)]
pub struct SeenKeys {
    hashes: Vec<u64>,
    hasher: RandomState,
    /// What is written now stands inside a JSON string: no string of JSON is made within it, because each one in another
    /// doubles the backslashes of what it holds.
    in_text: bool,
    /// Maps and lists written as text because they lie too deep.
    pub as_text: u64,
    /// The keys of earlier items.
    pub(super) known: KnownLists,
}

/// The keys of one object.
pub struct ObjectKeys {
    base: usize,
    many: HashSet<u64, RandomState>,
}

impl SeenKeys {
    pub fn open(&mut self) -> ObjectKeys {
        ObjectKeys { base: self.hashes.len(), many: HashSet::default() }
    }

    pub fn close(&mut self, keys: &ObjectKeys) {
        self.hashes.truncate(keys.base);
    }

    /// Forgets objects that a fault left open.
    pub fn reset(&mut self) {
        self.hashes.clear();
        self.in_text = false;
    }

    /// True when the key is new in its object. Keys are compared by a 64-bit hash seeded at start.
    #[inline]
    pub fn is_new(&mut self, keys: &mut ObjectKeys, key: &[u8]) -> bool {
        let hash = if key.is_ascii() { self.hasher.hash_one(key) } else { self.hasher.hash_one(&*same_key(key)) };
        if self.hashes.len() - keys.base < FEW_KEYS {
            if self.hashes[keys.base..].contains(&hash) {
                return false;
            }
            self.hashes.push(hash);
            return true;
        }
        if keys.many.is_empty() {
            keys.many.extend(&self.hashes[keys.base..]);
        }
        keys.many.insert(hash)
    }
}

/// The key as it is written: two keys with different broken bytes may read the same.
pub fn same_key(key: &[u8]) -> Cow<'_, [u8]> {
    match String::from_utf8_lossy(key) {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// Levels of maps and lists that stay objects and lists: Elasticsearch's `index.mapping.depth.limit` and the limit of its
/// flattened fields are 20, of which the field itself and what it stands in take two.
pub const LEVELS_MAX: usize = 18;

/// Appends one value. `depth` is the number of lists and maps around it.
#[inline]
pub fn push_value(out: &mut Vec<u8>, value: AnyValue<'_>, seen: &mut SeenKeys, depth: usize) -> Result<(), Malformed> {
    match value {
        AnyValue::Empty => out.extend_from_slice(b"null"),
        AnyValue::Str(bytes) => text::push_string(out, bytes),
        AnyValue::Bool(on) => out.extend_from_slice(if on { b"true" } else { b"false" }),
        AnyValue::Int(number) => text::push_signed(out, number),
        AnyValue::Double(number) => push_double(out, number),
        AnyValue::Bytes(bytes) => {
            out.push(b'"');
            push_hex(out, bytes);
            out.push(b'"');
        }
        AnyValue::Array(_) | AnyValue::KvList(_) if depth >= LEVELS_MAX && !seen.in_text => {
            seen.as_text += 1;
            push_json_text(out, value, seen, depth)?;
        }
        AnyValue::Array(message) => push_array(out, message, seen, deeper(depth)?)?,
        AnyValue::KvList(message) => push_map(out, message, seen, deeper(depth)?)?,
    }
    Ok(())
}

fn deeper(depth: usize) -> Result<usize, Malformed> {
    if depth < DEPTH_MAX { Ok(depth + 1) } else { Err(Malformed::Depth) }
}

/// A double with a radix point or exponent; null when it is not finite, for JSON has no such number.
#[inline]
pub fn push_double(out: &mut Vec<u8>, number: f64) {
    if number.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(number).as_bytes());
    } else {
        out.extend_from_slice(b"null");
    }
}

/// Appends the counts of a histogram as a list.
pub fn push_counts(out: &mut Vec<u8>, values: &[(f64, u64)]) {
    for (at, (_, count)) in values.iter().enumerate() {
        out.push(if at == 0 { b'[' } else { b',' });
        text::push_unsigned(out, (*count).min(LONG_MAX));
    }
    out.extend_from_slice(if values.is_empty() { b"[]" } else { b"]" });
}

/// Appends the values of a histogram as a list.
pub fn push_middles(out: &mut Vec<u8>, values: &[(f64, u64)]) {
    for (at, (value, _)) in values.iter().enumerate() {
        out.push(if at == 0 { b'[' } else { b',' });
        push_double(out, *value);
    }
    out.extend_from_slice(if values.is_empty() { b"[]" } else { b"]" });
}

fn push_array(out: &mut Vec<u8>, message: &[u8], seen: &mut SeenKeys, depth: usize) -> Result<(), Malformed> {
    let mixed = !seen.in_text && is_mixed(message)?;
    let mut first = true;
    out.push(b'[');
    for field in Fields::new(message) {
        let field = field?;
        if field.number != 1 {
            continue;
        }
        if !first {
            out.push(b',');
        }
        first = false;
        let value = AnyValue::read(field.bytes()?)?;
        if mixed { push_as_string(out, value, seen, depth)? } else { push_value(out, value, seen, depth)? }
    }
    out.push(b']');
    Ok(())
}

/// Whether the scalars of an array are of more than one kind: Elasticsearch maps a field by its first value and refuses
/// the others.
fn is_mixed(message: &[u8]) -> Result<bool, Malformed> {
    let mut first = None;
    for field in Fields::new(message) {
        let field = field?;
        if field.number != 1 {
            continue;
        }
        let kind = std::mem::discriminant(&AnyValue::read(field.bytes()?)?);
        if kind == std::mem::discriminant(&AnyValue::Empty) {
            continue;
        }
        if *first.get_or_insert(kind) != kind {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A value as text: strings as they are, everything else as its JSON.
fn push_as_string(out: &mut Vec<u8>, value: AnyValue<'_>, seen: &mut SeenKeys, depth: usize) -> Result<(), Malformed> {
    if matches!(value, AnyValue::Str(_) | AnyValue::Bytes(_) | AnyValue::Empty) {
        return push_value(out, value, seen, depth);
    }
    push_json_text(out, value, seen, depth)
}

/// A value's JSON inside a JSON string.
pub fn push_json_text(
    out: &mut Vec<u8>,
    value: AnyValue<'_>,
    seen: &mut SeenKeys,
    depth: usize,
) -> Result<(), Malformed> {
    let mut json = Vec::new();
    let outer = std::mem::replace(&mut seen.in_text, true);
    let pushed = push_value(&mut json, value, seen, depth);
    seen.in_text = outer;
    pushed?;
    text::push_string(out, &json);
    Ok(())
}

fn push_map(out: &mut Vec<u8>, message: &[u8], seen: &mut SeenKeys, depth: usize) -> Result<(), Malformed> {
    let mut keys = seen.open();
    let pushed = push_entries(out, message, seen, &mut keys, depth);
    seen.close(&keys);
    pushed
}

fn push_entries(
    out: &mut Vec<u8>,
    message: &[u8],
    seen: &mut SeenKeys,
    keys: &mut ObjectKeys,
    depth: usize,
) -> Result<(), Malformed> {
    let mut first = true;
    out.push(b'{');
    for field in Fields::new(message) {
        let field = field?;
        if field.number != 1 {
            continue;
        }
        let entry = Attribute::read(field.bytes()?)?;
        // An empty key makes Elasticsearch refuse the document.
        if entry.key.is_empty() || !seen.is_new(keys, entry.key) {
            continue;
        }
        if !first {
            out.push(b',');
        }
        first = false;
        text::push_string(out, entry.key);
        out.push(b':');
        push_value(out, entry.value, seen, depth)?;
    }
    out.push(b'}');
    Ok(())
}
