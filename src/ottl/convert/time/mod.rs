//! Converters of moments and durations. No clock is read here: moments come from the data, from a text or from the item.

pub mod layout;

use crate::ottl::convert::table::Converter;
use crate::ottl::value::OttlValue;
use crate::ottl::value::failure::EvalFailure;
use crate::ottl::value::moment::ZonedTime;

const SECOND: i64 = 1_000_000_000;
/// Seconds from the year one, where Go's zero time stands, to 1970.
const YEAR_ONE: i128 = 62_135_596_800;

pub fn apply<'a>(
    converter: Converter,
    first: &OttlValue<'_>,
    second: &OttlValue<'_>,
) -> Result<OttlValue<'a>, EvalFailure> {
    let civil = || moment(first).map(ZonedTime::civil);
    let whole = |unit: i64| moment(first).map(|moment| OttlValue::Int(moment.whole(i128::from(unit))));
    match converter {
        Converter::Duration => match first {
            OttlValue::Text(text) => {
                parse_duration(text).map(OttlValue::Duration).ok_or(EvalFailure("the text is no duration"))
            }
            _ => Err(EvalFailure("expected a string")),
        },
        Converter::TruncateTime => truncate(moment(first)?, span(second)?),
        Converter::Unix => {
            let (OttlValue::Int(seconds), nanos) = (first, second) else { return Err(EvalFailure("expected seconds")) };
            let nanos = if let OttlValue::Int(nanos) = nanos { *nanos } else { 0 };
            let all = i128::from(*seconds) * i128::from(SECOND) + i128::from(nanos);
            let at = jiff::Timestamp::from_nanosecond(all).map_err(|_| EvalFailure("the time is out of range"))?;
            Ok(OttlValue::Time(ZonedTime::new(at, jiff::tz::TimeZone::UTC)))
        }
        Converter::UnixNano => moment(first).map(|moment| OttlValue::Int(moment.nanos())),
        Converter::UnixMicro => whole(1_000),
        Converter::UnixMilli => whole(1_000_000),
        Converter::UnixSeconds => whole(SECOND),
        Converter::Nanoseconds => span(first).map(OttlValue::Int),
        Converter::Microseconds => span(first).map(|nanos| OttlValue::Int(nanos / 1_000)),
        Converter::Milliseconds => span(first).map(|nanos| OttlValue::Int(nanos / 1_000_000)),
        // Go divides the whole units and the rest apart.
        Converter::Seconds => span(first).map(|nanos| OttlValue::Float(parts(nanos, SECOND))),
        Converter::Minutes => span(first).map(|nanos| OttlValue::Float(parts(nanos, 60 * SECOND))),
        Converter::Hours => span(first).map(|nanos| OttlValue::Float(parts(nanos, 3600 * SECOND))),
        Converter::Year => civil().map(|time| OttlValue::Int(time.year().into())),
        Converter::Month => civil().map(|time| OttlValue::Int(time.month().into())),
        Converter::Day => civil().map(|time| OttlValue::Int(time.day().into())),
        Converter::Weekday => civil().map(|time| OttlValue::Int(time.weekday().to_sunday_zero_offset().into())),
        Converter::Hour => civil().map(|time| OttlValue::Int(time.hour().into())),
        Converter::Minute => civil().map(|time| OttlValue::Int(time.minute().into())),
        Converter::Second => civil().map(|time| OttlValue::Int(time.second().into())),
        Converter::Nanosecond => civil().map(|time| OttlValue::Int(time.subsec_nanosecond().into())),
        _ => Err(EvalFailure("this is no function of times")),
    }
}

fn parts(nanos: i64, unit: i64) -> f64 {
    (nanos / unit) as f64 + (nanos % unit) as f64 / unit as f64
}

fn moment<'v>(value: &'v OttlValue<'_>) -> Result<&'v ZonedTime, EvalFailure> {
    if let OttlValue::Time(moment) = value { Ok(moment) } else { Err(EvalFailure("expected a time")) }
}

fn span(value: &OttlValue<'_>) -> Result<i64, EvalFailure> {
    if let OttlValue::Duration(nanos) = value { Ok(*nanos) } else { Err(EvalFailure("expected a duration")) }
}

fn truncate<'a>(moment: &ZonedTime, to: i64) -> Result<OttlValue<'a>, EvalFailure> {
    if to <= 0 {
        return Ok(OttlValue::Time(moment.clone()));
    }
    let since = moment.at().as_nanosecond() + YEAR_ONE * i128::from(SECOND);
    let rest = since.rem_euclid(i128::from(to));
    moment.plus(-i64::try_from(rest).unwrap_or_default()).map(OttlValue::Time)
}

const UNITS: [(&str, i64); 8] = [
    ("ns", 1),
    ("us", 1_000),
    ("\u{b5}s", 1_000),
    ("\u{3bc}s", 1_000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3600 * SECOND),
];

/// Nanoseconds of what Go's `time.ParseDuration` takes: `1h15m30.918s`, with a sign.
fn parse_duration(text: &str) -> Option<i64> {
    let negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (whole, fraction) = rest[..end].split_once('.').unwrap_or((&rest[..end], ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        rest = &rest[end..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == &rest[..end])?;
        rest = &rest[end..];
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse::<i64>().ok()?.into() };
        total += whole * i128::from(*unit);
        let digits = &fraction[..fraction.len().min(18)];
        if !digits.is_empty() {
            let scale = 10f64.powi(digits.len() as i32);
            total += (digits.parse::<i64>().ok()? as f64 * (*unit as f64 / scale)) as i128;
        }
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

/// A duration as Go shows it: `1h15m30.918s`, `1.5ms`.
pub fn shown_duration(nanos: i64) -> String {
    let size = nanos.unsigned_abs();
    let sign = if nanos < 0 { "-" } else { "" };
    let decimal = |nanos: u64, unit: u64| {
        let fraction = format!("{:0width$}", nanos % unit, width = unit.ilog10() as usize);
        let fraction = fraction.trim_end_matches('0');
        let dot = if fraction.is_empty() { "" } else { "." };
        format!("{}{dot}{fraction}", nanos / unit)
    };
    let second = SECOND as u64;
    match size {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{size}ns"),
        1_000..1_000_000 => format!("{sign}{}\u{b5}s", decimal(size, 1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", decimal(size, 1_000_000)),
        _ => {
            let (hours, minutes) = (size / second / 3600, size / second / 60 % 60);
            let seconds = decimal(size % (60 * second), second);
            match (hours, minutes) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, _) => format!("{sign}{minutes}m{seconds}s"),
                _ => format!("{sign}{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}
