//! Audit events and lines of files: texts blown up in every part that is walked.

use podgate::core::data::budget::Ticket;
use podgate::core::time::UnixNanos;
use podgate::receivers::file_log::entry::{self, EntryMap, EntryValue};
use podgate::receivers::file_log::operators::container;
use podgate::receivers::k8s_audit::config::{EventBody, EventForm};
use podgate::receivers::k8s_audit::list;

use crate::generate::Generator;
use crate::measure::check;

/// Head, what is repeated, tail.
const EVENTS: &[(&str, &str, &str, &str)] = &[
    ("empty events", "{\"items\":[{}", ",{}", "]}"),
    ("events of one id", "{\"items\":[{\"auditID\":\"a\"}", ",{\"auditID\":\"a\"}", "]}"),
    ("annotations", "{\"items\":[{\"annotations\":{\"a\":\"b\"", ",\"a\":\"b\"", "}}]}"),
    ("groups", "{\"items\":[{\"user\":{\"groups\":[\"a\"", ",\"a\"", "]}}]}"),
    ("addresses", "{\"items\":[{\"sourceIPs\":[\"a\"", ",\"a\"", "]}]}"),
    ("repeated users", "{\"items\":[{\"user\":{}", ",\"user\":{}", "}]}"),
    ("one long text", "{\"items\":[{\"requestURI\":\"", "x", "\"}]}"),
    ("escapes", "{\"items\":[{\"userAgent\":\"", "\\u00e9", "\"}]}"),
    ("deep objects", "{\"items\":[{\"requestObject\":", "{\"a\":", ""),
    ("lists in a body", "{\"items\":[{\"requestObject\":[[]", ",[]", "]}]}"),
    ("unknown keys", "{\"items\":[{\"a\":1", ",\"a\":1", "}]}"),
    ("an item that does not end", "{\"items\":[{\"a\":[", "1,", ""),
];

const LINES: &[(&str, &str, &str, &str)] = &[
    ("a long CRI line", "2026-12-01T10:00:00.1Z stdout F ", "x", ""),
    ("blanks", "2026-12-01T10:00:00.1Z stdout F ", " ", ""),
    ("tags", "2026-12-01T10:00:00.1Z stdout F", ":x", " text"),
    ("Docker's escapes", "{\"log\":\"", "\\t", "\\n\",\"stream\":\"stdout\",\"time\":\"2026-12-01T10:00:00.1Z\"}"),
    ("Docker's attributes", "{\"a\":1", ",\"a\":1", "}"),
];

fn generators(texts: &'static [(&str, &str, &str, &str)]) -> Vec<Generator> {
    let of = |(name, head, repeated, tail): &'static (&str, &str, &str, &str)| {
        Generator::of(name, move |size| format!("{head}{}{tail}", repeated.repeat(size / repeated.len())).into_bytes())
    };
    texts.iter().map(of).collect()
}

#[test]
fn audit_events_are_read_in_linear_work() {
    let form = EventForm { body: EventBody::Map, stream: None };
    check("audit events", &generators(EVENTS), &|_, body| {
        list::read(body, &form, UnixNanos(7), &Ticket::free()).map_or(0, |events| events.records.byte_len())
    });
}

/// Keys that are all different, and twice each, as a line taken apart into attributes has them.
#[test]
fn keys_of_a_line_are_joined_in_linear_work() {
    let keys = |of: usize| (0..of).map(|key| format!("k{key:07}")).collect::<Vec<_>>();
    let once = Generator::of("different keys", move |size| keys(size / 9).join(",").into_bytes());
    let twice =
        Generator::of("keys twice", move |size| [keys(size / 18), keys(size / 18)].concat().join(",").into_bytes());
    check("keys of a line", &[once, twice], &|_, text| {
        let keys = text.split(|byte| *byte == b',').map(String::from_utf8_lossy);
        let mut map = EntryMap::new();
        entry::merge(&mut map, keys.map(|key| (key, EntryValue::Nil)).collect());
        map.len()
    });
}

#[test]
fn lines_of_containers_are_read_in_linear_work() {
    check("container lines", &generators(LINES), &|_, line| {
        container::parse(line, None).map_or(0, |line| line.text.len())
    });
}
