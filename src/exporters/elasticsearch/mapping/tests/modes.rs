//! Modes other than `otel` and `ecs`, and how a mode is chosen.

use serde_json::json;

use super::*;

/// A resource, a scope, a span with one event and one link.
const TRACE: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"s"}}]},
    "scopeSpans":[{"scope":{"name":"lib","version":"1","attributes":[{"key":"sa","value":{"intValue":1}}]},"spans":[{
    "traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708","parentSpanId":"0001020304050607",
    "name":"GET /","kind":2,"startTimeUnixNano":"1705314600000000000","endTimeUnixNano":"1705314600150000000",
    "attributes":[{"key":"http.method","value":{"stringValue":"GET"}}],
    "events":[{"timeUnixNano":"1705314600050000000","name":"query.executed","attributes":[
        {"key":"rows.returned","value":{"intValue":1}}]}],
    "links":[{"traceId":"100f0e0d0c0b0a090807060504030201","spanId":"0807060504030201","attributes":[
        {"key":"link.type","value":{"stringValue":"follows_from"}}]}],
    "status":{"code":1,"message":"fine"}}]}]}]}"#;

fn trace(mode: MappingMode) -> Vec<Value> {
    pairs(&map_as(plain(mode), Signal::Traces, &envelope_of(Signal::Traces, TRACE)))
}

#[test]
fn mode_none_keeps_the_names_of_otlp_and_puts_attributes_and_events_below_a_word() {
    let documents = trace(MappingMode::None);
    assert_eq!(documents.len(), 1);
    assert_eq!(documents[0]["action"]["create"]["_index"], "traces-generic-default");
    let link = r#"[{"attribute":{"link.type":"follows_from"},"spanID":"0807060504030201","traceID":"100f0e0d0c0b0a090807060504030201"}]"#;
    let expected = json!({
        "@timestamp": "2024-01-15T10:30:00.000000000Z", "EndTimestamp": "2024-01-15T10:30:00.150000000Z",
        "Attributes.data_stream.dataset": "generic", "Attributes.data_stream.namespace": "default",
        "Attributes.data_stream.type": "traces", "Attributes.http.method": "GET", "Duration": 150_000,
        "Events.query.executed.rows.returned": 1, "Events.query.executed.time": "2024-01-15T10:30:00.050000000Z",
        "Kind": "SPAN_KIND_SERVER", "Link": link, "Name": "GET /", "ParentSpanId": "0001020304050607",
        "Resource.service.name": "s", "Scope.name": "lib", "Scope.version": "1", "Scope.sa": 1,
        "SpanId": "0102030405060708", "TraceId": "0102030405060708090a0b0c0d0e0f10",
        "TraceStatus": 1, "TraceStatusDescription": "fine",
    });
    assert_eq!(documents[0]["doc"], expected);
}

#[test]
fn mode_raw_puts_attributes_and_events_at_the_root() {
    let document = &trace(MappingMode::Raw)[0]["doc"];
    assert_eq!(document["http.method"], "GET");
    assert_eq!(document["query.executed.rows.returned"], 1);
    assert_eq!(document["data_stream.type"], "traces");
    assert_eq!(document["Resource.service.name"], "s");
}

#[test]
fn a_log_record_in_mode_none_has_its_flags_its_severity_and_its_body() {
    let record = r#"{"timeUnixNano":"1705314600000000000","severityNumber":9,"severityText":"INFO","flags":1,
        "body":{"kvlistValue":{"values":[{"key":"m","value":{"stringValue":"x"}}]}}}"#;
    let (documents, _) = log_documents(plain(MappingMode::None), record);
    let expected = json!({
        "@timestamp": "2024-01-15T10:30:00.000000000Z", "Attributes.data_stream.dataset": "generic",
        "Attributes.data_stream.namespace": "default", "Attributes.data_stream.type": "logs", "Body.m": "x",
        "SeverityNumber": 9, "SeverityText": "INFO", "TraceFlags": 1,
    });
    assert_eq!(documents[0]["doc"], expected);
}

#[test]
fn mode_bodymap_writes_the_body_as_the_document_and_takes_nothing_but_maps() {
    let records = r#"{"timeUnixNano":"1705314600000000000","body":{"kvlistValue":{"values":[
        {"key":"message","value":{"stringValue":"m"}},{"key":"@timestamp","value":{"stringValue":"then"}},
        {"key":"log.level","value":{"stringValue":"error"}}]}}},
        {"timeUnixNano":"1705314600000000000","body":{"kvlistValue":{"values":[{"key":"n","value":{"intValue":1}}]}},
         "attributes":[{"key":"data_stream.type","value":{"stringValue":"metrics"}}]},
        {"body":{"stringValue":"text"}}"#;
    let (documents, faults) = log_documents(plain(MappingMode::Bodymap), records);
    assert_eq!(documents[0]["doc"], json!({"message": "m", "@timestamp": "then", "log.level": "error"}));
    assert_eq!(documents[1]["doc"], json!({"n": 1, "@timestamp": "2024-01-15T10:30:00.000000000Z"}));
    assert_eq!(documents[1]["action"]["create"]["_index"], "metrics-generic-default");
    assert_eq!(faults, [MappingFault::Body]);
}

/// Index of the one log document of a scope with this mode attribute.
fn index_of(
    settings: MappingSettings,
    request: Option<MappingMode>,
    scope: Option<&str>,
) -> Result<String, MappingFault> {
    let scope = scope.map(|mode| {
        format!(r#""scope":{{"attributes":[{{"key":"elastic.mapping.mode","value":{{"stringValue":"{mode}"}}}}]}},"#)
    });
    let scope = scope.unwrap_or_default();
    let input = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{{scope}"logRecords":[{{}}]}}]}}]}}"#);
    let envelope = envelope_of(Signal::Logs, &input);
    let mut bulk = Bulk::default();
    let request =
        MappingRequest { signal: Signal::Logs, envelope: &envelope, mode: request, now: NOW, arrived: NOW, nonce: 0 };
    Mapper::new(settings).map(&request, &mut Deltas::default(), &mut bulk);
    match bulk.faulty.first() {
        Some((_, fault)) => Err(*fault),
        None => Ok(pairs(&bulk)[0]["action"]["create"]["_index"].as_str().unwrap().to_owned()),
    }
}

#[test]
fn the_scopes_mode_comes_before_the_requests_and_this_before_the_default() {
    let (otel, other) = (Ok("logs-generic.otel-default".to_owned()), Ok("logs-generic-default".to_owned()));
    assert_eq!(index_of(plain(MappingMode::Otel), None, None), otel);
    assert_eq!(index_of(plain(MappingMode::Otel), Some(MappingMode::Ecs), None), other);
    assert_eq!(index_of(plain(MappingMode::Otel), Some(MappingMode::Ecs), Some("OTel")), otel);
    assert_eq!(index_of(plain(MappingMode::Ecs), None, Some("otel")), otel);
}

#[test]
fn a_mode_that_does_not_exist_or_is_not_allowed_is_a_fault() {
    assert_eq!(index_of(plain(MappingMode::Otel), None, Some("odd")), Err(MappingFault::Mode));
    let settings = MappingSettings { allowed_modes: vec![MappingMode::Raw], ..plain(MappingMode::Otel) };
    assert_eq!(index_of(settings.clone(), None, Some("ecs")), Err(MappingFault::Mode));
    assert_eq!(index_of(settings.clone(), Some(MappingMode::Ecs), None), Err(MappingFault::Mode));
    assert!(index_of(settings, None, Some("otel")).is_ok(), "the default is always allowed");
}

#[test]
fn signals_without_documents_in_a_mode_are_counted_as_faults() {
    let metrics = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"m","gauge":{"dataPoints":[{"asInt":1},{"asInt":2}]}}]}]}]}"#;
    let faults = |mode: MappingMode, signal: Signal, input: &str| -> Vec<MappingFault> {
        let bulk = map_as(plain(mode), signal, &envelope_of(signal, input));
        assert!(bulk.documents.is_empty() && bulk.lines.is_empty());
        bulk.faulty.iter().map(|(_, fault)| *fault).collect()
    };
    assert_eq!(faults(MappingMode::Raw, Signal::Metrics, metrics), [MappingFault::Unsupported; 2]);
    assert_eq!(faults(MappingMode::Bodymap, Signal::Traces, TRACE), [MappingFault::Unsupported]);
    let profiles = r#"{"resourceProfiles":[{"scopeProfiles":[{"profiles":[{}]}]}]}"#;
    assert_eq!(faults(MappingMode::Otel, Signal::Profiles, profiles), [MappingFault::Profiles]);
}

#[test]
fn events_in_mode_ecs_are_documents_only_where_the_switch_is_on() {
    assert_eq!(trace(MappingMode::Ecs).len(), 2);
    let settings = MappingSettings { ecs_span_events_to_logs: false, ..plain(MappingMode::Ecs) };
    assert_eq!(pairs(&map_as(settings, Signal::Traces, &envelope_of(Signal::Traces, TRACE))).len(), 1);
}

#[test]
fn an_event_in_mode_ecs_belongs_to_its_transaction_and_goes_where_it_says_itself() {
    let text = |key: &str, value: &str| format!(r#"{{"key":"{key}","value":{{"stringValue":"{value}"}}}}"#);
    let id = text("transaction.id", "0202020202020202");
    let error = [text("exception.type", "E"), text("error.grouping_name", "m")].join(",");
    let own = [text("data_stream.namespace", "prod"), text("elasticsearch.document_id", "mine")].join(",");
    let trace = |attributes: &str| {
        let request = format!(
            r#"{{"resourceSpans":[{{"resource":{{"attributes":[{}]}},"scopeSpans":[{{"spans":[{{
            "traceId":"01010101010101010101010101010101","spanId":"0303030303030303","attributes":[{attributes}],
            "events":[{{"name":"exception","attributes":[{error}]}},{{"name":"told","attributes":[{own}]}}]}}]}}]}}]}}"#,
            text("service.name", "shop"),
        );
        let settings = MappingSettings { traces_dynamic_id: true, ..plain(MappingMode::Ecs) };
        pairs(&map_as(settings, Signal::Traces, &envelope_of(Signal::Traces, &request)))
    };
    let of_transaction = trace(&id);
    let (exception, told) = (&of_transaction[1]["doc"], &of_transaction[2]["doc"]);
    for document in [exception, told] {
        assert_eq!(document["transaction"]["id"], "0202020202020202", "{document}");
        assert_eq!(document["span"]["id"], "0202020202020202", "{document}");
    }
    assert_eq!(exception["parent"]["id"], "0202020202020202");
    assert_eq!(
        exception["error"],
        serde_json::json!({"exception": {"type": "E"}}),
        "the name of a group is not written"
    );
    assert_eq!(told["data_stream"]["namespace"], "prod");
    let action = &of_transaction[2]["action"]["create"];
    assert_eq!((&action["_index"], &action["_id"]), (&"logs-apm.app.shop-prod".into(), &"mine".into()));
    let of_span = trace("");
    assert_eq!(of_span[1]["doc"]["parent"]["id"], "0303030303030303");
    assert_eq!(of_span[2]["doc"]["span"]["id"], "0303030303030303");
    assert!(of_span[1]["doc"]["transaction"].is_null() && of_span[1]["doc"]["span"].is_null());
}
