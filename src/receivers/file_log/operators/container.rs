//! Lines as container runtimes write them: CRI (containerd, CRI-O) and Docker's json-file, told apart by their first bytes.
//!
//! `2026-12-01T10:00:00.123456789Z stdout F text` and `{"log":"text\n","stream":"stdout","time":"..."}`. One walk; nothing is
//! allocated unless the text has escapes.

use std::borrow::Cow;

use crate::otlp::json::Scanner;
use crate::receivers::file_log::entry::EntryMap;
use crate::receivers::file_log::operators::parsers;

/// What a runtime says of a line.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerLine<'l> {
    /// Nanoseconds since 1970.
    pub time: u64,
    pub is_stderr: bool,
    /// The line goes on with the next one of its stream.
    pub is_partial: bool,
    /// CRI's tags, as written; `None` for Docker's.
    pub tag: Option<Cow<'l, [u8]>>,
    pub text: Cow<'l, [u8]>,
    /// What else is in an object of Docker's, such as `attrs`.
    pub more: EntryMap<'l>,
}

impl ContainerLine<'_> {
    pub fn into_owned<'o>(self) -> ContainerLine<'o> {
        ContainerLine {
            time: self.time,
            is_stderr: self.is_stderr,
            is_partial: self.is_partial,
            tag: self.tag.map(|tag| Cow::Owned(tag.into_owned())),
            text: Cow::Owned(self.text.into_owned()),
            more: self
                .more
                .into_iter()
                .map(|(key, value)| (Cow::Owned(key.into_owned()), value.into_owned()))
                .collect(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerFormat {
    Docker,
    Crio,
    Containerd,
}

impl ContainerFormat {
    /// What a line looks like.
    pub fn of(line: &[u8]) -> ContainerFormat {
        if line.first() == Some(&b'{') { ContainerFormat::Docker } else { ContainerFormat::Containerd }
    }
}

/// The error says what was expected.
pub fn parse(line: &[u8], format: Option<ContainerFormat>) -> Result<ContainerLine<'_>, &'static str> {
    match format.unwrap_or_else(|| ContainerFormat::of(line)) {
        ContainerFormat::Docker => docker(line).ok_or("a line of Docker's json-file is expected"),
        ContainerFormat::Crio | ContainerFormat::Containerd => {
            cri(line).ok_or("a line of CRI is expected: time, stdout or stderr, tag, text")
        }
    }
}

fn cri(line: &[u8]) -> Option<ContainerLine<'_>> {
    let (time, rest) = word(line)?;
    let (stream, rest) = word(rest)?;
    // An empty line has no blank behind its tag.
    let (tag, text) = word(rest).unwrap_or((rest, b""));
    let is_stderr = match stream {
        b"stdout" => false,
        b"stderr" => true,
        _ => return None,
    };
    let first = tag.split(|byte| *byte == b':').next().unwrap_or_default();
    let is_partial = match first {
        b"P" => true,
        b"F" => false,
        _ => return None,
    };
    let (tag, text) = (Some(Cow::Borrowed(tag)), Cow::Borrowed(text));
    Some(ContainerLine { time: rfc3339(time)?, is_stderr, is_partial, tag, text, more: Vec::new() })
}

fn word(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = line.iter().position(|byte| *byte == b' ')?;
    Some((line.get(..at)?, line.get(at + 1..)?))
}

fn docker(line: &[u8]) -> Option<ContainerLine<'_>> {
    let mut scan = Scanner::new(line);
    let (mut log, mut stream, mut time) = (None, None, None);
    let (mut more_keys, mut left) = (Vec::new(), parsers::VALUES_MAX);
    scan.expect(b'{', "an object").ok()?;
    let mut more = !scan.take(b'}');
    while more {
        let key = scan.string("a key").ok()?;
        scan.expect(b':', "`:`").ok()?;
        match key.raw {
            b"log" => log = Some(scan.string("a text").ok()?),
            b"stream" => stream = Some(scan.string("a text").ok()?),
            b"time" => time = Some(scan.string("a time").ok()?),
            // Values of a line are bounded where they are read.
            _ => more_keys.push(parsers::pair(&key, &mut scan, &mut left)?),
        }
        more = scan.more(b'}').ok()?;
    }
    scan.end().ok()?;
    let is_stderr = match stream?.raw {
        b"stdout" => false,
        b"stderr" => true,
        _ => return None,
    };
    let mut text = parsers::unescaped(&log?)?;
    // A piece of a longer line has no end of line.
    let is_partial = text.last() != Some(&b'\n');
    let end = text.len() - usize::from(!is_partial);
    match &mut text {
        Cow::Borrowed(slice) => *slice = slice.get(..end)?,
        Cow::Owned(owned) => owned.truncate(end),
    }
    let time = rfc3339(time?.raw)?;
    Some(ContainerLine { time, is_stderr, is_partial, tag: None, text, more: more_keys })
}

/// `2026-12-01T10:00:00.123456789Z`, also with an offset, as nanoseconds since 1970.
pub fn rfc3339(text: &[u8]) -> Option<u64> {
    let two = |at: usize| digits(text.get(at..at + 2)?);
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if marks.iter().any(|(at, mark)| text.get(*at) != Some(mark)) {
        return None;
    }
    let (year, month, day) = (digits(text.get(..4)?)?, two(5)?, two(8)?);
    let (hour, minute, second) = (two(11)?, two(14)?, two(17)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u64::from(leap),
        _ => 31,
    };
    if !(1..=12).contains(&month) || !(1..=days).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let mut rest = text.get(19..)?;
    let mut nanos = 0;
    if let Some(fraction) = rest.strip_prefix(b".") {
        let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let shown = fraction.get(..length.min(9)).filter(|shown| !shown.is_empty())?;
        nanos = digits(shown)? * 10u64.pow(9 - shown.len() as u32);
        rest = fraction.get(length..)?;
    }
    let offset = match rest {
        b"Z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let seconds = digits(&[*h1, *h2])? as i64 * 3_600 + digits(&[*m1, *m2])? as i64 * 60;
            if *sign == b'+' { seconds } else { -seconds }
        }
        _ => return None,
    };
    let days = days_since_1970(year as i64, month as i64, day as i64);
    let seconds = days * 86_400 + (hour * 3_600 + minute * 60 + second) as i64 - offset;
    u64::try_from(seconds).ok()?.checked_mul(1_000_000_000)?.checked_add(nanos)
}

fn digits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0u64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0')))
}

/// Of the Gregorian calendar: years begin in March here, so that a leap day is the last one.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Option<(u64, bool, bool, String)> {
        let line = parse(line.as_bytes(), None).ok()?;
        Some((line.time, line.is_stderr, line.is_partial, String::from_utf8_lossy(&line.text).into_owned()))
    }

    #[test]
    fn lines_of_every_runtime_are_read() {
        let time = 1_687_429_645_813_799_277;
        for (line, expected) in [
            ("2023-06-22T10:27:25.813799277Z stdout F a line", (time, false, false, "a line")),
            ("2023-06-22T10:27:25.813799277Z stderr P begun ", (time, true, true, "begun ")),
            ("2023-06-22T05:27:25.813799277-05:00 stdout F crio", (time, false, false, "crio")),
            ("2023-06-22T10:27:25.813799277Z stdout F", (time, false, false, "")),
            ("2023-06-22T10:27:25.813799277Z stdout F:x tagged", (time, false, false, "tagged")),
            (
                r#"{"log":"a\tb\n","stream":"stderr","time":"2023-06-22T10:27:25.813799277Z","attrs":{"x":[1]}}"#,
                (time, true, false, "a\tb"),
            ),
            (r#"{"log":"ab","stream":"stdout","time":"2023-06-22T10:27:25.813799277Z"}"#, (time, false, true, "ab")),
        ] {
            let (time, stderr, partial, text) = expected;
            assert_eq!(parsed(line), Some((time, stderr, partial, text.to_owned())), "{line}");
        }
    }

    #[test]
    fn other_lines_are_refused() {
        for line in [
            "",
            "plain text",
            "2023-06-22T10:27:25Z stdout X text",
            "2023-06-22T10:27:25Z stdin F text",
            "2023-13-22T10:27:25Z stdout F text",
            "{}",
            r#"{"log":"a","stream":"stdout"}"#,
            r#"{"log":"\q","stream":"stdout","time":"2023-06-22T10:27:25Z"}"#,
            r#"{"log":"a"#,
        ] {
            assert_eq!(parsed(line), None, "{line}");
        }
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for text in
            ["1970-01-01T00:00:00Z", "2000-02-29T23:59:59.5Z", "2024-12-31T12:00:00+05:30", "2100-03-01T00:00:00Z"]
        {
            let expected: jiff::Timestamp = text.parse().unwrap();
            assert_eq!(rfc3339(text.as_bytes()).map(i128::from), Some(expected.as_nanosecond()), "{text}");
        }
    }
}
