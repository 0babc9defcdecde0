//! Plain scalars as Go's yaml.v3 resolves them, because that is what every existing configuration was written against.
//!
//! Octal with a leading zero, underscores, `0o`/`0b`/`0x`, `.inf`; `yes` and `on` stay strings. Dates stay strings too
//! (yaml.v3 makes times of them, which no key of a configuration wants). Quoted scalars never come here.

use crate::core::node::Value;

/// The typed value of an unquoted scalar, and its text where the value alone would print differently.
pub fn resolve(text: &str) -> (Value, Option<String>) {
    let value = value_of(text);
    let printed = match &value {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Null | Value::String(_) | Value::List(_) | Value::Map(_) => return (value, None),
    };
    let written = (printed != text).then(|| text.to_owned());
    (value, written)
}

fn value_of(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Value::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Value::Float(f64::NEG_INFINITY),
        _ => {}
    }
    number(text).unwrap_or_else(|| Value::String(text.to_owned()))
}

fn number(text: &str) -> Option<Value> {
    let first = text.chars().next()?;
    if !(first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) {
        return None;
    }
    // yaml.v3 drops underscores everywhere in a number, except when it begins with a point.
    let plain = if first == '.' { text.to_owned() } else { text.replace('_', "") };
    match integer(&plain) {
        Some(value) => i64::try_from(value).map(Value::Int).ok().or(Some(Value::Float(value as f64))),
        None => decimal(&plain).map(Value::Float),
    }
}

/// What Go's ParseInt takes with base 0, up to the largest unsigned 64-bit number.
fn integer(text: &str) -> Option<i128> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (digits, radix) = if let Some(hex) = lower.strip_prefix("0x") {
        (hex, 16)
    } else if let Some(binary) = lower.strip_prefix("0b") {
        (binary, 2)
    } else if let Some(octal) = lower.strip_prefix("0o") {
        (octal, 8)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (&lower[1..], 8)
    } else {
        (lower.as_str(), 10)
    };
    // A second sign would be taken by Rust's parser.
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let value = i128::from_str_radix(digits, radix).ok()?;
    let value = if negative { -value } else { value };
    (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&value).then_some(value)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn decimal(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (unsigned, None),
    };
    let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let shaped = digits(whole)
        && digits(part)
        && !(whole.is_empty() && part.is_empty())
        && exponent.is_none_or(|exponent| !exponent.is_empty() && digits(exponent));
    if !shaped {
        return None;
    }
    // A number out of range is no float to Go either: it stays text.
    text.parse::<f64>().ok().filter(|value| value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_resolve_as_in_go() {
        for (text, value) in [
            ("0777", 511),
            ("0o777", 511),
            ("-0o17", -15),
            ("0x1F", 31),
            ("0b101", 5),
            ("1_000", 1000),
            ("+5", 5),
            ("-5", -5),
            ("0", 0),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(resolve(text).0, Value::Int(value), "{text}");
        }
    }

    #[test]
    fn floats_resolve_as_in_go() {
        for (text, value) in [
            ("1.5", 1.5),
            ("1e3", 1000.0),
            (".5", 0.5),
            ("1.", 1.0),
            ("08", 8.0),
            ("-.inf", f64::NEG_INFINITY),
            ("18446744073709551615", 18446744073709551615.0),
        ] {
            assert_eq!(resolve(text).0, Value::Float(value), "{text}");
        }
    }

    #[test]
    fn words_dates_and_near_numbers_stay_strings() {
        for text in [
            "yes",
            "on",
            "no",
            "off",
            "Y",
            "2020-01-01",
            "2020-01-01T00:00:00Z",
            "5s",
            "64MiB",
            "127.0.0.1",
            "0x",
            "--5",
            "+-5",
            "1e",
            "e5",
            ".",
            "1e999",
            "tRue",
            "<<",
            "._5",
            "12e03x",
        ] {
            assert_eq!(resolve(text), (Value::String(text.to_owned()), None), "{text}");
        }
    }

    #[test]
    fn the_text_is_kept_where_the_value_prints_differently() {
        assert_eq!(resolve("0777").1.as_deref(), Some("0777"));
        assert_eq!(resolve("True").1.as_deref(), Some("True"));
        assert_eq!(resolve("1.0").1.as_deref(), Some("1.0"));
        assert_eq!(resolve("5").1, None);
        assert_eq!(resolve("~"), (Value::Null, None));
    }
}
