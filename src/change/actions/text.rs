//! An attribute's value as the Collector's `Value.AsString` writes it, and doubles read from text.
//!
//! Numbers are written as ECMAScript does, bytes in base64, lists and maps as Go's JSON: keys in order, `<`, `>` and `&`
//! escaped, nothing at all when a number is not finite.

use crate::core::limits::DEPTH_MAX;
use crate::otlp::fields::value_list::VALUES;
use crate::otlp::json::base64;
use crate::otlp::walk::{AnyValue, Attribute, Fields};

/// Appends a value's text; nothing for a value that is not there or a list that cannot be walked.
pub fn push_text(out: &mut Vec<u8>, value: AnyValue<'_>) {
    let before = out.len();
    match value {
        AnyValue::Empty => {}
        AnyValue::Str(text) => out.extend_from_slice(text),
        AnyValue::Bytes(bytes) => base64::encode(out, bytes),
        AnyValue::Double(number) if !number.is_finite() => {
            out.extend_from_slice(format!("json: unsupported value: {}", not_finite(number)).as_bytes());
        }
        other => {
            if push_json(out, other, 0).is_none() {
                out.truncate(before);
            }
        }
    }
}

/// A double from text as Go's ParseFloat reads it, hexadecimal notation aside; `None` when it is not one or out of range.
pub fn parse_double(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let number = text.parse::<f64>().ok()?;
    let named = text.trim_start_matches(['+', '-']).starts_with(['i', 'I']);
    (number.is_finite() || number.is_nan() || named).then_some(number)
}

fn not_finite(number: f64) -> &'static str {
    match (number.is_nan(), number > 0.0) {
        (true, _) => "NaN",
        (false, true) => "+Inf",
        (false, false) => "-Inf",
    }
}

/// `None` when something inside has no JSON.
fn push_json(out: &mut Vec<u8>, value: AnyValue<'_>, depth: usize) -> Option<()> {
    match value {
        AnyValue::Empty => out.extend_from_slice(b"null"),
        AnyValue::Bool(on) => out.extend_from_slice(if on { b"true" } else { b"false" }),
        AnyValue::Int(number) => out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
        AnyValue::Double(number) if number.is_finite() => push_double(out, number),
        AnyValue::Double(_) => return None,
        AnyValue::Str(text) => push_string(out, text),
        AnyValue::Bytes(bytes) => {
            out.push(b'"');
            base64::encode(out, bytes);
            out.push(b'"');
        }
        AnyValue::Array(_) | AnyValue::KvList(_) if depth >= DEPTH_MAX => return None,
        AnyValue::Array(message) => push_list(out, message, depth + 1)?,
        AnyValue::KvList(message) => push_map(out, message, depth + 1)?,
    }
    Some(())
}

fn push_list(out: &mut Vec<u8>, message: &[u8], depth: usize) -> Option<()> {
    out.push(b'[');
    for (at, field) in Fields::new(message).filter(|field| field.is_err() || is_entry(field)).enumerate() {
        if at > 0 {
            out.push(b',');
        }
        push_json(out, AnyValue::read(field.ok()?.bytes().ok()?).ok()?, depth)?;
    }
    out.push(b']');
    Some(())
}

fn push_map(out: &mut Vec<u8>, message: &[u8], depth: usize) -> Option<()> {
    let mut entries = Vec::new();
    for field in Fields::new(message).filter(|field| field.is_err() || is_entry(field)) {
        let entry = Attribute::read(field.ok()?.bytes().ok()?).ok()?;
        entries.push((entry.key, entry.value));
    }
    // Go writes maps by key; of a key that comes twice the last one stays.
    entries.sort_by_key(|(key, _)| *key);
    out.push(b'{');
    let mut first = true;
    for (at, (key, value)) in entries.iter().enumerate() {
        if entries.get(at + 1).is_some_and(|(next, _)| next == key) {
            continue;
        }
        if !first {
            out.push(b',');
        }
        first = false;
        push_string(out, key);
        out.push(b':');
        push_json(out, *value, depth)?;
    }
    out.push(b'}');
    Some(())
}

fn is_entry(field: &Result<crate::otlp::walk::Field<'_>, crate::otlp::walk::Malformed>) -> bool {
    field.as_ref().is_ok_and(|field| field.number == VALUES)
}

/// As ECMAScript writes numbers: no exponent from 1e-6 to 1e21.
pub fn push_double(out: &mut Vec<u8>, number: f64) {
    use std::io::Write;
    let size = number.abs();
    // Writing to a vector cannot fail.
    let _ = if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{number:e}");
        match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => write!(out, "{digits}e+{exponent}"),
            _ => write!(out, "{text}"),
        }
    } else {
        write!(out, "{number}")
    };
}

/// A JSON string as Go's encoder writes it for use in HTML.
fn push_string(out: &mut Vec<u8>, text: &[u8]) {
    use std::io::Write;
    out.push(b'"');
    for letter in String::from_utf8_lossy(text).chars() {
        // Writing to a vector cannot fail.
        let _ = match letter {
            '"' => out.write_all(b"\\\""),
            '\\' => out.write_all(b"\\\\"),
            '\n' => out.write_all(b"\\n"),
            '\r' => out.write_all(b"\\r"),
            '\t' => out.write_all(b"\\t"),
            '\u{8}' => out.write_all(b"\\b"),
            '\u{c}' => out.write_all(b"\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => write!(out, "\\u{:04x}", letter as u32),
            _ => out.write_all(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        };
    }
    out.push(b'"');
}
