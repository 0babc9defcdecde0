//! The attributes of a message as one JSON object with flat, dotted keys.
//!
//! Attributes that only steer the document (data stream, index) are left out and noted. A key that Elasticsearch would
//! refuse (empty) or that comes again is left out and counted as dropped.

use crate::exporters::elasticsearch::mapping::json::repeated::Repeated;
use crate::exporters::elasticsearch::mapping::json::value::{ObjectKeys, SeenKeys};
use crate::exporters::elasticsearch::mapping::json::{geo, value};
use crate::exporters::elasticsearch::mapping::route::WantedTarget;
use crate::exporters::elasticsearch::mapping::work::ORIGINAL_TIME;
use crate::otlp::json::text;
use crate::otlp::walk::{AnyValue, Attribute, Malformed};

/// What writing an `attributes` object found out.
#[derive(Debug, Default)]
pub struct WrittenAttributes<'a> {
    pub wanted: WantedTarget<'a>,
    /// Attributes that could not be part of the document.
    pub dropped: u64,
    /// Whether the key `event.name` is taken, and its value if that is text.
    pub has_event_name: bool,
    pub event_name: Option<&'a [u8]>,
    /// Whether the key is taken under which a time is kept that no index can store.
    pub has_original_time: bool,
}

/// How lists and maps among the values are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Composites {
    Json,
    /// Maps as strings of JSON: dimensions of a time series cannot be objects.
    Dimension,
    /// Lists, too, for versions that take no list as a dimension (contrib #35004).
    ScalarDimension,
}

impl Composites {
    pub fn dimensions(lists: bool) -> Composites {
        if lists { Composites::Dimension } else { Composites::ScalarDimension }
    }
}

/// Appends `"attributes":{...},`; nothing when there are none.
pub fn push_attributes<'a>(
    out: &mut Vec<u8>,
    attributes: &Repeated<'a>,
    seen: &mut SeenKeys,
    composites: Composites,
) -> Result<WrittenAttributes<'a>, Malformed> {
    let mut found = WrittenAttributes::default();
    if attributes.count == 0 {
        return Ok(found);
    }
    out.extend_from_slice(b"\"attributes\":");
    push_object(out, attributes, seen, composites, &mut found)?;
    out.push(b',');
    Ok(found)
}

/// Appends the object alone.
pub fn push_object<'a>(
    out: &mut Vec<u8>,
    attributes: &Repeated<'a>,
    seen: &mut SeenKeys,
    composites: Composites,
    found: &mut WrittenAttributes<'a>,
) -> Result<(), Malformed> {
    let mut known = seen.known.take(attributes.count);
    let mut keys = seen.open();
    out.push(b'{');
    // Up to here the keys are those of the item before; then, whether what comes is noted for the next item.
    let (mut in_step, mut learns) = (true, false);
    for (at, entry) in attributes.entries().enumerate() {
        let attribute = Attribute::read(entry?)?;
        if in_step {
            if let Some(key) = known.written(at, attribute.key) {
                out.extend_from_slice(key);
                push_attribute_value(out, attribute.value, seen, composites)?;
                continue;
            }
            (in_step, learns) = (false, true);
            known.cut(at);
            known.names().for_each(|name| _ = seen.is_new(&mut keys, name));
        }
        let is_plain = push_unknown(out, (&attribute, attributes), (seen, &mut keys), composites, found)?;
        learns = learns && is_plain && known.learn(attribute.key);
    }
    seen.close(&keys);
    seen.known.put_back(attributes.count, known);
    out.push(b'}');
    Ok(())
}

/// Writes an attribute whose key is not known from the item before. True when the key says nothing about the document and
/// is the attribute's own: the next item's attribute of this key is written in the same way, whatever its value.
fn push_unknown<'a>(
    out: &mut Vec<u8>,
    (attribute, all): (&Attribute<'a>, &Repeated<'a>),
    (seen, keys): (&mut SeenKeys, &mut ObjectKeys),
    composites: Composites,
    found: &mut WrittenAttributes<'a>,
) -> Result<bool, Malformed> {
    if found.wanted.note(attribute) {
        return Ok(false);
    }
    let is_event_name = attribute.key == b"event.name";
    if is_event_name && !found.has_event_name {
        found.has_event_name = true;
        found.event_name = if let AnyValue::Str(name) = attribute.value { Some(name) } else { None };
    }
    let is_original_time = attribute.key == ORIGINAL_TIME.as_bytes();
    found.has_original_time |= is_original_time;
    let written = match geo::point(attribute, all) {
        Some(point) if composites == Composites::Json => {
            point.push(out, seen, keys);
            true
        }
        _ => push_entry(out, attribute, seen, keys, composites)?,
    };
    found.dropped += u64::from(!written);
    Ok(written && !is_event_name && !is_original_time && !geo::may_be_half(attribute.key))
}

#[inline]
fn open_entry(out: &mut Vec<u8>) {
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
}

/// False when the attribute cannot be part of the object.
fn push_entry(
    out: &mut Vec<u8>,
    attribute: &Attribute<'_>,
    seen: &mut SeenKeys,
    keys: &mut ObjectKeys,
    composites: Composites,
) -> Result<bool, Malformed> {
    // Elasticsearch refuses the document for a key without letters.
    if attribute.key.first().is_none_or(u8::is_ascii_whitespace) && attribute.key.iter().all(u8::is_ascii_whitespace) {
        return Ok(false);
    }
    if !seen.is_new(keys, attribute.key) {
        return Ok(false);
    }
    open_entry(out);
    text::push_string(out, attribute.key);
    out.push(b':');
    push_attribute_value(out, attribute.value, seen, composites)?;
    Ok(true)
}

#[inline]
fn push_attribute_value(
    out: &mut Vec<u8>,
    value: AnyValue<'_>,
    seen: &mut SeenKeys,
    composites: Composites,
) -> Result<(), Malformed> {
    match (composites, value) {
        (Composites::Dimension | Composites::ScalarDimension, AnyValue::KvList(_))
        | (Composites::ScalarDimension, AnyValue::Array(_)) => value::push_json_text(out, value, seen, 0),
        _ => value::push_value(out, value, seen, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::walk::Fields;

    fn attribute(key: &str, value: i64) -> Vec<u8> {
        let any = [&[0x18][..], &[u8::try_from(value).unwrap()]].concat();
        let entry = [
            &[0x0a, u8::try_from(key.len()).unwrap()],
            key.as_bytes(),
            &[0x12, u8::try_from(any.len()).unwrap()],
            &any,
        ]
        .concat();
        [&[0x4a, u8::try_from(entry.len()).unwrap()], &entry[..]].concat()
    }

    fn written(keys: &[&str], seen: &mut SeenKeys) -> (String, u64, bool) {
        let message: Vec<u8> = keys.iter().zip(0..).flat_map(|(key, value)| attribute(key, value)).collect();
        let mut attributes = Repeated::default();
        let mut fields = Fields::new(&message);
        loop {
            let at = fields;
            if fields.next().is_none() {
                break;
            }
            attributes.note(at, 9);
        }
        let (mut out, mut found) = (Vec::new(), WrittenAttributes::default());
        push_object(&mut out, &attributes, seen, Composites::Json, &mut found).unwrap();
        let steers = found.wanted != WantedTarget::default() || found.has_event_name;
        (String::from_utf8(out).unwrap(), found.dropped, steers)
    }

    #[test]
    fn an_object_is_written_alike_whatever_was_written_before() {
        let words = [
            "a",
            "b",
            "c\"d",
            "event.name",
            "data_stream.dataset",
            "x.geo.location.lon",
            "x.geo.location.lat",
            " ",
            "\u{e9}",
        ];
        let mut random = fastrand::Rng::with_seed(23);
        let mut seen = SeenKeys::default();
        let mut shape: Vec<&str> = Vec::new();
        for _ in 0..20_000 {
            match random.u8(..4) {
                0 => shape = (0..random.usize(0..7)).map(|_| words[random.usize(..words.len())]).collect(),
                1 if !shape.is_empty() => *random.choice(&mut shape).unwrap() = words[random.usize(..words.len())],
                _ => {}
            }
            let fresh = written(&shape, &mut SeenKeys::default());
            assert_eq!(written(&shape, &mut seen), fresh, "seed 23: {shape:?}");
        }
    }

    #[test]
    fn more_keys_than_are_known_are_written_as_ever() {
        let names: Vec<String> = (0..200).map(|number| format!("key.{number}.{}", "x".repeat(number % 90))).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut seen = SeenKeys::default();
        let first = written(&names[..120], &mut seen);
        assert_eq!(written(&names[..120], &mut seen), first);
        assert_eq!(first, written(&names[..120], &mut SeenKeys::default()));
    }
}
