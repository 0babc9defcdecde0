//! Items of every signal change as the messages say, seen through the reference classes; what is not meant stays.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

use podgate::core::data::budget::Budget;
use podgate::core::data::payload::{Payload, Signal};
use podgate::core::diagnostic::Severity;
use podgate::core::stage::host::Host;
use podgate::core::time::UnixNanos;
use podgate::otlp::envelope;
use podgate::processors::attributes::FACTORY;
use podgate::testing::stage::{Bench, bench, check, errors};
use podgate::testing::telemetry;

fn value(text: &str) -> Option<AnyValue> {
    Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) })
}

fn attributes(pairs: &[(&str, &str)]) -> Vec<KeyValue> {
    let pair =
        |(key, text): &(&str, &str)| KeyValue { key: (*key).to_owned(), value: value(text), ..KeyValue::default() };
    pairs.iter().map(pair).collect()
}

fn resource(service: &str) -> Option<Resource> {
    Some(Resource { attributes: attributes(&[("service.name", service)]), ..Resource::default() })
}

fn scope(name: &str) -> Option<InstrumentationScope> {
    Some(InstrumentationScope { name: name.to_owned(), version: "1".to_owned(), ..InstrumentationScope::default() })
}

fn span(name: &str, kind: i32, pairs: &[(&str, &str)]) -> Span {
    let (trace_id, span_id) = (vec![7; 16], vec![8; 8]);
    Span { name: name.to_owned(), kind, trace_id, span_id, attributes: attributes(pairs), ..Span::default() }
}

/// One group of each service, each with these spans.
fn traces(services: &[&str], spans: &[Span]) -> ExportTraceServiceRequest {
    let group = |service: &&str| ResourceSpans {
        resource: resource(service),
        scope_spans: vec![ScopeSpans { scope: scope("lib"), spans: spans.to_vec(), ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest { resource_spans: services.iter().map(group).collect() }
}

fn payload(signal: Signal, bytes: Vec<u8>) -> Payload {
    telemetry::payload(signal, Bytes::from(bytes), UnixNanos(0))
}

fn stage(body: &str, signal: Signal) -> Bench {
    bench(&FACTORY, body, signal, Host::new(Budget::unlimited()))
}

/// Sends a request through; the request that came out.
fn through<M: Message + Default>(body: &str, signal: Signal, request: &M) -> M {
    let sent = stage(body, signal).send(payload(signal, request.encode_to_vec())).remove(0);
    M::decode(envelope::encode(&sent.envelope)).expect("valid")
}

const MARK: &str = "actions: [{key: mark, value: x, action: upsert}]";

/// Names of the spans that got the mark, with their service.
fn marked(matching: &str) -> Vec<String> {
    let spans = [
        span("checkout", 2, &[("tier", "gold"), ("n", "1")]),
        span("check", 3, &[("tier", "silver")]),
        span("health", 0, &[]),
    ];
    let request = through(&format!("{{{matching}, {MARK}}}"), Signal::Traces, &traces(&["cart", "auth"], &spans));
    let mut found = Vec::new();
    for group in &request.resource_spans {
        let service = &group.resource.as_ref().expect("a resource").attributes[0];
        let Some(Value::StringValue(service)) = service.value.as_ref().and_then(|value| value.value.clone()) else {
            panic!("a name")
        };
        for span in &group.scope_spans[0].spans {
            if span.attributes.iter().any(|pair| pair.key == "mark") {
                found.push(format!("{service}/{}", span.name));
            }
        }
    }
    found
}

#[test]
fn include_and_exclude_choose_the_spans() {
    let strict = |side: &str, rest: &str| format!("{side}: {{match_type: strict, {rest}}}");
    let regexp = |side: &str, rest: &str| format!("{side}: {{match_type: regexp, {rest}}}");
    let all = ["cart/checkout", "cart/check", "cart/health", "auth/checkout", "auth/check", "auth/health"];
    let table: &[(String, &[&str])] = &[
        ("include: null".to_owned(), &all),
        (strict("include", "services: [cart, none]"), &all[..3]),
        (regexp("include", "services: ['^a']"), &all[3..]),
        (strict("include", "span_names: [check]"), &["cart/check", "auth/check"]),
        (regexp("include", "span_names: [check]"), &["cart/checkout", "cart/check", "auth/checkout", "auth/check"]),
        (strict("include", "span_kinds: [SPAN_KIND_SERVER]"), &["cart/checkout", "auth/checkout"]),
        (strict("include", "attributes: [{key: tier, value: gold}]"), &["cart/checkout", "auth/checkout"]),
        (strict("include", "attributes: [{key: tier}], services: [cart]"), &["cart/checkout", "cart/check"]),
        (regexp("include", "attributes: [{key: tier, value: '^s'}, {key: n}]"), &[]),
        (strict("include", "resources: [{key: service.name, value: auth}]"), &all[3..]),
        (strict("include", "libraries: [{name: no}, {name: lib, version: '1'}]"), &all),
        (strict("include", "libraries: [{name: lib, version: ''}]"), &[]),
        (strict("exclude", "services: [cart]"), &all[3..]),
        (
            strict("exclude", "services: [cart], span_names: [check]"),
            &["cart/checkout", "cart/health", "auth/checkout", "auth/check", "auth/health"],
        ),
        (
            format!("{}, {}", strict("include", "services: [cart]"), regexp("exclude", "span_names: ['^check']")),
            &["cart/health"],
        ),
    ];
    for (matching, wanted) in table {
        assert_eq!(marked(matching), *wanted, "{matching}");
    }
}

#[test]
fn a_changed_span_differs_in_its_attributes_only_and_the_others_not_at_all() {
    let mut first = span("a", 1, &[("secret", "s"), ("kept", "k")]);
    first.end_time_unix_nano = 77;
    let before = traces(&["cart"], &[first, span("b", 1, &[("kept", "k")]), span("c", 2, &[("secret", "s")])]);
    let after = through("{actions: [{key: secret, action: delete}]}", Signal::Traces, &before);
    let mut wanted = before;
    for span in &mut wanted.resource_spans[0].scope_spans[0].spans {
        span.attributes.retain(|pair| pair.key != "secret");
    }
    assert_eq!(after, wanted);
}

#[test]
fn items_stay_side_by_side_and_a_scope_without_changes_keeps_its_slices() {
    let spans: Vec<Span> = (0..50).map(|at| span(&format!("s{at}"), 1, &[("k", "v")])).collect();
    let before = payload(Signal::Traces, traces(&["cart", "auth"], &spans).encode_to_vec());
    let slices = |payload: &Payload, group: usize| -> Vec<usize> {
        let items = &payload.envelope.groups[group].scopes[0].items;
        items.iter().map(|item| item.as_ptr() as usize).collect()
    };
    let untouched = slices(&before, 0);
    let body = format!("{{include: {{match_type: strict, services: [auth], span_names: [s7]}}, {MARK}}}");
    let after = stage(&body, Signal::Traces).send(before).remove(0);
    assert_eq!(slices(&after, 0), untouched);
    let mut runs = 0;
    let head = |length: usize| if length < 128 { 2 } else { 3 };
    after.envelope.groups[1].scopes[0].items.runs(head, |_| runs += 1);
    assert_eq!(runs, 1, "changed and unchanged items leave as one slice");
}

#[test]
fn records_are_chosen_by_body_and_severity() {
    let record = |body: &str, number: i32, text: &str| LogRecord {
        body: value(body),
        severity_number: number,
        severity_text: text.to_owned(),
        ..LogRecord::default()
    };
    let log_records = vec![record("order 7 accepted", 9, "info"), record("failed", 17, "error"), record("?", 0, "")];
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    let request =
        ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }] };
    for (properties, wanted) in [
        ("log_bodies: ['order \\d+']", [true, false, false]),
        ("log_severity_texts: [^e]", [false, true, false]),
        ("log_severity_number: {min: 10}", [false, true, false]),
        ("log_severity_number: {min: 10, match_undefined: true}", [false, true, true]),
    ] {
        let body = format!("{{include: {{match_type: regexp, {properties}}}, {MARK}}}");
        let after = through(&body, Signal::Logs, &request);
        let records = &after.resource_logs[0].scope_logs[0].log_records;
        assert_eq!(
            records.iter().map(|record| record.attributes.len() == 1).collect::<Vec<_>>(),
            wanted,
            "{properties}"
        );
        assert_eq!(records[1].body, value("failed"));
    }
}

fn metric(name: &str, data: Data) -> Metric {
    Metric { name: name.to_owned(), unit: "1".to_owned(), data: Some(data), ..Metric::default() }
}

fn metrics() -> ExportMetricsServiceRequest {
    let number = NumberDataPoint { attributes: attributes(&[("k", "v")]), ..NumberDataPoint::default() };
    let bounds = vec![1.0, 2.0];
    let histogram = HistogramDataPoint {
        attributes: attributes(&[("k", "v")]),
        explicit_bounds: bounds,
        ..HistogramDataPoint::default()
    };
    let exponential =
        ExponentialHistogramDataPoint { attributes: attributes(&[("k", "v")]), scale: 3, ..Default::default() };
    let summary = SummaryDataPoint { attributes: attributes(&[("k", "v")]), count: 4, ..SummaryDataPoint::default() };
    let metrics = vec![
        metric("gauge", Data::Gauge(Gauge { data_points: vec![number.clone(), number.clone()] })),
        metric("sum", Data::Sum(Sum { data_points: vec![number], is_monotonic: true, aggregation_temporality: 2 })),
        metric("histogram", Data::Histogram(Histogram { data_points: vec![histogram], aggregation_temporality: 1 })),
        metric(
            "exponential",
            Data::ExponentialHistogram(ExponentialHistogram {
                data_points: vec![exponential],
                aggregation_temporality: 1,
            }),
        ),
        metric("summary", Data::Summary(Summary { data_points: vec![summary] })),
    ];
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }],
    }
}

/// The attributes of all points.
fn points(metric: &mut Metric) -> Vec<&mut Vec<KeyValue>> {
    match metric.data.as_mut().expect("data") {
        Data::Gauge(data) => data.data_points.iter_mut().map(|point| &mut point.attributes).collect(),
        Data::Sum(data) => data.data_points.iter_mut().map(|point| &mut point.attributes).collect(),
        Data::Histogram(data) => data.data_points.iter_mut().map(|point| &mut point.attributes).collect(),
        Data::ExponentialHistogram(data) => data.data_points.iter_mut().map(|point| &mut point.attributes).collect(),
        Data::Summary(data) => data.data_points.iter_mut().map(|point| &mut point.attributes).collect(),
    }
}

#[test]
fn points_of_every_kind_of_metric_change_and_nothing_beside_them() {
    for (matching, chosen) in [
        ("", ""),
        ("include: {match_type: regexp, metric_names: [^s, exp]}, ", "sum summary exponential"),
        ("exclude: {match_type: strict, metric_names: [gauge, sum]}, ", "histogram exponential summary"),
    ] {
        let after = through(&format!("{{{matching}{MARK}}}"), Signal::Metrics, &metrics());
        let mut wanted = metrics();
        for metric in &mut wanted.resource_metrics[0].scope_metrics[0].metrics {
            if chosen.is_empty() || chosen.split(' ').any(|name| name == metric.name) {
                let name = metric.name.clone();
                let points = points(metric);
                assert!(!points.is_empty(), "{name}");
                points.into_iter().for_each(|point| point.extend(attributes(&[("mark", "x")])));
            }
        }
        assert_eq!(after, wanted, "{matching}");
    }
}

#[test]
fn an_item_that_cannot_be_walked_passes_as_it_is() {
    for signal in [Signal::Traces, Signal::Logs, Signal::Metrics] {
        let mut payload = payload(signal, traces(&["cart"], &[span("a", 1, &[])]).encode_to_vec());
        let broken = Bytes::from_static(&[0x4a, 0x7f]);
        payload.envelope.groups[0].scopes[0].items = vec![broken.clone()].into();
        let sent = stage(&format!("{{{MARK}}}"), signal).send(payload).remove(0);
        assert_eq!(sent.envelope.groups[0].scopes[0].items.first(), Some(&broken[..]), "{signal:?}");
    }
}

#[tokio::test]
async fn without_memory_for_the_change_the_sender_keeps_its_data() {
    let host = Host::new(Budget::new(100, 100));
    let bench = bench(&FACTORY, &format!("{{{MARK}}}"), Signal::Traces, host.clone());
    let mut payload = payload(Signal::Traces, traces(&["cart"], &[span("a", 1, &[])]).encode_to_vec());
    payload.ticket = host.budget.take(60).expect("fits");
    let refused = bench.consumer.consume(payload).await.expect_err("no memory");
    assert!(refused.is_retryable());
    assert_eq!((host.budget.used(), bench.sink.items()), (0, 0));
}

#[test]
fn grown_items_are_charged_to_the_payload() {
    let host = Host::new(Budget::new(1 << 20, 1 << 20));
    let long = "x".repeat(10_000);
    let body = format!("{{actions: [{{key: long, value: {long}, action: upsert}}]}}");
    let bench = bench(&FACTORY, &body, Signal::Traces, host.clone());
    let mut payload =
        payload(Signal::Traces, traces(&["cart"], &[span("a", 1, &[]), span("b", 1, &[])]).encode_to_vec());
    payload.ticket = host.budget.take(60).expect("fits");
    let sent = bench.send(payload).remove(0);
    assert!(host.budget.used() >= 60 + sent.envelope.groups[0].scopes[0].items.byte_len() as u64);
    drop(sent);
    assert_eq!(host.budget.used(), 0);
}

#[test]
fn faulty_properties_are_refused_at_their_place() {
    let table = [
        ("services: [a]", "include::match_type"),
        ("match_type: exact, services: [a]", "include::match_type"),
        ("match_type: strict", "include::match_type"),
        ("match_type: strict, services: []", "include::match_type"),
        ("match_type: regexp, services: ['(']", "include::services"),
        ("match_type: strict, span_kinds: [SERVER]", "include::span_kinds"),
        ("match_type: strict, attributes: [{value: 1}]", "include::attributes::0::key"),
        ("match_type: regexp, attributes: [{key: a, value: 1}]", "include::attributes::0::value"),
        ("match_type: regexp, libraries: [{name: '('}]", "include::libraries::0::name"),
        ("match_type: strict, span_name: [a]", "include::span_name"),
        ("match_type: strict, log_severity_number: {mni: 1}", "include::log_severity_number::mni"),
    ];
    for (properties, path) in table {
        let errors = errors(&FACTORY, &format!("{{include: {{{properties}}}, {MARK}}}"));
        assert!(errors.iter().any(|(at, _)| at == path), "{properties}: {errors:?}");
    }
    assert_eq!(errors(&FACTORY, "{}")[0].0, "actions");
}

#[test]
fn properties_that_a_signal_does_not_have_keep_the_processor_out_of_its_pipelines() {
    let table = [
        ("services: [a]", [true, false, false]),
        ("log_bodies: [a]", [false, false, true]),
        ("metric_names: [a]", [false, true, false]),
        ("attributes: [{key: a}]", [true, false, true]),
        ("resources: [{key: a}]", [true, true, true]),
    ];
    for (properties, fits) in table {
        let body = format!("{{exclude: {{match_type: strict, {properties}}}, {MARK}}}");
        let (plan, findings) = check(&FACTORY, &body);
        assert!(findings.iter().all(|finding| finding.severity != Severity::Error));
        let plan = plan.expect("sound");
        for (signal, fits) in [Signal::Traces, Signal::Metrics, Signal::Logs].into_iter().zip(fits) {
            assert_eq!(plan.unfit(signal).is_none(), fits, "{properties} {signal:?}");
        }
    }
}
