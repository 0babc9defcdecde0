//! Reads a time by a layout, with Go's rules of what a piece of it takes.

use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan, tz};

use crate::core::time::{DAYS, MONTHS};
use crate::ottl::convert::time::layout::chunks::{Chunk, Offset, Std};
use crate::ottl::convert::time::layout::parts::Layout;
use crate::ottl::value::moment::ZonedTime;

/// A time without a year lies at most AHEAD_DAYS ahead; if it would lie further ahead, it is of last year.
const AHEAD_DAYS: i64 = 7;

impl Layout {
    /// The time that a text says; `zone` is where it is told, unless it says another. What it does not say is the first of
    /// January, midnight and, for the year, the one of `now`.
    pub fn read(&self, text: &str, zone: &TimeZone, now: &ZonedTime) -> Option<ZonedTime> {
        self.ways.iter().find_map(|way| Reading::of(way, text)?.settle(zone, now))
    }
}

/// The location of this name in the time zone database.
pub fn location(name: &str) -> Option<TimeZone> {
    match name {
        "" | "UTC" | "Local" => Some(TimeZone::UTC),
        _ => tz::db().get(name).ok(),
    }
}

#[derive(Debug, Default)]
struct Reading {
    year: i16,
    month: Option<i8>,
    day: Option<i8>,
    hour: i8,
    minute: i8,
    second: i8,
    nanos: i32,
    afternoon: Option<bool>,
    utc: bool,
    offset: Option<i32>,
    zone: Option<String>,
}

impl Reading {
    fn of(way: &[Chunk], text: &str) -> Option<Reading> {
        let mut reading = Reading::default();
        let mut rest = text;
        for (at, chunk) in way.iter().enumerate() {
            rest = skip(rest, &chunk.text)?;
            if chunk.std == Std::End {
                return rest.is_empty().then_some(reading);
            }
            let fraction_follows = way.get(at + 1).is_some_and(|next| matches!(next.std, Std::Fraction { .. }));
            let read = reading.take(chunk.std, rest, fraction_follows);
            // Space may stand before a number, as strptime has it.
            rest = match read {
                None if is_number(chunk.std) && rest.starts_with(char::is_whitespace) => {
                    reading.take(chunk.std, rest.trim_start(), fraction_follows)?
                }
                read => read?,
            };
        }
        None
    }

    /// Takes what the piece stands for from the front; what is left.
    fn take<'t>(&mut self, std: Std, text: &'t str, fraction_follows: bool) -> Option<&'t str> {
        let rest = match std {
            Std::End => text,
            Std::LongYear | Std::Year => {
                let length = if std == Std::Year { 2 } else { 4 };
                let (digits, rest) = (text.get(..length)?, text.get(length..)?);
                let year: i16 = digits.bytes().all(|c| c.is_ascii_digit()).then(|| digits.parse().ok())??;
                self.year = match (std, year) {
                    (Std::Year, 69..) => year + 1900,
                    (Std::Year, _) => year + 2000,
                    _ => year,
                };
                rest
            }
            Std::Month | Std::LongMonth => {
                let (at, rest) = word(&MONTHS, std == Std::Month, text)?;
                self.month = Some(at + 1);
                rest
            }
            Std::WeekDay | Std::LongWeekDay => word(&DAYS, std == Std::WeekDay, text)?.1,
            Std::NumMonth | Std::ZeroMonth => {
                let (month, rest) =
                    number(text, std == Std::ZeroMonth).filter(|(month, _)| (1..=12).contains(month))?;
                self.month = Some(month);
                rest
            }
            Std::Day | Std::UnderDay | Std::ZeroDay => {
                let text = if std == Std::UnderDay { text.strip_prefix(' ').unwrap_or(text) } else { text };
                let (day, rest) = number(text, std == Std::ZeroDay)?;
                self.day = Some(day);
                rest
            }
            Std::Hour
            | Std::Hour12
            | Std::ZeroHour12
            | Std::Minute
            | Std::ZeroMinute
            | Std::Second
            | Std::ZeroSecond => self.clock(std, text, fraction_follows)?,
            Std::UpperPm | Std::LowerPm => {
                let names = if std == Std::UpperPm { ["AM", "PM"] } else { ["am", "pm"] };
                let at = names.iter().position(|name| text.starts_with(name))?;
                self.afternoon = Some(at == 1);
                &text[2..]
            }
            Std::Fraction { digits, all: true, .. } => {
                let length = digits + 1;
                let exact = text.get(..length)?;
                let known = exact.starts_with(['.', ',']) && exact[1..].bytes().all(|c| c.is_ascii_digit());
                known.then(|| self.fraction(exact)).map(|_| &text[length..])?
            }
            Std::Fraction { .. } => self.fraction(text),
            Std::Offset(offset) => self.offset(offset, text)?,
            Std::Zone if text.starts_with("UTC") => {
                self.utc = true;
                &text[3..]
            }
            Std::Zone => {
                let length = zone_name(text)?;
                self.zone = Some(text[..length].to_owned());
                &text[length..]
            }
        };
        Some(rest)
    }

    /// Hours, minutes and seconds, these with a fraction that no piece of the layout names.
    fn clock<'t>(&mut self, std: Std, text: &'t str, fraction_follows: bool) -> Option<&'t str> {
        let both = matches!(std, Std::ZeroHour12 | Std::ZeroMinute | Std::ZeroSecond);
        let (read, rest) = number(text, both)?;
        let (place, most) = match std {
            Std::Hour => (&mut self.hour, 23),
            Std::Hour12 | Std::ZeroHour12 => (&mut self.hour, 12),
            Std::Minute | Std::ZeroMinute => (&mut self.minute, 59),
            _ => (&mut self.second, 59),
        };
        if read > most {
            return None;
        }
        *place = read;
        let seconds = matches!(std, Std::Second | Std::ZeroSecond);
        Some(if seconds && !fraction_follows { self.fraction(rest) } else { rest })
    }

    /// A separator and digits, where they stand; nine of them count.
    fn fraction<'t>(&mut self, text: &'t str) -> &'t str {
        let Some(digits) = text.strip_prefix(['.', ',']) else { return text };
        let length = digits.bytes().take_while(u8::is_ascii_digit).count();
        if length == 0 {
            return text;
        }
        let counted = &digits[..length.min(9)];
        let scale = 10i32.pow(9 - counted.len() as u32);
        self.nanos = counted.parse::<i32>().unwrap_or_default() * scale;
        &digits[length..]
    }

    fn offset<'t>(&mut self, form: Offset, text: &'t str) -> Option<&'t str> {
        if form.zulu && !form.seconds && text.starts_with('Z') {
            self.utc = true;
            return Some(&text[1..]);
        }
        let sign = match text.bytes().next()? {
            b'+' => 1,
            b'-' => -1,
            _ => return None,
        };
        let mut rest = &text[1..];
        let mut seconds = 0;
        for (at, wanted) in [true, form.minutes, form.seconds].into_iter().enumerate() {
            let mut part = 0;
            if wanted {
                if at > 0 && form.colons {
                    rest = rest.strip_prefix(':')?;
                }
                let (number, behind) = number(rest, true)?;
                let most = if at == 0 { 24 } else { 60 };
                (part, rest) = (i32::from(number), behind);
                if part > most {
                    return None;
                }
            }
            seconds = seconds * 60 + part;
        }
        self.offset = Some(sign * seconds);
        Some(rest)
    }

    fn settle(&self, zone: &TimeZone, now: &ZonedTime) -> Option<ZonedTime> {
        let hour = match self.afternoon {
            Some(true) if self.hour < 12 => self.hour + 12,
            Some(false) if self.hour == 12 => 0,
            _ => self.hour,
        };
        let date = Date::new(self.year, self.month.unwrap_or(1), self.day.unwrap_or(1)).ok()?;
        let civil = date.at(hour, self.minute, self.second, self.nanos);
        let moment = self.in_zone(civil, zone)?;
        if moment.civil().year() > 0 { Some(moment) } else { of_this_year(&moment, now) }
    }

    fn in_zone(&self, civil: DateTime, zone: &TimeZone) -> Option<ZonedTime> {
        if self.utc {
            return at(civil, &TimeZone::UTC);
        }
        if let Some(seconds) = self.offset {
            let fixed = tz::Offset::from_seconds(seconds).ok()?;
            let zone = if seconds == 0 { TimeZone::UTC } else { TimeZone::fixed(fixed) };
            return at(civil, &zone);
        }
        let Some(name) = &self.zone else { return at(civil, zone) };
        // Where the location knows the name, it means what it means there; else it must be a location of its own.
        let told = at(civil, zone)?;
        if told.zone_name() == *name {
            return Some(told);
        }
        if let Some(hours) = name.strip_prefix("GMT").and_then(|hours| hours.parse::<i32>().ok())
            && hours != 0
        {
            let fixed = tz::Offset::from_seconds(hours * 3600).ok()?;
            // Told without a shift, as Go has it: the hour is that of Greenwich.
            let there = at(civil, &TimeZone::UTC)?;
            return Some(ZonedTime::new(there.at(), TimeZone::fixed(fixed)));
        }
        at(civil, &location(name)?)
    }
}

fn at(civil: DateTime, zone: &TimeZone) -> Option<ZonedTime> {
    in_location(civil, zone).map(|at| ZonedTime::new(at, zone.clone()))
}

/// As Go's `time.Date`: by the offset at that hour of Greenwich, or the one that then holds.
fn in_location(civil: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    let as_utc = tz::Offset::UTC.to_timestamp(civil).ok()?;
    let shifted = |offset: tz::Offset| as_utc.checked_sub(SignedDuration::from_secs(offset.seconds().into())).ok();
    let first = zone.to_offset(as_utc);
    let found = shifted(first)?;
    let then = zone.to_offset(found);
    if then == first { Some(found) } else { shifted(then) }
}

/// The same day and time of the year it is, or of the last one.
fn of_this_year(moment: &ZonedTime, now: &ZonedTime) -> Option<ZonedTime> {
    let there = moment.civil();
    let this_year = there.with().year(now.civil().year()).build().ok();
    // The 29th of February of a year without one is the 1st of March.
    let this_year = this_year.or_else(|| there.with().year(now.civil().year()).month(3).day(1).build().ok())?;
    let zone = moment.zone();
    let found = in_location(this_year, zone)?;
    let latest: Timestamp = now.at().checked_add(SignedDuration::from_hours(AHEAD_DAYS * 24)).ok()?;
    if found <= latest {
        return Some(moment.moved(found));
    }
    let last_year = this_year.checked_sub(1.year()).ok()?;
    in_location(last_year, zone).map(|found| moment.moved(found))
}

fn is_number(std: Std) -> bool {
    !matches!(
        std,
        Std::LongMonth
            | Std::Month
            | Std::LongWeekDay
            | Std::WeekDay
            | Std::UpperPm
            | Std::LowerPm
            | Std::Zone
            | Std::UnderDay
            | Std::Fraction { .. }
            | Std::Offset(Offset { zulu: false, .. })
    )
}

/// What follows a text of the layout: its spaces are any number of spaces.
fn skip<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let (mut text, mut prefix) = (text, prefix);
    while let Some(c) = prefix.chars().next() {
        if c == ' ' {
            if !text.is_empty() && !text.starts_with(' ') {
                return None;
            }
            prefix = prefix.trim_start_matches(' ');
            text = text.trim_start_matches(' ');
            continue;
        }
        text = text.strip_prefix(c)?;
        prefix = &prefix[c.len_utf8()..];
    }
    Some(text)
}

/// One or two digits.
fn number(text: &str, both: bool) -> Option<(i8, &str)> {
    let digit = |at: usize| text.as_bytes().get(at).filter(|c| c.is_ascii_digit());
    digit(0)?;
    let length = if digit(1).is_some() { 2 } else { 1 };
    (length == 2 || !both).then(|| text[..length].parse().ok().map(|number| (number, &text[length..])))?
}

/// The place of a name at the front, in any case.
fn word<'t>(names: &[&str], short: bool, text: &'t str) -> Option<(i8, &'t str)> {
    let found = names.iter().enumerate().find_map(|(at, name)| {
        let name = if short { &name[..3] } else { name };
        let here = text.get(..name.len())?.eq_ignore_ascii_case(name);
        here.then(|| (at, &text[name.len()..]))
    });
    found.and_then(|(at, rest)| Some((i8::try_from(at).ok()?, rest)))
}

/// The length of the zone's abbreviation at the front.
fn zone_name(text: &str) -> Option<usize> {
    let signed = |text: &str| {
        let digits = text.strip_prefix(['+', '-'])?;
        let length = digits.bytes().take_while(u8::is_ascii_digit).count();
        let hours: u32 = digits[..length].parse().ok()?;
        (hours <= 23).then_some(length + 1)
    };
    if text.len() < 3 {
        return None;
    }
    if text.starts_with("ChST") || text.starts_with("MeST") {
        return Some(4);
    }
    if let Some(behind) = text.strip_prefix("GMT") {
        return Some(3 + signed(behind).unwrap_or_default());
    }
    if text.starts_with(['+', '-']) {
        return signed(text);
    }
    let upper = text.bytes().take(6).take_while(u8::is_ascii_uppercase).count();
    match upper {
        3 => Some(3),
        4 if text.as_bytes()[3] == b'T' || text.starts_with("WITA") => Some(4),
        5 if text.as_bytes()[4] == b'T' => Some(5),
        _ => None,
    }
}
