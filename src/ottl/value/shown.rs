//! Values as text, letter for letter as a Collector writes them: Go's JSON, with its numbers and its escapes.

use std::borrow::Cow;

use crate::otlp::json::base64;
use crate::ottl::convert::time::layout;
use crate::ottl::value::failure::EvalFailure;
use crate::ottl::value::kinds::{DEPTH_MAX, NESTED_BYTES_MAX, OttlValue};
use crate::ottl::value::moment::ZonedTime;

/// A shown value is no longer than this.
const SHOWN_MAX: usize = 8 << 20;

impl OttlValue<'_> {
    /// The value as text, where a function takes what can be made one (`String`, `IsMatch`, `Concat`): `None` for nil.
    pub fn to_text(&self) -> Result<Option<Cow<'_, str>>, EvalFailure> {
        Ok(Some(match self {
            OttlValue::Nil => return Ok(None),
            OttlValue::Text(text) => Cow::Borrowed(text),
            OttlValue::Bool(true) => Cow::Borrowed("true"),
            OttlValue::Bool(false) => Cow::Borrowed("false"),
            OttlValue::Int(value) => Cow::Owned(value.to_string()),
            OttlValue::Bytes(bytes) => Cow::Owned(hex(bytes)),
            other => {
                let mut out = String::new();
                push_json(&mut out, other, Digits::Two, 0)?;
                Cow::Owned(out)
            }
        }))
    }

    /// The value as text where it stands (`body.string`, `stringify_all`): empty for nil, base64 for bytes.
    pub fn to_plain_text(&self) -> Result<Cow<'_, str>, EvalFailure> {
        match self {
            OttlValue::Nil => Ok(Cow::Borrowed("")),
            OttlValue::Bytes(bytes) => Ok(Cow::Owned(base64_of(bytes))),
            OttlValue::Float(number) if !number.is_finite() => Ok(Cow::Owned(push_not_finite(*number).to_owned())),
            OttlValue::Float(_)
            | OttlValue::Map { .. }
            | OttlValue::Object(_)
            | OttlValue::Array(_)
            | OttlValue::List(_) => {
                let mut out = String::new();
                push_json(&mut out, self, Digits::AsNeeded, 0)?;
                Ok(Cow::Owned(out))
            }
            other => Ok(other.to_text()?.unwrap_or_default()),
        }
    }
}

/// Digits of a small exponent: two libraries write JSON in a Collector, and one of them keeps a zero.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Digits {
    AsNeeded,
    Two,
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn base64_of(bytes: &[u8]) -> String {
    let mut out = Vec::new();
    base64::encode(&mut out, bytes);
    String::from_utf8(out).unwrap_or_default()
}

fn push_not_finite(number: f64) -> &'static str {
    if number.is_nan() {
        "NaN"
    } else if number > 0.0 {
        "+Inf"
    } else {
        "-Inf"
    }
}

/// A double as Go's JSON has it: digits up to 1e21 and down to 1e-6, an exponent beyond.
fn push_float(out: &mut String, number: f64, digits: Digits) {
    let least = if digits == Digits::Two { 2 } else { 1 };
    let size = number.abs();
    if size != 0.0 && !(1e-6..1e21).contains(&size) {
        let text = format!("{number:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
        out.push_str(&format!("{mantissa}e{sign}{exponent:0>least$}"));
    } else {
        out.push_str(&number.to_string());
    }
}

fn push_json(out: &mut String, value: &OttlValue<'_>, digits: Digits, depth: usize) -> Result<(), EvalFailure> {
    if depth > DEPTH_MAX {
        return Err(EvalFailure("the value nests too deep"));
    }
    if out.len() > SHOWN_MAX || value.wire().is_some_and(|wire| wire.len() > NESTED_BYTES_MAX) {
        return Err(EvalFailure("the value is too long to be a text"));
    }
    match value {
        OttlValue::Nil => out.push_str("null"),
        OttlValue::Bool(truth) => out.push_str(if *truth { "true" } else { "false" }),
        OttlValue::Int(number) | OttlValue::Duration(number) => out.push_str(&number.to_string()),
        OttlValue::Float(number) if number.is_finite() => push_float(out, *number, digits),
        OttlValue::Float(_) => return Err(EvalFailure("the number is not finite")),
        OttlValue::Text(text) => push_string(out, text),
        OttlValue::Bytes(bytes) => push_string(out, &base64_of(bytes)),
        OttlValue::Id(id) => {
            let bytes: Vec<String> = id.bytes().iter().map(u8::to_string).collect();
            out.push_str(&format!("[{}]", bytes.join(",")));
        }
        OttlValue::Time(moment) => push_string(out, &rfc3339(moment)),
        OttlValue::Map { .. } | OttlValue::Object(_) => {
            let mut pairs = value.pairs().ok_or(EvalFailure("the map has too many entries"))?;
            pairs.sort_by(|a, b| a.0.cmp(&b.0));
            out.push('{');
            for (at, (key, value)) in pairs.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                push_string(out, key);
                out.push(':');
                push_json(out, value, digits, depth + 1)?;
            }
            out.push('}');
        }
        OttlValue::Array(_) | OttlValue::List(_) => {
            out.push('[');
            let elements = value.elements().ok_or(EvalFailure("the list has too many elements"))?;
            for (at, element) in elements.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                push_json(out, element, digits, depth + 1)?;
            }
            out.push(']');
        }
        OttlValue::Pieces(_) => return Err(EvalFailure("messages of this kind have no text form")),
    }
    Ok(())
}

fn rfc3339(moment: &ZonedTime) -> String {
    layout::Layout::rfc3339().format(moment)
}

/// A string of JSON that may stand in a page of HTML, as Go escapes it.
fn push_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
}
