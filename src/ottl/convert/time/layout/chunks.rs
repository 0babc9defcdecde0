//! Go's layouts, taken apart: texts, and pieces of the reference time that stand for the same pieces of any other
//! (the package `time`, constants of layouts).

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Std {
    LongMonth,
    Month,
    NumMonth,
    ZeroMonth,
    LongWeekDay,
    WeekDay,
    Day,
    UnderDay,
    ZeroDay,
    Hour,
    Hour12,
    ZeroHour12,
    Minute,
    ZeroMinute,
    Second,
    ZeroSecond,
    LongYear,
    Year,
    UpperPm,
    LowerPm,
    Zone,
    Offset(Offset),
    /// So many digits behind a separator, all of them or as many as there are.
    Fraction {
        digits: usize,
        all: bool,
        separator: char,
    },
    /// The layout's end.
    End,
}

/// How an offset is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset {
    /// `Z` for UTC.
    pub zulu: bool,
    pub colons: bool,
    pub minutes: bool,
    pub seconds: bool,
}

/// A text and what follows it.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub text: String,
    pub std: Std,
}

const fn offset(zulu: bool, colons: bool, minutes: bool, seconds: bool) -> Std {
    Std::Offset(Offset { zulu, colons, minutes, seconds })
}

/// Longer ones first.
const FIXED: &[(&str, Std)] = &[
    ("January", Std::LongMonth),
    ("Jan", Std::Month),
    ("Monday", Std::LongWeekDay),
    ("Mon", Std::WeekDay),
    ("MST", Std::Zone),
    ("01", Std::ZeroMonth),
    ("02", Std::ZeroDay),
    ("03", Std::ZeroHour12),
    ("04", Std::ZeroMinute),
    ("05", Std::ZeroSecond),
    ("06", Std::Year),
    ("15", Std::Hour),
    ("1", Std::NumMonth),
    ("2006", Std::LongYear),
    ("2", Std::Day),
    ("_2", Std::UnderDay),
    ("3", Std::Hour12),
    ("4", Std::Minute),
    ("5", Std::Second),
    ("PM", Std::UpperPm),
    ("pm", Std::LowerPm),
    ("-070000", offset(false, false, true, true)),
    ("-07:00:00", offset(false, true, true, true)),
    ("-0700", offset(false, false, true, false)),
    ("-07:00", offset(false, true, true, false)),
    ("-07", offset(false, false, false, false)),
    ("Z070000", offset(true, false, true, true)),
    ("Z07:00:00", offset(true, true, true, true)),
    ("Z0700", offset(true, false, true, false)),
    ("Z07:00", offset(true, true, true, false)),
    ("Z07", offset(true, false, false, false)),
];

/// The last of them is [`Std::End`].
pub fn chunks(layout: &str) -> Vec<Chunk> {
    let (mut found, mut text, mut rest) = (Vec::new(), String::new(), layout);
    while let Some(c) = rest.chars().next() {
        match std_at(rest) {
            // `_2006` is a sign and a year.
            Some((Std::UnderDay, _)) if rest.starts_with("_2006") => {
                text.push('_');
                rest = &rest[1..];
            }
            Some((std, length)) => {
                found.push(Chunk { text: std::mem::take(&mut text), std });
                rest = &rest[length..];
            }
            None => {
                text.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    found.push(Chunk { text, std: Std::End });
    found
}

fn std_at(rest: &str) -> Option<(Std, usize)> {
    if let Some((separator, digits)) = rest.strip_prefix(['.', ',']).map(|digits| (&rest[..1], digits)) {
        let digit = digits.chars().next().filter(|digit| *digit == '0' || *digit == '9')?;
        let count = digits.chars().take_while(|c| *c == digit).count();
        let ends = !digits[count..].starts_with(|c: char| c.is_ascii_digit());
        let separator = separator.chars().next()?;
        return ends.then_some((Std::Fraction { digits: count, all: digit == '0', separator }, count + 1));
    }
    let (name, std) = FIXED.iter().find(|(name, _)| rest.starts_with(name))?;
    let word = matches!(std, Std::Month | Std::WeekDay);
    // `Janus` is no month.
    let goes_on = rest[name.len()..].starts_with(|c: char| c.is_ascii_lowercase());
    (!word || !goes_on).then_some((*std, name.len()))
}
