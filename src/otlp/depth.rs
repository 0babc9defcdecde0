//! How deep attribute values nest: no item with values deeper than `DEPTH_MAX` goes on, so that nothing behind this can
//! be made to recurse further. Separate from reading facts, because it has to enter every attribute.

use crate::core::limits::DEPTH_MAX;
use crate::core::payload::Signal;
use crate::otlp::walk::{Fields, Malformed};

/// What a field holds, as far as values can hide in it.
#[derive(Clone, Copy)]
enum Holds {
    /// `KeyValue`: the value is field 2.
    KeyValue,
    /// `AnyValue`.
    Value,
    /// A message that holds values in these fields.
    Message(&'static [(u32, Holds)]),
}

use Holds::{KeyValue, Message, Value};

const SPAN: &[(u32, Holds)] = &[(9, KeyValue), (11, Message(&[(3, KeyValue)])), (13, Message(&[(4, KeyValue)]))];
const LOG_RECORD: &[(u32, Holds)] = &[(5, Value), (6, KeyValue)];
const EXEMPLARS: Holds = Message(&[(7, KeyValue)]);
const NUMBERS: Holds = Message(&[(1, Message(&[(7, KeyValue), (5, EXEMPLARS)]))]);
const HISTOGRAM: Holds = Message(&[(1, Message(&[(9, KeyValue), (8, EXEMPLARS)]))]);
const EXPONENTIAL: Holds = Message(&[(1, Message(&[(1, KeyValue), (11, EXEMPLARS)]))]);
const SUMMARY: Holds = Message(&[(1, Message(&[(7, KeyValue)]))]);
const METRIC: &[(u32, Holds)] =
    &[(5, NUMBERS), (7, NUMBERS), (9, HISTOGRAM), (10, EXPONENTIAL), (11, SUMMARY), (12, KeyValue)];

/// Refuses an item whose values nest deeper than `DEPTH_MAX`, or whose fields and attributes cannot be walked: passed on,
/// it would make the next hop refuse its whole request. Recurses at most that deep. Profiles keep their attributes in
/// the request's dictionary and pass.
pub fn check_depth(signal: Signal, item: &[u8]) -> Result<(), Malformed> {
    match signal {
        Signal::Traces => check_message(item, SPAN),
        Signal::Logs => check_message(item, LOG_RECORD),
        Signal::Metrics => check_message(item, METRIC),
        Signal::Profiles => Ok(()),
    }
}

/// The same for the attributes of a resource (field 1) or scope (field 3).
pub fn check_attributes(message: &[u8], number: u32) -> Result<(), Malformed> {
    for field in Fields::new(message) {
        let field = field?;
        if field.number == number {
            check_key_value(field.bytes()?, 0)?;
        }
    }
    Ok(())
}

fn check_message(message: &[u8], inside: &[(u32, Holds)]) -> Result<(), Malformed> {
    for field in Fields::new(message) {
        let field = field?;
        match inside.iter().find(|(number, _)| *number == field.number) {
            None => {}
            Some((_, KeyValue)) => check_key_value(field.bytes()?, 0)?,
            Some((_, Value)) => check_value(field.bytes()?, 0)?,
            Some((_, Message(inside))) => check_message(field.bytes()?, inside)?,
        }
    }
    Ok(())
}

#[inline]
fn check_key_value(message: &[u8], depth: usize) -> Result<(), Malformed> {
    // As nearly every encoder writes it: a short key, then a short value, and nothing else.
    if let [0x0a, length @ 0..0x80, rest @ ..] = message
        && let Some((_, [0x12, length @ 0..0x80, value @ ..])) = rest.split_at_checked(usize::from(*length))
        && usize::from(*length) == value.len()
    {
        return check_value(value, depth);
    }
    for field in Fields::new(message) {
        let field = field?;
        match field.number {
            1 => _ = field.bytes()?,
            2 => check_value(field.bytes()?, depth)?,
            _ => {}
        }
    }
    Ok(())
}

/// `depth` is the number of lists and maps around this value.
#[inline]
fn check_value(message: &[u8], depth: usize) -> Result<(), Malformed> {
    match message {
        // One short string, one bool or small number.
        [0x0a, length @ 0..0x80, text @ ..] if usize::from(*length) == text.len() => Ok(()),
        [0x10 | 0x18, 0..0x80] => Ok(()),
        _ => check_any_value(message, depth),
    }
}

fn check_any_value(message: &[u8], depth: usize) -> Result<(), Malformed> {
    for field in Fields::new(message) {
        let field = field?;
        match field.number {
            1 | 7 => _ = field.bytes()?,
            2 | 3 => _ = field.varint()?,
            4 => _ = field.fixed64()?,
            5 | 6 if depth == DEPTH_MAX => return Err(Malformed::Depth),
            5 => check_list(field.bytes()?, |entry| check_value(entry, depth + 1))?,
            6 => check_list(field.bytes()?, |entry| check_key_value(entry, depth + 1))?,
            _ => {}
        }
    }
    Ok(())
}

/// Lists and maps both hold their entries in field 1.
fn check_list(list: &[u8], check: impl Fn(&[u8]) -> Result<(), Malformed>) -> Result<(), Malformed> {
    for entry in Fields::new(list) {
        let entry = entry?;
        if entry.number == 1 {
            check(entry.bytes()?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::write;

    /// An attribute whose value is `levels` lists around a string.
    fn nested(levels: usize) -> Vec<u8> {
        let mut value = Vec::new();
        write::bytes(&mut value, 1, b"x");
        for _ in 0..levels {
            let mut list = Vec::new();
            write::bytes(&mut list, 1, &value);
            value.clear();
            write::bytes(&mut value, 5, &list);
        }
        let mut attribute = Vec::new();
        write::bytes(&mut attribute, 2, &value);
        attribute
    }

    fn within(path: &[u32], levels: usize) -> Vec<u8> {
        path.iter().rev().fold(nested(levels), |inner, number| {
            let mut outer = Vec::new();
            write::bytes(&mut outer, *number, &inner);
            outer
        })
    }

    #[test]
    fn values_nest_64_deep_and_no_deeper_wherever_they_stand() {
        let places: &[(Signal, &[u32])] = &[
            (Signal::Traces, &[9]),
            (Signal::Traces, &[11, 3]),
            (Signal::Traces, &[13, 4]),
            (Signal::Logs, &[6]),
            (Signal::Metrics, &[5, 1, 7]),
            (Signal::Metrics, &[7, 1, 5, 7]),
            (Signal::Metrics, &[9, 1, 9]),
            (Signal::Metrics, &[10, 1, 1]),
            (Signal::Metrics, &[10, 1, 11, 7]),
            (Signal::Metrics, &[11, 1, 7]),
            (Signal::Metrics, &[12]),
        ];
        for (signal, path) in places {
            assert_eq!(check_depth(*signal, &within(path, DEPTH_MAX)), Ok(()), "{signal:?} {path:?}");
            let deeper = check_depth(*signal, &within(path, DEPTH_MAX + 1));
            assert_eq!(deeper, Err(Malformed::Depth), "{signal:?} {path:?}");
        }
        assert_eq!(check_attributes(&within(&[1], DEPTH_MAX + 1), 1), Err(Malformed::Depth));
    }

    #[test]
    fn what_cannot_be_walked_is_refused_wherever_it_stands() {
        let torn_value: &[u8] = &[0x0a, 0x01, b'k', 0x12, 0x02, 0x0a, 0x7f];
        let torn_key: &[u8] = &[0x0a, 0x7f];
        let number_as_string: &[u8] = &[0x12, 0x02, 0x08, 0x01];
        for attribute in [torn_value, torn_key, number_as_string] {
            for path in [&[9][..], &[11, 3], &[13, 4]] {
                let item = path.iter().rev().fold(attribute.to_vec(), |inner, number| {
                    let mut outer = Vec::new();
                    write::bytes(&mut outer, *number, &inner);
                    outer
                });
                check_depth(Signal::Traces, &item).unwrap_err();
            }
        }
        check_depth(Signal::Logs, &[0x32, 0x01]).unwrap_err();
        check_depth(Signal::Metrics, &[0x28, 0x01]).unwrap_err();
    }
}
