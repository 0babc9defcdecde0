//! What Elasticsearch would refuse a document for, or a whole request, does not reach it.

use serde_json::json;

use super::*;

fn text(key: &str, value: &str) -> String {
    format!(r#"{{"key":{},"value":{{"stringValue":"{value}"}}}}"#, json!(key))
}

#[test]
fn of_two_attributes_of_one_key_the_first_stays_in_mode_otel_and_the_last_in_mode_ecs() {
    let twice = [text("k", "one"), text("k", "two")].join(",");
    let otel = &span_documents(plain(MappingMode::Otel), &twice)[0]["doc"];
    assert_eq!((&otel["attributes"], &otel["dropped_attributes_count"]), (&json!({"k": "one"}), &json!(1)));
    assert_eq!(span_documents(plain(MappingMode::Ecs), &twice)[0]["doc"]["k"], "two");
}

#[test]
fn keys_with_different_broken_bytes_that_read_the_same_are_one_key() {
    let attribute = |key: &[u8]| [&[0x0a, key.len() as u8], key, &[0x12, 2, 0x18, 1]].concat();
    let mut span = Vec::new();
    for key in [&b"\xff"[..], b"\xfe"] {
        let entry = attribute(key);
        span.extend_from_slice(&[0x4a, entry.len() as u8]);
        span.extend_from_slice(&entry);
    }
    let mut envelope = envelope_of(Signal::Traces, r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{}]}]}]}"#);
    envelope.groups[0].scopes[0].items = Items::from(vec![Bytes::from(span)]);
    for mode in [MappingMode::Otel, MappingMode::Ecs, MappingMode::None, MappingMode::Raw] {
        let bulk = map_as(plain(mode), Signal::Traces, &envelope);
        let line = std::str::from_utf8(&bulk.lines).unwrap();
        assert_eq!(line.matches('\u{fffd}').count(), 1, "{line}");
    }
}

#[test]
fn keys_without_letters_are_left_out() {
    let keys = ["", " ", "\t"].map(|key| text(key, "x")).join(",");
    let document = &span_documents(plain(MappingMode::Otel), &keys)[0]["doc"];
    assert_eq!((&document["attributes"], &document["dropped_attributes_count"]), (&json!({}), &json!(3)));
    let keys = ["", " ", ".", "a..b", "c."].map(|key| text(key, "x")).join(",");
    for mode in [MappingMode::Ecs, MappingMode::None, MappingMode::Raw] {
        let document = span_documents(plain(mode), &keys)[0]["doc"].to_string();
        assert!(!document.contains("\"x\""), "{document}");
    }
}

#[test]
fn attributes_never_take_the_place_of_the_documents_own_fields() {
    let attributes = ["@timestamp", "trace.id", "data_stream.type", "span.name", "Name", "TraceId"];
    let attributes = attributes.map(|key| text(key, "fake")).join(",");
    let ecs = &span_documents(plain(MappingMode::Ecs), &attributes)[0]["doc"];
    assert_eq!(ecs["@timestamp"], "1970-01-01T00:00:00.000000000Z");
    assert_eq!(ecs["data_stream"]["type"], "traces");
    assert_eq!(ecs["span"]["name"], "a");
    let raw = &span_documents(plain(MappingMode::Raw), &attributes)[0]["doc"];
    assert_eq!((&raw["Name"], &raw["data_stream.type"]), (&json!("a"), &json!("traces")));
}

#[test]
fn two_names_for_one_field_give_one_field() {
    let input = format!(
        r#"{{"resourceSpans":[{{"resource":{{"attributes":[{},{}]}},"scopeSpans":[{{"spans":[{{}}]}}]}}]}}"#,
        text("deployment.environment", "old"),
        text("deployment.environment.name", "new"),
    );
    let bulk = map_as(plain(MappingMode::Ecs), Signal::Traces, &envelope_of(Signal::Traces, &input));
    assert_eq!(pairs(&bulk)[0]["doc"]["service"], json!({"environment": "new"}));
}

#[test]
fn a_label_that_is_a_scalar_and_an_object_is_both() {
    let labels = [text("k8s.pod.labels.app", "cart"), text("k8s.pod.labels.app.kubernetes.io/name", "cart")].join(",");
    let ecs = &span_documents(plain(MappingMode::Ecs), &labels)[0]["doc"]["k8s"]["pod"]["labels"];
    assert_eq!(*ecs, json!({"app": {"value": "cart", "kubernetes": {"io/name": "cart"}}}));
    let raw = &span_documents(plain(MappingMode::Raw), &labels)[0]["doc"];
    assert_eq!(raw["k8s.pod.labels.app.value"], "cart");
    let otel = &span_documents(plain(MappingMode::Otel), &labels)[0]["doc"]["attributes"];
    assert_eq!(otel.as_object().unwrap().len(), 2, "keys of mode otel stay flat");
}

#[test]
fn the_elements_of_a_mixed_list_are_text() {
    let list =
        r#"{"key":"l","value":{"arrayValue":{"values":[{"stringValue":"a"},{"intValue":1},{"boolValue":true}]}}}"#;
    for (mode, at) in [
        (MappingMode::Otel, "/doc/attributes/l"),
        (MappingMode::Ecs, "/doc/l"),
        (MappingMode::None, "/doc/Attributes.l"),
    ] {
        let documents = span_documents(plain(mode), list);
        assert_eq!(documents[0].pointer(at), Some(&json!(["a", "1", "true"])), "{documents:?}");
    }
}

fn metric_documents(settings: MappingSettings, data: &str) -> Vec<Value> {
    let input = format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"m",{data}}}]}}]}}]}}"#);
    pairs(&map_as(settings, Signal::Metrics, &envelope_of(Signal::Metrics, &input)))
}

#[test]
fn dimensions_are_scalars_where_the_cluster_takes_no_lists() {
    let data = r#""gauge":{"dataPoints":[{"asInt":1,"attributes":[
        {"key":"l","value":{"arrayValue":{"values":[{"intValue":1},{"intValue":2}]}}},
        {"key":"m","value":{"kvlistValue":{"values":[{"key":"k","value":{"intValue":1}}]}}}]}]}"#;
    let attributes = |settings| metric_documents(settings, data)[0]["doc"]["attributes"].clone();
    assert_eq!(attributes(plain(MappingMode::Otel)), json!({"l": [1, 2], "m": r#"{"k":1}"#}));
    let mut settings = plain(MappingMode::Otel);
    settings.capability.array_dimensions = false;
    assert_eq!(attributes(settings), json!({"l": "[1,2]", "m": r#"{"k":1}"#}));
}

#[test]
fn a_cluster_without_dynamic_templates_is_not_told_of_any() {
    let mut settings = plain(MappingMode::Otel);
    settings.capability.dynamic_templates = false;
    let action = &metric_documents(settings, r#""gauge":{"dataPoints":[{"asInt":1}]}"#)[0]["action"]["create"];
    assert_eq!(action.get("dynamic_templates"), None);
}

#[test]
fn numbers_that_json_does_not_know_are_null_or_absent() {
    let odd = ["NaN", "Infinity", "-Infinity"];
    let attributes = odd.map(|odd| format!(r#"{{"key":"{odd}","value":{{"doubleValue":"{odd}"}}}}"#)).join(",");
    let otel = &span_documents(plain(MappingMode::Otel), &attributes)[0]["doc"]["attributes"];
    assert_eq!(*otel, json!({"NaN": null, "Infinity": null, "-Infinity": null}));
    let ecs = &span_documents(plain(MappingMode::Ecs), &attributes)[0]["doc"];
    assert!(odd.iter().all(|odd| ecs.get(odd).is_none()));
}

#[test]
fn a_span_that_ends_before_it_starts_lasts_nothing() {
    let input = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"startTimeUnixNano":"9","endTimeUnixNano":"5"}]}]}]}"#;
    let envelope = envelope_of(Signal::Traces, input);
    assert_eq!(pairs(&map_as(plain(MappingMode::Otel), Signal::Traces, &envelope))[0]["doc"]["duration"], 0);
    assert_eq!(pairs(&map_as(plain(MappingMode::None), Signal::Traces, &envelope))[0]["doc"]["Duration"], 0);
}

#[test]
fn longitude_and_latitude_are_one_point() {
    let double = |key: &str, value: f64| format!(r#"{{"key":"{key}","value":{{"doubleValue":{value}}}}}"#);
    let attributes = [
        double("geo.location.lat", 2.0),
        double("geo.location.lon", 1.0),
        double("a.geo.location.lon", 3.0),
        double("a.geo.location.lat", 4.0),
        double("b.geo.location.lat", 5.0),
        double("xgeo.location.lat", 6.0),
        double("xgeo.location.lon", 7.0),
    ];
    let document = &span_documents(plain(MappingMode::Otel), &attributes.join(","))[0]["doc"];
    let expected = json!({"geo.location": [1.0, 2.0], "a.geo.location": [3.0, 4.0], "b.geo.location.lat": 5.0,
        "xgeo.location.lat": 6.0, "xgeo.location.lon": 7.0});
    assert_eq!(document["attributes"], expected);
    assert_eq!(document.get("dropped_attributes_count"), None);
}

/// One point of a cumulative histogram at this second.
fn cumulative(second: u64, counts: [u64; 2]) -> Envelope {
    let data = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"h","histogram":{{"aggregationTemporality":2,
        "dataPoints":[{{"startTimeUnixNano":"1000000000","timeUnixNano":"{second}000000000","count":{},"sum":{},
        "attributes":[{{"key":"a","value":{{"stringValue":"b"}}}}],"bucketCounts":[{},{}],"explicitBounds":[10]}}]}}}}]}}]}}]}}"#,
        counts[0] + counts[1],
        counts[0] + counts[1],
        counts[0],
        counts[1],
    );
    envelope_of(Signal::Metrics, &data)
}

#[test]
fn a_cumulative_histogram_is_written_as_what_came_in_since_the_point_before() {
    for (mode, at) in [(MappingMode::Otel, "/doc/metrics/h"), (MappingMode::Ecs, "/doc/h")] {
        let mut mapper = Mapper::new(plain(mode));
        let mut deltas = Deltas::default();
        let mut at_second = |second: u64, counts: [u64; 2]| {
            let mut bulk = Bulk::default();
            let envelope = cumulative(second, counts);
            let request = MappingRequest {
                signal: Signal::Metrics,
                envelope: &envelope,
                mode: None,
                now: NOW,
                arrived: NOW,
                nonce: 0,
            };
            mapper.map(&request, &mut deltas, &mut bulk);
            assert_eq!(bulk.documents.len() + bulk.faulty.len(), 1);
            pairs(&bulk).first().and_then(|pair| pair.pointer(at).cloned())
        };
        assert_eq!(at_second(2, [5, 1]), None, "it only tells what the next one is counted from");
        assert_eq!(at_second(3, [7, 1]), Some(json!({"counts": [2], "values": [5.0]})));
        assert_eq!(at_second(4, [8, 4]), Some(json!({"counts": [1, 3], "values": [5.0, 10.0]})));
        assert_eq!(at_second(5, [1, 0]), Some(json!({"counts": [1], "values": [5.0]})), "counted anew");
    }
}

#[test]
fn a_point_is_refused_for_bounds_that_do_not_ascend_and_for_no_temporality() {
    let histogram = |temporality: u8, bounds: &str| {
        metric_faults(&format!(
            r#""histogram":{{"aggregationTemporality":{temporality},"dataPoints":[{{"count":3,"bucketCounts":[1,1,1],"explicitBounds":[{bounds}]}}]}}"#
        ))
    };
    assert_eq!(histogram(1, "1,2"), (1, vec![]));
    assert_eq!(histogram(1, "2,1"), (0, vec![MappingFault::Buckets]));
    assert_eq!(histogram(0, "1,2"), (0, vec![MappingFault::Temporality]));
}

#[test]
fn a_metric_in_the_place_of_another_in_mode_ecs_is_counted() {
    let twice = r#""gauge":{"dataPoints":[{"asInt":1,"timeUnixNano":5},{"asInt":2,"timeUnixNano":6}]}"#;
    let input = format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"name":"m",{twice}}}]}}]}}]}}"#);
    let bulk = map_as(plain(MappingMode::Ecs), Signal::Metrics, &envelope_of(Signal::Metrics, &input));
    assert_eq!(bulk.faulty.iter().map(|(_, fault)| *fault).collect::<Vec<_>>(), [MappingFault::Duplicate]);
    assert_eq!((pairs(&bulk)[0]["doc"]["m"].clone(), bulk.documents[0].items), (json!(2), 1));
}
