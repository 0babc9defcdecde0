//! One value by one verb, as Go's `fmt` prints it. Doubles have no `%x`, `%b` and no `#`.

use crate::ottl::convert::time::shown_duration;
use crate::ottl::value::failure::EvalFailure;
use crate::ottl::value::{OttlValue, hex};

#[derive(Clone, Copy, Debug, Default)]
pub struct Flags {
    pub minus: bool,
    pub plus: bool,
    pub space: bool,
    pub zero: bool,
    pub sharp: bool,
    /// `%#v`: texts in quotation marks.
    quotes: bool,
    pub width: Option<usize>,
    pub precision: Option<usize>,
}

impl Flags {
    /// `+` and `#` mean something else for `%v`.
    pub fn of(self, verb: char) -> Flags {
        match verb {
            'v' => Flags { plus: false, sharp: false, quotes: self.sharp, ..self },
            _ => self,
        }
    }
}

/// Appends the value.
pub fn push(out: &mut String, verb: char, flags: Flags, value: &OttlValue<'_>) -> Result<(), EvalFailure> {
    let made = match (value, verb) {
        (OttlValue::Nil, 'T' | 'v') => Some("<nil>".to_owned()),
        (_, 'T') => Some(type_of(value).to_owned()),
        (OttlValue::Bool(truth), 't' | 'v') => Some(truth.to_string()),
        (OttlValue::Int(number), 'c') => Some(character(*number).to_string()),
        (OttlValue::Int(number), 'q') => Some(quoted(&character(*number).to_string(), '\'', flags.plus)),
        (OttlValue::Int(number), _) => match integer(verb, *number, flags) {
            // Its zeros are in it.
            Some(made) => {
                pad(out, &made, Flags { zero: false, ..flags });
                return Ok(());
            }
            None => None,
        },
        (OttlValue::Float(number), 'v' | 'e' | 'E' | 'f' | 'F' | 'g' | 'G') => {
            let precision = flags.precision.or(if "vgG".contains(verb) { None } else { Some(6) });
            let verb = if verb == 'v' { 'g' } else { verb };
            Some(number_text(float(verb, precision, *number), *number >= 0.0 || number.is_nan(), flags))
        }
        (OttlValue::Text(text), _) => of_text(verb, flags, text),
        (OttlValue::Bytes(bytes), 's' | 'x' | 'X' | 'q') => match verb {
            'x' | 'X' => Some(of_bytes(verb, flags, bytes)),
            _ => of_text(verb, flags, &String::from_utf8_lossy(bytes)),
        },
        (OttlValue::Bytes(bytes), 'd') => {
            let numbers = bytes.iter().map(|byte| OttlValue::Int(i64::from(*byte))).collect();
            return list(out, verb, flags, &OttlValue::List(numbers));
        }
        (OttlValue::List(_), _) => return list(out, verb, flags, value),
        (OttlValue::Duration(nanos), 'd') => return push(out, verb, flags, &OttlValue::Int(*nanos)),
        (OttlValue::Id(_) | OttlValue::Time(_) | OttlValue::Duration(_), 's' | 'v' | 'x' | 'X' | 'q') => {
            of_text(verb, flags, &plain(value)?)
        }
        (_, 'v') => Some(plain(value)?),
        _ => None,
    };
    match made {
        Some(made) => pad(out, &made, flags),
        None => unfit(out, verb, flags, value)?,
    }
    Ok(())
}

/// A verb that is not for this value.
fn unfit(out: &mut String, verb: char, flags: Flags, value: &OttlValue<'_>) -> Result<(), EvalFailure> {
    out.push_str(&format!("%!{verb}("));
    match value {
        OttlValue::Nil => out.push_str("<nil>"),
        OttlValue::Id(_) => {
            out.push_str(&format!("{}=", type_of(value)));
            pad(out, &plain(value)?, flags);
        }
        _ => {
            out.push_str(&format!("{}=", type_of(value)));
            push(out, 'v', flags, value)?;
        }
    }
    out.push(')');
    Ok(())
}

/// Each element with the verb.
fn list(out: &mut String, verb: char, flags: Flags, value: &OttlValue<'_>) -> Result<(), EvalFailure> {
    out.push('[');
    for (at, element) in value.elements().unwrap_or_default().iter().enumerate() {
        if at > 0 {
            out.push(' ');
        }
        push(out, verb, flags, element)?;
    }
    out.push(']');
    Ok(())
}

fn of_text(verb: char, flags: Flags, text: &str) -> Option<String> {
    match verb {
        'v' if flags.quotes => Some(quoted(&cut(text, flags), '"', false)),
        's' | 'v' => Some(cut(text, flags)),
        'x' | 'X' => Some(of_bytes(verb, flags, text.as_bytes())),
        'q' => {
            let text = cut(text, flags);
            let is_raw =
                flags.sharp && text.chars().all(|c| c == '\t' || (c != '`' && !c.is_control() && c != '\u{feff}'));
            Some(if is_raw { format!("`{text}`") } else { quoted(&text, '"', flags.plus) })
        }
        _ => None,
    }
}

/// `%x` of a text: as many bytes as the precision says, apart where a space is asked for.
fn of_bytes(verb: char, flags: Flags, bytes: &[u8]) -> String {
    let bytes = &bytes[..flags.precision.map_or(bytes.len(), |precision| precision.min(bytes.len()))];
    let prefix = if flags.sharp && !bytes.is_empty() { "0x" } else { "" };
    let made = if flags.space {
        let parts: Vec<String> = bytes.iter().map(|byte| format!("{prefix}{byte:02x}")).collect();
        parts.join(" ")
    } else {
        format!("{prefix}{}", hex(bytes))
    };
    if verb == 'X' { made.to_uppercase() } else { made }
}

fn character(number: i64) -> char {
    u32::try_from(number).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// Digits with sign, prefix and zeros, which precision or width ask for; none where the verb is not one of integers.
fn integer(verb: char, number: i64, flags: Flags) -> Option<String> {
    let size = number.unsigned_abs();
    let (digits, prefix) = match verb {
        'v' | 'd' => (size.to_string(), ""),
        'b' => (format!("{size:b}"), if flags.sharp { "0b" } else { "" }),
        'o' => (format!("{size:o}"), if flags.sharp { "0" } else { "" }),
        'O' => (format!("{size:o}"), "0o"),
        'x' => (format!("{size:x}"), if flags.sharp { "0x" } else { "" }),
        'X' => (format!("{size:X}"), if flags.sharp { "0X" } else { "" }),
        'U' => {
            let shown =
                char::from_u32(u32::try_from(number).unwrap_or(u32::MAX)).filter(|c| flags.sharp && !c.is_control());
            let wanted = flags.precision.unwrap_or_default().max(4);
            return Some(format!("U+{number:0wanted$X}{}", shown.map(|c| format!(" '{c}'")).unwrap_or_default()));
        }
        _ => return None,
    };
    let sign = sign(number >= 0, flags);
    let wanted = match (flags.precision, flags.width) {
        (Some(0), _) if number == 0 => return Some(String::new()),
        (Some(precision), _) => precision,
        (None, Some(width)) if flags.zero && !flags.minus => width.saturating_sub(sign.len()),
        _ => 0,
    };
    let zeros = "0".repeat(wanted.saturating_sub(digits.len()));
    let prefix = if verb == 'o' && (!zeros.is_empty() || digits == "0") { "" } else { prefix };
    Some(format!("{sign}{prefix}{zeros}{digits}"))
}

fn sign(positive: bool, flags: Flags) -> &'static str {
    match (positive, flags.plus, flags.space) {
        (false, ..) => "-",
        (true, true, _) => "+",
        (true, false, true) => " ",
        _ => "",
    }
}

/// The value as `%v` shows it.
pub fn plain(value: &OttlValue<'_>) -> Result<String, EvalFailure> {
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
        OttlValue::Duration(nanos) => shown_duration(*nanos),
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

pub fn type_of(value: &OttlValue<'_>) -> &'static str {
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
    let sign = sign(positive, flags);
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

/// In quotation marks, with Go's escapes; `ascii`: of all that is not ASCII.
fn quoted(text: &str, mark: char, ascii: bool) -> String {
    let mut out = String::from(mark);
    for c in text.chars() {
        match c {
            c if c == mark || c == '\\' => out.extend(['\\', c]),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if (ascii && !c.is_ascii() || c.is_control()) && u32::from(c) < 0x1_0000 => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c if ascii && !c.is_ascii() => out.push_str(&format!("\\U{:08x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push(mark);
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
