//! The workload that the measured numbers speak of (W1): one resource with 12 attributes, 5 scopes of 100 spans, 12
//! attributes and 1 or 2 events on a span, 10 spans in a trace, about 567 bytes a span.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};

pub const SPANS: usize = SCOPES * SPANS_PER_SCOPE;
const SCOPES: usize = 5;
const SPANS_PER_SCOPE: usize = 100;
const SPANS_PER_TRACE: usize = 10;

pub fn request() -> ExportTraceServiceRequest {
    let mut rng = fastrand::Rng::with_seed(1);
    let resource = Resource {
        attributes: (0..12).map(|at| text(&format!("resource.attribute.{at:02}"), format!("value-{at:08}"))).collect(),
        ..Resource::default()
    };
    let scope_spans = (0..SCOPES).map(|scope| ScopeSpans {
        scope: Some(InstrumentationScope {
            name: format!("io.opentelemetry.library-{scope}"),
            version: "1.2.3".into(),
            ..InstrumentationScope::default()
        }),
        spans: (0..SPANS_PER_SCOPE).map(|at| span(scope * SPANS_PER_SCOPE + at, &mut rng)).collect(),
        schema_url: String::new(),
    });
    let group =
        ResourceSpans { resource: Some(resource), scope_spans: scope_spans.collect(), schema_url: String::new() };
    ExportTraceServiceRequest { resource_spans: vec![group] }
}

/// The request's bytes; the length a span is checked, because every figure depends on it.
pub fn wire() -> Vec<u8> {
    let bytes = prost::Message::encode_to_vec(&request());
    let per_span = bytes.len() / SPANS;
    assert!((545..590).contains(&per_span), "{per_span} bytes a span is not the workload");
    bytes
}

fn text(key: &str, value: String) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value)) };
    KeyValue { key: key.into(), value: Some(value), ..KeyValue::default() }
}

fn number(key: &str, value: i64) -> KeyValue {
    let value = AnyValue { value: Some(Value::IntValue(value)) };
    KeyValue { key: key.into(), value: Some(value), ..KeyValue::default() }
}

fn span(index: usize, rng: &mut fastrand::Rng) -> Span {
    let trace = (index / SPANS_PER_TRACE) as u64 + 1;
    let trace_id = [trace.wrapping_mul(0x9e37_79b9_7f4a_7c15), trace.wrapping_mul(0xff51_afd7_ed55_8ccd)];
    let start = 1_760_000_000_000_000_000 + index as u64 * 1_000_003;
    let id = |seed: u64| seed.wrapping_mul(0xc2b2_ae3d_27d4_eb4f).to_be_bytes().to_vec();
    let parent = index % SPANS_PER_TRACE;
    let attributes = vec![
        text("http.request.method", "GET".into()),
        text("url.path", format!("/api/v1/orders/{:06}", rng.u32(0..1_000_000))),
        number("http.response.status_code", 200),
        text("server.address", "orders.shop.svc.local".into()),
        number("server.port", 8080),
        text("client.address", format!("10.0.{}.{}", rng.u8(..), rng.u8(..))),
        text("user_agent.original", "Mozilla/5.0 (X11; Linux x86_64)".into()),
        text("url.scheme", "http".into()),
        text("network.protocol.version", "1.1".into()),
        text("http.route", "/api/v1/orders/{id}".into()),
        text("enduser.id", format!("user-{:05}", rng.u32(0..100_000))),
        number("thread.id", i64::from(rng.u8(..))),
    ];
    let events = (0..=index % 2).map(|at| span::Event {
        time_unix_nano: start + at as u64,
        name: "message".into(),
        attributes: vec![text("message.type", "SENT".into())],
        dropped_attributes_count: 0,
    });
    Span {
        trace_id: trace_id.iter().flat_map(|word| word.to_be_bytes()).collect(),
        span_id: id(index as u64 + 1),
        parent_span_id: if parent == 0 { Vec::new() } else { id(index as u64) },
        name: "GET /api/v1/orders/{id}".into(),
        kind: 2,
        start_time_unix_nano: start,
        end_time_unix_nano: start + 5_000_000,
        attributes,
        events: events.collect(),
        status: Some(Status { message: String::new(), code: i32::from(index.is_multiple_of(50)) * 2 }),
        flags: 0x101,
        ..Span::default()
    }
}
