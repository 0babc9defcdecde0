//! Requests made by hand for single behaviours.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};

/// A fixed day.
pub const BASE: u64 = 1_760_000_000_000_000_000;

pub fn attribute(key: &str, value: any_value::Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

pub fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, any_value::Value::StringValue(value.to_owned()))
}

pub fn id(trace: u64) -> Vec<u8> {
    // Spread, so that shards and hashes see different ids.
    let spread = u128::from(trace + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    spread.to_be_bytes().to_vec()
}

pub fn hex(trace: u64) -> String {
    id(trace).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A span of 10 ms; the first of a trace (number 0) is its root.
pub fn span(trace: u64, number: u64) -> Span {
    Span {
        trace_id: id(trace),
        span_id: (number + 1).to_be_bytes().to_vec(),
        parent_span_id: if number == 0 { Vec::new() } else { 1u64.to_be_bytes().to_vec() },
        name: "work".to_owned(),
        kind: span::SpanKind::Server as i32,
        start_time_unix_nano: BASE,
        end_time_unix_nano: BASE + 10_000_000,
        ..Span::default()
    }
}

pub fn failed(mut span: Span) -> Span {
    span.status = Some(Status { code: 2, ..Status::default() });
    span
}

/// One resource with one scope.
pub fn request(spans: Vec<Span>) -> ExportTraceServiceRequest {
    request_of("shop", spans)
}

pub fn request_of(service: &str, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let resource = Resource { attributes: vec![text("service.name", service)], ..Resource::default() };
    let scopes = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: scopes,
            ..ResourceSpans::default()
        }],
    }
}
