//! What can be made a number, a truth value or bytes, with Go's rules of parsing (package strconv).

use std::borrow::Cow;

use crate::ottl::value::OttlValue;
use crate::ottl::value::failure::EvalFailure;

const NO_NUMBER: EvalFailure = EvalFailure("the text is no number");

pub fn integer<'a>(value: &OttlValue<'_>) -> Result<OttlValue<'a>, EvalFailure> {
    match value {
        OttlValue::Nil => Ok(OttlValue::Nil),
        OttlValue::Int(number) => Ok(OttlValue::Int(*number)),
        OttlValue::Float(number) => Ok(OttlValue::Int(truncated(*number))),
        OttlValue::Bool(truth) => Ok(OttlValue::Int(i64::from(*truth))),
        OttlValue::Text(text) => text.parse().map(OttlValue::Int).map_err(|_| NO_NUMBER),
        _ => Err(EvalFailure("the value is no number")),
    }
}

/// As the processors Go is mostly run on have it: what does not fit is the smallest number.
pub fn truncated(number: f64) -> i64 {
    let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number);
    if fits { number as i64 } else { i64::MIN }
}

pub fn double<'a>(value: &OttlValue<'_>) -> Result<OttlValue<'a>, EvalFailure> {
    match value {
        OttlValue::Nil => Ok(OttlValue::Nil),
        OttlValue::Int(number) => Ok(OttlValue::Float(*number as f64)),
        OttlValue::Float(number) => Ok(OttlValue::Float(*number)),
        OttlValue::Bool(truth) => Ok(OttlValue::Float(f64::from(u8::from(*truth)))),
        OttlValue::Text(text) => {
            let number: f64 = match hexadecimal(text) {
                Some(number) => number,
                None => undivided(text).ok_or(NO_NUMBER)?.parse().map_err(|_| NO_NUMBER)?,
            };
            // Digits that do not fit are a fault; the word is not.
            let overflows = number.is_infinite() && text.bytes().any(|c| c.is_ascii_digit());
            if overflows { Err(NO_NUMBER) } else { Ok(OttlValue::Float(number)) }
        }
        _ => Err(EvalFailure("the value is no number")),
    }
}

/// Without the signs that divide digits; `None` where one stands elsewhere.
fn undivided(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains('_') {
        return Some(Cow::Borrowed(text));
    }
    let bytes = text.as_bytes();
    let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let between = |(at, c): (usize, &u8)| *c != b'_' || (digit(at.checked_sub(1)) && digit(Some(at + 1)));
    bytes.iter().enumerate().all(between).then(|| Cow::Owned(text.replace('_', "")))
}

/// `0x1.8p3`: digits to the base of 16 and a power of two.
fn hexadecimal(text: &str) -> Option<f64> {
    let (negative, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    let digits = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X"))?;
    let (mantissa, power) = digits.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let plain = !all.is_empty() && all.len() <= 13 && all.bytes().all(|c| c.is_ascii_hexdigit());
    let number = plain.then(|| u64::from_str_radix(&all, 16).ok())?? as f64;
    let power: i32 = power.parse().ok()?;
    let number = number * 2f64.powi(power.checked_sub(4 * fraction.len() as i32)?);
    Some(if negative { -number } else { number })
}

pub fn boolean<'a>(value: &OttlValue<'_>) -> Result<OttlValue<'a>, EvalFailure> {
    match value {
        OttlValue::Nil => Ok(OttlValue::Nil),
        OttlValue::Bool(truth) => Ok(OttlValue::Bool(*truth)),
        OttlValue::Int(number) => Ok(OttlValue::Bool(*number != 0)),
        OttlValue::Float(number) => Ok(OttlValue::Bool(*number != 0.0)),
        OttlValue::Text(text) => match &**text {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(OttlValue::Bool(true)),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(OttlValue::Bool(false)),
            _ => Err(EvalFailure("the text is no boolean")),
        },
        _ => Err(EvalFailure("the value is no boolean")),
    }
}

/// Numbers as big-endian bytes.
pub fn bytes(value: OttlValue<'_>) -> Result<OttlValue<'_>, EvalFailure> {
    let owned = |bytes: &[u8]| OttlValue::Bytes(Cow::Owned(bytes.to_vec()));
    match value {
        OttlValue::Nil => Ok(OttlValue::Nil),
        OttlValue::Bytes(bytes) => Ok(OttlValue::Bytes(bytes)),
        OttlValue::Text(Cow::Borrowed(text)) => Ok(OttlValue::Bytes(Cow::Borrowed(text.as_bytes()))),
        OttlValue::Text(Cow::Owned(text)) => Ok(OttlValue::Bytes(Cow::Owned(text.into_bytes()))),
        OttlValue::Int(number) => Ok(owned(&number.to_be_bytes())),
        OttlValue::Float(number) => Ok(owned(&number.to_be_bytes())),
        OttlValue::Bool(truth) => Ok(owned(&[u8::from(truth)])),
        _ => Err(EvalFailure("the value cannot be bytes")),
    }
}

/// Base 0 is told by the text: `0x`, `0b`, `0o` or `0`, and digits may be divided by `_`.
pub fn parse_int<'a>(text: &str, base: i64) -> Result<OttlValue<'a>, EvalFailure> {
    const WRONG: EvalFailure = EvalFailure("the text is not a number of this base");
    let (sign, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) => (&text[..1], digits),
        None => ("", text),
    };
    let (base, digits) = match base {
        0 => {
            let lower = digits.to_ascii_lowercase();
            let (base, from) = match lower.as_bytes() {
                [b'0', b'x', ..] => (16, 2),
                [b'0', b'b', ..] => (2, 2),
                [b'0', b'o', ..] => (8, 2),
                [b'0', _, ..] => (8, 1),
                _ => (10, 0),
            };
            let parts = lower.get(from..).unwrap_or_default();
            let divided = parts.strip_prefix('_').filter(|_| from > 0).unwrap_or(parts);
            if divided.split('_').any(str::is_empty) {
                return Err(WRONG);
            }
            (base, divided.replace('_', ""))
        }
        2..=36 => (base as u32, digits.to_owned()),
        _ => return Err(EvalFailure("the base is 0 or 2 to 36")),
    };
    if digits.starts_with(['+', '-']) {
        return Err(WRONG);
    }
    i64::from_str_radix(&format!("{sign}{digits}"), base).map(OttlValue::Int).map_err(|_| WRONG)
}

pub fn logarithm<'a>(value: &OttlValue<'_>) -> Result<OttlValue<'a>, EvalFailure> {
    match value {
        OttlValue::Float(number) if *number > 0.0 || number.is_nan() => Ok(OttlValue::Float(number.ln())),
        _ => Err(EvalFailure("a logarithm needs a number above zero")),
    }
}

/// Luhn's check digit (ISO/IEC 7812-1); blanks do not count.
pub fn is_valid_luhn(text: &str) -> Result<bool, EvalFailure> {
    let digits: Vec<u32> = text
        .chars()
        .filter(|c| *c != ' ')
        .map(|c| c.to_digit(10).ok_or(EvalFailure("the text has other characters than digits")))
        .collect::<Result<_, _>>()?;
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| match (at % 2, digit * 2) {
            (0, _) => *digit,
            (_, double @ 10..) => double - 9,
            (_, double) => double,
        })
        .fold(0, u32::wrapping_add);
    Ok(!digits.is_empty() && sum.is_multiple_of(10))
}
