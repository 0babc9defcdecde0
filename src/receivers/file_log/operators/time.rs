//! Times by a layout: strptime's, Go's and seconds since 1970.

use jiff::ToSpan;
use jiff::Zoned;
use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};

use crate::core::time::UnixNanos;
use crate::receivers::file_log::entry::EntryValue;
use crate::receivers::file_log::operators::layout::{GoLayout, WallTime};

/// A time without a year that is so many days ahead is of the last year.
const DAYS_AHEAD: i32 = 7;

/// How a time is written.
#[derive(Clone, Debug)]
pub enum TimeLayout {
    WallClock(GoLayout),
    Epoch(EpochUnit),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochUnit {
    Seconds,
    Millis,
    Micros,
    Nanos,
    /// Seconds with a fraction behind a point, of so many digits where a number is read.
    Fraction(usize),
}

/// A layout with the zone of times that have none.
#[derive(Clone, Debug)]
pub struct TimeReading {
    pub layout: TimeLayout,
    pub zone: TimeZone,
}

impl TimeLayout {
    pub fn strptime(layout: &str) -> Result<TimeLayout, String> {
        GoLayout::strptime(layout).map(TimeLayout::WallClock)
    }

    pub fn gotime(layout: &str) -> Result<TimeLayout, String> {
        GoLayout::go(layout).map(TimeLayout::WallClock)
    }

    pub fn epoch(layout: &str) -> Result<TimeLayout, String> {
        Ok(TimeLayout::Epoch(match layout {
            "s" => EpochUnit::Seconds,
            "ms" => EpochUnit::Millis,
            "us" => EpochUnit::Micros,
            "ns" => EpochUnit::Nanos,
            "s.ms" => EpochUnit::Fraction(3),
            "s.us" => EpochUnit::Fraction(6),
            "s.ns" => EpochUnit::Fraction(9),
            _ => return Err(format!("{layout:?} is none of s, ms, us, ns, s.ms, s.us and s.ns")),
        }))
    }
}

impl TimeReading {
    pub fn in_utc(layout: TimeLayout) -> TimeReading {
        TimeReading { layout, zone: TimeZone::UTC }
    }

    /// Nanoseconds since 1970. `now` says the year of a time that has none.
    pub fn read(&self, value: &EntryValue<'_>, now: UnixNanos) -> Result<u64, String> {
        match (&self.layout, value) {
            (TimeLayout::WallClock(layout), EntryValue::Text(text)) => {
                let text = std::str::from_utf8(text).map_err(|_| "the time is not UTF-8")?;
                let read = layout.read(text).and_then(|wall| self.since_1970(&wall, layout.is_utc, now));
                read.ok_or_else(|| format!("{:?} is no time of this layout", text.chars().take(60).collect::<String>()))
            }
            (TimeLayout::Epoch(unit), value) => {
                epoch(value, *unit).ok_or_else(|| "this is no time since 1970".to_owned())
            }
            _ => Err("the time is no text".to_owned()),
        }
    }

    fn since_1970(&self, wall: &WallTime<'_>, is_utc: bool, now: UnixNanos) -> Option<u64> {
        let zone = if is_utc { &TimeZone::UTC } else { &self.zone };
        let zoned = match wall.year {
            Some(year) => zoned(wall, year, zone)?,
            None => {
                let now = jiff::Timestamp::from_nanosecond(i128::from(now.0)).ok()?.to_zoned(zone.clone());
                let of_year = zoned(wall, now.year(), zone)?;
                let is_ahead = of_year > now.checked_add(DAYS_AHEAD.days()).ok()?;
                if is_ahead { of_year.checked_sub(1.year()).ok()? } else { of_year }
            }
        };
        u64::try_from(zoned.timestamp().as_nanosecond()).ok()
    }
}

fn zoned(wall: &WallTime<'_>, year: i16, zone: &TimeZone) -> Option<Zoned> {
    let date = match wall.day_of_year {
        Some(day) => Date::new(year, 1, 1).ok()?.checked_add((i32::from(day) - 1).days()).ok()?,
        None => Date::new(year, wall.month, wall.day).ok()?,
    };
    if date.year() != year {
        return None;
    }
    let time = date.at(wall.hour, wall.minute, wall.second, wall.nanos);
    let of_zone = |zone: &TimeZone| zone.to_ambiguous_zoned(time).compatible().ok();
    match (wall.offset, wall.zone) {
        (Some(seconds), _) => of_zone(&TimeZone::fixed(Offset::from_seconds(seconds).ok()?)),
        (None, Some("UTC")) => of_zone(&TimeZone::UTC),
        // A name may be the one that the zone has at that time, or a zone itself.
        (None, Some(name)) => {
            let own = of_zone(zone)?;
            let info = zone.to_offset_info(own.timestamp());
            if info.abbreviation() == name { Some(own) } else { of_zone(&TimeZone::get(name).ok()?) }
        }
        (None, None) => of_zone(zone),
    }
}

fn epoch(value: &EntryValue<'_>, unit: EpochUnit) -> Option<u64> {
    let factor = match unit {
        EpochUnit::Seconds | EpochUnit::Fraction(_) => 1_000_000_000,
        EpochUnit::Millis => 1_000_000,
        EpochUnit::Micros => 1_000,
        EpochUnit::Nanos => 1,
    };
    let text = match (value, unit) {
        (EntryValue::Text(text), _) => std::str::from_utf8(text).ok()?.into(),
        (EntryValue::Int(number), _) => number.to_string(),
        (EntryValue::Double(number), EpochUnit::Fraction(digits)) => format!("{number:.digits$}"),
        (EntryValue::Double(number), _) => (*number as i64).to_string(),
        _ => return None,
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let nanos = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    match unit {
        EpochUnit::Fraction(_) if !fraction.is_empty() => {
            let shown = fraction.get(..fraction.len().min(9))?;
            let part = shown.parse::<u64>().ok()? * 10u64.pow(9 - u32::try_from(shown.len()).ok()?);
            nanos.checked_add(part)
        }
        EpochUnit::Fraction(_) => Some(nanos),
        _ => text.parse::<u64>().ok().map(|_| nanos),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-12-01T10:00:00Z
    const NOW: UnixNanos = UnixNanos(1_796_119_200_000_000_000);

    fn read(layout: Result<TimeLayout, String>, text: &str) -> Option<String> {
        let reading = TimeReading::in_utc(layout.unwrap());
        let nanos = reading.read(&EntryValue::text(text.as_bytes()), NOW).ok()?;
        Some(jiff::Timestamp::from_nanosecond(i128::from(nanos)).unwrap().to_string())
    }

    #[test]
    fn layouts_of_every_kind_read_their_times() {
        let strptime = TimeLayout::strptime;
        for (layout, text, expected) in [
            (strptime("%Y-%m-%d %H:%M:%S"), "2026-12-01 10:00:05", "2026-12-01T10:00:05Z"),
            (strptime("%Y-%m-%dT%H:%M:%S.%LZ"), "2026-12-01T10:00:05.25Z", "2026-12-01T10:00:05.25Z"),
            (strptime("%d/%b/%Y:%H:%M:%S %z"), "01/Dec/2026:11:00:05 +0100", "2026-12-01T10:00:05Z"),
            (strptime("%Y-%m-%d %H:%M:%S.%L"), "2026-12-01 10:00:05.125", "2026-12-01T10:00:05.125Z"),
            (
                TimeLayout::gotime("2006-01-02T15:04:05.999999999Z07:00"),
                "2026-12-01T11:00:05+01:00",
                "2026-12-01T10:00:05Z",
            ),
            (TimeLayout::gotime("Jan 02 2006 15:04:05.000"), "Dec 01 2026 10:00:05.500", "2026-12-01T10:00:05.5Z"),
            (TimeLayout::epoch("s"), "1796119205", "2026-12-01T10:00:05Z"),
            (TimeLayout::epoch("ms"), "1796119205250", "2026-12-01T10:00:05.25Z"),
            (TimeLayout::epoch("s.ms"), "1796119205.25", "2026-12-01T10:00:05.25Z"),
        ] {
            let shown = format!("{layout:?} {text}");
            assert_eq!(read(layout, text).as_deref(), Some(expected), "{shown}");
        }
        for (text, expected) in
            [("Nov 30 23:00:00", "2026-11-30T23:00:00Z"), ("Dec  7 10:00:00", "2026-12-07T10:00:00Z")]
        {
            assert_eq!(read(strptime("%b %e %H:%M:%S"), text).as_deref(), Some(expected), "{text}");
        }
        let of_last_year = read(strptime("%b %e %H:%M:%S"), "Dec 31 10:00:00");
        assert_eq!(of_last_year.as_deref(), Some("2025-12-31T10:00:00Z"));
        assert_eq!(read(strptime("%Y-%m-%d"), "yesterday"), None);
        strptime("%Q").expect_err("unknown");
        TimeLayout::epoch("h").expect_err("unknown");
    }
}
