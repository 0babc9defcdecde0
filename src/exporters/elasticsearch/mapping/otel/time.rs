//! Times as the templates take them.

use crate::exporters::elasticsearch::mapping::json::text::{close_object, push_key};
use crate::exporters::elasticsearch::mapping::json::tree;
use crate::exporters::elasticsearch::mapping::work::ORIGINAL_TIME;
use crate::otlp::json::text;

/// A time as the templates take it with nanoseconds: a string of milliseconds, point, remaining nanoseconds (not padded;
/// the mapping reads them so).
#[inline]
pub(super) fn push_time(out: &mut Vec<u8>, key: &str, nanos: u64) {
    push_key(out, key);
    out.push(b'"');
    text::push_unsigned(out, nanos / 1_000_000);
    out.push(b'.');
    text::push_unsigned(out, nanos % 1_000_000);
    out.extend_from_slice(b"\",");
}

/// Adds the time that no index can store to the attributes, which were written last if there are any.
pub(super) fn push_original_time(out: &mut Vec<u8>, attributes: bool, nanos: u64) {
    if attributes {
        // Open the object again.
        out.truncate(out.len() - 2);
        out.extend_from_slice(if out.last() == Some(&b'{') { b"" } else { b"," });
    } else {
        push_key(out, "attributes");
        out.push(b'{');
    }
    push_key(out, ORIGINAL_TIME);
    tree::push_iso(out, nanos);
    close_object(out);
    out.push(b',');
}
