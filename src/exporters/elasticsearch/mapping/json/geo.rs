//! Longitude and latitude in two attributes become one point, which is what a field of type `geo_point` takes:
//! `*.geo.location.lon` and `*.geo.location.lat`, both doubles.

use crate::exporters::elasticsearch::mapping::json::repeated::Repeated;
use crate::exporters::elasticsearch::mapping::json::value;
use crate::exporters::elasticsearch::mapping::json::value::{ObjectKeys, SeenKeys};
use crate::otlp::json::text;
use crate::otlp::walk::{AnyValue, Attribute};

const FIELD: &[u8] = b"geo.location";
/// In longer lists halves stay as they are: looking for the other one of each would cost the square of their number.
const ATTRIBUTES_MAX: usize = 512;

/// A point and the key it is written under.
pub struct GeoPoint<'a> {
    key: &'a [u8],
    lon: f64,
    lat: f64,
}

/// Whether the key may be one half of a point.
#[inline]
pub fn may_be_half(key: &[u8]) -> bool {
    key.ends_with(b".lon") || key.ends_with(b".lat")
}

/// The point that this attribute is one half of, if the other half is there too.
#[inline]
pub fn point<'a>(attribute: &Attribute<'a>, all: &Repeated<'a>) -> Option<GeoPoint<'a>> {
    let (key, [b'.', b'l', b'o' | b'a', b'n' | b't']) = attribute.key.split_last_chunk()? else { return None };
    find(attribute, key, all)
}

#[cold]
fn find<'a>(attribute: &Attribute<'a>, key: &'a [u8], all: &Repeated<'a>) -> Option<GeoPoint<'a>> {
    let before = key.strip_suffix(FIELD)?;
    if !before.is_empty() && !before.ends_with(b".") {
        return None;
    }
    if all.count > ATTRIBUTES_MAX {
        return None;
    }
    let is_lon = attribute.key.ends_with(b".lon");
    if !is_lon && !attribute.key.ends_with(b".lat") {
        return None;
    }
    let AnyValue::Double(own) = attribute.value else { return None };
    let other: &[u8] = if is_lon { b".lat" } else { b".lon" };
    let mut others = all.entries().filter_map(|entry| entry.and_then(Attribute::read).ok());
    let found = others.find(|entry| entry.key.strip_prefix(key) == Some(other))?;
    let AnyValue::Double(partner) = found.value else { return None };
    if !own.is_finite() || !partner.is_finite() {
        return None;
    }
    let (lon, lat) = if is_lon { (own, partner) } else { (partner, own) };
    Some(GeoPoint { key, lon, lat })
}

impl GeoPoint<'_> {
    /// Writes the point once; the other half finds its key taken.
    pub fn push(&self, out: &mut Vec<u8>, seen: &mut SeenKeys, keys: &mut ObjectKeys) {
        if !seen.is_new(keys, self.key) {
            return;
        }
        if out.last() != Some(&b'{') {
            out.push(b',');
        }
        text::push_string(out, self.key);
        out.extend_from_slice(b":[");
        value::push_double(out, self.lon);
        out.push(b',');
        value::push_double(out, self.lat);
        out.push(b']');
    }
}
