//! Converters of moments and durations. No clock is read here: moments come from the data or from a text.

use std::borrow::Cow;

use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Zoned};

use crate::config::duration;
use crate::ottl::Failure;
use crate::ottl::convert::{Converter, made, text};
use crate::ottl::value::Value;

const SECOND: i64 = 1_000_000_000;
/// Seconds from the year one, where Go's zero time stands, to 1970.
const YEAR_ONE: i128 = 62_135_596_800;

/// Directives of time formats that mean here what they mean upstream.
const DIRECTIVES: &str = "YmdHMSyBbAapIejzTFDs%";

/// True when every directive of the format is known.
pub fn knows(format: &str) -> bool {
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        if c == '%' && !chars.next().is_some_and(|directive| DIRECTIVES.contains(directive)) {
            return false;
        }
    }
    true
}

pub fn apply<'a>(converter: Converter, first: &Value<'_>, second: &Value<'_>) -> Result<Value<'a>, Failure> {
    match converter {
        Converter::Duration => {
            let parsed = duration::parse(&text(first)?).map_err(|_| Failure("the text is no duration"))?;
            i64::try_from(parsed.as_nanos()).map(Value::Duration).map_err(|_| Failure("the duration is too long"))
        }
        Converter::Time => parse(&text(first)?, &known(second)?),
        Converter::FormatTime => {
            let (time, format) = (utc(first)?, known(second)?);
            let shown = jiff::fmt::strtime::format(format.as_bytes(), &time);
            shown.map(made).map_err(|_| Failure("the time cannot be shown in this format"))
        }
        Converter::TruncateTime => truncate(moment(first)?, span(second)?),
        Converter::Unix => {
            let (Value::Int(seconds), nanos) = (first, second) else { return Err(Failure("expected seconds")) };
            let nanos = match nanos {
                Value::Nil => 0,
                Value::Int(nanos) => *nanos,
                _ => return Err(Failure("expected nanoseconds")),
            };
            let whole = seconds.checked_mul(SECOND).and_then(|whole| whole.checked_add(nanos));
            whole.map(Value::Time).ok_or(Failure("the time is out of range"))
        }
        Converter::UnixNano => moment(first).map(Value::Int),
        Converter::UnixMicro => moment(first).map(|nanos| Value::Int(nanos.div_euclid(1_000))),
        Converter::UnixMilli => moment(first).map(|nanos| Value::Int(nanos.div_euclid(1_000_000))),
        Converter::UnixSeconds => moment(first).map(|nanos| Value::Int(nanos.div_euclid(SECOND))),
        Converter::Nanoseconds => span(first).map(Value::Int),
        Converter::Microseconds => span(first).map(|nanos| Value::Int(nanos / 1_000)),
        Converter::Milliseconds => span(first).map(|nanos| Value::Int(nanos / 1_000_000)),
        Converter::Seconds => span(first).map(|nanos| Value::Float(nanos as f64 / SECOND as f64)),
        Converter::Minutes => span(first).map(|nanos| Value::Float(nanos as f64 / (60 * SECOND) as f64)),
        Converter::Hours => span(first).map(|nanos| Value::Float(nanos as f64 / (3600 * SECOND) as f64)),
        Converter::Year => utc(first).map(|time| Value::Int(time.year().into())),
        Converter::Month => utc(first).map(|time| Value::Int(time.month().into())),
        Converter::Day => utc(first).map(|time| Value::Int(time.day().into())),
        Converter::Weekday => utc(first).map(|time| Value::Int(time.weekday().to_sunday_zero_offset().into())),
        Converter::Hour => utc(first).map(|time| Value::Int(time.hour().into())),
        Converter::Minute => utc(first).map(|time| Value::Int(time.minute().into())),
        Converter::Second => utc(first).map(|time| Value::Int(time.second().into())),
        Converter::Nanosecond => utc(first).map(|time| Value::Int(time.subsec_nanosecond().into())),
        _ => Err(Failure("this is no function of times")),
    }
}

/// A format that was not written out is looked at here.
fn known<'v>(format: &'v Value<'_>) -> Result<Cow<'v, str>, Failure> {
    let format = text(format)?;
    if knows(&format) { Ok(format) } else { Err(Failure("the time format has an unknown directive")) }
}

fn moment(value: &Value<'_>) -> Result<i64, Failure> {
    if let Value::Time(nanos) = value { Ok(*nanos) } else { Err(Failure("expected a time")) }
}

fn span(value: &Value<'_>) -> Result<i64, Failure> {
    if let Value::Duration(nanos) = value { Ok(*nanos) } else { Err(Failure("expected a duration")) }
}

fn utc(value: &Value<'_>) -> Result<Zoned, Failure> {
    let time =
        Timestamp::from_nanosecond(i128::from(moment(value)?)).map_err(|_| Failure("the time is out of range"))?;
    Ok(time.to_zoned(TimeZone::UTC))
}

/// What the format does not give is the beginning of 1970, in UTC.
fn parse<'a>(text: &str, format: &str) -> Result<Value<'a>, Failure> {
    const NO_TIME: Failure = Failure("the text is no time of this format");
    let mut broken = BrokenDownTime::parse(format.as_bytes(), text.as_bytes()).map_err(|_| NO_TIME)?;
    if let Ok(time) = broken.to_timestamp() {
        return i64::try_from(time.as_nanosecond()).map(Value::Time).map_err(|_| NO_TIME);
    }
    let fill = |broken: &mut BrokenDownTime| -> Result<(), jiff::Error> {
        if broken.year().is_none() {
            broken.set_year(Some(1970))?;
        }
        if broken.day_of_year().is_none() {
            broken.set_month(Some(broken.month().unwrap_or(1)))?;
            broken.set_day(Some(broken.day().unwrap_or(1)))?;
        }
        if broken.hour().is_none() {
            broken.set_hour(Some(0))?;
        }
        if broken.minute().is_none() {
            broken.set_minute(Some(0))?;
        }
        if broken.second().is_none() {
            broken.set_second(Some(0))?;
        }
        if broken.offset().is_none() {
            broken.set_offset(Some(Offset::UTC));
        }
        Ok(())
    };
    fill(&mut broken).map_err(|_| NO_TIME)?;
    let time = broken.to_timestamp().map_err(|_| NO_TIME)?;
    i64::try_from(time.as_nanosecond()).map(Value::Time).map_err(|_| NO_TIME)
}

fn truncate<'a>(nanos: i64, to: i64) -> Result<Value<'a>, Failure> {
    if to <= 0 {
        return Ok(Value::Time(nanos));
    }
    let since = i128::from(nanos) + YEAR_ONE * i128::from(SECOND);
    let rest = since.rem_euclid(i128::from(to));
    i64::try_from(i128::from(nanos) - rest).map(Value::Time).map_err(|_| Failure("the time is out of range"))
}
