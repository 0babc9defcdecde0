//! Audit events, lines of files and entries of the journal: texts blown up in every part that is walked.

use podgate::core::data::budget::Ticket;
use podgate::core::time::UnixNanos;
use podgate::kube::audit::form::{EventBody, EventForm};
use podgate::otlp::trace_text::TextIds;
use podgate::receivers::file_log::entry::{self, EntryMap, EntryValue};
use podgate::receivers::file_log::operators::container;
use podgate::receivers::file_log::operators::time::{TimeLayout, TimeReading};
use podgate::receivers::journald::export::ExportReader;
use podgate::receivers::journald::record::{JournalBatch, RecordRule};
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

/// Entries of the journal, in the export format.
const ENTRIES: &[(&str, &str, &str, &str)] = &[
    ("small entries", "", "A=1\n\n", ""),
    ("fields of one name", "", "A=1\n", "\n"),
    ("one long field", "MESSAGE=", "x", "\n\n"),
    ("a field that does not end", "MESSAGE=", "x", ""),
    ("empty lines", "", "\n", ""),
    ("control characters", "MESSAGE=", "\u{1}", "\n\n"),
    ("empty fields of bytes", "", "A\n\0\0\0\0\0\0\0\0\n", "\n"),
    ("priorities", "", "PRIORITY=3\n", "\n"),
];

/// Texts that say something of their trace, or nearly.
const BODIES: &[(&str, &str, &str, &str)] = &[
    ("an id behind many keys", "{\"a\":1", ",\"a\":1", ",\"trace_id\":\"0af7651916cd43dd8448eb211c80319c\"}"),
    ("ids of zeros", "{\"a\":1", ",\"trace_id\":\"00000000000000000000000000000000\"", "}"),
    ("objects in objects", "", "{\"trace\":", ""),
    ("objects beside each other", "{\"a\":{}", ",\"trace\":{\"x\":1}", "}"),
    ("one long value", "{\"trace_id\":\"", "0", "\"}"),
    ("one long key", "{\"", "trace_id", "\":1}"),
    ("escapes", "{\"a\":\"", "\\u0031", "\"}"),
    ("pairs", "level=info", " trace_id=zero", ""),
    ("equal signs", "trace_id", "=", ""),
    ("quotes", "a=\"", "\\\"", "\""),
    ("a quote that does not end", "trace_id=\"", "x ", ""),
    ("blanks", "trace_id=", " ", "0af7651916cd43dd8448eb211c80319c"),
];

/// Times by the layouts below, or nearly.
const TIMES: &[(&str, &str, &str, &str)] = &[
    ("a fraction without end", "2026-12-01 10:00:05.", "1", ""),
    ("digits", "", "2026", ""),
    ("blanks between", "2026-12-01", " ", "10:00:05"),
    ("months", "", "Dec ", ""),
    ("offsets", "2026-12-01 10:00:05 +01", ":00", ""),
    ("names of zones", "2026-12-01 10:00:05 ", "UTC", ""),
    ("points", "1796119205", ".0", ""),
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
fn ids_in_a_text_are_found_in_linear_work() {
    check("ids in a text", &generators(BODIES), &|_, body| usize::from(!TextIds::read(body).is_empty()));
}

#[test]
fn times_are_read_in_linear_work_by_every_kind_of_layout() {
    let layouts = [
        TimeLayout::strptime("%Y-%m-%d %H:%M:%S.%L %z"),
        TimeLayout::strptime("%b %e %H:%M:%S"),
        TimeLayout::gotime("2006-01-02 15:04:05.999999999 MST"),
        TimeLayout::epoch("s.ns"),
    ];
    let readings = layouts.map(|layout| TimeReading::in_utc(layout.expect("a layout")));
    check("times", &generators(TIMES), &|_, text| {
        let value = EntryValue::text(text);
        readings.iter().filter(|reading| reading.read(&value, UnixNanos(1_796_119_200_000_000_000)).is_ok()).count()
    });
}

/// A layout is of a configuration, and so are its parts.
#[test]
fn layouts_are_read_in_linear_work() {
    let parts = |part: &'static str| Generator::of(part, move |size| part.repeat(size / part.len()).into_bytes());
    let made = ["%Y", "%%", "x", "2006", "Jan", "_2", ".000", "Z07:00"].map(parts);
    check("layouts", &made, &|_, text| {
        let text = String::from_utf8_lossy(text);
        usize::from(TimeLayout::strptime(&text).is_ok()) + usize::from(TimeLayout::gotime(&text).is_ok())
    });
}

#[test]
fn entries_of_the_journal_become_records_in_linear_work() {
    let names = Generator::of("different names", |size| {
        let fields: Vec<String> = (0..size / 11).map(|field| format!("K{field:07}=1\n")).collect();
        (fields.concat() + "\n").into_bytes()
    });
    let bytes = Generator::of("one field of bytes", |size| {
        [b"MESSAGE\n".as_slice(), &(size as u64).to_le_bytes(), &vec![0; size], b"\n\n"].concat()
    });
    let mut all = generators(ENTRIES);
    all.extend([names, bytes]);
    for messages_as_text in [false, true] {
        let rule = RecordRule { messages_as_text, ..RecordRule::default() };
        check("entries of the journal", &all, &|_, body| {
            let (mut reader, mut batch, mut input) =
                (ExportReader::default(), JournalBatch::within(&Ticket::free()), body);
            while reader.read(&mut input).expect("the export format") {
                batch.add(&reader, &rule, UnixNanos(7)).expect("memory");
                reader.clear();
            }
            batch.finish(&rule).expect("memory").envelope.groups.len()
        });
    }
}

#[test]
fn lines_of_containers_are_read_in_linear_work() {
    check("container lines", &generators(LINES), &|_, line| {
        container::parse(line, None).map_or(0, |line| line.text.len())
    });
}
