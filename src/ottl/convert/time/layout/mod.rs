//! Time formats as a Collector reads them: directives stand for pieces of Go's layouts (contrib
//! internal/coreinternal/timeutils), and Go's rules say what a layout takes.
//!
//! So `%s` are nanoseconds, `%j` an offset with a colon and `%D` has four digits of a year; a fraction may follow seconds
//! that no directive names; numbers need no leading zero where they are read.

mod chunks;
mod parts;
mod read;
mod write;

use std::sync::LazyLock;

use crate::ottl::convert::time::layout::chunks::chunks;

pub use crate::ottl::convert::time::layout::parts::Layout;
pub use crate::ottl::convert::time::layout::read::location;

/// What a directive stands for where a time is shown.
const SHOWN: &[(char, &str)] = &[
    ('Y', "2006"),
    ('y', "06"),
    ('m', "01"),
    ('o', "_1"),
    ('q', "1"),
    ('b', "Jan"),
    ('h', "Jan"),
    ('B', "January"),
    ('d', "02"),
    ('e', "_2"),
    ('g', "2"),
    ('a', "Mon"),
    ('A', "Monday"),
    ('H', "15"),
    ('l', "3"),
    ('I', "03"),
    ('p', "PM"),
    ('P', "pm"),
    ('M', "04"),
    ('S', "05"),
    ('L', "999"),
    ('f', "999999"),
    ('s', "999999999"),
    ('Z', "MST"),
    ('z', "Z0700"),
    ('w', "-070000"),
    ('i', "-07"),
    ('j', "-07:00"),
    ('k', "-07:00:00"),
    ('D', "01/02/2006"),
    ('x', "01/02/2006"),
    ('F', "2006-01-02"),
    ('T', "15:04:05"),
    ('X', "15:04:05"),
    ('r', "03:04:05 pm"),
    ('R', "15:04"),
    ('n', "\n"),
    ('t', "\t"),
    ('%', "%"),
    ('c', "Mon Jan 02 15:04:05 2006"),
];

/// What it stands for where a time is read, if that differs: one after the other is tried.
const READ: &[(char, &[&str])] = &[
    ('m', &["1"]),
    ('o', &["1"]),
    ('q', &["1"]),
    ('d', &["2"]),
    ('e', &["2"]),
    ('g', &["2"]),
    ('I', &["3"]),
    ('M', &["4"]),
    ('S', &["5"]),
    ('D', &["1/2/2006", "1/2/06"]),
    ('x', &["1/2/2006", "1/2/06"]),
    ('F', &["2006-1-2"]),
    ('T', &["15:4:5"]),
    ('X', &["15:4:5"]),
    ('r', &["3:4:5 pm"]),
    ('R', &["15:4"]),
    ('c', &["Mon Jan 2 15:4:5 2006"]),
    ('z', &["Z0700", "Z07:00", "Z07"]),
];

/// More ways to read a format are not tried.
const WAYS_MAX: usize = 36;

impl Layout {
    /// What is wrong with the format otherwise.
    pub fn parse(format: &str) -> Result<Layout, String> {
        if format.is_empty() {
            return Err("the time format is empty".to_owned());
        }
        if format.contains(|c: char| c.is_ascii_digit()) {
            return Err("a time format has directives such as %H and no digits".to_owned());
        }
        let (mut shown, mut ways) = (String::new(), vec![String::new()]);
        let mut before = None;
        let mut chars = format.chars();
        while let Some(c) = chars.next() {
            if c != '%' {
                shown.push(c);
                ways.iter_mut().for_each(|way| way.push(c));
                before = Some(c);
                continue;
            }
            let Some(directive) = chars.next() else {
                shown.push(c);
                ways.iter_mut().for_each(|way| way.push(c));
                break;
            };
            let meaning = SHOWN.iter().find(|(known, _)| *known == directive);
            let Some((_, meaning)) = meaning else { return Err(format!("there is no directive `%{directive}`")) };
            // Go takes a fraction of a second by what stands before it. At the very front it is let pass.
            if "Lfs".contains(directive) && before.is_some_and(|before| !".,".contains(before)) {
                return Err(format!("a dot or comma must stand before `%{directive}`"));
            }
            before = Some(directive);
            shown.push_str(meaning);
            let read =
                READ.iter().find(|(known, _)| *known == directive).map_or(std::slice::from_ref(meaning), |(_, r)| r);
            ways = ways.iter().flat_map(|way| read.iter().map(move |read| format!("{way}{read}"))).collect();
            if ways.len() > WAYS_MAX {
                return Err("the time format can be read in too many ways".to_owned());
            }
        }
        Ok(Layout { shown: chunks(&shown), ways: ways.iter().map(|way| chunks(way)).collect() })
    }

    /// How times stand in JSON: RFC 3339 with as many digits as there are.
    pub fn rfc3339() -> &'static Layout {
        static LAYOUT: LazyLock<Layout> =
            LazyLock::new(|| Layout { shown: chunks("2006-01-02T15:04:05.999999999Z07:00"), ways: Vec::new() });
        &LAYOUT
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;
    use crate::ottl::value::moment::ZonedTime;

    fn read(format: &str, text: &str) -> Option<i64> {
        let now = ZonedTime::of_nanos(1_764_000_000_000_000_000); // 2025-11-24
        Layout::parse(format).unwrap().read(text, &TimeZone::UTC, &now).map(|moment| moment.nanos())
    }

    #[test]
    fn fractions_are_read_whether_they_are_named_or_not() {
        let (second, nanos) = (1_735_787_045, 1_000_000_000i64);
        for (format, text, fraction) in [
            ("%Y-%m-%dT%H:%M:%S.%sZ", "2025-01-02T03:04:05.123456789Z", 123_456_789),
            ("%Y-%m-%dT%H:%M:%S.%fZ", "2025-01-02T03:04:05.123456Z", 123_456_000),
            ("%Y-%m-%d %H:%M:%S,%L", "2025-01-02 03:04:05,123", 123_000_000),
            ("%Y-%m-%dT%H:%M:%SZ", "2025-01-02T03:04:05.794Z", 794_000_000),
            ("%F %T", "2025-1-2 3:4:5", 0),
            ("%F %T %z", "2025-01-02 05:04:05 +02:00", 0),
            ("%F %T%z", "2025-01-02 05:04:05+0200", 0),
            ("%F %T%z", "2025-01-02 03:04:05Z", 0),
            ("%b %e %Y %I:%M:%S %p", "Jan  2 2025 03:04:05 AM", 0),
            ("%c", "Thu Jan  2 03:04:05 2025", 0),
            ("%D %T", "1/2/2025 03:04:05", 0),
            ("%D %T", "1/2/25 03:04:05", 0),
            ("%a, %d %b %Y %H:%M:%S %Z", "Thu, 02 Jan 2025 03:04:05 GMT", 0),
        ] {
            assert_eq!(read(format, text), Some(second * nanos + fraction), "{format} {text}");
        }
    }

    #[test]
    fn a_year_that_is_not_named_is_this_one_or_the_last() {
        let day = |text: &str| read("%b %e %H:%M:%S", text).map(|nanos| nanos / 1_000_000_000);
        assert_eq!(day("Jan  2 03:04:05"), Some(1_735_787_045));
        // More than seven days ahead: of last year.
        assert_eq!(day("Dec 24 00:00:00"), Some(1_735_000_000 - 1_735_000_000 % 86_400));
        assert_eq!(day("Feb 30 00:00:00"), None);
    }

    #[test]
    fn formats_that_go_does_not_take_are_refused() {
        for format in ["", "%Y 12", "%Q", "%H%L"] {
            assert!(Layout::parse(format).is_err(), "{format}");
        }
    }

    #[test]
    fn times_are_shown_as_go_shows_them() {
        let moment = ZonedTime::of_nanos(1_735_787_045_120_000_000);
        for (format, shown) in [
            ("%Y-%m-%dT%H:%M:%S.%sZ", "2025-01-02T03:04:05.12Z"),
            ("%a %A %b %B %e %g %q", "Thu Thursday Jan January  2 2 1"),
            ("%D %j %z %Z %i", "01/02/2025 +00:00 Z UTC +00"),
            ("%I:%M %p %P %%", "03:04 AM am %"),
        ] {
            assert_eq!(Layout::parse(format).unwrap().format(&moment), shown, "{format}");
        }
        assert_eq!(Layout::rfc3339().format(&moment), "2025-01-02T03:04:05.12Z");
    }
}
