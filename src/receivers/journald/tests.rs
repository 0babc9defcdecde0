//! Entries as records: what a Collector's receiver makes of journalctl's JSON, beside what this one makes of the same journal.
//!
//! `tests/golden/journal` has the output of journalctl (systemd 252) for one journal in both formats. `entries.json` was printed
//! with `--all`: without it journalctl leaves values of 4096 bytes or more out of its JSON.

use serde_json::{Map, Value as Json, json};

use crate::core::data::budget::{Budget, Ticket};
use crate::core::data::payload::Signal;
use crate::core::time::UnixNanos;
use crate::otlp::json::from_wire;
use crate::receivers::journald::config;
use crate::receivers::journald::export::{ExportReader, FIELD_BYTES_MAX};
use crate::receivers::journald::record::{JournalBatch, RecordRule};
use crate::testing::check::sound;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/journal");

fn golden(name: &str) -> Vec<u8> {
    std::fs::read(format!("{FOLDER}/{name}")).expect("readable")
}

fn rule(yaml: &str) -> RecordRule {
    sound("receivers::journald", yaml, config::check).records
}

/// The records of a stream as OTLP/JSON, its last cursor, and how many values were left out.
fn records(stream: &[u8], rule: &RecordRule) -> (Json, Option<String>, u64) {
    let (mut reader, mut batch, mut input) = (ExportReader::default(), JournalBatch::within(&Ticket::free()), stream);
    while reader.read(&mut input).expect("the export format") {
        batch.add(&reader, rule, UnixNanos(7)).expect("memory");
        reader.clear();
    }
    let left_out = reader.take_left_out() + batch.take_left_out();
    let made = batch.finish(rule).expect("memory");
    let mut text = Vec::new();
    from_wire(Signal::Logs, &made.envelope, &mut text).expect("OTLP");
    (serde_json::from_slice(&text).expect("JSON"), made.cursor, left_out)
}

fn of_request(request: &Json) -> &Vec<Json> {
    request["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().expect("records")
}

/// A value of OTLP/JSON as plain JSON; numbers are doubles, as in a Collector that has read JSON.
fn plain(value: &Json) -> Json {
    let Some((kind, value)) = value.as_object().and_then(|one| one.iter().next()) else { return Json::Null };
    match kind.as_str() {
        "arrayValue" => value["values"].as_array().into_iter().flatten().map(plain).collect(),
        "kvlistValue" => body(&value["values"]),
        _ => value.clone(),
    }
}

fn body(pairs: &Json) -> Json {
    let pairs = pairs.as_array().into_iter().flatten();
    let map: Map<String, Json> =
        pairs.map(|pair| (pair["key"].as_str().expect("a key").to_owned(), plain(&pair["value"]))).collect();
    Json::Object(map)
}

/// As serde_json reads `97` and `97.0` apart.
fn doubles(value: &Json) -> Json {
    match value {
        Json::Number(number) => json!(number.as_f64()),
        Json::Array(list) => list.iter().map(doubles).collect(),
        Json::Object(map) => map.iter().map(|(key, value)| (key.clone(), doubles(value))).collect::<Map<_, _>>().into(),
        _ => value.clone(),
    }
}

#[test]
fn bodies_are_those_of_a_collector_that_reads_journalctls_json() {
    let (request, cursor, left_out) = records(&golden("entries.export"), &rule("{}"));
    let text = String::from_utf8(golden("entries.json")).expect("UTF-8");
    let rows: Vec<Map<String, Json>> = text.lines().map(|line| serde_json::from_str(line).expect("a row")).collect();
    let found = of_request(&request);
    assert_eq!((found.len(), rows.len(), left_out), (12, 12, 0));
    for (record, mut row) in found.iter().zip(rows.clone()) {
        let time = row.remove("__REALTIME_TIMESTAMP").expect("a time");
        assert_eq!(record["timeUnixNano"], format!("{}000", time.as_str().expect("a text")));
        assert_eq!(doubles(&plain(&record["body"])), doubles(&Json::Object(row)));
    }
    assert_eq!(cursor.as_deref(), rows[11]["__CURSOR"].as_str());
}

#[test]
fn priorities_become_severities_and_a_message_of_bytes_a_text_where_that_is_wanted() {
    let keys = "{convert_message_bytes: true, attributes: {log.source: journal}, resource: {service.name: node}}";
    let (request, ..) = records(&golden("entries.export"), &rule(keys));
    let found = of_request(&request);
    let severities: Vec<_> = found.iter().map(|record| record["severityNumber"].as_u64().unwrap_or(0)).collect();
    assert_eq!(severities, [9, 17, 13, 10, 18, 5, 19, 21, 0, 9, 9, 9]);
    assert_eq!(found[1]["severityText"], "err");
    let messages: Vec<Json> = found.iter().map(|record| plain(&record["body"])["MESSAGE"].clone()).collect();
    assert_eq!(messages[2], "\u{1b}[33mcoloured\u{1b}[0m");
    assert_eq!(messages[3], "not \u{fffd} utf-8");
    assert!(messages.iter().all(Json::is_string));
    assert_eq!(found[0]["attributes"][0]["value"]["stringValue"], "journal");
    assert_eq!(request["resourceLogs"][0]["resource"]["attributes"][0]["value"]["stringValue"], "node");
    assert_eq!(found[0]["observedTimeUnixNano"], "7");
}

#[test]
fn values_that_are_left_out_keep_their_names_and_are_counted() {
    let bytes = |name: &str, length: usize| {
        [name.as_bytes(), b"\n", &(length as u64).to_le_bytes(), &vec![0; length], b"\n"].concat()
    };
    let stream = [
        b"__CURSOR=s=1\n".to_vec(),
        bytes("A", 64 << 10),
        bytes("B", 1),
        [b"C=".to_vec(), vec![b'x'; FIELD_BYTES_MAX + 1], b"\nD=d\n\n".to_vec()].concat(),
    ];
    let (request, cursor, left_out) = records(&stream.concat(), &rule("{}"));
    let body = plain(&of_request(&request)[0]["body"]);
    assert_eq!(body["A"].as_array().map(Vec::len), Some(64 << 10));
    assert_eq!((&body["B"], &body["C"], &body["D"]), (&Json::Null, &Json::Null, &json!("d")));
    assert_eq!((cursor.as_deref(), left_out), (Some("s=1"), 2));
}

#[test]
fn an_entry_without_memory_leaves_the_batch_as_it_was() {
    let stream = [b"A=1\n\nA=".to_vec(), vec![b'x'; 20_000], b"\n\n".to_vec()].concat();
    let budget = Budget::new(16_000, 16_000);
    let (rule, mut reader, mut input) = (rule("{}"), ExportReader::default(), stream.as_slice());
    let mut batch = JournalBatch::within(&budget.take(0).expect("room"));
    assert!(reader.read(&mut input).expect("an entry"));
    batch.add(&reader, &rule, UnixNanos(7)).expect("memory");
    reader.clear();
    assert!(reader.read(&mut input).expect("an entry"));
    batch.add(&reader, &rule, UnixNanos(7)).expect_err("no memory");
    let made = batch.finish(&rule).expect("memory");
    assert_eq!((made.records, made.envelope.groups[0].scopes[0].items.len()), (1, 1));
    drop(made);
    assert_eq!(budget.used(), 0);
}
