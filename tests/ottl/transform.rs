//! The processor on whole payloads: what it changes, what it leaves alone byte for byte, and what it answers for.

use std::collections::BTreeSet;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, metric::Data, number_data_point::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use serde_json::{Value as Json, json};

use podgate::core::data::payload::Signal;
use podgate::core::error::Reason;

use crate::common::{any, attributes, checked, of_any, rig, shown};

fn resource(of: Json) -> Option<Resource> {
    Some(Resource { attributes: attributes(&of), ..Resource::default() })
}

fn span(name: &str, of: Json, events: &[&str]) -> Span {
    let event = |name: &&str| Event {
        name: (*name).into(),
        attributes: attributes(&json!({ "of": name })),
        time_unix_nano: 5,
        ..Event::default()
    };
    Span {
        name: name.into(),
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        kind: 2,
        attributes: attributes(&of),
        events: events.iter().map(event).collect(),
        ..Span::default()
    }
}

fn traces() -> ExportTraceServiceRequest {
    let scope = Some(InstrumentationScope { name: "lib".into(), ..InstrumentationScope::default() });
    let group = |service: &str, spans: Vec<Span>| ResourceSpans {
        resource: resource(json!({ "service.name": service })),
        scope_spans: vec![ScopeSpans { scope: scope.clone(), spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest {
        resource_spans: vec![
            group("cart", vec![span("a", json!({ "k": 1 }), &["x", "y"]), span("b", json!({ "k": 2 }), &[])]),
            group("shop", vec![span("c", json!({}), &["x"])]),
        ],
    }
}

pub fn spans_of(request: &mut ExportTraceServiceRequest) -> impl Iterator<Item = &mut Span> {
    request.resource_spans.iter_mut().flat_map(|group| &mut group.scope_spans).flat_map(|scope| &mut scope.spans)
}

/// The request that comes of it, beside the one that should.
pub fn assert_traces(yaml: &str, change: impl FnOnce(&mut ExportTraceServiceRequest)) {
    let made = rig(yaml, Signal::Traces).bytes(&traces().encode_to_vec());
    let mut expected = traces();
    change(&mut expected);
    assert_eq!(ExportTraceServiceRequest::decode(made).expect("valid"), expected, "{yaml}");
}

#[test]
fn each_context_changes_what_it_is_about() {
    assert_traces("trace_statements: [{context: span, statements: ['set(name, \"n\") where name == \"b\"']}]", |all| {
        spans_of(all).filter(|span| span.name == "b").for_each(|span| span.name = "n".into());
    });
    assert_traces(
        "trace_statements: ['set(span.status.code, STATUS_CODE_ERROR)', 'set(span.status.message, \"m\")']",
        |all| {
            spans_of(all).for_each(|span| span.status = Some(Status { code: 2, message: "m".into() }));
        },
    );
    assert_traces(
        "trace_statements: ['set(span.kind.string, \"Client\")', 'set(span.trace_state[\"k\"], \"v\")']",
        |all| {
            spans_of(all).for_each(|span| (span.kind, span.trace_state) = (3, "k=v".into()));
        },
    );
    assert_traces("trace_statements: ['set(spanevent.attributes[\"at\"], spanevent.event_index)']", |all| {
        for span in spans_of(all) {
            for (at, event) in span.events.iter_mut().enumerate() {
                event.attributes.extend(attributes(&json!({ "at": at })));
            }
        }
    });
    assert_traces(
        "trace_statements: [{context: spanevent, statements: ['set(attributes[\"of\"], span.name) where name == \"x\"']}]",
        |all| {
            for span in spans_of(all) {
                let name = json!({ "of": span.name });
                span.events
                    .iter_mut()
                    .filter(|event| event.name == "x")
                    .for_each(|event| event.attributes = attributes(&name));
            }
        },
    );
    assert_traces("trace_statements: ['set(spanevent.time_unix_nano, 9)', 'set(span.attributes[\"n\"], 1)']", |all| {
        for span in spans_of(all) {
            // The list is about events, so a span that has none is not met.
            let met = usize::from(!span.events.is_empty());
            span.events.iter_mut().for_each(|event| event.time_unix_nano = 9);
            span.attributes.extend(attributes(&json!({ "n": 1 })).into_iter().take(met));
        }
    });
    assert_traces("trace_statements: ['set(scope.name, resource.attributes[\"service.name\"])']", |all| {
        for (group, name) in all.resource_spans.iter_mut().zip(["cart", "shop"]) {
            group.scope_spans[0].scope.as_mut().expect("a scope").name = name.into();
        }
    });
    assert_traces("trace_statements: [{context: resource, statements: ['set(attributes[\"new\"], true)']}]", |all| {
        for group in &mut all.resource_spans {
            group.resource.as_mut().expect("a resource").attributes.extend(attributes(&json!({ "new": true })));
        }
    });
}

/// What one item does to its resource all others see, also those before it.
#[test]
fn a_resource_that_one_span_changes_is_changed_for_all_of_its_spans() {
    assert_traces(
        "trace_statements: [{context: span, statements: ['set(resource.attributes[\"from\"], name) where attributes[\"k\"] == 1', 'set(attributes[\"seen\"], resource.attributes[\"from\"]) where resource.attributes[\"from\"] != nil']}]",
        |all| {
            let cart = &mut all.resource_spans[0];
            cart.resource.as_mut().expect("a resource").attributes.extend(attributes(&json!({ "from": "a" })));
            for span in &mut cart.scope_spans[0].spans {
                span.attributes.extend(attributes(&json!({ "seen": "a" })));
            }
        },
    );
    assert_traces("trace_statements: ['set(resource.attributes[\"last\"], span.name)']", |all| {
        for (group, last) in all.resource_spans.iter_mut().zip(["b", "c"]) {
            group.resource.as_mut().expect("a resource").attributes.extend(attributes(&json!({ "last": last })));
        }
    });
    assert_traces(
        "trace_statements: [{context: spanevent, statements: ['set(scope.version, name)', 'set(span.name, name)']}]",
        |all| {
            for (group, last) in all.resource_spans.iter_mut().zip(["y", "x"]) {
                let scope = &mut group.scope_spans[0];
                scope.scope.as_mut().expect("a scope").version = last.into();
                scope.spans[0].name = last.into();
            }
        },
    );
}

#[test]
fn rows_run_one_after_the_other_over_everything() {
    // The second row sees what the first did to the last span.
    assert_traces(
        "trace_statements: [{context: span, statements: ['set(resource.attributes[\"last\"], name)']}, {context: span, statements: ['set(name, resource.attributes[\"last\"])']}]",
        |all| {
            for (group, last) in all.resource_spans.iter_mut().zip(["b", "c"]) {
                group.resource.as_mut().expect("a resource").attributes.extend(attributes(&json!({ "last": last })));
                group.scope_spans[0].spans.iter_mut().for_each(|span| span.name = last.into());
            }
        },
    );
    assert_traces(
        "trace_statements: [{context: span, conditions: ['name == \"a\"', 'name == \"c\"'], statements: ['set(name, \"hit\")', 'set(name, \"again\") where name == \"hit\"']}]",
        |all| spans_of(all).filter(|span| span.name != "b").for_each(|span| span.name = "again".into()),
    );
}

#[test]
fn a_cache_is_an_items_own() {
    assert_traces(
        "trace_statements: [{context: span, statements: ['set(attributes[\"before\"], cache[\"n\"]) where cache[\"n\"] != nil', 'set(cache[\"n\"], name)', 'set(attributes[\"after\"], cache[\"n\"])']}]",
        |all| {
            spans_of(all).for_each(|span| {
                let name = json!({ "after": span.name });
                span.attributes.extend(attributes(&name));
            });
        },
    );
    assert_traces(
        "trace_statements: ['set(span.attributes[\"before\"], span.cache[\"n\"]) where span.cache[\"n\"] != nil', 'set(span.cache[\"n\"], span.name)', 'set(span.attributes[\"own\"], span.cache[\"n\"])']",
        |all| {
            spans_of(all).for_each(|span| {
                let name = json!({ "own": span.name });
                span.attributes.extend(attributes(&name));
            });
        },
    );
}

#[test]
fn what_no_statement_changes_stays_the_same_slice() {
    let rig = rig("trace_statements: ['set(span.name, \"n\") where span.name == \"b\"']", Signal::Traces);
    let payload = rig.payload(&traces().encode_to_vec());
    let place = |payload: &podgate::core::data::payload::Payload| -> Vec<*const u8> {
        let groups = &payload.envelope.groups;
        let resources = groups.iter().map(|group| group.resource.as_ref().expect("a resource").as_ptr());
        resources.chain(payload.envelope.items().map(<[u8]>::as_ptr)).collect()
    };
    let before = place(&payload);
    let after = place(&rig.run(payload).expect("accepted"));
    let changed: Vec<usize> = (0..before.len()).filter(|at| before[*at] != after[*at]).collect();
    assert_eq!(changed, [3], "two resources and three spans, of which the second changed");
}

#[test]
fn a_ticket_grows_by_what_was_made_and_a_full_budget_refuses() {
    let rig = rig("trace_statements: ['set(span.attributes[\"new\"], \"value\")']", Signal::Traces);
    let payload = rig.payload(&traces().encode_to_vec());
    let before = payload.ticket.bytes();
    let after = rig.run(payload).expect("accepted");
    let made: usize = after.envelope.items().map(<[u8]>::len).sum();
    let grown = after.ticket.bytes() - before;
    assert!((made as u64..made as u64 * 5 / 4 + 512).contains(&grown), "{grown} for {made} bytes and their lists");
    rig.host.budget.set_limits(after.ticket.bytes(), after.ticket.bytes());
    let error = rig.run(after).map(drop);
    assert!(error.is_ok(), "nothing new is made the second time");
    let payload = rig.payload(&traces().encode_to_vec());
    rig.host.budget.set_limits(1, 1);
    assert_eq!(rig.run(payload).expect_err("no room").reason(), Reason::MEMORY);
}

/// Fields that no version knows, in every message on the way.
#[test]
fn unknown_fields_survive_edits() {
    let unknown = [0xfa, 0x7f, 3, b'n', b'e', b'w'];
    let put = |message: Vec<u8>| [message, unknown.to_vec()].concat();
    let within = |number: u8, message: &[u8]| [&[number << 3 | 2, message.len() as u8][..], message].concat();
    let event = put(Event { name: "x".into(), ..Event::default() }.encode_to_vec());
    let span = put([span("a", json!({ "k": 1 }), &[]).encode_to_vec(), within(11, &event)].concat());
    let resource = put(resource(json!({ "service.name": "s" })).expect("one").encode_to_vec());
    let scope = put(InstrumentationScope { name: "lib".into(), ..InstrumentationScope::default() }.encode_to_vec());
    let scopes = [within(1, &scope), within(2, &span)].concat();
    let request = within(1, &[within(1, &resource), within(2, &scopes)].concat());
    let yaml = "trace_statements: ['set(spanevent.name, \"y\")', 'set(span.attributes[\"k\"], \"longer\")', 'set(span.name, \"z\")', \
                'keep_keys(resource.attributes, [])', 'set(scope.name, \"other\")', 'delete_key(span.attributes, \"k\")']";
    let made = rig(yaml, Signal::Traces).bytes(&request);
    let found = made.windows(unknown.len()).filter(|window| *window == unknown).count();
    assert_eq!(found, 4, "event, span, scope and resource");
    let decoded = ExportTraceServiceRequest::decode(made).expect("valid");
    let group = &decoded.resource_spans[0];
    assert_eq!(shown(&group.resource.as_ref().expect("one").attributes), json!({}));
    let span = &group.scope_spans[0].spans[0];
    assert_eq!((span.name.as_str(), span.events[0].name.as_str()), ("z", "y"));
    assert_eq!(shown(&span.attributes), json!({}));
}

fn metrics() -> ExportMetricsServiceRequest {
    let number = |device: &str, value: Value| NumberDataPoint {
        attributes: attributes(&json!({ "device": device })),
        time_unix_nano: 3,
        value: Some(value),
        ..NumberDataPoint::default()
    };
    let metric = |name: &str, data: Data| Metric { name: name.into(), data: Some(data), ..Metric::default() };
    let of = attributes(&json!({ "device": "h" }));
    let metrics = vec![
        metric(
            "gauge",
            Data::Gauge(Gauge { data_points: vec![number("a", Value::AsInt(1)), number("b", Value::AsDouble(2.5))] }),
        ),
        metric(
            "sum",
            Data::Sum(Sum {
                data_points: vec![number("a", Value::AsInt(4))],
                aggregation_temporality: 2,
                is_monotonic: true,
            }),
        ),
        metric(
            "histogram",
            Data::Histogram(Histogram {
                data_points: vec![HistogramDataPoint {
                    attributes: of.clone(),
                    count: 3,
                    sum: Some(6.0),
                    ..HistogramDataPoint::default()
                }],
                aggregation_temporality: 1,
            }),
        ),
        metric(
            "exponential",
            Data::ExponentialHistogram(ExponentialHistogram {
                data_points: vec![ExponentialHistogramDataPoint {
                    attributes: of.clone(),
                    scale: -2,
                    zero_count: 1,
                    ..Default::default()
                }],
                aggregation_temporality: 1,
            }),
        ),
        metric(
            "summary",
            Data::Summary(Summary {
                data_points: vec![SummaryDataPoint { attributes: of, count: 9, ..Default::default() }],
            }),
        ),
    ];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: resource(json!({ "node": "n1", "pod": "p" })),
            scope_metrics: vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }],
            ..ResourceMetrics::default()
        }],
    }
}

/// Attributes of every point of a metric.
fn points(metric: &Metric) -> Vec<Json> {
    let number = |points: &[NumberDataPoint]| points.iter().map(|point| shown(&point.attributes)).collect();
    match metric.data.as_ref().expect("data") {
        Data::Gauge(data) => number(&data.data_points),
        Data::Sum(data) => number(&data.data_points),
        Data::Histogram(data) => data.data_points.iter().map(|point| shown(&point.attributes)).collect(),
        Data::ExponentialHistogram(data) => data.data_points.iter().map(|point| shown(&point.attributes)).collect(),
        Data::Summary(data) => data.data_points.iter().map(|point| shown(&point.attributes)).collect(),
    }
}

fn transformed_metrics(yaml: &str) -> Vec<Metric> {
    let made = rig(yaml, Signal::Metrics).bytes(&metrics().encode_to_vec());
    let mut request = ExportMetricsServiceRequest::decode(made).expect("valid");
    std::mem::take(&mut request.resource_metrics[0].scope_metrics[0].metrics)
}

#[test]
fn points_of_every_kind_are_changed_where_they_stand() {
    let made = transformed_metrics(
        "metric_statements: [{context: datapoint, statements: ['set(attributes[\"metric\"], metric.name)', 'delete_key(datapoint.attributes, \"device\") where attributes[\"device\"] != \"b\"']}]",
    );
    for metric in &made {
        let expected = json!({ "metric": metric.name });
        for (at, found) in points(metric).into_iter().enumerate() {
            let kept = json!({ "metric": metric.name, "device": "b" });
            assert_eq!(found, if metric.name == "gauge" && at == 1 { kept } else { expected.clone() });
        }
    }
    let mut same = made;
    let mut expected = metrics().resource_metrics.remove(0).scope_metrics.remove(0).metrics;
    for metric in same.iter_mut().chain(&mut expected) {
        clear(metric);
    }
    assert_eq!(same, expected, "everything but the attributes is as it was");
}

fn clear(metric: &mut Metric) {
    match metric.data.as_mut().expect("data") {
        Data::Gauge(data) => data.data_points.iter_mut().for_each(|point| point.attributes.clear()),
        Data::Sum(data) => data.data_points.iter_mut().for_each(|point| point.attributes.clear()),
        Data::Histogram(data) => data.data_points.iter_mut().for_each(|point| point.attributes.clear()),
        Data::ExponentialHistogram(data) => data.data_points.iter_mut().for_each(|point| point.attributes.clear()),
        Data::Summary(data) => data.data_points.iter_mut().for_each(|point| point.attributes.clear()),
    }
}

#[test]
fn metrics_and_values_of_points_are_set() {
    let made = transformed_metrics(
        "metric_statements: ['set(metric.description, \"d\") where metric.type == METRIC_DATA_TYPE_SUM', 'set(metric.unit, \"By\")', \
         'replace_pattern(metric.name, \"^exp.*$\", \"exp\")', 'set(metric.aggregation_temporality, AGGREGATION_TEMPORALITY_DELTA)', \
         'set(metric.is_monotonic, false)', 'set(datapoint.value_double, 7.5) where datapoint.value_int == 4', \
         'set(datapoint.value_int, 8) where datapoint.value_double == 2.5', 'set(datapoint.count, datapoint.count * 2)', \
         'set(datapoint.scale, -3) where datapoint.zero_count == 1', 'set(datapoint.flags, FLAG_NO_RECORDED_VALUE)']",
    );
    let names: Vec<&str> = made.iter().map(|metric| metric.name.as_str()).collect();
    assert_eq!(names, ["gauge", "sum", "histogram", "exp", "summary"]);
    assert!(made.iter().all(|metric| metric.unit == "By"));
    assert_eq!(made[1].description, "d");
    let Some(Data::Gauge(gauge)) = &made[0].data else { panic!("no gauge") };
    assert_eq!(gauge.data_points[1].value, Some(Value::AsInt(8)));
    assert!(gauge.data_points.iter().all(|point| point.flags == 1));
    let Some(Data::Sum(sum)) = &made[1].data else { panic!("no sum") };
    assert_eq!((sum.aggregation_temporality, sum.is_monotonic), (1, false));
    assert_eq!(sum.data_points[0].value, Some(Value::AsDouble(7.5)));
    let Some(Data::Histogram(histogram)) = &made[2].data else { panic!("no histogram") };
    assert_eq!((histogram.data_points[0].count, histogram.data_points[0].flags), (6, 1));
    let Some(Data::ExponentialHistogram(exponential)) = &made[3].data else { panic!("no exponential histogram") };
    assert_eq!((exponential.data_points[0].scale, exponential.data_points[0].flags), (-3, 1));
    let Some(Data::Summary(summary)) = &made[4].data else { panic!("no summary") };
    assert_eq!((summary.data_points[0].count, summary.data_points[0].flags), (18, 1));
}

#[test]
fn log_records_are_changed_and_an_error_mode_decides_about_failures() {
    let record = |body: Json| LogRecord { body: Some(any(&body)), ..LogRecord::default() };
    let request = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            scope_logs: vec![ScopeLogs {
                log_records: vec![record(json!("{\"level\": \"warn\"}")), record(json!("no JSON"))],
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    };
    let statements = "log_statements: ['merge_maps(log.attributes, ParseJSON(log.body), \"upsert\")', 'set(log.severity_text, \"seen\")', \
                      'set(resource.attributes[\"r\"], 1)']";
    for mode in ["ignore", "silent"] {
        let rig = rig(&format!("{{error_mode: {mode}, {statements}}}"), Signal::Logs);
        let made = ExportLogsServiceRequest::decode(rig.bytes(&request.encode_to_vec())).expect("valid");
        let group = &made.resource_logs[0];
        assert_eq!(shown(&group.resource.as_ref().expect("made").attributes), json!({ "r": 1 }));
        let records = &group.scope_logs[0].log_records;
        assert_eq!(shown(&records[0].attributes), json!({ "level": "warn" }));
        assert_eq!((records[1].attributes.len(), records[1].severity_text.as_str()), (0, "seen"));
        assert_eq!(of_any(records[1].body.as_ref().expect("a body")), json!("no JSON"));
        assert_eq!(rig.host.stats.total("podgate_processor_ottl_failures"), 1);
    }
    for yaml in [
        format!("{{error_mode: propagate, {statements}}}"),
        "{error_mode: ignore, log_statements: [{context: log, error_mode: propagate, statements: ['set(severity_number, \"x\")']}]}".to_owned(),
    ] {
        let rig = rig(&yaml, Signal::Logs);
        let error = rig.run(rig.payload(&request.encode_to_vec())).expect_err("rejected");
        assert_eq!((error.reason(), error.is_retryable()), (Reason::STATEMENT, false), "{yaml}");
    }
}

#[test]
fn a_metric_whose_points_come_in_two_pieces_loses_none() {
    let point = NumberDataPoint { value: Some(Value::AsInt(1)), ..NumberDataPoint::default() };
    let gauge = |points| Metric {
        name: "g".into(),
        data: Some(Data::Gauge(Gauge { data_points: points })),
        ..Metric::default()
    };
    let metric =
        [gauge(vec![point.clone()]).encode_to_vec(), gauge(vec![point.clone(), point]).encode_to_vec()].concat();
    let within = |number: u8, message: &[u8]| [&[number << 3 | 2, message.len() as u8][..], message].concat();
    let request = within(1, &within(2, &within(2, &metric)));
    let made = rig("metric_statements: ['set(datapoint.value_int, 5)']", Signal::Metrics).bytes(&request);
    let made = ExportMetricsServiceRequest::decode(made).expect("valid");
    let Some(Data::Gauge(gauge)) = &made.resource_metrics[0].scope_metrics[0].metrics[0].data else {
        panic!("no gauge")
    };
    assert_eq!(gauge.data_points.iter().map(|point| point.value).collect::<Vec<_>>(), [Some(Value::AsInt(5)); 3]);
}

#[test]
fn faults_of_the_configuration_come_all_at_once_with_their_places() {
    let faults = checked(
        "{trace_statements: ['set(name, 1)', 'set(log.body, 1)', 'set(span.name, '], metric_statements: [{context: metric, statements: ['set(type, 1)']}, \
         {statements: ['nope(metric.name)']}, {context: log, statements: ['set(body, 1)']}, {context: metric}], log_statements: ['set(log.body, 1)', {context: log, statements: [a]}], \
         profile_statements: [x], error_mode: loud, flatten_data: true}",
    )
    .err()
    .expect("refused");
    for expected in [
        "trace_statements::0 no path tells the context",
        "`log` is not part of traces",
        "a value is missing at character",
        "`type` cannot be set",
        "no editor `nope`",
        "metric_statements::2::context",
        "metric_statements::3::statements `statements` is required",
        "one list holds statements and groups",
        "`profile_statements` is not supported yet",
        "`flatten_data` is not supported yet",
        "error_mode",
    ] {
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{expected}: {faults:#?}");
    }
    let places: BTreeSet<&String> = faults.iter().collect();
    assert_eq!(places.len(), faults.len(), "no fault twice");
}
