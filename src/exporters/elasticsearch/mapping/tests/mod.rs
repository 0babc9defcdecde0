//! Against what the Collector sent for the same input, and against what Elasticsearch refuses.

mod bounds;
mod modes;
mod naming;
mod shields;

use bytes::Bytes;
use serde_json::Value;

use super::{Deltas, Mapper, MappingMode, MappingRequest, MappingSettings};
use crate::core::data::items::Items;
use crate::core::data::payload::{Envelope, Signal};
use crate::core::time::UnixNanos;
use crate::exporters::elasticsearch::mapping::bulk::{Bulk, MappedDocument};
use crate::exporters::elasticsearch::mapping::fault::MappingFault;
use crate::otlp::{envelope, json};

/// One case of the recording: input as OTLP/JSON, and action and document pairs that the elasticsearch exporter of a
/// Collector 0.157 sent for it.
#[derive(serde::Deserialize)]
struct Recorded {
    name: String,
    signal: String,
    input: Value,
    bulk: Vec<Value>,
}

/// What it sent for the same input in mode `ecs`.
#[derive(serde::Deserialize)]
struct Other {
    name: String,
    bulk: Vec<Value>,
}

/// Where we differ from the recording, and why.
const DIFFERENCES: &[(&str, &str)] = &[
    ("t27-value-types", "the elements of a mixed array are strings: Elasticsearch refuses the mixture"),
    ("t28-attr-keys", "an empty key is left out and counted: Elasticsearch refuses it"),
    ("t40-times", "a span that ends before it starts lasts 0, not 584 years"),
    ("t42-duplicate-keys", "keys that came twice are counted as dropped"),
];

/// The same for mode `ecs`.
const ECS_DIFFERENCES: &[(&str, &str)] =
    &[("t27-value-types", "as in mode otel"), ("t28-attr-keys", "an empty key is left out: Elasticsearch refuses it")];

/// After everything that the recordings speak of.
const NOW: UnixNanos = UnixNanos(1_790_000_000_000_000_000);

/// As the Collector sends documents: without ids of their own.
fn plain(mode: MappingMode) -> MappingSettings {
    MappingSettings { mode, deterministic_ids: false, ..MappingSettings::default() }
}

fn map_as(settings: MappingSettings, signal: Signal, envelope: &Envelope) -> Bulk {
    let mut bulk = Bulk::default();
    let request = MappingRequest { signal, envelope, mode: None, now: NOW, arrived: NOW, nonce: 0 };
    Mapper::new(settings).map(&request, &mut Deltas::default(), &mut bulk);
    bulk
}

fn envelope_of(signal: Signal, input: &str) -> Envelope {
    envelope::decode(json::to_wire(signal, input.as_bytes()).unwrap()).unwrap()
}

fn mapped(signal: Signal, input: &str) -> (Envelope, Bulk) {
    let envelope = envelope_of(signal, input);
    let bulk = map_as(plain(MappingMode::Otel), signal, &envelope);
    (envelope, bulk)
}

/// Action and document of each entry, as the recording has them.
fn pairs(bulk: &Bulk) -> Vec<Value> {
    let mut start = 0;
    let pair = |document: &MappedDocument| {
        let lines = std::str::from_utf8(&bulk.lines[start..document.end]).unwrap();
        start = document.end;
        let (action, rest) = lines.split_once('\n').unwrap();
        let document = rest.strip_suffix('\n').unwrap();
        assert!(!document.contains('\n'));
        serde_json::json!({
            "action": serde_json::from_str::<Value>(action).unwrap(),
            "doc": serde_json::from_str::<Value>(document).unwrap(),
        })
    };
    bulk.documents.iter().map(pair).collect()
}

/// Doubles that differ in the last digit only are the same; so are lists in the order of a hash map.
fn same(ours: &Value, theirs: &Value) -> bool {
    match (ours, theirs) {
        (Value::Number(ours), Value::Number(theirs)) if ours.is_f64() || theirs.is_f64() => {
            let (ours, theirs) = (ours.as_f64().unwrap(), theirs.as_f64().unwrap());
            (ours - theirs).abs() <= theirs.abs() * 1e-12
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            ours.len() == theirs.len() && ours.iter().zip(theirs).all(|(ours, theirs)| same(ours, theirs))
        }
        (Value::Object(ours), Value::Object(theirs)) => {
            let equal = |(key, value): (&String, &Value)| theirs.get(key).is_some_and(|other| same(value, other));
            ours.len() == theirs.len() && ours.iter().all(equal)
        }
        _ => ours == theirs,
    }
}

/// Names of the recorded cases whose documents differ from the ones expected.
fn differing(mode: MappingMode, expected: impl Fn(&Recorded) -> Vec<Value>) -> Vec<String> {
    let recording = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/elastic/otel.jsonl"));
    assert_eq!(recording.lines().count(), 55);
    let mut differing = Vec::new();
    for row in recording.lines() {
        let row: Recorded = serde_json::from_str(row).unwrap();
        let signal = Signal::parse(&row.signal).unwrap();
        let envelope = envelope_of(signal, &row.input.to_string());
        let bulk = map_as(plain(mode), signal, &envelope);
        let (ours, theirs) = (pairs(&bulk), expected(&row));
        let every =
            |ours: &[Value], theirs: &[Value]| ours.iter().all(|one| theirs.iter().any(|other| same(one, other)));
        if ours.len() != theirs.len() || !every(&ours, &theirs) || !every(&theirs, &ours) {
            for one in ours.iter().filter(|one| !theirs.iter().any(|other| same(one, other))) {
                println!("{} ours   {one}", row.name);
            }
            for one in theirs.iter().filter(|one| !ours.iter().any(|other| same(one, other))) {
                println!("{} theirs {one}", row.name);
            }
            differing.push(row.name);
        }
        let delivered: u64 = bulk.documents.iter().map(|document| u64::from(document.items)).sum();
        assert_eq!(delivered + bulk.faulty.len() as u64, envelope::count_items(signal, &envelope));
    }
    differing
}

fn names(listed: &[(&'static str, &str)]) -> Vec<&'static str> {
    listed.iter().map(|(name, _)| *name).collect()
}

#[test]
fn documents_are_those_of_the_collector_but_for_the_listed_differences() {
    assert_eq!(differing(MappingMode::Otel, |row| row.bulk.clone()), names(DIFFERENCES));
}

#[test]
fn documents_of_mode_ecs_are_those_of_the_collector_but_for_the_listed_differences() {
    let recording = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/elastic/ecs.jsonl"));
    let others: Vec<Other> = recording.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    let of = |row: &Recorded| others.iter().find(|other| other.name == row.name).unwrap().bulk.clone();
    assert_eq!(differing(MappingMode::Ecs, of), names(ECS_DIFFERENCES));
}

fn metric_faults(data: &str) -> (usize, Vec<MappingFault>) {
    let input = format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"m",{data}}}]}}]}}]}}"#);
    let (_, bulk) = mapped(Signal::Metrics, &input);
    (bulk.documents.len(), bulk.faulty.into_iter().map(|(_, fault)| fault).collect())
}

#[test]
fn a_point_that_elasticsearch_would_refuse_is_a_fault_and_not_a_document() {
    let cases = [
        (r#""gauge":{"dataPoints":[{"asDouble":"NaN"}]}"#, vec![MappingFault::NotFinite]),
        (r#""gauge":{"dataPoints":[{}]}"#, vec![MappingFault::Empty]),
        (r#""sum":{"dataPoints":[{"asInt":1,"flags":1}]}"#, vec![MappingFault::NoRecordedValue]),
        (r#""histogram":{"aggregationTemporality":2,"dataPoints":[{"count":1}]}"#, vec![MappingFault::Baseline]),
        (
            r#""histogram":{"aggregationTemporality":1,"dataPoints":[{"count":1,"bucketCounts":[1,2],"explicitBounds":[1,2]}]}"#,
            vec![MappingFault::Buckets],
        ),
        (
            r#""exponentialHistogram":{"aggregationTemporality":1,"dataPoints":[{"scale":-30,"positive":{"offset":9,"bucketCounts":[1]}}]}"#,
            vec![MappingFault::NotFinite],
        ),
    ];
    for (data, faults) in cases {
        assert_eq!(metric_faults(data), (0, faults), "{data}");
    }
    let twice = r#""gauge":{"dataPoints":[{"asInt":1,"timeUnixNano":5},{"asInt":2,"timeUnixNano":6}]}"#;
    assert_eq!(metric_faults(twice), (1, vec![MappingFault::Duplicate]));
}

#[test]
fn a_faulty_span_has_no_document_and_the_next_one_has() {
    let (mut envelope, _) = mapped(
        Signal::Traces,
        r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":"a","attributes":[{"key":"k"}]},{"name":"b"}]}]}]}"#,
    );
    let scope = &mut envelope.groups[0].scopes[0];
    let mut items = Items::from(vec![Bytes::from_static(&[0x4a, 0x02, 0x0a, 0x7f])]);
    (1..scope.items.len()).for_each(|at| items.push_from(&scope.items, at));
    scope.items = items;
    let bulk = map_as(plain(MappingMode::Otel), Signal::Traces, &envelope);
    assert_eq!(bulk.faulty.len(), 1);
    let pairs = pairs(&bulk);
    assert_eq!(pairs.len(), 1);
    assert_eq!(pairs[0]["doc"]["name"], "b");
}

#[test]
fn a_list_of_many_keys_keeps_the_first_of_each() {
    let keys = |from: usize| {
        (from..from + 500).map(move |key| format!(r#"{{"key":"k{}","value":{{"intValue":{from}}}}}"#, key % 300))
    };
    let attributes: Vec<String> = keys(0).chain(keys(1000)).collect();
    let input = format!(
        r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"attributes":[{}]}}]}}]}}]}}"#,
        attributes.join(",")
    );
    let (_, bulk) = mapped(Signal::Logs, &input);
    let document = &pairs(&bulk)[0]["doc"];
    assert_eq!(document["attributes"].as_object().unwrap().len(), 300);
    assert!(document["attributes"].as_object().unwrap().values().all(|value| value == 0));
    assert_eq!(document["dropped_attributes_count"], 700);
}

#[test]
fn hints_choose_the_aggregate_form_and_the_document_count() {
    let input = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"h","histogram":{"aggregationTemporality":1,
        "dataPoints":[{"count":7,"sum":3.5,"bucketCounts":[7,0],"explicitBounds":[1],"attributes":[
        {"key":"elasticsearch.mapping.hints","value":{"arrayValue":{"values":[
        {"stringValue":"_doc_count"},{"stringValue":"aggregate_metric_double"}]}}}]}]}}]}]}]}"#;
    let (_, bulk) = mapped(Signal::Metrics, input);
    let pair = &pairs(&bulk)[0];
    assert_eq!(pair["doc"]["_doc_count"], 7);
    assert_eq!(pair["doc"]["metrics"]["h"], serde_json::json!({"sum": 3.5, "value_count": 7}));
    assert_eq!(pair["action"]["create"]["dynamic_templates"]["metrics.h"], "summary");
}

#[test]
fn a_number_that_asks_for_a_document_count_counts_as_one_document() {
    for data in [r#""gauge":{"dataPoints":[{"asInt":5,HINT}]}"#, r#""sum":{"dataPoints":[{"asDouble":5,HINT}]}"#] {
        let hint = r#""attributes":[{"key":"elasticsearch.mapping.hints","value":{"arrayValue":{"values":[{"stringValue":"_doc_count"}]}}}]"#;
        let data = data.replace("HINT", hint);
        let input = format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"g",{data}}}]}}]}}]}}"#);
        let (_, bulk) = mapped(Signal::Metrics, &input);
        assert_eq!(pairs(&bulk)[0]["doc"]["_doc_count"], 1, "{data}");
    }
}

/// Documents of one span with these attributes (OTLP/JSON).
fn span_documents(settings: MappingSettings, attributes: &str) -> Vec<Value> {
    let input =
        format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"name":"a","attributes":[{attributes}]}}]}}]}}]}}"#);
    pairs(&map_as(settings, Signal::Traces, &envelope_of(Signal::Traces, &input)))
}

/// Documents of log records (OTLP/JSON), and why others have none.
fn log_documents(settings: MappingSettings, records: &str) -> (Vec<Value>, Vec<MappingFault>) {
    let input = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{records}]}}]}}]}}"#);
    let bulk = map_as(settings, Signal::Logs, &envelope_of(Signal::Logs, &input));
    (pairs(&bulk), bulk.faulty.iter().map(|(_, fault)| *fault).collect())
}
