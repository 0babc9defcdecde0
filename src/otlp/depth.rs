//! How deep attribute values nest: no item with values deeper than `DEPTH_MAX` goes on, so that nothing behind this can
//! be made to recurse further. Separate from reading facts, because it has to enter every attribute.

use crate::core::limits::DEPTH_MAX;
use crate::core::payload::Signal;
use crate::otlp::walk::{Fields, Malformed, Wire};

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

/// Each level of values takes four bytes at least (two keys, two lengths), so whatever is shorter than this cannot hold
/// too many of them and is not entered.
const DEEP_BYTES_MIN: usize = 4 * DEPTH_MAX;

/// Refuses an item whose values nest deeper than `DEPTH_MAX`. Recurses at most that deep, enters only what is long enough
/// to be too deep, and fails on what it cannot walk on the way. Profiles keep their attributes in the request's
/// dictionary and pass.
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
    if message.len() < DEEP_BYTES_MIN {
        return Ok(());
    }
    let mut fields = Fields::new(message);
    loop {
        fields.skip_short();
        let Some(field) = fields.next() else { return Ok(()) };
        let field = field?;
        let Wire::Bytes(bytes) = field.wire else { continue };
        if bytes.len() < DEEP_BYTES_MIN {
            continue;
        }
        match inside.iter().find(|(number, _)| *number == field.number) {
            None => {}
            Some((_, KeyValue)) => check_key_value(bytes, 0)?,
            Some((_, Value)) => check_value(bytes, 0)?,
            Some((_, Message(inside))) => check_message(bytes, inside)?,
        }
    }
}

fn check_key_value(message: &[u8], depth: usize) -> Result<(), Malformed> {
    if depth == 0 && message.len() < DEEP_BYTES_MIN {
        return Ok(());
    }
    for field in Fields::new(message) {
        let field = field?;
        if field.number == 2 {
            check_value(field.bytes()?, depth)?;
        }
    }
    Ok(())
}

/// `depth` is the number of lists and maps around this value.
fn check_value(message: &[u8], depth: usize) -> Result<(), Malformed> {
    if depth == 0 && message.len() < DEEP_BYTES_MIN {
        return Ok(());
    }
    for field in Fields::new(message) {
        let field = field?;
        if !matches!(field.number, 5 | 6) {
            continue;
        }
        if depth == DEPTH_MAX {
            return Err(Malformed::Depth);
        }
        for entry in Fields::new(field.bytes()?) {
            let entry = entry?;
            match (entry.number, field.number) {
                (1, 5) => check_value(entry.bytes()?, depth + 1)?,
                (1, _) => check_key_value(entry.bytes()?, depth + 1)?,
                _ => {}
            }
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
}
