//! What is printed for real requests, in the three verbosities, and what bad bytes print.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::Event};
use prost::Message;

use super::*;
use crate::core::budget::{Budget, Ticket};
use crate::core::component::ComponentId;
use crate::core::origin::Origin;
use crate::core::time::UnixNanos;
use crate::otlp::envelope::{count_items, decode};

#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
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
        start_time_unix_nano: 1_000_000_001,
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
    let screen = Screen::default();
    let plan = Plan { verbosity, sampling: Sampling::new(2, 1) };
    let debug = Debug::new(cx, &plan, Box::new(screen.clone()));
    let envelope = decode(request.into()).unwrap();
    let items = count_items(signal, &envelope);
    let origin = Arc::new(Origin::internal(UnixNanos(0)));
    host.balance.received(signal, items);
    debug.consume(Payload { signal, envelope, items, origin, ticket: Ticket::free() }).await.unwrap();
    assert!(host.balance.sheet(signal).holds(0) && host.balance.sheet(signal).delivered == items);
    let bytes = screen.0.lock().unwrap().clone();
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
    let span = "GET /cart 1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a 0202020202020202 tries=3 list=[";
    assert!(lines.contains("ResourceSpans #0 service.name=cart\nScopeSpans #0 lib 1.0\n"), "{lines}");
    assert!(lines.contains(span), "{lines}");
    assert!(printed(Verbosity::Normal, Signal::Logs, logs()).await.contains("\nit broke"));
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
