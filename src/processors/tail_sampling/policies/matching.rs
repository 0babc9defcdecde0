//! Tests on one attribute value, with the Collector's readings of wrong types.
//!
//! A value that is not an integer reads as 0 for a number, one that is not a boolean as false, a resource value that is
//! not a string as "" (contrib's pcommon getters). On spans an empty text never matches.

use std::num::NonZeroUsize;
use std::sync::Mutex;

use foldhash::fast::RandomState;
use hashbrown::HashSet;
use lru::LruCache;
use regex::bytes::Regex;

use crate::otlp::walk::AnyValue;

/// Where an attribute stands; texts read differently on both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Resource,
    Span,
}

/// Values of a set that are named in words.
const WORDS_MAX: usize = 16;

/// One question to an attribute's value.
#[derive(Debug)]
pub enum ValueTest {
    OneOf(TextSet),
    Pattern(Patterns),
    /// Both ends belong to the range.
    Within {
        min: Option<i64>,
        max: Option<i64>,
    },
    Is(bool),
}

impl ValueTest {
    /// What is asked, behind the attribute's name.
    pub fn words(&self) -> String {
        let list = |texts: Vec<String>| format!("[{}]", texts.join(", "));
        match self {
            ValueTest::OneOf(set) => {
                let texts = set.known.iter().take(WORDS_MAX).map(|text| String::from_utf8_lossy(text).into_owned());
                let mut texts: Vec<String> = texts.collect();
                texts.sort();
                format!("one of {}", list(texts))
            }
            ValueTest::Pattern(patterns) => {
                let texts = patterns.patterns.iter().take(WORDS_MAX).map(|pattern| pattern.as_str().to_owned());
                format!("matching {}", list(texts.collect()))
            }
            ValueTest::Within { min: Some(min), max: Some(max) } => format!("from {min} to {max}"),
            ValueTest::Within { min: Some(min), max: None } => format!("of at least {min}"),
            ValueTest::Within { min: None, max } => max.map_or_else(String::new, |max| format!("of at most {max}")),
            ValueTest::Is(value) => format!("= {value}"),
        }
    }

    /// True when every value gets the same answer of both.
    pub fn asks_same(&self, other: &ValueTest) -> bool {
        match (self, other) {
            (ValueTest::OneOf(mine), ValueTest::OneOf(theirs)) => mine.known == theirs.known,
            (ValueTest::Pattern(mine), ValueTest::Pattern(theirs)) => {
                mine.patterns.iter().map(Regex::as_str).eq(theirs.patterns.iter().map(Regex::as_str))
            }
            (ValueTest::Within { min, max }, ValueTest::Within { min: other_min, max: other_max }) => {
                (min, max) == (other_min, other_max)
            }
            (ValueTest::Is(mine), ValueTest::Is(theirs)) => mine == theirs,
            _ => false,
        }
    }

    #[inline(always)]
    pub fn matches(&self, value: &AnyValue<'_>, level: Level) -> bool {
        match self {
            ValueTest::OneOf(values) => text(value, level).is_some_and(|text| values.contains(text)),
            ValueTest::Pattern(patterns) => text(value, level).is_some_and(|text| patterns.matches(text)),
            ValueTest::Within { min, max } => {
                let AnyValue::Int(number) = *value else { return within(0, *min, *max) };
                within(number, *min, *max)
            }
            ValueTest::Is(wanted) => matches!(value, AnyValue::Bool(true)) == *wanted,
        }
    }
}

/// Texts to compare with. They come from the configuration, so a sender cannot make them collide: the fast hasher does.
#[derive(Debug, Default)]
pub struct TextSet {
    known: HashSet<Box<[u8]>, RandomState>,
    /// A bit for each length that occurs, longer ones sharing the last: most values are told apart by it.
    lengths: u64,
}

impl TextSet {
    fn length_bit(text: &[u8]) -> u64 {
        1 << text.len().min(63)
    }

    #[inline(always)]
    fn contains(&self, text: &[u8]) -> bool {
        self.lengths & TextSet::length_bit(text) != 0 && self.knows(text)
    }

    // Apart, so that what most values need stays small enough to be part of the walk.
    #[inline(never)]
    fn knows(&self, text: &[u8]) -> bool {
        self.known.contains(text)
    }
}

impl FromIterator<Box<[u8]>> for TextSet {
    fn from_iter<I: IntoIterator<Item = Box<[u8]>>>(texts: I) -> TextSet {
        let known: HashSet<Box<[u8]>, RandomState> = texts.into_iter().collect();
        let lengths = known.iter().fold(0, |lengths, text| lengths | TextSet::length_bit(text));
        TextSet { known, lengths }
    }
}

#[inline(always)]
fn within(number: i64, min: Option<i64>, max: Option<i64>) -> bool {
    min.is_none_or(|min| number >= min) && max.is_none_or(|max| number <= max)
}

#[inline(always)]
fn text<'a>(value: &AnyValue<'a>, level: Level) -> Option<&'a [u8]> {
    let text = match value {
        AnyValue::Str(text) => *text,
        _ => b"",
    };
    (level == Level::Resource || !text.is_empty()).then_some(text)
}

/// Unanchored regular expressions, any of which may match, with a bounded memory of recent results.
#[derive(Debug)]
pub struct Patterns {
    patterns: Vec<Regex>,
    // Shared by all requests being admitted; held for one lookup, and skipped when another holds it.
    recent: Mutex<LruCache<Box<[u8]>, bool>>,
}

/// Longer texts are matched anew each time, so that the memory of results stays small.
const REMEMBERED_BYTES_MAX: usize = 256;

impl Patterns {
    pub fn new(patterns: Vec<Regex>, remembered: NonZeroUsize) -> Patterns {
        Patterns { patterns, recent: Mutex::new(LruCache::new(remembered)) }
    }

    #[inline(never)]
    fn matches(&self, text: &[u8]) -> bool {
        let matching = || self.patterns.iter().any(|pattern| pattern.is_match(text));
        if text.len() > REMEMBERED_BYTES_MAX {
            return matching();
        }
        let Ok(mut recent) = self.recent.try_lock() else { return matching() };
        if let Some(known) = recent.get(text) {
            return *known;
        }
        let outcome = matching();
        recent.put(text.into(), outcome);
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_types_read_as_the_collector_reads_them() {
        let range = |min, max| ValueTest::Within { min, max };
        let one = |text: &str| ValueTest::OneOf(TextSet::from_iter([text.as_bytes().into()]));
        let cases: &[(ValueTest, AnyValue<'_>, Level, bool)] = &[
            (range(Some(-1), Some(1)), AnyValue::Str(b"7"), Level::Span, true),
            (range(Some(1), None), AnyValue::Double(5.0), Level::Span, false),
            (range(Some(10), Some(20)), AnyValue::Int(10), Level::Resource, true),
            (range(Some(10), Some(20)), AnyValue::Int(21), Level::Resource, false),
            (ValueTest::Is(false), AnyValue::Str(b"true"), Level::Span, true),
            (ValueTest::Is(true), AnyValue::Int(1), Level::Span, false),
            (one(""), AnyValue::Int(1), Level::Resource, true),
            (one(""), AnyValue::Str(b""), Level::Span, false),
            (one("prod"), AnyValue::Str(b"prod"), Level::Span, true),
            (one("prod"), AnyValue::Str(b"proD"), Level::Span, false),
            (one("prod"), AnyValue::Str(b"production"), Level::Span, false),
            (one(&"x".repeat(100)), AnyValue::Str(&[b'x'; 100]), Level::Span, true),
            (one(&"x".repeat(100)), AnyValue::Str(&[b'x'; 90]), Level::Span, false),
        ];
        for (test, value, level, expected) in cases {
            assert_eq!(test.matches(value, *level), *expected, "{test:?} {value:?} {level:?}");
        }
    }

    #[test]
    fn a_remembered_result_equals_a_fresh_one() {
        let patterns = Patterns::new(vec![Regex::new("prod").expect("valid")], NonZeroUsize::MIN);
        for _ in 0..3 {
            assert!(patterns.matches(b"preprod-1"));
            assert!(!patterns.matches(b"staging"));
        }
    }
}
