//! The small pieces of JSON that documents of every mode are made of.

use crate::otlp::json::text;

/// `"key":`, for keys that need no escapes.
#[inline]
pub fn push_key(out: &mut Vec<u8>, key: &str) {
    out.push(b'"');
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

/// `"key":"text",` unless the text is empty.
#[inline]
pub fn push_text(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    if !value.is_empty() {
        push_key(out, key);
        text::push_string(out, value);
        out.push(b',');
    }
}

/// `"key":n,` unless the number is zero.
#[inline]
pub fn push_count(out: &mut Vec<u8>, key: &str, count: u64) {
    if count != 0 {
        push_key(out, key);
        text::push_unsigned(out, count);
        out.push(b',');
    }
}

/// `"key":"hex",` unless the id is absent or zeros only.
#[inline]
pub fn push_id(out: &mut Vec<u8>, key: &str, id: &[u8]) {
    if id.iter().any(|byte| *byte != 0) {
        push_key(out, key);
        out.push(b'"');
        crate::otlp::ids::push_hex(out, id);
        out.extend_from_slice(b"\",");
    }
}

/// Ends an object whose fields each end in a comma.
#[inline]
pub fn close_object(out: &mut Vec<u8>) {
    if out.last() == Some(&b',') {
        out.pop();
    }
    out.push(b'}');
}
