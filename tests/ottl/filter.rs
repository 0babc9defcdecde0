//! What each form of the configuration drops, what stays and how it is accounted for.

use std::sync::Arc;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde_json::{Value as Json, json};

use podgate::core::data::budget::Budget;
use podgate::core::data::budget::Ticket;
use podgate::core::data::origin::Origin;
use podgate::core::data::payload::{Payload, Signal};
use podgate::core::data::settlement::{ItemEnd, Share};
use podgate::core::error::{ConsumeError, Reason};
use podgate::core::stage::consumer::Consumer;
use podgate::core::stage::factory::{Checks, ProcessorPlan, Stage};
use podgate::core::stage::host::Host;
use podgate::core::time::UnixNanos;
use podgate::otlp::envelope;
use podgate::processors::filter::FACTORY;
use podgate::testing::check;
use podgate::testing::sink::Sink;
use podgate::testing::stage::stage_context;

const PATH: &str = "processors::filter/t";

struct Rig {
    host: Arc<Host>,
    sink: Arc<Sink>,
    stage: Arc<dyn Consumer>,
}

/// The faults of a body, or the plan.
fn checked(yaml: &str) -> Result<Box<dyn ProcessorPlan>, Vec<String>> {
    let checks = Checks::default();
    let plan = check::run(&checks, PATH, &check::node(yaml), FACTORY.check);
    if checks.diagnostics.has_errors() {
        let found = checks.diagnostics.sorted();
        assert!(found.iter().all(|fault| fault.place.is_some()), "{found:?}");
        return Err(found.into_iter().map(|fault| format!("{} {}", fault.path, fault.message)).collect());
    }
    Ok(plan.expect("a plan where there is no fault"))
}

fn rig(yaml: &str, signal: Signal) -> Rig {
    let plan = checked(yaml).unwrap_or_else(|faults| panic!("{yaml}\n{faults:?}"));
    let (host, sink) = (Host::new(Budget::unlimited()), Sink::new());
    match plan.build(stage_context(&host, PATH, signal), sink.clone()) {
        Stage::Consumer { consumer, .. } => Rig { host, sink, stage: consumer },
        Stage::Transform(_) => unreachable!("a filter is a stage of its own"),
    }
}

const ATTRIBUTES: &str = "attributes";

fn attribute(key: &str, value: &str) -> Json {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn traces() -> Bytes {
    let span = |name: &str, kind: u32, team: &str, events: &[&str]| {
        json!({ "traceId": "00000000000000000000000000000001", "spanId": "0000000000000001", "name": name, "kind": kind,
            "startTimeUnixNano": "1", "endTimeUnixNano": "2", "traceState": "", "parentSpanId": "", "flags": 0,
            "droppedAttributesCount": 0, "droppedEventsCount": 0, "droppedLinksCount": 0, "links": [], "status": null,
            ATTRIBUTES: [attribute("team", team)],
            "events": events.iter().map(|name| json!({ "name": name, "timeUnixNano": "1", "attributes": [],
                "droppedAttributesCount": 0 })).collect::<Vec<_>>() })
    };
    let group = |service: &str, spans: Vec<Json>| {
        json!({ "resource": { ATTRIBUTES: [attribute("service.name", service)], "droppedAttributesCount": 0 },
            "scopeSpans": [{ "scope": { "name": "lib", "version": "1", "attributes": [], "droppedAttributesCount": 0 }, "spans": spans,
            "schemaUrl": "" }], "schemaUrl": "" })
    };
    let all = json!({ "resourceSpans": [
        group("cart", vec![span("GET /", 2, "a", &["keep", "drop"]), span("db", 3, "b", &[]), span("healthz", 2, "a", &["drop"])]),
        group("shop", vec![span("db", 3, "a", &[])]),
    ] });
    serde_json::from_value::<ExportTraceServiceRequest>(all).expect("a request").encode_to_vec().into()
}

fn payload(signal: Signal, bytes: Bytes) -> Payload {
    let envelope = envelope::decode(bytes).expect("valid");
    let items = envelope::count_items(signal, &envelope);
    let origin = Arc::new(Origin::internal(UnixNanos::from_secs(1)));
    Payload { signal, envelope, items, origin, ticket: Ticket::free(), share: Share::none() }
}

impl Rig {
    /// Names of the items that came through, with what is in them, and how many did not.
    async fn pass(&self, signal: Signal, bytes: Bytes) -> Result<(Vec<String>, u64), ConsumeError> {
        let (receipt, payload) = payload(signal, bytes).received(&self.host.balance);
        self.stage.consume(payload).await?;
        receipt.answer(Ok(()));
        let mut names = Vec::new();
        for payload in self.sink.take() {
            assert_eq!(payload.items, envelope::count_items(signal, &payload.envelope), "the payload's own count");
            assert_eq!(payload.items, payload.share.items(), "and what it answers for");
            names.extend(named(signal, envelope::encode(&payload.envelope)));
            payload.share.end(ItemEnd::Delivered);
        }
        let sheet = self.host.balance.sheet(signal);
        assert!(sheet.holds(0) && sheet.held == 0, "{sheet:?}");
        let filtered = sheet.dropped.get(Reason::FILTERED.0).copied().unwrap_or(0);
        let what = if signal == Signal::Metrics {
            "datapoints"
        } else if signal == Signal::Logs {
            "logs"
        } else {
            "spans"
        };
        assert_eq!(self.host.stats.total(&format!("otelcol_processor_filter_{what}_filtered")), filtered);
        Ok((names, filtered))
    }
}

fn named(signal: Signal, bytes: Bytes) -> Vec<String> {
    match signal {
        Signal::Traces => {
            let request = ExportTraceServiceRequest::decode(bytes).expect("valid");
            let scopes = request.resource_spans.into_iter().flat_map(|group| group.scope_spans);
            let spans =
                scopes.inspect(|scope| assert!(!scope.spans.is_empty(), "an empty scope")).flat_map(|s| s.spans);
            spans
                .map(|span| {
                    let events: Vec<String> = span.events.into_iter().map(|event| format!("+{}", event.name)).collect();
                    format!("{}{}", span.name, events.concat())
                })
                .collect()
        }
        Signal::Logs => {
            let request = ExportLogsServiceRequest::decode(bytes).expect("valid");
            let scopes = request.resource_logs.into_iter().flat_map(|group| group.scope_logs);
            scopes.flat_map(|scope| scope.log_records).map(|record| record.severity_number.to_string()).collect()
        }
        _ => {
            let request = ExportMetricsServiceRequest::decode(bytes).expect("valid");
            let scopes = request.resource_metrics.into_iter().flat_map(|group| group.scope_metrics);
            scopes.flat_map(|scope| scope.metrics).map(|metric| metric.name).collect()
        }
    }
}

#[tokio::test]
async fn every_form_drops_the_spans_it_speaks_of_and_nothing_else() {
    let all = ["GET /+keep+drop", "db", "healthz+drop", "db"];
    let cases: &[(&str, &[&str], u64)] = &[
        ("{}", &all, 0),
        ("traces: {span: ['name == \"healthz\"']}", &["GET /+keep+drop", "db", "db"], 1),
        ("traces: {span: ['span.name == \"healthz\"', 'kind == SPAN_KIND_CLIENT']}", &["GET /+keep+drop"], 3),
        ("traces: {spanevent: ['name == \"drop\"']}", &["GET /+keep", "db", "healthz", "db"], 0),
        ("traces: {resource: ['attributes[\"service.name\"] == \"cart\"']}", &["db"], 3),
        (
            "traces: {resource: ['attributes[\"service.name\"] == \"shop\"'], span: ['name == \"db\"'], spanevent: ['name == \"drop\"']}",
            &["GET /+keep", "healthz"],
            2,
        ),
        ("traces: {span: ['true']}", &[], 4),
        (
            "trace_conditions: ['span.name == \"db\" and resource.attributes[\"service.name\"] == \"shop\"']",
            &all[..3],
            1,
        ),
        ("trace_conditions: ['resource.attributes[\"service.name\"] == \"cart\"']", &["db"], 3),
        ("trace_conditions: ['scope.name == \"lib\"']", &[], 4),
        ("trace_conditions: ['IsRootSpan() and resource.attributes[\"service.name\"] == \"cart\"']", &["db"], 3),
        ("trace_conditions: ['scope.name == \"lib\" and SPAN_KIND_CLIENT == 3']", &["GET /", "db", "healthz", "db"], 0),
        (
            "trace_conditions: [{context: span, conditions: ['name == \"db\"']}, {conditions: ['spanevent.name == \"drop\"']}]",
            &["GET /+keep", "healthz"],
            2,
        ),
        ("spans: {exclude: {match_type: strict, span_names: [db]}}", &["GET /+keep+drop", "healthz+drop"], 2),
        ("spans: {include: {match_type: regexp, span_names: ['^GET', z$]}}", &["GET /+keep+drop", "healthz+drop"], 2),
        (
            "spans: {include: {match_type: strict, services: [cart], attributes: [{key: team, value: a}]}, exclude: {match_type: strict, span_names: [healthz]}}",
            &["GET /+keep+drop"],
            3,
        ),
        (
            "spans: {exclude: {match_type: strict, span_kinds: [SPAN_KIND_SERVER], libraries: [{name: lib, version: '1'}]}}",
            &["db", "db"],
            2,
        ),
        ("spans: {exclude: {match_type: strict, libraries: [{name: other}]}}", &all, 0),
        ("spans: {exclude: {match_type: regexp, resources: [{key: service.name, value: 'sh.p'}]}}", &all[..3], 1),
        (
            "{error_mode: silent, traces: {span: ['Len(kind) > 0', 'name == \"healthz\"']}}",
            &["GET /+keep+drop", "db", "db"],
            1,
        ),
    ];
    for (yaml, left, dropped) in cases {
        let rig = rig(yaml, Signal::Traces);
        let (names, filtered) = rig.pass(Signal::Traces, traces()).await.expect("accepted");
        assert_eq!(
            (&names[..], filtered),
            (&left.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()[..], *dropped),
            "{yaml}"
        );
    }
}

#[tokio::test]
async fn what_stays_keeps_its_bytes() {
    let rig = rig("traces: {span: ['name == \"db\"']}", Signal::Traces);
    let came = payload(Signal::Traces, traces());
    let places: Vec<*const u8> = came.envelope.items().map(<[u8]>::as_ptr).collect();
    rig.stage.consume(came).await.expect("accepted");
    let left = rig.sink.take();
    let kept: Vec<*const u8> = left[0].envelope.items().map(<[u8]>::as_ptr).collect();
    assert_eq!(kept, [places[0], places[2]]);
}

#[tokio::test]
async fn a_refusal_from_behind_leaves_every_item_with_the_caller() {
    let rig = rig("traces: {span: ['name == \"db\"']}", Signal::Traces);
    rig.sink.answer_with(Some(ConsumeError::refused(Reason::UNAVAILABLE, "closed")));
    let (_receipt, sent) = payload(Signal::Traces, traces()).received(&rig.host.balance);
    assert!(rig.stage.consume(sent).await.is_err());
    assert_eq!(rig.host.balance.sheet(Signal::Traces).held, 4);
    assert_eq!(rig.host.stats.total("otelcol_processor_filter_spans_filtered"), 0);
}

#[tokio::test]
async fn a_failing_condition_is_ignored_or_rejects_the_payload_as_the_error_mode_says() {
    for (mode, rejected) in [("ignore", false), ("silent", false), ("propagate", true)] {
        let yaml = format!("{{error_mode: {mode}, traces: {{span: ['Len(kind) > 0']}}}}");
        let rig = rig(&yaml, Signal::Traces);
        let outcome = rig.pass(Signal::Traces, traces()).await;
        assert_eq!(outcome.is_err(), rejected, "{mode}");
        if let Err(error) = outcome {
            assert_eq!((error.reason(), error.is_retryable()), (Reason::STATEMENT, false));
        }
        assert!(rig.host.stats.total("podgate_processor_ottl_failures") > 0, "{mode}");
    }
}

fn metrics() -> Bytes {
    let point = |device: &str| {
        json!({ "attributes": [attribute("device", device)], "startTimeUnixNano": "1",
        "timeUnixNano": "2", "asInt": "5", "exemplars": [], "flags": 0 })
    };
    let metric = |name: &str, kind: &str, points: Vec<Json>| {
        let data = match kind {
            "sum" => json!({ "dataPoints": points, "aggregationTemporality": 2, "isMonotonic": true }),
            _ => json!({ "dataPoints": points }),
        };
        json!({ "name": name, "description": "", "unit": "By", "metadata": [], kind: data })
    };
    let all = json!({ "resourceMetrics": [{ "resource": { ATTRIBUTES: [attribute("node", "n1")], "droppedAttributesCount": 0 },
        "scopeMetrics": [{ "scope": null, "schemaUrl": "", "metrics": [
            metric("disk.io", "sum", vec![point("loop0"), point("sda"), point("loop1")]),
            metric("net.io", "gauge", vec![point("lo")]),
        ] }], "schemaUrl": "" }] });
    serde_json::from_value::<ExportMetricsServiceRequest>(all).expect("a request").encode_to_vec().into()
}

#[tokio::test]
async fn metrics_and_their_points_are_counted_as_points() {
    let cases: &[(&str, &[&str], u64)] = &[
        ("metrics: {metric: ['name == \"net.io\"']}", &["disk.io"], 1),
        ("metrics: {metric: ['type == METRIC_DATA_TYPE_SUM and is_monotonic == true']}", &["net.io"], 3),
        ("metrics: {metric: ['aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE']}", &["net.io"], 3),
        (
            "metrics: {datapoint: ['metric.name == \"disk.io\" and IsMatch(attributes[\"device\"], \"^loop.*\") == true']}",
            &["disk.io", "net.io"],
            2,
        ),
        ("metrics: {datapoint: ['attributes[\"device\"] == \"lo\"']}", &["disk.io"], 1),
        ("metrics: {datapoint: ['value_int == 5']}", &[], 4),
        ("metrics: {metric: ['HasAttrKeyOnDatapoint(\"device\")']}", &[], 4),
        ("metrics: {metric: ['HasAttrOnDatapoint(\"device\", \"lo\")']}", &["disk.io"], 1),
        (
            "metric_conditions: ['datapoint.attributes[\"device\"] == \"sda\"', 'metric.name == \"net.io\"']",
            &["disk.io"],
            2,
        ),
        (
            "metric_conditions: ['resource.attributes[\"node\"] == \"n1\" and HasAttrOnDatapoint(\"device\", \"lo\")']",
            &["disk.io"],
            1,
        ),
        ("metrics: {exclude: {match_type: strict, metric_names: [net.io]}}", &["disk.io"], 1),
        (
            "metrics: {include: {match_type: regexp, metric_names: ['disk.*'], resource_attributes: [{key: node, value: n1}]}}",
            &["disk.io"],
            1,
        ),
        ("metrics: {include: {match_type: strict, resource_attributes: [{key: node, value: n2}]}}", &[], 4),
    ];
    for (yaml, left, dropped) in cases {
        let rig = rig(yaml, Signal::Metrics);
        let (names, filtered) = rig.pass(Signal::Metrics, metrics()).await.expect("accepted");
        assert_eq!(
            (&names[..], filtered),
            (&left.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()[..], *dropped),
            "{yaml}"
        );
    }
}

fn logs() -> Bytes {
    let record = |severity: u32, text: &str, body: &str| {
        json!({ "timeUnixNano": "1", "observedTimeUnixNano": "2", "severityNumber": severity, "severityText": text,
            "body": { "stringValue": body }, "attributes": [attribute("k", body)], "droppedAttributesCount": 0, "flags": 0,
            "traceId": "", "spanId": "", "eventName": "" })
    };
    let records = vec![
        record(0, "", "none"),
        record(5, "debug", "noise"),
        record(9, "info", "hello"),
        record(17, "error", "boom"),
    ];
    let all = json!({ "resourceLogs": [{ "resource": { ATTRIBUTES: [attribute("ns", "prod")], "droppedAttributesCount": 0 },
        "scopeLogs": [{ "scope": null, "schemaUrl": "", "logRecords": records }], "schemaUrl": "" }] });
    serde_json::from_value::<ExportLogsServiceRequest>(all).expect("a request").encode_to_vec().into()
}

#[tokio::test]
async fn log_records_are_matched_by_conditions_and_by_properties() {
    let cases: &[(&str, &[&str])] = &[
        (
            "logs: {log_record: ['severity_number < SEVERITY_NUMBER_INFO and severity_number != SEVERITY_NUMBER_UNSPECIFIED']}",
            &["0", "9", "17"],
        ),
        ("logs: {log_record: ['log.body == \"boom\"', 'IsMatch(body, \"^no\")']}", &["9"]),
        ("log_conditions: ['log.severity_text == \"debug\"']", &["0", "9", "17"]),
        ("logs: {include: {match_type: strict, severity_number: {min: info}}}", &["9", "17"]),
        (
            "logs: {include: {match_type: strict, severity_number: {min: INFO, match_undefined: true}}}",
            &["0", "9", "17"],
        ),
        ("logs: {exclude: {match_type: regexp, bodies: ['o{2}m', hell]}}", &["0", "5"]),
        (
            "logs: {exclude: {match_type: strict, severity_texts: [info], record_attributes: [{key: k, value: hello}]}}",
            &["0", "5", "17"],
        ),
        ("logs: {exclude: {match_type: strict, resource_attributes: [{key: ns, value: prod}]}}", &[]),
        ("logs: {exclude: {match_type: strict}}", &["0", "5", "9", "17"]),
    ];
    for (yaml, left) in cases {
        let rig = rig(yaml, Signal::Logs);
        let (names, filtered) = rig.pass(Signal::Logs, logs()).await.expect("accepted");
        assert_eq!(names, *left, "{yaml}");
        assert_eq!(filtered as usize, 4 - left.len(), "{yaml}");
    }
}

#[test]
fn faults_of_the_configuration_are_all_reported_with_their_places() {
    let cases = [
        ("traces: {span: ['nosuch == 1']}", "there is no `nosuch` in a span"),
        ("traces: {span: ['UserAgent(name) == nil']}", "no function `UserAgent`"),
        ("traces: {spann: ['true']}", "spann"),
        ("traces: {span: ['cache[\"k\"] == 1']}", "no `cache`"),
        ("traces: {resource: ['span.name == \"x\"']}", "out of sight"),
        ("trace_conditions: ['name == \"x\"']", "no path tells the context"),
        ("trace_conditions: ['span.name == \"x\" and name == \"x\"']", "does not say whose"),
        ("trace_conditions: ['IsRootSpan()']", "no path tells the context"),
        ("trace_conditions: ['spanevent.name == \"x\" and IsRootSpan()']", "is asked of a span"),
        ("trace_conditions: ['log.body == \"x\"']", "`log` is not part of traces"),
        ("trace_conditions: ['span.name == \"x\"', {conditions: ['true']}]", "one list"),
        ("trace_conditions: [{context: log, conditions: ['true']}]", "log"),
        ("{traces: {span: ['true']}, spans: {include: {match_type: strict, span_names: [a]}}}", "two forms"),
        ("{metrics: {metric: ['true'], include: {match_type: strict, metric_names: [a]}}}", "two forms"),
        ("metrics: {include: {match_type: expr, expressions: ['true']}}", "expr"),
        ("metrics: {include: {metric_names: [a]}}", "match_type"),
        ("metrics: {include: {match_type: regexp, metric_names: ['(']}}", "regular expression"),
        ("logs: {include: {match_type: strict, severity_number: {min: LOUD}}}", "severity"),
        ("profiles: {profile: ['true']}", "not supported yet"),
        ("error_mode: loud", "loud"),
    ];
    for (yaml, expected) in cases {
        let faults = checked(yaml).err().unwrap_or_else(|| panic!("{yaml} is accepted"));
        assert!(faults.iter().any(|fault| fault.contains(expected)), "{yaml}: {faults:?}");
    }
}
