//! Times by a layout: strptime's, Go's and seconds since 1970.

use jiff::tz::TimeZone;

use crate::receivers::file_log::entry::EntryValue;
use crate::receivers::file_log::operators::container::rfc3339;

/// How a time is written.
#[derive(Clone, Debug)]
pub enum TimeLayout {
    /// RFC 3339, which has a way of its own because most lines come with it.
    Rfc3339,
    Strptime(String),
    Epoch(EpochUnit),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EpochUnit {
    Seconds,
    Millis,
    Micros,
    Nanos,
    /// Seconds with a fraction behind a point.
    Fraction,
}

/// A layout with the zone of times that have none.
#[derive(Clone, Debug)]
pub struct TimeReading {
    pub layout: TimeLayout,
    pub zone: TimeZone,
}

/// Go's tokens of a layout, longest first, and strptime's.
const GO_TOKENS: &[(&str, &str)] = &[
    ("January", "%B"),
    ("Monday", "%A"),
    ("2006", "%Y"),
    ("Z07:00", "%:z"),
    ("-07:00", "%:z"),
    ("Z0700", "%z"),
    ("-0700", "%z"),
    ("Jan", "%b"),
    ("Mon", "%a"),
    ("MST", "%Z"),
    ("002", "%j"),
    ("01", "%m"),
    ("02", "%d"),
    ("03", "%I"),
    ("04", "%M"),
    ("05", "%S"),
    ("06", "%y"),
    ("15", "%H"),
    ("PM", "%p"),
    ("_2", "%e"),
    ("1", "%m"),
    ("2", "%d"),
    ("3", "%I"),
    ("4", "%M"),
    ("5", "%S"),
];

impl TimeLayout {
    /// A layout of strptime.
    pub fn strptime(layout: &str) -> Result<TimeLayout, String> {
        if matches!(layout, "%Y-%m-%dT%H:%M:%S.%LZ" | "%Y-%m-%dT%H:%M:%S.%fZ" | "%Y-%m-%dT%H:%M:%SZ") {
            return Ok(TimeLayout::Rfc3339);
        }
        let mut text = String::new();
        let mut characters = layout.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                text.push(character);
                continue;
            }
            match characters.next().ok_or("the layout ends with %")? {
                // The Collector's names of fractions, and of what jiff calls otherwise.
                'L' | 'f' | 's' => text.push_str("%f"),
                'z' | 'j' if text.is_empty() => return Err("a layout does not begin with a zone".to_owned()),
                'i' => text.push_str("%:z"),
                'g' | 'o' => text.push_str("%d"),
                'q' | 'l' => text.push_str("%I"),
                'h' => text.push_str("%b"),
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'D' => text.push_str("%m/%d/%y"),
                'T' => text.push_str("%H:%M:%S"),
                'R' => text.push_str("%H:%M"),
                'F' => text.push_str("%Y-%m-%d"),
                known @ ('Y' | 'y' | 'm' | 'd' | 'e' | 'b' | 'B' | 'a' | 'A' | 'H' | 'I' | 'M' | 'S' | 'p' | 'z'
                | 'Z' | 'j' | '%') => {
                    text.push('%');
                    text.push(known);
                }
                other => return Err(format!("%{other} is no part of a layout here")),
            }
        }
        Ok(TimeLayout::Strptime(text.replace(".%f", "%.f")))
    }

    /// A layout of Go's package time.
    pub fn gotime(layout: &str) -> Result<TimeLayout, String> {
        if let Some(rest) = layout.strip_prefix("2006-01-02T15:04:05") {
            let rest = rest.trim_start_matches(['.', ',']).trim_start_matches(['0', '9']);
            if matches!(rest, "Z07:00" | "Z") {
                return Ok(TimeLayout::Rfc3339);
            }
        }
        let (mut rest, mut text) = (layout, String::new());
        while let Some(first) = rest.chars().next() {
            let fraction =
                rest.strip_prefix(['.', ',']).map(|tail| tail.len() - tail.trim_start_matches(['0', '9']).len());
            let token = GO_TOKENS.iter().find(|(go, _)| rest.starts_with(go));
            let length = match (fraction, token) {
                (Some(digits @ 1..), _) => {
                    text.push_str("%.f");
                    digits + 1
                }
                (_, Some((go, strptime))) => {
                    text.push_str(strptime);
                    go.len()
                }
                _ => {
                    text.push_str(if first == '%' { "%%" } else { rest.get(..first.len_utf8()).unwrap_or_default() });
                    first.len_utf8()
                }
            };
            rest = rest.get(length..).unwrap_or_default();
        }
        if text.contains('%') {
            Ok(TimeLayout::Strptime(text))
        } else {
            Err(format!("{layout:?} is no layout of Go's"))
        }
    }

    pub fn epoch(layout: &str) -> Result<TimeLayout, String> {
        Ok(TimeLayout::Epoch(match layout {
            "s" => EpochUnit::Seconds,
            "ms" => EpochUnit::Millis,
            "us" => EpochUnit::Micros,
            "ns" => EpochUnit::Nanos,
            "s.ms" | "s.us" | "s.ns" => EpochUnit::Fraction,
            _ => return Err(format!("{layout:?} is none of s, ms, us, ns, s.ms, s.us and s.ns")),
        }))
    }
}

impl TimeReading {
    /// Nanoseconds since 1970.
    pub fn read(&self, value: &EntryValue<'_>) -> Result<u64, String> {
        let written = value.written().ok_or("a map is no time")?;
        let text = std::str::from_utf8(&written).map_err(|_| "the time is not UTF-8")?.trim();
        let wrong = || format!("{:?} is no time of this layout", text.chars().take(60).collect::<String>());
        match &self.layout {
            TimeLayout::Rfc3339 => rfc3339(text.as_bytes()).ok_or_else(wrong),
            TimeLayout::Epoch(unit) => epoch(text, *unit).ok_or_else(wrong),
            TimeLayout::Strptime(layout) => self.broken_down(layout, text).ok_or_else(wrong),
        }
    }

    fn broken_down(&self, layout: &str, text: &str) -> Option<u64> {
        let time = jiff::fmt::strtime::parse(layout, text).ok()?;
        let timestamp = match time.offset() {
            Some(_) => time.to_timestamp().ok()?,
            None => self.zone.to_ambiguous_zoned(time.to_datetime().ok()?).compatible().ok()?.timestamp(),
        };
        u64::try_from(timestamp.as_nanosecond()).ok()
    }
}

fn epoch(text: &str, unit: EpochUnit) -> Option<u64> {
    let factor = match unit {
        EpochUnit::Seconds | EpochUnit::Fraction => 1_000_000_000,
        EpochUnit::Millis => 1_000_000,
        EpochUnit::Micros => 1_000,
        EpochUnit::Nanos => 1,
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let nanos = whole.parse::<u64>().ok()?.checked_mul(factor)?;
    if unit != EpochUnit::Fraction || fraction.is_empty() {
        return Some(nanos);
    }
    let shown = fraction.get(..fraction.len().min(9))?;
    let part = shown.parse::<u64>().ok()? * 10u64.pow(9 - u32::try_from(shown.len()).ok()?);
    nanos.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(layout: Result<TimeLayout, String>, text: &str) -> Option<String> {
        let reading = TimeReading { layout: layout.unwrap(), zone: TimeZone::UTC };
        let nanos = reading.read(&EntryValue::text(text.as_bytes())).ok()?;
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
        assert_eq!(read(strptime("%Y-%m-%d"), "yesterday"), None);
        strptime("%Q").expect_err("unknown");
        TimeLayout::epoch("h").expect_err("unknown");
    }
}
