//! Times as the templates take them.

use crate::exporters::elasticsearch::mapping::json::text::{close_object, push_key};
use crate::exporters::elasticsearch::mapping::json::tree;
use crate::exporters::elasticsearch::mapping::work::ORIGINAL_TIME;
use crate::otlp::json::text;

/// A time as the templates take it with nanoseconds: a string of milliseconds, point, remaining nanoseconds. Elasticsearch
/// reads what is behind the point as a fraction: 5 ns are `.000005`. (The Collector writes `.5`, which is stored as 500,000.)
#[inline]
pub(super) fn push_time(out: &mut Vec<u8>, key: &str, nanos: u64) {
    push_key(out, key);
    out.push(b'"');
    text::push_unsigned(out, nanos / 1_000_000);
    out.push(b'.');
    let rest = nanos % 1_000_000;
    if rest != 0 {
        let zeros = 5 - rest.ilog10() as usize;
        out.extend_from_slice(&b"00000"[..zeros]);
    }
    text::push_unsigned(out, rest);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanoseconds_stand_behind_the_point_as_a_fraction_of_a_millisecond() {
        for (nanos, written) in [
            (1_760_000_000_123_000_000, "1760000000123.0"),
            (1_760_000_000_123_000_005, "1760000000123.000005"),
            (1_760_000_000_123_001_000, "1760000000123.001000"),
            (1_760_000_000_123_045_678, "1760000000123.045678"),
            (1_760_000_000_123_100_000, "1760000000123.100000"),
            (999_999, "0.999999"),
        ] {
            let mut out = Vec::new();
            push_time(&mut out, "t", nanos);
            assert_eq!(String::from_utf8(out).unwrap(), format!("\"t\":\"{written}\","), "{nanos}");
        }
    }
}
