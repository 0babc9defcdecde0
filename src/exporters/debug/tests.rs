//! What is printed for real requests, in the three verbosities, and what bad bytes print.

use std::sync::Mutex;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Histogram, HistogramDataPoint, Metric, ResourceMetrics, ScopeMetrics, Summary, SummaryDataPoint,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::Event};
use prost::Message;

use super::*;
use crate::core::data::budget::{Budget, Ticket};
use crate::core::data::origin::Origin;
use crate::core::data::settlement::Share;
use crate::core::stage::component::ComponentId;
use crate::core::stage::host::Host;
use crate::core::time::UnixNanos;
use crate::otlp::envelope::{count_items, decode};

#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Medium for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn length(&self) -> io::Result<Option<u64>> {
        Ok(None)
    }

    fn cut(&mut self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn traces() -> Vec<u8> {
    let list = ArrayValue { values: vec![AnyValue { value: Some(Value::IntValue(1)) }, AnyValue::default()] };
    let span = Span {
        trace_id: vec![0x1a; 16],
        span_id: vec![2; 8],
        name: "GET /cart".to_owned(),
        kind: 2,
        parent_span_id: vec![3; 8],
        start_time_unix_nano: 1_000_000_001,
        end_time_unix_nano: 1_550_000_001,
        status: Some(Status { code: 2, message: "boom".to_owned() }),
        attributes: vec![attribute("tries", Value::IntValue(3)), attribute("list", Value::ArrayValue(list))],
        events: vec![Event { name: "retry".to_owned(), ..Event::default() }],
        ..Span::default()
    };
    let scope =
        InstrumentationScope { name: "lib".to_owned(), version: "1.0".to_owned(), ..InstrumentationScope::default() };
    let resource = Resource {
        attributes: vec![attribute("service.name", Value::StringValue("cart".to_owned()))],
        ..Resource::default()
    };
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans: vec![span], ..ScopeSpans::default() }];
    let group = ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![group] }.encode_to_vec()
}

fn logs() -> Vec<u8> {
    let body = AnyValue { value: Some(Value::StringValue("it broke".to_owned())) };
    let record = LogRecord { severity_text: "ERROR".to_owned(), body: Some(body), ..LogRecord::default() };
    let scope_logs = vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }];
    let group = ResourceLogs { scope_logs, ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![group] }.encode_to_vec()
}

/// Prints a request and checks that it counts as delivered.
async fn printed(verbosity: Verbosity, signal: Signal, request: Vec<u8>) -> String {
    let host = Host::new(Budget::unlimited());
    let id = ComponentId::parse("debug").unwrap();
    let cx = BuildContext { id, path: "exporters::debug".to_owned(), host: host.clone() };
    let paper = Paper::default();
    let plan = Plan { verbosity, sampling: OutputSampling::new(2, 1) };
    let medium = paper.clone();
    let debug = plan.over(cx, move || Ok(medium.clone()));
    debug.start().await.unwrap();
    let envelope = decode(request.into()).unwrap();
    let items = count_items(signal, &envelope);
    let origin = Arc::new(Origin::internal(UnixNanos(0)));
    let payload = Payload { signal, envelope, items, origin, ticket: Ticket::free(), share: Share::none() };
    let (receipt, payload) = payload.received(&host.balance);
    debug.consume(payload).await.unwrap();
    receipt.answer(Ok(()));
    assert!(host.balance.sheet(signal).holds(0) && host.balance.sheet(signal).delivered == items);
    debug.drain(Instant::now() + Duration::from_secs(5)).await;
    let bytes = paper.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn basic_prints_counts_alone() {
    assert_eq!(
        printed(Verbosity::Basic, Signal::Traces, traces()).await,
        "Traces\t{\"resource spans\": 1, \"spans\": 1}\n"
    );
    let lines = printed(Verbosity::Basic, Signal::Logs, logs()).await;
    assert_eq!(lines, "Logs\t{\"resource logs\": 1, \"log records\": 1}\n");
}

#[tokio::test]
async fn normal_prints_a_line_per_item() {
    let lines = printed(Verbosity::Normal, Signal::Traces, traces()).await;
    let span = "GET /cart 1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a 0202020202020202 start=1970-01-01T00:00:01.000Z \
                duration=550ms status=Error kind=Server message=boom parent=0303030303030303 tries=3 list=[";
    assert!(lines.contains("ResourceSpans #0 service.name=cart\nScopeSpans #0 lib 1.0\n"), "{lines}");
    assert!(lines.contains(span), "{lines}");
    assert!(printed(Verbosity::Normal, Signal::Logs, logs()).await.contains("\nit broke severity=ERROR "));
}

#[test]
fn durations_are_written_in_the_unit_that_fits() {
    let span = |nanos: u64| {
        let span = serde_json::json!({"startTimeUnixNano": "1000", "endTimeUnixNano": (1_000 + nanos).to_string()});
        let mut line = String::new();
        text::item(Signal::Traces, Detail::Normal, 0, &span, &mut line);
        line.split_once("duration=").and_then(|(_, rest)| rest.split(' ').next()).unwrap_or_default().to_owned()
    };
    for (nanos, shown) in
        [(0, "0ns"), (999, "999ns"), (17_350, "17.35us"), (100_000_000, "100ms"), (61_200_000_000, "61.2s")]
    {
        assert_eq!(span(nanos), shown);
    }
    let backwards = serde_json::json!({"startTimeUnixNano": "2000000", "endTimeUnixNano": 0});
    let mut line = String::new();
    text::item(Signal::Traces, Detail::Normal, 0, &backwards, &mut line);
    assert!(line.contains("duration=-2ms status=Unset kind=Unspecified"), "{line}");
}

fn distributions() -> Vec<u8> {
    let histogram = HistogramDataPoint {
        count: 3,
        sum: Some(12.5),
        min: Some(0.5),
        max: Some(9.0),
        explicit_bounds: vec![1.0, 5.0],
        bucket_counts: vec![1, 0, 2],
        ..HistogramDataPoint::default()
    };
    let histogram = Histogram { data_points: vec![histogram], aggregation_temporality: 2 };
    let quantile = ValueAtQuantile { quantile: 0.99, value: 7.5 };
    let summary =
        SummaryDataPoint { count: 3, sum: 12.5, quantile_values: vec![quantile], ..SummaryDataPoint::default() };
    let summary = Summary { data_points: vec![summary] };
    let metrics = [("cart.total", Data::Histogram(histogram)), ("cart.wait", Data::Summary(summary))];
    let metrics =
        metrics.map(|(name, data)| Metric { name: name.to_owned(), data: Some(data), ..Metric::default() }).into();
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let group = ResourceMetrics { scope_metrics, ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![group] }.encode_to_vec()
}

#[tokio::test]
async fn normal_prints_what_a_distribution_is_made_of() {
    let lines = printed(Verbosity::Normal, Signal::Metrics, distributions()).await;
    assert!(lines.contains("cart.total{} count=3 sum=12.5 min=0.5 max=9 le1=1 le5=0 2\n"), "{lines}");
    assert!(lines.contains("cart.wait{} count=3 sum=12.5 q0.99=7.5\n"), "{lines}");
}

#[tokio::test]
async fn detailed_prints_every_field() {
    let lines = printed(Verbosity::Detailed, Signal::Traces, traces()).await;
    for wanted in [
        "     -> service.name: Str(cart)\n",
        "InstrumentationScope lib 1.0\n",
        "    Trace ID       : 1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a\n",
        "    Kind           : Server\n",
        "    Start time     : 1970-01-01 00:00:01.000000001 +0000 UTC\n",
        "    Status code    : Error\n",
        "    Status message : boom\n",
        "     -> tries: Int(3)\n",
        "SpanEvent #0\n     -> Name: retry\n",
    ] {
        assert!(lines.contains(wanted), "{wanted:?} in\n{lines}");
    }
    let lines = printed(Verbosity::Detailed, Signal::Logs, logs()).await;
    assert!(lines.contains("SeverityText: ERROR\n") && lines.contains("Body: Str(it broke)\n"), "{lines}");
}

#[tokio::test]
async fn what_cannot_be_read_is_said_and_not_fatal() {
    // One group, one scope, one span that ends within its first field.
    let request = b"\x0a\x06\x12\x04\x12\x02\x0a\x50".to_vec();
    let lines = printed(Verbosity::Detailed, Signal::Traces, request).await;
    assert!(lines.contains("cannot be shown"), "{lines}");
}

#[tokio::test]
async fn what_a_terminal_obeys_is_written_out_whoever_sent_it() {
    let evil = "\u{1b}[2J\u{1b}]0;owned\u{7}\nTraces\t{forged}\u{9b}\u{7f}\u{202e}";
    let body = AnyValue { value: Some(Value::StringValue(evil.to_owned())) };
    let record = LogRecord { severity_text: evil.to_owned(), body: Some(body), ..LogRecord::default() };
    let scope = InstrumentationScope { name: evil.to_owned(), ..InstrumentationScope::default() };
    let scope_logs = vec![ScopeLogs { scope: Some(scope), log_records: vec![record], ..ScopeLogs::default() }];
    let attributes = vec![attribute(evil, Value::StringValue(evil.to_owned()))];
    let resource = Some(Resource { attributes, ..Resource::default() });
    let request = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { resource, scope_logs, ..ResourceLogs::default() }],
    };
    for verbosity in [Verbosity::Normal, Verbosity::Detailed] {
        let lines = printed(verbosity, Signal::Logs, request.encode_to_vec()).await;
        let raw = lines.chars().find(|letter| crate::core::visible::is_dangerous(*letter) && !"\n\t".contains(*letter));
        assert_eq!(raw, None, "{lines:?}");
        assert!(!lines.contains("\nTraces") && lines.contains("\\u{1b}[2J"), "{lines}");
    }
}
