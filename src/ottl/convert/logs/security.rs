//! CEF (ArcSight, Common Event Format) and LEEF (IBM, Log Event Extended Format 1.0 and 2.0): a header between pipes, and
//! pairs of keys and values behind it.

use crate::ottl::convert::made::{Pairs, object, put_text, text_value};
use crate::ottl::value::OttlValue;
use crate::ottl::value::failure::EvalFailure;

const CEF_HEADER: &[&str] = &[
    "cef.version",
    "cef.device_vendor",
    "cef.device_product",
    "cef.device_version",
    "cef.device_event_class_id",
    "cef.name",
    "cef.severity",
];

pub fn parse_cef<'a>(text: &str) -> Result<OttlValue<'a>, EvalFailure> {
    const NOT_CEF: EvalFailure = EvalFailure("the text is not CEF: `CEF:` and seven fields between pipes");
    let from = text.find("CEF:").ok_or(NOT_CEF)?;
    let (fields, extension) = cef_header(&text[from + 4..]);
    if fields.len() < CEF_HEADER.len() || fields.first().is_some_and(String::is_empty) {
        return Err(NOT_CEF);
    }
    let mut pairs = Pairs::new();
    CEF_HEADER.iter().zip(&fields).for_each(|(key, field)| put_text(&mut pairs, key, field));
    pairs.push(("cef.extensions".to_owned(), object(cef_extension(extension))?));
    object(pairs)
}

/// The fields in front of the seventh pipe that is not escaped, and what is behind it. The version is taken as it stands.
fn cef_header(text: &str) -> (Vec<String>, &str) {
    let (mut fields, mut field) = (Vec::new(), String::new());
    let mut rest = text.char_indices();
    while let Some((at, letter)) = rest.next() {
        let next = text[at + letter.len_utf8()..].chars().next();
        match (letter, next) {
            ('\\', Some(next @ ('|' | '\\'))) => {
                // The version keeps its escapes.
                if fields.is_empty() {
                    field.push('\\');
                }
                field.push(next);
                rest.next();
            }
            ('|', _) => {
                fields.push(std::mem::take(&mut field));
                if fields.len() == CEF_HEADER.len() {
                    return (fields, &text[at + 1..]);
                }
            }
            _ => field.push(letter),
        }
    }
    fields.push(field);
    (fields, "")
}

/// A key stands at the beginning or behind a space, in front of `=`; its value goes on to the next one.
fn cef_extension<'a>(text: &str) -> Pairs<'a> {
    let is_key = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    let bytes = text.as_bytes();
    let key_at = |from: usize| {
        let length = bytes.iter().skip(from).take_while(|byte| is_key(byte)).count();
        (length > 0 && bytes.get(from + length) == Some(&b'=')).then_some(length)
    };
    let mut found: Vec<(usize, usize)> = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let begins = at == 0 || bytes.get(at - 1) == Some(&b' ');
        match if begins { key_at(at) } else { None } {
            Some(length) => {
                found.push((at, length));
                at += length + 1;
            }
            None => at += 1,
        }
    }
    let ends = found.iter().skip(1).map(|(at, _)| *at).chain([bytes.len()]);
    let pair = |((at, length), end): (&(usize, usize), usize)| {
        let value = text.get(at + length + 1..end).unwrap_or_default().trim_end_matches(' ');
        (text.get(*at..at + length).unwrap_or_default().to_owned(), text_value(&unescaped(value)))
    };
    found.iter().zip(ends).map(pair).collect()
}

fn unescaped(value: &str) -> String {
    let mut plain = String::with_capacity(value.len());
    let mut letters = value.chars().peekable();
    while let Some(letter) = letters.next() {
        let meant = match (letter, letters.peek().copied()) {
            ('\\', Some('\\')) => Some('\\'),
            ('\\', Some('=')) => Some('='),
            ('\\', Some('n')) => Some('\n'),
            ('\\', Some('r')) => Some('\r'),
            _ => None,
        };
        plain.push(meant.unwrap_or(letter));
        if meant.is_some() {
            letters.next();
        }
    }
    plain
}

const LEEF_HEADER: &[&str] = &["leef.vendor", "leef.product.name", "leef.product.version", "leef.event.id"];

pub fn parse_leef<'a>(text: &str) -> Result<OttlValue<'a>, EvalFailure> {
    const NOT_LEEF: EvalFailure = EvalFailure("the text is not LEEF: `LEEF:1.0` or `LEEF:2.0` and four fields");
    let from = text.find("LEEF:").ok_or(NOT_LEEF)?;
    let (version, rest) = text[from + 5..].split_once('|').ok_or(NOT_LEEF)?;
    let parts: Vec<&str> = rest.splitn(5, '|').collect();
    if parts.len() < LEEF_HEADER.len() {
        return Err(NOT_LEEF);
    }
    let behind = parts.get(4).copied();
    let (between, attributes) = match (version, behind) {
        ("1.0", behind) => ("\t".to_owned(), behind.unwrap_or_default()),
        ("2.0", behind) => delimiter(behind.unwrap_or_default())?,
        _ => return Err(NOT_LEEF),
    };
    let mut pairs = Pairs::new();
    put_text(&mut pairs, "leef.version", version);
    LEEF_HEADER.iter().zip(&parts).for_each(|(key, field)| put_text(&mut pairs, key, field));
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=').filter(|(key, _)| !key.is_empty())?;
        Some((key.to_owned(), text_value(value)))
    };
    let all = attributes.split(between.as_str()).filter_map(pair).collect();
    pairs.push(("leef.attributes".to_owned(), object(all)?));
    object(pairs)
}

/// What stands between the attributes, and the attributes. It may be left out, as its field may.
fn delimiter(rest: &str) -> Result<(String, &str), EvalFailure> {
    const WRONG: EvalFailure = EvalFailure("the delimiter is one character, or 0x and the two digits of a byte");
    let tab = || "\t".to_owned();
    let (field, attributes) = rest.split_once('|').unwrap_or((rest, ""));
    if field.contains('=') {
        return Ok((tab(), rest));
    }
    if field.is_empty() {
        return Ok((tab(), attributes));
    }
    if let Some(digits) = field.strip_prefix("0x").or_else(|| field.strip_prefix("0X")) {
        let byte = (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok()).flatten().ok_or(WRONG)?;
        // A byte above is no character of a text.
        return if byte.is_ascii() { Ok((char::from(byte).to_string(), attributes)) } else { Err(WRONG) };
    }
    if field.len() == 1 { Ok((field.to_owned(), attributes)) } else { Err(WRONG) }
}
