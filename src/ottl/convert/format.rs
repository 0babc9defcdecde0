//! `Format`: Go's `fmt.Sprintf` for the values of the language.

use std::borrow::Cow;

use crate::ottl::Failure;
use crate::ottl::convert::TEXT_MAX;
use crate::ottl::value::{Value, hex};

/// Widths and precisions beyond this are refused.
const WIDTH_MAX: usize = 1_000;

#[derive(Clone, Copy, Debug, Default)]
struct Flags {
    minus: bool,
    plus: bool,
    space: bool,
    zero: bool,
    sharp: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

pub fn format<'a>(pattern: &str, values: &[Value<'_>]) -> Result<Value<'a>, Failure> {
    let (mut out, mut values) = (String::new(), values.iter());
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if out.len() > TEXT_MAX {
            return Err(Failure("the text is too long"));
        }
        if c != '%' {
            out.push(c);
            continue;
        }
        let mut flags = Flags::default();
        while let Some(flag) = chars.next_if(|c| "-+ 0#".contains(*c)) {
            match flag {
                '-' => flags.minus = true,
                '+' => flags.plus = true,
                ' ' => flags.space = true,
                '0' => flags.zero = true,
                _ => flags.sharp = true,
            }
        }
        flags.width = digits(&mut chars)?;
        if chars.next_if_eq(&'.').is_some() {
            flags.precision = Some(digits(&mut chars)?.unwrap_or_default());
        }
        match chars.next() {
            None => out.push_str("%!(NOVERB)"),
            Some('%') => out.push('%'),
            Some('*' | '[') => return Err(Failure("widths and places from values are not supported in formats")),
            Some(verb) => match values.next() {
                Some(value) => verb_of(&mut out, verb, flags, value)?,
                None => out.push_str(&format!("%!{verb}(MISSING)")),
            },
        }
    }
    let left: Vec<String> =
        values.map(|value| Ok(format!("{}={}", type_of(value), plain(value)?))).collect::<Result<_, Failure>>()?;
    if !left.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", left.join(", ")));
    }
    Ok(Value::Text(Cow::Owned(out)))
}

fn digits(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Option<usize>, Failure> {
    let mut number = None;
    while let Some(digit) = chars.next_if(char::is_ascii_digit).and_then(|c| c.to_digit(10)) {
        let next = number.unwrap_or(0usize).saturating_mul(10).saturating_add(digit as usize);
        if next > WIDTH_MAX {
            return Err(Failure("a width of the format is too large"));
        }
        number = Some(next);
    }
    Ok(number)
}

fn verb_of(out: &mut String, verb: char, flags: Flags, value: &Value<'_>) -> Result<(), Failure> {
    let made = match (verb, value) {
        ('T', value) => type_of(value).to_owned(),
        ('v', Value::Nil) => "<nil>".to_owned(),
        ('v', Value::Float(number)) => number_text(float('g', None, *number), *number >= 0.0, flags),
        ('v' | 'd', Value::Int(number)) => number_text(number.unsigned_abs().to_string(), *number >= 0, flags),
        ('b', Value::Int(number)) => number_text(format!("{:b}", number.unsigned_abs()), *number >= 0, flags),
        ('o', Value::Int(number)) => number_text(format!("{:o}", number.unsigned_abs()), *number >= 0, flags),
        ('x', Value::Int(number)) => {
            let sharp = if flags.sharp { "0x" } else { "" };
            number_text(format!("{sharp}{:x}", number.unsigned_abs()), *number >= 0, flags)
        }
        ('X', Value::Int(number)) => {
            let sharp = if flags.sharp { "0X" } else { "" };
            number_text(format!("{sharp}{:X}", number.unsigned_abs()), *number >= 0, flags)
        }
        ('c', Value::Int(number)) => {
            let c = u32::try_from(*number).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
            c.to_string()
        }
        ('q', Value::Int(number)) => {
            let c = u32::try_from(*number).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
            format!("'{c}'")
        }
        ('U', Value::Int(number)) => format!("U+{number:04X}"),
        ('e' | 'E' | 'f' | 'F' | 'g' | 'G', Value::Float(number)) => {
            let precision = flags.precision.or(if "gG".contains(verb) { None } else { Some(6) });
            number_text(float(verb, precision, *number), *number >= 0.0 || number.is_nan(), flags)
        }
        ('t' | 'v', Value::Bool(truth)) => truth.to_string(),
        ('s' | 'v', Value::Text(text)) => cut(text, flags),
        ('q', Value::Text(text)) => quoted(&cut(text, flags)),
        ('x', Value::Text(text)) => hex(text.as_bytes()),
        ('X', Value::Text(text)) => hex(text.as_bytes()).to_uppercase(),
        ('s', Value::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        ('x', Value::Bytes(bytes)) => hex(bytes),
        ('X', Value::Bytes(bytes)) => hex(bytes).to_uppercase(),
        ('s' | 'v', value) if is_plain(value) || verb == 'v' => plain(value)?,
        (verb, Value::Nil) => format!("%!{verb}(<nil>)"),
        (verb, Value::List(_)) => return list(out, verb, flags, value),
        ('d', Value::Bytes(bytes)) => {
            let numbers = bytes.iter().map(|byte| Value::Int(i64::from(*byte))).collect();
            return list(out, verb, flags, &Value::List(numbers));
        }
        (verb, value) => {
            // What stands for the value is as wide as it would have been.
            out.push_str(&format!("%!{verb}({}=", type_of(value)));
            pad(out, &plain(value)?, flags);
            out.push(')');
            return Ok(());
        }
    };
    pad(out, &made, flags);
    Ok(())
}

/// Each element with the verb.
fn list(out: &mut String, verb: char, flags: Flags, value: &Value<'_>) -> Result<(), Failure> {
    out.push('[');
    for (at, element) in value.elements().unwrap_or_default().iter().enumerate() {
        if at > 0 {
            out.push(' ');
        }
        verb_of(out, verb, flags, element)?;
    }
    out.push(']');
    Ok(())
}

fn is_plain(value: &Value<'_>) -> bool {
    matches!(value, Value::Id(_) | Value::Time(_) | Value::Duration(_))
}

/// The value as `%v` shows it.
fn plain(value: &Value<'_>) -> Result<String, Failure> {
    Ok(match value {
        Value::Nil => "<nil>".to_owned(),
        Value::Float(number) => {
            let sign = if *number < 0.0 { "-" } else { "" };
            format!("{sign}{}", float('g', None, *number))
        }
        Value::Bytes(bytes) => {
            let shown: Vec<String> = bytes.iter().map(u8::to_string).collect();
            format!("[{}]", shown.join(" "))
        }
        Value::Id(id) => hex(id.bytes()),
        Value::List(values) => {
            let shown: Vec<String> = values.iter().map(plain).collect::<Result<_, Failure>>()?;
            format!("[{}]", shown.join(" "))
        }
        Value::Duration(nanos) => super::time::shown_duration(*nanos),
        Value::Time(_) | Value::Map { .. } | Value::Object(_) | Value::Array(_) | Value::Pieces(_) => {
            return Err(Failure("a format cannot show times, maps and lists of the data; make them texts first"));
        }
        other => other.to_text()?.unwrap_or_default().into_owned(),
    })
}

fn type_of(value: &Value<'_>) -> &'static str {
    match value {
        Value::Nil => "<nil>",
        Value::Bool(_) => "bool",
        Value::Int(_) => "int64",
        Value::Float(_) => "float64",
        Value::Text(_) => "string",
        Value::Bytes(_) => "[]uint8",
        Value::Id(id) if id.bytes().len() == 16 => "pcommon.TraceID",
        Value::Id(_) => "pcommon.SpanID",
        Value::Map { .. } | Value::Object(_) => "pcommon.Map",
        Value::Array(_) => "pcommon.Slice",
        Value::List(_) => "[]interface {}",
        Value::Time(_) => "time.Time",
        Value::Duration(_) => "time.Duration",
        Value::Pieces(_) => "slice",
    }
}

/// The digits with a sign, and with zeros between where they are asked for.
fn number_text(digits: String, positive: bool, flags: Flags) -> String {
    let sign = match (positive, flags.plus, flags.space) {
        (false, ..) => "-",
        (true, true, _) => "+",
        (true, false, true) => " ",
        _ => "",
    };
    let wanted = match flags.width {
        Some(width) if flags.zero && !flags.minus => width.saturating_sub(sign.len()),
        _ => 0,
    };
    let finite = digits.starts_with(|c: char| c.is_ascii_digit());
    let zeros = if finite { wanted.saturating_sub(digits.chars().count()) } else { 0 };
    format!("{sign}{}{digits}", "0".repeat(zeros))
}

/// The size of a double, as `strconv.FormatFloat` writes it.
fn float(verb: char, precision: Option<usize>, number: f64) -> String {
    let size = number.abs();
    if size.is_nan() {
        return "NaN".to_owned();
    }
    if size.is_infinite() {
        return if number > 0.0 { "+Inf".to_owned() } else { "Inf".to_owned() };
    }
    let exponent = |text: String| {
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
        format!("{digits}e{sign}{exponent:0>2}")
    };
    let made = match (verb.to_ascii_lowercase(), precision) {
        ('f', Some(precision)) => format!("{size:.precision$}"),
        ('e', Some(precision)) => exponent(format!("{size:.precision$e}")),
        (_, precision) => {
            let short = match precision {
                Some(precision) => format!("{size:.*e}", precision.max(1) - 1),
                None => format!("{size:e}"),
            };
            let (digits, power) = short.split_once('e').unwrap_or((&short, "0"));
            let power: i32 = power.parse().unwrap_or_default();
            let digits = if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits };
            let count = digits.len() as i32 - i32::from(digits.contains('.'));
            let wanted = precision.map_or(6, |precision| i32::try_from(precision.max(1)).unwrap_or(i32::MAX));
            let most = if precision.is_some() && wanted > count && count > power { count } else { wanted };
            if power < -4 || power >= most {
                exponent(format!("{digits}e{power}"))
            } else {
                let decimals = usize::try_from((count - 1 - power).max(0)).unwrap_or_default();
                format!("{size:.decimals$}")
            }
        }
    };
    if verb.is_ascii_uppercase() { made.to_uppercase() } else { made }
}

/// As many characters as the precision says.
fn cut(text: &str, flags: Flags) -> String {
    match flags.precision {
        Some(precision) => text.chars().take(precision).collect(),
        None => text.to_owned(),
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn pad(out: &mut String, made: &str, flags: Flags) {
    let missing = flags.width.unwrap_or_default().saturating_sub(made.chars().count());
    let fill = if flags.zero && !flags.minus { "0" } else { " " };
    if !flags.minus {
        out.push_str(&fill.repeat(missing));
    }
    out.push_str(made);
    if flags.minus {
        out.push_str(&" ".repeat(missing));
    }
}
