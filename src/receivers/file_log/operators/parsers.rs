//! `json_parser` and `regex_parser`: a text taken apart into fields.

use std::borrow::Cow;

use regex::bytes::Regex;

use crate::otlp::json::number::{Whole, double};
use crate::otlp::json::{JsonError, Quoted, Scanner};
use crate::receivers::file_log::entry::{EntryMap, EntryValue, merge};

/// Objects and arrays around a value that are kept apart; what is deeper stays text.
const DEPTH_KEPT: usize = 32;
/// Values of one line: a value of two bytes takes 32 in memory, which nothing has granted.
pub const VALUES_MAX: usize = 10_000;

/// A JSON object as a map. Every number is a double, as a Collector has it, unless `keeps_ints`.
pub fn json(text: Cow<'_, [u8]>, keeps_ints: bool) -> Result<EntryValue<'_>, String> {
    match text {
        Cow::Borrowed(text) => json_object(text, keeps_ints),
        Cow::Owned(text) => json_object(&text, keeps_ints).map(EntryValue::into_owned),
    }
}

fn json_object(text: &[u8], keeps_ints: bool) -> Result<EntryValue<'_>, String> {
    let (mut scan, mut left) = (Scanner::new(text), ValuesLeft { count: VALUES_MAX, keeps_ints });
    if scan.peek() != Some(b'{') {
        return Err(scan.unexpected("an object").to_string());
    }
    let value = value(&mut scan, 0, &mut left).map_err(|error| error.to_string())?;
    scan.end().map_err(|error| error.to_string())?;
    Ok(value)
}

/// The text of a JSON string; a slice when nothing in it is escaped.
pub fn unescaped<'l>(quoted: &Quoted<'l>) -> Option<Cow<'l, [u8]>> {
    if !quoted.escaped {
        return Some(Cow::Borrowed(quoted.raw));
    }
    // granted: a line is bounded by max_log_size
    let mut text = Vec::with_capacity(quoted.raw.len());
    quoted.push_to(&mut text)?;
    Some(Cow::Owned(text))
}

/// The value of a key of Docker's, of which `left` more may be read.
pub fn pair<'l>(key: &Quoted<'l>, scan: &mut Scanner<'l>, left: &mut usize) -> Option<(Cow<'l, str>, EntryValue<'l>)> {
    let mut values = ValuesLeft { count: *left, keeps_ints: false };
    let value = value(scan, 1, &mut values).ok()?;
    *left = values.count;
    Some((text(unescaped(key)?), value))
}

/// Of one line.
struct ValuesLeft {
    count: usize,
    keeps_ints: bool,
}

fn value<'l>(scan: &mut Scanner<'l>, depth: usize, left: &mut ValuesLeft) -> Result<EntryValue<'l>, JsonError> {
    let Some(fewer) = left.count.checked_sub(1) else {
        return Err(scan.fault(scan.position(), format!("more than {VALUES_MAX} values are not taken apart")));
    };
    left.count = fewer;
    Ok(match scan.peek() {
        Some(b'"') => {
            let (at, quoted) = (scan.position(), scan.string("a string")?);
            EntryValue::Text(unescaped(&quoted).ok_or_else(|| scan.fault(at, "an escape is none of JSON's"))?)
        }
        Some(b'{' | b'[') if depth >= DEPTH_KEPT => EntryValue::text(scan.raw()?),
        Some(b'{') => EntryValue::Map(map(scan, depth, left)?),
        Some(b'[') => EntryValue::List(list(scan, depth, left)?),
        Some(b'-' | b'0'..=b'9') => {
            let (at, text) = (scan.position(), scan.number("a number")?);
            let is_whole = left.keeps_ints && !text.iter().any(|byte| matches!(byte, b'.' | b'e' | b'E'));
            let whole = if is_whole { Whole::parse(text).and_then(Whole::signed) } else { None };
            let number = whole.map(EntryValue::Int).or_else(|| double(text).map(EntryValue::Double));
            number.ok_or_else(|| scan.fault(at, "this is not a number"))?
        }
        _ if scan.literal("true") => EntryValue::Bool(true),
        _ if scan.literal("false") => EntryValue::Bool(false),
        _ if scan.literal("null") => EntryValue::Nil,
        _ => return Err(scan.unexpected("a JSON value")),
    })
}

fn map<'l>(scan: &mut Scanner<'l>, depth: usize, left: &mut ValuesLeft) -> Result<EntryMap<'l>, JsonError> {
    let mut map = Vec::new();
    scan.expect(b'{', "an object")?;
    let mut more = !scan.take(b'}');
    while more {
        let (at, key) = (scan.position(), scan.string("a key")?);
        let key = unescaped(&key).ok_or_else(|| scan.fault(at, "an escape is none of JSON's"))?;
        scan.expect(b':', "`:`")?;
        map.push((text(key), value(scan, depth + 1, left)?));
        more = scan.more(b'}')?;
    }
    let mut whole = Vec::new();
    merge(&mut whole, map);
    Ok(whole)
}

fn text(bytes: Cow<'_, [u8]>) -> Cow<'_, str> {
    match bytes {
        Cow::Borrowed(bytes) => String::from_utf8_lossy(bytes),
        Cow::Owned(bytes) => Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()),
    }
}

fn list<'l>(scan: &mut Scanner<'l>, depth: usize, left: &mut ValuesLeft) -> Result<Vec<EntryValue<'l>>, JsonError> {
    let mut list = Vec::new();
    scan.expect(b'[', "an array")?;
    let mut more = !scan.take(b']');
    while more {
        list.push(value(scan, depth + 1, left)?);
        more = scan.more(b']')?;
    }
    Ok(list)
}

/// The named groups of a match, as a map of texts; a group that took no part is an empty text.
pub fn groups<'l>(regex: &Regex, text: Cow<'l, [u8]>) -> Result<EntryValue<'l>, String> {
    match text {
        Cow::Borrowed(text) => named(regex, text),
        Cow::Owned(text) => named(regex, &text).map(EntryValue::into_owned),
    }
}

fn named<'l>(regex: &Regex, text: &'l [u8]) -> Result<EntryValue<'l>, String> {
    let captures = regex.captures(text).ok_or_else(|| "the pattern does not match".to_owned())?;
    let names = regex.capture_names().enumerate().filter_map(|(at, name)| Some((at, name?)));
    let of_group = |at| captures.get(at).map_or(b"".as_slice(), |group| group.as_bytes());
    Ok(EntryValue::Map(names.map(|(at, name)| (Cow::Owned(name.to_owned()), EntryValue::text(of_group(at)))).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receivers::file_log::entry::find;

    #[test]
    fn an_object_becomes_a_map_and_everything_else_is_refused() {
        let text = br#"{"a":"x\"y","n":7,"f":1.5,"b":true,"z":null,"l":[1,{"k":2}]}"#;
        let EntryValue::Map(map) = json(Cow::Borrowed(text), true).unwrap() else { panic!("a map") };
        assert_eq!(find(&map, "a"), Some(&EntryValue::text(b"x\"y")));
        assert_eq!(find(&map, "n"), Some(&EntryValue::Int(7)));
        assert_eq!((find(&map, "f"), map.len()), (Some(&EntryValue::Double(1.5)), 6));
        for text in ["", "[]", "7", "{\"a\":}", "{} x", "{\"a\":\"\\q\"}"] {
            json(Cow::Borrowed(text.as_bytes()), true).expect_err(text);
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(9_000), "]".repeat(9_000));
        json(Cow::Borrowed(deep.as_bytes()), true).expect("read");
    }

    #[test]
    fn named_groups_become_fields() {
        let regex = Regex::new(r"^(?P<level>\w+) (?P<text>.*)$").unwrap();
        let EntryValue::Map(map) = groups(&regex, Cow::Borrowed(b"INFO it runs")).unwrap() else { panic!("a map") };
        assert_eq!(find(&map, "level"), Some(&EntryValue::text(b"INFO")));
        groups(&regex, Cow::Borrowed(b"INFO")).expect_err("no match");
    }

    #[test]
    fn of_equal_keys_the_last_one_counts_however_many_keys_there_are() {
        for keys in [3, 4_000] {
            let pairs = |value: usize| (0..keys).map(move |key| format!("\"k{key}\":{}", key + value));
            let text = format!("{{{}}}", pairs(0).chain(pairs(7)).collect::<Vec<_>>().join(","));
            let Ok(EntryValue::Map(map)) = json(text.as_bytes().into(), true) else { panic!("{keys} keys twice") };
            assert_eq!(map.len(), keys);
            assert_eq!(find(&map, &format!("k{}", keys - 1)), Some(&EntryValue::Int(keys as i64 + 6)));
        }
    }

    #[test]
    fn more_values_than_a_line_may_have_are_not_taken_apart() {
        let text = format!("{{\"a\":[{}0]}}", "0,".repeat(VALUES_MAX));
        assert!(json(text.as_bytes().into(), true).unwrap_err().contains("more than 10000 values"));
    }
}
