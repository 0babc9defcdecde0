//! Where documents go and what ids they carry.

use super::*;
use crate::exporters::elasticsearch::mapping::Logstash;

const SPANS: &str = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[
    {"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708","startTimeUnixNano":"5",
     "events":[{"name":"one"},{"name":"two"}]},
    {"name":"nameless","startTimeUnixNano":"5"},{"name":"nameless","startTimeUnixNano":"5"}]}]}]}"#;
const RECORDS: &str = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"5","body":{"stringValue":"a"}},
    {"timeUnixNano":"5","body":{"stringValue":"a"}},{"observedTimeUnixNano":"5","body":{"stringValue":"b"}}]}]}]}"#;

fn ids(settings: &MappingSettings, signal: Signal, input: &str) -> Vec<Option<String>> {
    let bulk = map_as(settings.clone(), signal, &envelope_of(signal, input));
    let ids = pairs(&bulk).into_iter().map(|pair| pair["action"]["create"]["_id"].as_str().map(str::to_owned));
    let ids: Vec<Option<String>> = ids.collect();
    assert!(bulk.documents.iter().zip(&ids).all(|(document, id)| document.own_id == id.is_some()));
    ids
}

#[test]
fn spans_events_and_records_carry_ids_that_differ_and_are_the_same_on_every_attempt() {
    for mode in [MappingMode::Otel, MappingMode::Ecs] {
        let settings = MappingSettings { mode, ..MappingSettings::default() };
        for (signal, input, documents) in [(Signal::Traces, SPANS, 5), (Signal::Logs, RECORDS, 3)] {
            let first = ids(&settings, signal, input);
            assert_eq!(first.len(), documents);
            let distinct: std::collections::HashSet<&String> = first.iter().flatten().collect();
            assert_eq!(distinct.len(), documents, "{first:?}");
            assert_eq!(ids(&settings, signal, input), first);
        }
    }
    let events = ids(&MappingSettings::default(), Signal::Traces, SPANS);
    let span = events[0].clone().unwrap();
    assert_eq!(events[1..3], [Some(format!("{span}.0")), Some(format!("{span}.1"))]);
}

#[test]
fn a_record_without_any_time_has_an_id_too_and_another_one_in_another_payload() {
    let timeless = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"a"}}]}]}]}"#;
    let envelope = envelope_of(Signal::Logs, timeless);
    let id = |nonce| {
        let mut bulk = Bulk::default();
        let request =
            MappingRequest { signal: Signal::Logs, envelope: &envelope, mode: None, now: NOW, arrived: NOW, nonce };
        Mapper::new(MappingSettings::default()).map(&request, &mut Deltas::default(), &mut bulk);
        pairs(&bulk)[0]["action"]["create"]["_id"].as_str().map(str::to_owned)
    };
    assert!(id(1).is_some());
    assert_eq!(id(1), id(1));
    assert_ne!(id(1), id(2));
}

#[test]
fn records_of_another_resource_are_other_documents() {
    let other = RECORDS.replace(r#""scopeLogs""#, r#""resource":{"attributes":[{"key":"k"}]},"scopeLogs""#);
    assert_ne!(
        ids(&MappingSettings::default(), Signal::Logs, RECORDS),
        ids(&MappingSettings::default(), Signal::Logs, &other)
    );
}

#[test]
fn ids_can_be_switched_off_and_a_time_series_never_has_one() {
    assert_eq!(ids(&plain(MappingMode::Otel), Signal::Traces, SPANS), vec![None; 5]);
    let metric =
        r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","gauge":{"dataPoints":[{"asInt":1}]}}]}]}]}"#;
    assert_eq!(ids(&MappingSettings::default(), Signal::Metrics, metric), [None]);
}

fn steered(key: &str, value: &str) -> String {
    format!(r#"{{"key":"{key}","value":{{"stringValue":"{value}"}}}}"#)
}

#[test]
fn the_document_id_attribute_is_the_id_where_the_switch_is_on_and_never_part_of_the_document() {
    let attribute = steered("elasticsearch.document_id", "mine");
    let on = MappingSettings { traces_dynamic_id: true, logs_dynamic_id: true, ..MappingSettings::default() };
    let pair = &span_documents(on.clone(), &attribute)[0];
    assert_eq!(pair["action"]["create"]["_id"], "mine");
    assert_eq!(pair["doc"]["attributes"], serde_json::json!({}));
    let (documents, _) = log_documents(on.clone(), &format!(r#"{{"attributes":[{attribute}]}}"#));
    assert_eq!(documents[0]["action"]["create"]["_id"], "mine");
    assert_eq!(span_documents(plain(MappingMode::Otel), &attribute)[0]["action"]["create"].get("_id"), None);
    // One id of more than 512 bytes would make Elasticsearch refuse the whole request.
    let long = steered("elasticsearch.document_id", &"x".repeat(513));
    let id = span_documents(on, &long)[0]["action"]["create"]["_id"].clone();
    assert!(id.as_str().is_some_and(|id| id.len() < 100 && !id.contains("xxx")), "{id}");
}

#[test]
fn the_pipeline_attribute_names_a_records_pipeline_where_the_switch_is_on() {
    let record = format!(r#"{{"attributes":[{}]}}"#, steered("elasticsearch.ingest_pipeline", "p1"));
    let on = MappingSettings { logs_dynamic_pipeline: true, ..MappingSettings::default() };
    assert_eq!(log_documents(on, &record).0[0]["action"]["create"]["pipeline"], "p1");
    assert_eq!(log_documents(MappingSettings::default(), &record).0[0]["action"]["create"].get("pipeline"), None);
}

#[test]
fn the_records_attributes_decide_before_the_scopes_and_these_before_the_resources() {
    let scope = |attributes: &str| {
        let input = format!(
            r#"{{"resourceLogs":[{{"resource":{{"attributes":[{}]}},"scopeLogs":[{{"scope":{{"attributes":[{}]}},
            "logRecords":[{{"attributes":[{attributes}]}}]}}]}}]}}"#,
            steered("data_stream.dataset", "resource"),
            steered("data_stream.namespace", "scope"),
        );
        let bulk = map_as(plain(MappingMode::Otel), Signal::Logs, &envelope_of(Signal::Logs, &input));
        pairs(&bulk)[0]["action"]["create"]["_index"].as_str().unwrap().to_owned()
    };
    assert_eq!(scope(""), "logs-resource.otel-scope");
    assert_eq!(scope(&steered("data_stream.dataset", "own")), "logs-own.otel-scope");
    assert_eq!(scope(&steered("elasticsearch.index", "plain-index")), "plain-index");
}

#[test]
fn the_date_behind_an_index_is_that_of_the_request() {
    let logstash = Logstash { prefix_separator: "-".into(), date_format: "%Y.%m.%d".into() };
    let settings =
        MappingSettings { traces_index: Some("spans".into()), logstash: Some(logstash), ..plain(MappingMode::Otel) };
    let action = &span_documents(settings, "")[0]["action"]["create"];
    assert_eq!(action["_index"], "spans-2026.09.21");
    assert_eq!(action.get("require_data_stream"), None);
}
