//! Layouts of times as Go's package time has them, and strptime's as a Collector reads those (coreinternal/timeutils).
//!
//! A layout is read once; a text then takes work for its length.
//! Granted: a layout is of a configuration.

use crate::core::time::{DAYS, MONTHS};

const NANOS_A_SECOND: u32 = 1_000_000_000;

/// A part of a layout. `fixed`: two digits, else one or two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayoutPart {
    /// A blank stands for any number of them.
    Literal(String),
    Year,
    YearOfCentury,
    /// Either of both.
    AnyYear,
    Month {
        fixed: bool,
    },
    MonthName {
        is_long: bool,
    },
    Weekday {
        is_long: bool,
    },
    /// A blank may stand before one digit.
    Day {
        fixed: bool,
        padded: bool,
    },
    DayOfYear {
        padded: bool,
    },
    Hour,
    HourOfHalf {
        fixed: bool,
    },
    Minute {
        fixed: bool,
    },
    Second {
        fixed: bool,
    },
    /// With the sign before it. `Some`: exactly so many digits; else any number of them, or nothing.
    Fraction(Option<usize>),
    Half {
        is_upper: bool,
    },
    Offset(&'static [OffsetForm]),
    ZoneName,
}

/// How an offset is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetForm {
    /// `Z` stands for none.
    pub takes_z: bool,
    /// The number of pairs of digits: hours, minutes, seconds.
    pub pairs: usize,
    pub has_colons: bool,
}

const fn form(takes_z: bool, pairs: usize, has_colons: bool) -> OffsetForm {
    OffsetForm { takes_z, pairs, has_colons }
}

/// strptime's `%z`.
const ANY_OFFSET: &[OffsetForm] = &[form(true, 2, false), form(true, 2, true), form(true, 1, false)];

/// What Go's layouts call the parts; of those that begin alike the longest first.
const TOKENS: &[(&str, LayoutPart)] = &[
    ("January", LayoutPart::MonthName { is_long: true }),
    ("Jan", LayoutPart::MonthName { is_long: false }),
    ("Monday", LayoutPart::Weekday { is_long: true }),
    ("Mon", LayoutPart::Weekday { is_long: false }),
    ("MST", LayoutPart::ZoneName),
    ("002", LayoutPart::DayOfYear { padded: false }),
    ("01", LayoutPart::Month { fixed: true }),
    ("02", LayoutPart::Day { fixed: true, padded: false }),
    ("03", LayoutPart::HourOfHalf { fixed: true }),
    ("04", LayoutPart::Minute { fixed: true }),
    ("05", LayoutPart::Second { fixed: true }),
    ("06", LayoutPart::YearOfCentury),
    ("15", LayoutPart::Hour),
    ("1", LayoutPart::Month { fixed: false }),
    ("2006", LayoutPart::Year),
    ("2", LayoutPart::Day { fixed: false, padded: false }),
    ("__2", LayoutPart::DayOfYear { padded: true }),
    ("_2", LayoutPart::Day { fixed: false, padded: true }),
    ("3", LayoutPart::HourOfHalf { fixed: false }),
    ("4", LayoutPart::Minute { fixed: false }),
    ("5", LayoutPart::Second { fixed: false }),
    ("PM", LayoutPart::Half { is_upper: true }),
    ("pm", LayoutPart::Half { is_upper: false }),
    ("-070000", LayoutPart::Offset(&[form(false, 3, false)])),
    ("-07:00:00", LayoutPart::Offset(&[form(false, 3, true)])),
    ("-0700", LayoutPart::Offset(&[form(false, 2, false)])),
    ("-07:00", LayoutPart::Offset(&[form(false, 2, true)])),
    ("-07", LayoutPart::Offset(&[form(false, 1, false)])),
    ("Z070000", LayoutPart::Offset(&[form(true, 3, false)])),
    ("Z07:00:00", LayoutPart::Offset(&[form(true, 3, true)])),
    ("Z0700", LayoutPart::Offset(&[form(true, 2, false)])),
    ("Z07:00", LayoutPart::Offset(&[form(true, 2, true)])),
    ("Z07", LayoutPart::Offset(&[form(true, 1, false)])),
];

/// What strptime's directives are in Go's layout; numbers need no zero in front.
const DIRECTIVES: &[(char, &str)] = &[
    ('Y', "2006"),
    ('y', "06"),
    ('m', "1"),
    ('o', "1"),
    ('q', "1"),
    ('b', "Jan"),
    ('h', "Jan"),
    ('B', "January"),
    ('d', "2"),
    ('e', "2"),
    ('g', "2"),
    ('a', "Mon"),
    ('A', "Monday"),
    ('H', "15"),
    ('l', "3"),
    ('I', "3"),
    ('p', "PM"),
    ('P', "pm"),
    ('M', "4"),
    ('S', "5"),
    ('L', "999"),
    ('f', "999999"),
    ('s', "999999999"),
    ('Z', "MST"),
    ('w', "-070000"),
    ('i', "-07"),
    ('j', "-07:00"),
    ('k', "-07:00:00"),
    ('F', "2006-1-2"),
    ('T', "15:4:5"),
    ('X', "15:4:5"),
    ('r', "3:4:5 pm"),
    ('R', "15:4"),
    ('n', "\n"),
    ('t', "\t"),
    ('%', "%"),
    ('c', "Mon Jan 2 15:4:5 2006"),
];

/// A layout that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoLayout {
    parts: Vec<LayoutPart>,
    /// Blanks may stand before numbers.
    is_lenient: bool,
    /// It ends with a `Z`: times without a zone are UTC.
    pub is_utc: bool,
}

/// What a text says. Without a year `year` is `None`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WallTime<'t> {
    pub year: Option<i16>,
    pub month: i8,
    pub day: i8,
    pub day_of_year: Option<i16>,
    pub hour: i8,
    pub minute: i8,
    pub second: i8,
    pub nanos: i32,
    /// Seconds east of UTC.
    pub offset: Option<i32>,
    pub zone: Option<&'t str>,
    is_afternoon: Option<bool>,
}

impl GoLayout {
    /// The error is a sentence.
    pub fn strptime(layout: &str) -> Result<GoLayout, String> {
        if layout.contains(|c: char| c.is_ascii_digit()) {
            return Err("a layout of strptime has no digits".to_owned());
        }
        let (mut parts, mut run) = (Vec::new(), String::new());
        let mut characters = layout.chars();
        while let Some(character) = characters.next() {
            if character != '%' {
                run.push(character);
                continue;
            }
            match characters.next().ok_or("the layout ends with %")? {
                'z' => {
                    parts.append(&mut go_parts(&std::mem::take(&mut run)));
                    parts.push(LayoutPart::Offset(ANY_OFFSET));
                }
                'D' | 'x' => {
                    run.push_str("1/2/");
                    parts.append(&mut go_parts(&std::mem::take(&mut run)));
                    parts.push(LayoutPart::AnyYear);
                }
                'L' | 'f' | 's' if !run.ends_with(['.', ',']) => {
                    return Err("a fraction of a second stands behind `.` or `,`".to_owned());
                }
                directive => match DIRECTIVES.iter().find(|(known, _)| *known == directive) {
                    Some((_, go)) => run.push_str(go),
                    None => return Err(format!("%{directive} is no directive of strptime")),
                },
            }
        }
        parts.append(&mut go_parts(&run));
        Ok(GoLayout { parts, is_lenient: true, is_utc: layout.ends_with('Z') })
    }

    /// The error is a sentence.
    pub fn go(layout: &str) -> Result<GoLayout, String> {
        let parts = go_parts(layout);
        if parts.iter().all(|part| matches!(part, LayoutPart::Literal(_))) {
            return Err(format!("{layout:?} is no layout of Go's"));
        }
        let bytes = layout.as_bytes();
        let is_loose = |at: usize| bytes[at] == b'9' && at > 0 && !matches!(bytes[at - 1], b'.' | b',' | b'9');
        if (0..bytes.len()).any(is_loose) {
            return Err("a fraction of a second stands behind `.` or `,`".to_owned());
        }
        Ok(GoLayout { parts, is_lenient: false, is_utc: layout.ends_with('Z') })
    }

    pub fn read<'t>(&self, text: &'t str) -> Option<WallTime<'t>> {
        let mut time = WallTime {
            year: None,
            month: 1,
            day: 1,
            day_of_year: None,
            hour: 0,
            minute: 0,
            second: 0,
            nanos: 0,
            offset: None,
            zone: None,
            is_afternoon: None,
        };
        let mut rest = text;
        for (at, part) in self.parts.iter().enumerate() {
            let takes_digits =
                !matches!(part, LayoutPart::Literal(_) | LayoutPart::Half { .. } | LayoutPart::Fraction(_));
            if self.is_lenient
                && takes_digits
                && !matches!(part, LayoutPart::Offset([OffsetForm { takes_z: false, .. }]))
            {
                rest = rest.trim_start();
            }
            rest = time.take(part, rest)?;
            let is_fraction_next = matches!(self.parts.get(at + 1), Some(LayoutPart::Fraction(_)));
            if matches!(part, LayoutPart::Second { .. }) && !is_fraction_next {
                // Go reads a fraction that the layout does not have.
                rest = time.fraction(rest).unwrap_or(rest);
            }
        }
        match time.is_afternoon {
            Some(true) if time.hour < 12 => time.hour += 12,
            Some(false) if time.hour == 12 => time.hour = 0,
            _ => {}
        }
        rest.is_empty().then_some(time)
    }
}

/// A layout of Go's as parts; what is no part is literal.
fn go_parts(layout: &str) -> Vec<LayoutPart> {
    let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), layout);
    while let Some(first) = rest.chars().next() {
        // `Jan` and `Mon` begin words, too: of these only whole ones are parts.
        let is_word = |token: &str| {
            let after = rest.get(token.len()..).unwrap_or_default();
            !matches!(token, "Jan" | "Mon") || !after.starts_with(|c: char| c.is_ascii_lowercase())
        };
        let token = TOKENS.iter().find(|(token, _)| rest.starts_with(token) && is_word(token));
        let (part, length) = match (fraction_of(rest), token) {
            (Some((digits, length)), _) => (Some(LayoutPart::Fraction(digits)), length),
            (None, Some((token, part))) => (Some(part.clone()), token.len()),
            (None, None) => {
                literal.push(first);
                (None, first.len_utf8())
            }
        };
        if let Some(part) = part {
            if !literal.is_empty() {
                parts.push(LayoutPart::Literal(std::mem::take(&mut literal)));
            }
            parts.push(part);
        }
        rest = rest.get(length..).unwrap_or_default();
    }
    if !literal.is_empty() {
        parts.push(LayoutPart::Literal(literal));
    }
    parts
}

/// `.000` or `.999` at the beginning of a layout, and how long it is.
fn fraction_of(layout: &str) -> Option<(Option<usize>, usize)> {
    let digits = layout.strip_prefix(['.', ','])?;
    let digit = digits.chars().next().filter(|digit| matches!(digit, '0' | '9'))?;
    let count = digits.chars().take_while(|other| *other == digit).count();
    let ends = !digits.get(count..)?.starts_with(|c: char| c.is_ascii_digit());
    ends.then_some(((digit == '0').then_some(count), count + 1))
}

impl<'t> WallTime<'t> {
    /// What is left of a text behind a part.
    fn take(&mut self, part: &LayoutPart, text: &'t str) -> Option<&'t str> {
        match part {
            LayoutPart::Literal(literal) => skipped(literal, text),
            LayoutPart::Year => self.whole_year(text),
            LayoutPart::YearOfCentury => self.year_of_century(text),
            LayoutPart::AnyYear => self.whole_year(text).or_else(|| self.year_of_century(text)),
            LayoutPart::Month { fixed } => within(&mut self.month, number(text, *fixed)?, 1..=12),
            LayoutPart::MonthName { is_long } => {
                let (at, rest) = name(&MONTHS, text, *is_long)?;
                self.month = i8::try_from(at + 1).ok()?;
                Some(rest)
            }
            LayoutPart::Weekday { is_long } => name(&DAYS, text, *is_long).map(|(_, rest)| rest),
            LayoutPart::Day { fixed, padded } => {
                let text = if *padded { text.strip_prefix(' ').unwrap_or(text) } else { text };
                within(&mut self.day, number(text, *fixed)?, 1..=31)
            }
            LayoutPart::DayOfYear { padded } => {
                let blanks = if *padded { text.len() - text.trim_start_matches(' ').len() } else { 0 };
                let (blanks, digits) = (blanks.min(2), text.get(blanks.min(2)..3)?);
                self.day_of_year = Some(decimal(digits).filter(|day| (1..=366).contains(day))? as i16);
                text.get(digits.len() + blanks..)
            }
            LayoutPart::Hour => within(&mut self.hour, number(text, false)?, 0..=23),
            LayoutPart::HourOfHalf { fixed } => within(&mut self.hour, number(text, *fixed)?, 0..=12),
            LayoutPart::Minute { fixed } => within(&mut self.minute, number(text, *fixed)?, 0..=59),
            LayoutPart::Second { fixed } => within(&mut self.second, number(text, *fixed)?, 0..=59),
            LayoutPart::Fraction(Some(digits)) => {
                let (shown, rest) = (text.get(1..digits + 1)?, text.get(digits + 1..)?);
                text.starts_with(['.', ',']).then_some(())?;
                self.nanos = nanos(shown)?;
                Some(rest)
            }
            LayoutPart::Fraction(None) => Some(self.fraction(text).unwrap_or(text)),
            LayoutPart::Half { is_upper } => {
                let (am, pm) = if *is_upper { ("AM", "PM") } else { ("am", "pm") };
                self.is_afternoon = Some(text.starts_with(pm));
                text.strip_prefix(pm).or_else(|| text.strip_prefix(am))
            }
            LayoutPart::Offset(forms) => {
                let (seconds, rest) = forms.iter().find_map(|form| offset(text, *form))?;
                self.offset = Some(seconds);
                Some(rest)
            }
            LayoutPart::ZoneName => {
                let length = text.bytes().take_while(u8::is_ascii_uppercase).count();
                let (name, rest) = text.split_at_checked(length)?;
                self.zone = Some(name).filter(|name| (3..=5).contains(&name.len()));
                self.zone.map(|_| rest)
            }
        }
    }

    fn whole_year(&mut self, text: &'t str) -> Option<&'t str> {
        self.year = Some(decimal(text.get(..4)?)? as i16);
        text.get(4..)
    }

    fn year_of_century(&mut self, text: &'t str) -> Option<&'t str> {
        let year = decimal(text.get(..2)?)? as i16;
        self.year = Some(if year >= 69 { 1900 + year } else { 2000 + year });
        text.get(2..)
    }

    /// A fraction of any length, if there is one.
    fn fraction(&mut self, text: &'t str) -> Option<&'t str> {
        let digits = text.strip_prefix(['.', ','])?;
        let length = digits.bytes().take_while(u8::is_ascii_digit).count();
        self.nanos = nanos(digits.get(..length.min(9))?)?;
        digits.get(length..)
    }
}

/// Each blank of the literal stands for any number of them.
fn skipped<'t>(mut literal: &str, mut text: &'t str) -> Option<&'t str> {
    while let Some(first) = literal.chars().next() {
        if first != ' ' {
            text = text.strip_prefix(first)?;
            literal = literal.get(first.len_utf8()..)?;
            continue;
        }
        if !text.is_empty() && !text.starts_with(' ') {
            return None;
        }
        text = text.trim_start_matches(' ');
        literal = literal.trim_start_matches(' ');
    }
    Some(text)
}

fn number(text: &str, fixed: bool) -> Option<(i64, &str)> {
    let is_digit = |at: usize| text.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    let length = usize::from(is_digit(0)) + usize::from(is_digit(0) && is_digit(1));
    if length == 0 || (fixed && length == 1) {
        return None;
    }
    Some((decimal(text.get(..length)?)?, text.get(length..)?))
}

fn within<'t>(field: &mut i8, (number, rest): (i64, &'t str), range: std::ops::RangeInclusive<i64>) -> Option<&'t str> {
    *field = range.contains(&number).then_some(number as i8)?;
    Some(rest)
}

fn decimal(digits: &str) -> Option<i64> {
    let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| digits.parse().ok()).flatten()
}

/// Up to nine digits behind a point.
fn nanos(digits: &str) -> Option<i32> {
    let scale = NANOS_A_SECOND / 10u32.checked_pow(u32::try_from(digits.len()).ok()?)?;
    i32::try_from(decimal(digits)? * i64::from(scale)).ok()
}

fn name<'t>(names: &[&str], text: &'t str, is_long: bool) -> Option<(usize, &'t str)> {
    let fits = |name: &&str| {
        let name = if is_long { name } else { name.get(..3)? };
        text.get(..name.len()).filter(|begin| begin.eq_ignore_ascii_case(name)).map(|_| name.len())
    };
    names.iter().enumerate().find_map(|(at, name)| Some((at, text.get(fits(name)?..)?)))
}

fn offset(text: &str, form: OffsetForm) -> Option<(i32, &str)> {
    if form.takes_z
        && let Some(rest) = text.strip_prefix('Z')
    {
        return Some((0, rest));
    }
    let sign = if text.starts_with('-') { -1 } else { 1 };
    let mut rest = text.strip_prefix(['+', '-'])?;
    let mut seconds = 0;
    for (at, (unit, most)) in [(3_600, 24), (60, 60), (1, 60)].into_iter().take(form.pairs).enumerate() {
        if at > 0 && form.has_colons {
            rest = rest.strip_prefix(':')?;
        }
        let number = decimal(rest.get(..2)?).filter(|number| *number <= most)?;
        seconds += number as i32 * unit;
        rest = rest.get(2..)?;
    }
    Some((sign * seconds, rest))
}
