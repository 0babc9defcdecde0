//! `Format`: Go's `fmt.Sprintf` for the values of the language.

use std::borrow::Cow;

use crate::ottl::convert::made::TEXT_MAX;
use crate::ottl::value::failure::EvalFailure;
use crate::ottl::value::{OttlValue, hex};

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

pub fn format<'a>(pattern: &str, values: &[OttlValue<'_>]) -> Result<OttlValue<'a>, EvalFailure> {
    let (mut out, mut values) = (String::new(), values.iter());
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        if out.len() > TEXT_MAX {
            return Err(EvalFailure("the text is too long"));
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
            Some('*' | '[') => return Err(EvalFailure("widths and places from values are not supported in formats")),
            Some(verb) => match values.next() {
                Some(value) => verb_of(&mut out, verb, flags, value)?,
                None => out.push_str(&format!("%!{verb}(MISSING)")),
            },
        }
    }
    let left: Vec<String> =
        values.map(|value| Ok(format!("{}={}", type_of(value), plain(value)?))).collect::<Result<_, EvalFailure>>()?;
    if !left.is_empty() {
        out.push_str(&format!("%!(EXTRA {})", left.join(", ")));
    }
    Ok(OttlValue::Text(Cow::Owned(out)))
}

fn digits(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Option<usize>, EvalFailure> {
    let mut number = None;
    while let Some(digit) = chars.next_if(char::is_ascii_digit).and_then(|c| c.to_digit(10)) {
        let next = number.unwrap_or(0usize).saturating_mul(10).saturating_add(digit as usize);
        if next > WIDTH_MAX {
            return Err(EvalFailure("a width of the format is too large"));
        }
        number = Some(next);
    }
    Ok(number)
}

fn verb_of(out: &mut String, verb: char, flags: Flags, value: &OttlValue<'_>) -> Result<(), EvalFailure> {
    let made = match (verb, value) {
        ('T', value) => type_of(value).to_owned(),
        ('v', OttlValue::Nil) => "<nil>".to_owned(),
        ('v', OttlValue::Float(number)) => number_text(float('g', None, *number), *number >= 0.0, flags),
        ('v' | 'd', OttlValue::Int(number)) => number_text(number.unsigned_abs().to_string(), *number >= 0, flags),
        ('b', OttlValue::Int(number)) => number_text(format!("{:b}", number.unsigned_abs()), *number >= 0, flags),
        ('o', OttlValue::Int(number)) => number_text(format!("{:o}", number.unsigned_abs()), *number >= 0, flags),
        ('x', OttlValue::Int(number)) => {
            let sharp = if flags.sharp { "0x" } else { "" };
            number_text(format!("{sharp}{:x}", number.unsigned_abs()), *number >= 0, flags)
        }
        ('X', OttlValue::Int(number)) => {
            let sharp = if flags.sharp { "0X" } else { "" };
            number_text(format!("{sharp}{:X}", number.unsigned_abs()), *number >= 0, flags)
        }
        ('c', OttlValue::Int(number)) => {
            let c = u32::try_from(*number).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
            c.to_string()
        }
        ('q', OttlValue::Int(number)) => {
            let c = u32::try_from(*number).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
            format!("'{c}'")
        }
        ('U', OttlValue::Int(number)) => format!("U+{number:04X}"),
        ('e' | 'E' | 'f' | 'F' | 'g' | 'G', OttlValue::Float(number)) => {
            let precision = flags.precision.or(if "gG".contains(verb) { None } else { Some(6) });
            number_text(float(verb, precision, *number), *number >= 0.0 || number.is_nan(), flags)
        }
        ('t' | 'v', OttlValue::Bool(truth)) => truth.to_string(),
        ('s' | 'v', OttlValue::Text(text)) => cut(text, flags),
        ('q', OttlValue::Text(text)) => quoted(&cut(text, flags)),
        ('x', OttlValue::Text(text)) => hex(text.as_bytes()),
        ('X', OttlValue::Text(text)) => hex(text.as_bytes()).to_uppercase(),
        ('s', OttlValue::Bytes(bytes)) => String::from_utf8_lossy(bytes).into_owned(),
        ('x', OttlValue::Bytes(bytes)) => hex(bytes),
        ('X', OttlValue::Bytes(bytes)) => hex(bytes).to_uppercase(),
        ('s' | 'v', value) if is_plain(value) || verb == 'v' => plain(value)?,
        (verb, OttlValue::Nil) => format!("%!{verb}(<nil>)"),
        (verb, OttlValue::List(_)) => return list(out, verb, flags, value),
        ('d', OttlValue::Bytes(bytes)) => {
            let numbers = bytes.iter().map(|byte| OttlValue::Int(i64::from(*byte))).collect();
            return list(out, verb, flags, &OttlValue::List(numbers));
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
fn list(out: &mut String, verb: char, flags: Flags, value: &OttlValue<'_>) -> Result<(), EvalFailure> {
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

fn is_plain(value: &OttlValue<'_>) -> bool {
    matches!(value, OttlValue::Id(_) | OttlValue::Time(_) | OttlValue::Duration(_))
}

/// The value as `%v` shows it.
fn plain(value: &OttlValue<'_>) -> Result<String, EvalFailure> {
    Ok(match value {
        OttlValue::Nil => "<nil>".to_owned(),
        OttlValue::Float(number) => {
            let sign = if *number < 0.0 { "-" } else { "" };
            format!("{sign}{}", float('g', None, *number))
        }
        OttlValue::Bytes(bytes) => {
            let shown: Vec<String> = bytes.iter().map(u8::to_string).collect();
            format!("[{}]", shown.join(" "))
        }
        OttlValue::Id(id) => hex(id.bytes()),
        OttlValue::List(values) => {
            let shown: Vec<String> = values.iter().map(plain).collect::<Result<_, EvalFailure>>()?;
            format!("[{}]", shown.join(" "))
        }
        OttlValue::Duration(nanos) => super::time::shown_duration(*nanos),
        OttlValue::Time(_)
        | OttlValue::Map { .. }
        | OttlValue::Object(_)
        | OttlValue::Array(_)
        | OttlValue::Pieces(_) => {
            return Err(EvalFailure("a format cannot show times, maps and lists of the data; make them texts first"));
        }
        other => other.to_text()?.unwrap_or_default().into_owned(),
    })
}

fn type_of(value: &OttlValue<'_>) -> &'static str {
    match value {
        OttlValue::Nil => "<nil>",
        OttlValue::Bool(_) => "bool",
        OttlValue::Int(_) => "int64",
        OttlValue::Float(_) => "float64",
        OttlValue::Text(_) => "string",
        OttlValue::Bytes(_) => "[]uint8",
        OttlValue::Id(id) if id.bytes().len() == 16 => "pcommon.TraceID",
        OttlValue::Id(_) => "pcommon.SpanID",
        OttlValue::Map { .. } | OttlValue::Object(_) => "pcommon.Map",
        OttlValue::Array(_) => "pcommon.Slice",
        OttlValue::List(_) => "[]interface {}",
        OttlValue::Time(_) => "time.Time",
        OttlValue::Duration(_) => "time.Duration",
        OttlValue::Pieces(_) => "slice",
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
