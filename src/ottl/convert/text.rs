//! Converters from text to text, with checked arguments.

use std::borrow::Cow;

use crate::otlp::json::base64;
use crate::ottl::convert::case;
use crate::ottl::convert::made::{TEXT_MAX, text_value};
use crate::ottl::value::OttlValue;
use crate::ottl::value::failure::EvalFailure;

/// The cases `ConvertCase` knows.
pub const CASES: &[&str] = &["lower", "upper", "snake", "camel"];

pub fn concat<'a>(values: &OttlValue<'_>, between: &str) -> Result<OttlValue<'a>, EvalFailure> {
    let OttlValue::List(values) = values else { return Err(EvalFailure("Concat wants a list of values")) };
    let shown = |value: &OttlValue<'_>| match value {
        OttlValue::Text(text) => text.len(),
        _ => "<nil>".len(),
    };
    let length = values.iter().map(|value| shown(value) + between.len()).fold(0usize, usize::saturating_add);
    if length > TEXT_MAX + between.len() {
        return Err(EvalFailure("the text is too long"));
    }
    let mut made = String::with_capacity(length);
    for (at, value) in values.iter().enumerate() {
        if at > 0 {
            made.push_str(between);
        }
        made.push_str(if let OttlValue::Text(text) = value { text } else { "<nil>" });
    }
    Ok(OttlValue::Text(Cow::Owned(made)))
}

pub fn convert_case<'a>(text: &str, into: &str) -> Result<OttlValue<'a>, EvalFailure> {
    let converted = match into {
        "lower" => text.to_lowercase(),
        "upper" => text.to_uppercase(),
        "snake" => case::snake(text),
        "camel" => case::camel(text),
        _ => return Err(EvalFailure("ConvertCase knows lower, upper, snake and camel")),
    };
    Ok(OttlValue::Text(Cow::Owned(converted)))
}

pub fn trim<'a>(text: &str, of: Option<&str>) -> OttlValue<'a> {
    let of = of.unwrap_or(" ");
    text_value(text.trim_matches(|c| of.contains(c)))
}

pub fn split<'a>(text: &str, by: &str) -> OttlValue<'a> {
    if by.is_empty() {
        return OttlValue::List(text.chars().map(|c| text_value(c.encode_utf8(&mut [0; 4]))).collect());
    }
    OttlValue::List(text.split(by).map(text_value).collect())
}

/// Start and length count bytes. What is cut through a character gets a sign in its place, or ends beside it.
pub fn substring<'a>(
    text: &str,
    start: i64,
    length: i64,
    whole_characters: bool,
) -> Result<OttlValue<'a>, EvalFailure> {
    const OUTSIDE: EvalFailure = EvalFailure("the range does not lie in the text");
    if length <= 0 {
        return Err(EvalFailure("the length of a part must be above zero"));
    }
    let start = usize::try_from(start).map_err(|_| OUTSIDE)?;
    let end = usize::try_from(length).ok().and_then(|length| start.checked_add(length)).ok_or(OUTSIDE)?;
    let bytes = text.as_bytes();
    if end > bytes.len() {
        return Err(OUTSIDE);
    }
    let (mut from, mut to) = (start, end);
    if whole_characters {
        while from < bytes.len() && !text.is_char_boundary(from) {
            from += 1;
        }
        while from < to && to < bytes.len() && !text.is_char_boundary(to) {
            to -= 1;
        }
        to = to.max(from);
    }
    Ok(OttlValue::Text(Cow::Owned(String::from_utf8_lossy(&bytes[from..to]).into_owned())))
}

/// The alphabets of base64.
fn variant(name: &str) -> Option<(bool, bool)> {
    match name {
        "base64" => Some((false, true)),
        "base64-raw" => Some((false, false)),
        "base64-url" => Some((true, true)),
        "base64-raw-url" => Some((true, false)),
        _ => None,
    }
}

pub fn base64_encode<'a>(text: &str, name: &str) -> Result<OttlValue<'a>, EvalFailure> {
    let (url, padded) = variant(name).ok_or(EvalFailure("there is no such variant of base64"))?;
    let mut out = Vec::new();
    base64::encode(&mut out, text.as_bytes());
    let mut made = String::from_utf8(out).unwrap_or_default();
    if url {
        made = made.replace('+', "-").replace('/', "_");
    }
    if !padded {
        made.truncate(made.trim_end_matches('=').len());
    }
    Ok(OttlValue::Text(Cow::Owned(made)))
}

fn base64_decode(text: &[u8], url: bool, padded: bool) -> Option<Vec<u8>> {
    // Lines may be broken.
    let mut text: Vec<u8> = text.iter().copied().filter(|c| *c != b'\n' && *c != b'\r').collect();
    if text.iter().any(|c| if url { b"+/".contains(c) } else { b"-_".contains(c) }) {
        return None;
    }
    if padded && !text.len().is_multiple_of(4) || !padded && text.contains(&b'=') {
        return None;
    }
    if url {
        text.iter_mut().for_each(|c| {
            *c = if *c == b'-' {
                b'+'
            } else if *c == b'_' {
                b'/'
            } else {
                *c
            }
        });
    }
    while !text.len().is_multiple_of(4) {
        text.push(b'=');
    }
    let mut out = Vec::new();
    base64::decode(&mut out, &text)?;
    Some(out)
}

/// The encodings that `Decode` knows, beside those of base64.
const ENCODINGS: &[&str] = &[
    "utf-8",
    "utf8",
    "utf-8-raw",
    "utf8-raw",
    "ascii",
    "us-ascii",
    "nop",
    "",
    "utf-16",
    "utf16",
    "iso-8859-1",
    "latin1",
];

pub fn knows_encoding(name: &str) -> bool {
    variant(name).is_some() || ENCODINGS.contains(&name.to_lowercase().as_str())
}

pub fn decode<'a>(value: &OttlValue<'_>, encoding: &str) -> Result<OttlValue<'a>, EvalFailure> {
    let bytes: &[u8] = match value {
        OttlValue::Text(text) => text.as_bytes(),
        OttlValue::Bytes(bytes) => bytes,
        _ => return Err(EvalFailure("expected a text or bytes")),
    };
    if bytes.len() > TEXT_MAX {
        return Err(EvalFailure("the text is too long"));
    }
    let decoded = match variant(encoding) {
        Some((url, padded)) => {
            let bytes = base64_decode(bytes, url, padded).ok_or(EvalFailure("the text is not base64"))?;
            String::from_utf8_lossy(&bytes).into_owned()
        }
        None => match encoding.to_lowercase().as_str() {
            "utf-16" | "utf16" => {
                let units = bytes.chunks(2).map(|unit| match unit {
                    [low, high] => u16::from_le_bytes([*low, *high]),
                    _ => 0xfffd,
                });
                char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
            }
            "iso-8859-1" | "latin1" => bytes.iter().map(|byte| char::from(*byte)).collect(),
            name if ENCODINGS.contains(&name) => String::from_utf8_lossy(bytes).into_owned(),
            _ => return Err(EvalFailure("there is no such encoding")),
        },
    };
    Ok(OttlValue::Text(Cow::Owned(decoded)))
}
