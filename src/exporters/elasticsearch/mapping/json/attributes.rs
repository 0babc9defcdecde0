//! The attributes of a message as one JSON object with flat, dotted keys.
//!
//! Attributes that only steer the document (data stream, index) are left out and noted. A key that Elasticsearch would
//! refuse (empty) or that comes again is left out and counted as dropped.

use crate::exporters::elasticsearch::mapping::json::repeated::Repeated;
use crate::exporters::elasticsearch::mapping::json::value::{ObjectKeys, SeenKeys};
use crate::exporters::elasticsearch::mapping::json::{geo, value};
use crate::exporters::elasticsearch::mapping::route::WantedTarget;
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
    let mut keys = seen.open();
    out.push(b'{');
    for entry in attributes.entries() {
        let attribute = entry.and_then(Attribute::read)?;
        if found.wanted.note(&attribute) {
            continue;
        }
        if attribute.key == b"event.name" && !found.has_event_name {
            found.has_event_name = true;
            found.event_name = if let AnyValue::Str(name) = attribute.value { Some(name) } else { None };
        }
        let written = match geo::point(&attribute, attributes) {
            Some(point) if composites == Composites::Json => {
                point.push(out, seen, &mut keys);
                true
            }
            _ => push_entry(out, &attribute, seen, &mut keys, composites)?,
        };
        found.dropped += u64::from(!written);
    }
    seen.close(&keys);
    out.push(b'}');
    Ok(())
}

/// False when the attribute cannot be part of the object.
#[inline]
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
    if out.last() != Some(&b'{') {
        out.push(b',');
    }
    text::push_string(out, attribute.key);
    out.push(b':');
    match (composites, attribute.value) {
        (Composites::Dimension | Composites::ScalarDimension, AnyValue::KvList(_))
        | (Composites::ScalarDimension, AnyValue::Array(_)) => value::push_json_text(out, attribute.value, seen, 0)?,
        _ => value::push_value(out, attribute.value, seen, 0)?,
    }
    Ok(true)
}
