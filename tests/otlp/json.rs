//! OTLP/JSON against `opentelemetry-proto`'s serde form, and against what a real Collector 0.161 answered.

use std::fmt::Debug;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use podgate::core::data::budget::{Budget, Ticket};
use podgate::core::data::payload::Signal;
use podgate::core::limits::DEPTH_MAX;
use podgate::otlp::walk::Malformed;
use podgate::otlp::{envelope, json, readable, span};
use proptest::prelude::*;
use prost::Message;
use serde::Serialize;
use serde_json::Value;

use crate::arbitrary::Arbitrary;

fn line_of(signal: Signal, wire: impl Into<Bytes>) -> Vec<u8> {
    let mut line = Vec::new();
    json::from_wire(signal, &envelope::decode(wire.into()).unwrap(), &mut line).unwrap();
    line
}

/// JSON written by `opentelemetry-proto` reads as the same request; our own line does too.
fn check<M: Message + Default + PartialEq + Debug + Serialize>(signal: Signal, request: &M) {
    // The crate writes absent bytes of profiles as an empty list, against the specification.
    let text = serde_json::to_string(request).unwrap().replace(r#""originalPayload":[],"#, "");
    let wire = json::to_wire(signal, text.as_bytes()).unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!(&M::decode(wire).unwrap(), request);

    let line = line_of(signal, request.encode_to_vec());
    serde_json::from_slice::<Value>(&line).unwrap();
    let back = json::to_wire(signal, &line).unwrap_or_else(|fault| panic!("{fault}"));
    assert_eq!(line_of(signal, back), line);
}

/// `opentelemetry-proto` writes ids and bytes of profiles as arrays of numbers, against the specification.
fn as_serde_can(mut request: ExportProfilesServiceRequest) -> ExportProfilesServiceRequest {
    request.dictionary.iter_mut().for_each(|dictionary| dictionary.link_table.clear());
    let scopes = request.resource_profiles.iter_mut().flat_map(|group| &mut group.scope_profiles);
    for profile in scopes.flat_map(|scope| &mut scope.profiles) {
        profile.profile_id.clear();
        profile.original_payload.clear();
    }
    request
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn json_of_the_structs_reads_as_the_structs(seed in any::<u64>()) {
        let mut some = Arbitrary::new(seed);
        check::<ExportTraceServiceRequest>(Signal::Traces, &some.traces());
        check::<ExportLogsServiceRequest>(Signal::Logs, &some.logs());
        check::<ExportMetricsServiceRequest>(Signal::Metrics, &some.metrics());
        check::<ExportProfilesServiceRequest>(Signal::Profiles, &as_serde_can(some.profiles()));
    }
}

/// One case of the recording: what a Collector 0.161 was sent on /v1/traces, its status, and what its file exporter
/// wrote. In `invalid utf-8` the body's two bytes 0xff 0xfe are recorded as text.
#[derive(serde::Deserialize)]
struct Recorded {
    name: String,
    body: String,
    status: u16,
    decoded: Vec<Value>,
}

/// Where we differ from the recording, and why.
const DIFFERENCES: &[(&str, &str)] = &[
    ("int64 exponent string", "protobuf's JSON mapping reads 1e18 as a whole number, quoted or not"),
    ("bytesValue base64url", "protobuf's JSON mapping reads both alphabets"),
    ("null id", "null leaves any field unset"),
    ("BOM", "RFC 8259 lets a reader pass over it"),
    ("trailing data", "a body is one request"),
    ("stringValue null", "null leaves the value unset where the Collector makes an empty string of it"),
];

#[test]
fn recorded_bodies_read_as_in_the_collector_but_for_the_listed_differences() {
    let recording = include_str!("../golden/json/collector.jsonl");
    let mut differences = Vec::new();
    for row in recording.lines() {
        let row: Recorded = serde_json::from_str(row).unwrap();
        let mut body = row.body.into_bytes();
        if let Some(at) = body.windows(8).position(|bytes| bytes == br"\xff\xfe") {
            body.splice(at..at + 8, [0xff, 0xfe]);
        }
        let wire = json::to_wire(Signal::Traces, &body).ok().filter(|wire| {
            // A request of which nothing is readable is refused; of these bodies with a bad id each holds one span.
            let read = readable::read(Signal::Traces, wire.clone(), &Ticket::free()).unwrap();
            read.malformed == 0 || read.items > 0
        });
        let line = wire.map(|wire| line_of(Signal::Traces, wire));
        let ours = line.as_ref().map(|line| serde_json::from_slice::<Value>(line).unwrap());
        let same = match (&ours, row.status) {
            // The Collector writes no line for a request without spans.
            (Some(_), 200) if row.decoded.is_empty() => true,
            (Some(line), 200) => row.decoded == [line.clone()],
            (None, 400 | 500) => true,
            _ => false,
        };
        if !same {
            differences.push(row.name);
        }
    }
    let mut listed: Vec<&str> = DIFFERENCES.iter().map(|(name, _)| *name).collect();
    listed.sort_unstable();
    differences.sort_unstable();
    assert_eq!(differences, listed);
    assert_eq!(recording.lines().count(), 50);
}

#[test]
fn a_line_has_the_collectors_order_and_omissions() {
    let body = br#"{"resourceSpans":[{"scopeSpans":[{"spans":[
        {"status":{"code":2},"name":"GET /","traceId":"5B8EFFF798038103D269B633813FC60C","kind":"SPAN_KIND_SERVER",
         "start_time_unix_nano":"5","flags":1,"attributes":[{"value":{"doubleValue":"NaN"},"key":"a"}]}]}]}]}"#;
    let line = line_of(Signal::Traces, json::to_wire(Signal::Traces, body).unwrap());
    let expected = concat!(
        r#"{"resourceSpans":[{"resource":{},"scopeSpans":[{"scope":{},"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","#,
        r#""flags":1,"name":"GET /","kind":2,"startTimeUnixNano":"5","#,
        r#""attributes":[{"key":"a","value":{"doubleValue":"NaN"}}],"status":{"code":2}}]}]}]}"#
    );
    assert_eq!(String::from_utf8(line).unwrap(), expected);
}

/// A body with one span whose attribute is `levels` lists deep.
fn nested_lists(levels: usize) -> String {
    let value = format!("{}{{\"intValue\":1}}{}", "{\"arrayValue\":{\"values\":[".repeat(levels), "]}}".repeat(levels));
    format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"attributes":[{{"value":{value}}}]}},{{"name":"b"}}]}}]}}]}}"#
    )
}

#[test]
fn a_value_too_deep_marks_its_span_and_no_other() {
    for (levels, verdict) in
        [(DEPTH_MAX, Ok(())), (DEPTH_MAX + 1, Err(Malformed::Depth)), (5_000, Err(Malformed::Depth))]
    {
        let read = envelope::decode(json::to_wire(Signal::Traces, nested_lists(levels).as_bytes()).unwrap()).unwrap();
        let verdicts: Vec<_> = read.items().map(|item| span::check_depth(Signal::Traces, item)).collect();
        assert_eq!(verdicts, [verdict, Ok(())], "{levels} levels");
    }
}

#[test]
fn the_last_of_repeated_keys_counts_whatever_it_holds() {
    let cases = [
        (r#""name":"a","name":"""#, r#"{"status":{}}"#),
        (r#""name":"a","name":null"#, r#"{"status":{}}"#),
        (r#""name":"a","kind":1,"name":"b""#, r#"{"name":"b","kind":1,"status":{}}"#),
        (r#""status":{"code":1,"message":"x"},"name":"n","status":{"code":2}"#, r#"{"name":"n","status":{"code":2}}"#),
        (
            r#""events":[{"name":"a"},{"name":"b"}],"name":"n","events":[{"name":"c"}]"#,
            r#"{"name":"n","events":[{"name":"c"}],"status":{}}"#,
        ),
        (r#""events":[{"name":"a"}],"events":null"#, r#"{"status":{}}"#),
    ];
    for (fields, expected) in cases {
        let body = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{fields}}}]}}]}}]}}"#);
        let line = line_of(Signal::Traces, json::to_wire(Signal::Traces, body.as_bytes()).unwrap());
        let line: Value = serde_json::from_slice(&line).unwrap();
        let span = &line["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
        assert_eq!(*span, serde_json::from_str::<Value>(expected).unwrap(), "{fields}");
    }
}

#[test]
fn faults_say_where_and_what_was_expected() {
    let cases = [
        ("", "line 1, column 1: expected an object, found the end"),
        ("[]", "line 1, column 1: expected an object, found `[`"),
        ("{\n \"resourceSpans\": {}}", "line 2, column 19: expected an array for `resourceSpans`, found `{`"),
        (r#"{"resourceSpans":[{"schemaUrl":5}]}"#, "line 1, column 32: expected a string for `schemaUrl`, found `5`"),
        (
            r#"{"resourceSpans":[{"resource":{"droppedAttributesCount":-1}}]}"#,
            "line 1, column 57: expected a whole number from 0 to 4294967295 for `droppedAttributesCount`, found -1",
        ),
        (r#"{"resourceSpans":[]} x"#, "line 1, column 22: expected the end of the body, found `x`"),
        (r#"{"resourceSpans":[],}"#, "line 1, column 21: expected a key, found `}`"),
        (r#"{"resourceSpans":["#, "line 1, column 19: expected an object for `resourceSpans`, found the end"),
    ];
    for (body, expected) in cases {
        assert_eq!(json::to_wire(Signal::Traces, body.as_bytes()).unwrap_err().to_string(), expected, "{body}");
    }
}

#[test]
fn ids_and_bytes_of_profiles_are_hex_and_base64() {
    let body = br#"{"resourceProfiles":[{"scopeProfiles":[{"profiles":[
        {"profileId":"000102030405060708090a0b0c0d0e0f","originalPayload":"aGk="}]}]}],
        "dictionary":{"linkTable":[{"traceId":"5b8efff798038103d269b633813fc60c","spanId":"eee19b7ec3c1b174"}]}}"#;
    let wire = json::to_wire(Signal::Profiles, body).unwrap();
    let request = ExportProfilesServiceRequest::decode(wire.clone()).unwrap();
    let profile = &request.resource_profiles[0].scope_profiles[0].profiles[0];
    assert_eq!((profile.profile_id[15], profile.original_payload.as_slice()), (15, &b"hi"[..]));
    assert_eq!(request.dictionary.unwrap().link_table[0].span_id[0], 0xee);
    let line: Value = serde_json::from_slice(&line_of(Signal::Profiles, wire)).unwrap();
    assert_eq!(line["dictionary"]["linkTable"][0]["spanId"], "eee19b7ec3c1b174");
    assert_eq!(line["resourceProfiles"][0]["scopeProfiles"][0]["profiles"][0]["originalPayload"], "aGk=");
}

/// What it takes: the finished bytes of a list of numbers or of invalid text are several times as long as their JSON.
#[test]
fn transcoding_takes_no_more_memory_than_its_ticket_was_granted() {
    let zeros = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"histogram":{{"dataPoints":[{{"bucketCounts":[{}0]}}]}}}}]}}]}}]}}"#,
        "0,".repeat(100_000)
    );
    let mut torn = br#"{"resourceMetrics":[{"schemaUrl":""#.to_vec();
    torn.extend([0xff; 200_000]);
    torn.extend(br#""}]}"#);
    let empties = format!(r#"{{"resourceMetrics":[{}{{}}]}}"#, "{},".repeat(100_000));
    for (body, factor) in [(zeros.as_bytes(), 3.9), (&torn[..], 2.9), (empties.as_bytes(), 1.9)] {
        let budget = Budget::new(64 << 20, 64 << 20);
        let ticket = budget.take(body.len() as u64).unwrap();
        let wire = json::to_wire_within(Signal::Metrics, body, &ticket).unwrap();
        assert!(wire.len() as f64 > factor * body.len() as f64, "{} of {}", wire.len(), body.len());
        let granted = ticket.bytes() - body.len() as u64;
        assert!(granted >= wire.len() as u64, "{granted} granted for {}", wire.len());

        let tight = Budget::new(2 * body.len() as u64, 2 * body.len() as u64);
        let ticket = tight.take(body.len() as u64).unwrap();
        let refused = json::to_wire_within(Signal::Metrics, body, &ticket);
        assert!(matches!(refused, Err(json::TranscodeError::OverBudget(_))) == (factor > 1.0), "{factor}");
        assert!(ticket.bytes() <= tight.hard());
    }
}
