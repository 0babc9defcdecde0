//! Edits leave everything else as it was, see earlier edits, and write nothing where nothing changed.

use super::*;
use crate::otlp::attributes::{attributes, find};

fn keys(resource: &[u8]) -> Vec<String> {
    attributes(resource).map(|attribute| String::from_utf8_lossy(attribute.expect("valid").key).into_owned()).collect()
}

#[test]
fn appending_keeps_the_old_bytes_as_a_prefix() {
    let mut first = Appender::new(b"").expect("valid");
    first.append("a", 1i64);
    let first = first.finish().unwrap();
    let mut edit = Appender::new(&first).expect("valid");
    edit.append("b", &["x", "y"][..]);
    edit.append("c", 1.5);
    edit.append("d", true);
    let edited = edit.finish().unwrap();
    assert_eq!(edited[..first.len()], first[..]);
    assert_eq!(keys(&edited), ["a", "b", "c", "d"]);
    assert_eq!(find(&edited, "c"), Some(AnyValue::Double(1.5)));
    assert_eq!(find(&edited, "d"), Some(AnyValue::Bool(true)));
}

#[test]
fn only_an_absent_or_empty_attribute_is_filled() {
    let mut edit = Appender::new(b"").expect("valid");
    edit.append("empty", "");
    edit.append("full", "mine");
    assert!(edit.set_if_absent_or_empty("empty", "filled"));
    assert!(!edit.set_if_absent_or_empty("full", "theirs"));
    assert!(edit.set_if_absent_or_empty("absent", 7i64));
    assert!(!edit.set_if_absent_or_empty("absent", 8i64));
    let edited = edit.finish().unwrap();
    assert_eq!(keys(&edited), ["full", "empty", "absent"]);
    assert_eq!(find(&edited, "empty"), Some(AnyValue::Str(b"filled")));
    assert_eq!(find(&edited, "absent"), Some(AnyValue::Int(7)));
}

#[test]
fn deleting_takes_every_duplicate_and_nothing_else() {
    let mut edit = Appender::new(&[0x10, 0x05]).expect("a dropped count alone");
    edit.append("a", "1");
    edit.append("b", "2");
    edit.append("a", "3");
    assert!(edit.delete("a"));
    assert!(!edit.delete("a"));
    let edited = edit.finish().unwrap();
    assert_eq!(keys(&edited), ["b"]);
    assert_eq!(edited[..2], [0x10, 0x05]);
}

#[test]
fn attributes_of_any_message_are_edited_in_the_memory_of_the_last_one() {
    let mut edit = Appender::idle();
    // A span: a name, two attributes, an unknown field.
    let mut span = vec![0x2a, 0x01, b'n'];
    for (key, value) in [("a", "1"), ("b", "2")] {
        let mut first = Appender::new(b"").expect("valid");
        first.append(key, value);
        span.extend_from_slice(&[0x4a]);
        span.extend_from_slice(&first.finish().unwrap()[1..]);
    }
    span.extend_from_slice(&[0xf8, 0x07, 0x05]);
    for _ in 0..2 {
        edit.load(&span, 9).expect("valid");
        assert!(!edit.is_changed());
        edit.set("a", "1");
        edit.set_at(1, "2");
        assert!(edit.copy("a", "a") && !edit.copy("absent", "b"));
        assert!(!edit.is_changed(), "the same values change nothing");
        assert!(edit.copy("a", "c"));
        edit.set_at(1, WireValue::Text(b"\xff"));
        edit.set("a", WireValue::Any(&[0x18, 0x07]));
        assert_eq!((edit.places(), edit.key_at(0), edit.key_at(2)), (5, None, Some(&b"c"[..])));
        assert_eq!(edit.get("b"), Some(AnyValue::Str(b"\xff")));
        let mut out = vec![9];
        edit.write_to(&mut out);
        assert_eq!(out.len(), 1 + edit.new_len());
        assert_eq!(out[1..], edit.take().unwrap()[..]);
        let read = |key| crate::otlp::attributes::find_in(&out[1..], 9, key);
        assert_eq!(read("a"), Some(AnyValue::Int(7)));
        assert_eq!((read("b"), read("c")), (Some(AnyValue::Str(b"\xff")), Some(AnyValue::Str(b"1"))));
        assert_eq!((&out[1..4], Fields::new(&out[1..]).count()), (&[0x2a, 0x01, b'n'][..], 5));
    }
}

#[test]
fn a_faulty_resource_is_left_alone() {
    assert_eq!(Appender::new(&[0x0a, 0x7f]).err(), Some(Malformed::Length));
}
