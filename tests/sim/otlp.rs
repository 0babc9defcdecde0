//! Requests of items as bytes and back, by stock code.

use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use podgate::core::data::payload::Signal;
use podgate::core::time::UnixNanos;
use prost::Message;

use crate::truth::{Attempt, Item};

/// One item as a sender makes it.
#[derive(Clone, Debug)]
pub struct Thing {
    pub item: Item,
    pub trace: u64,
    pub made: UnixNanos,
    /// A span of a failed call.
    pub failed: bool,
    /// The text of a log record in place of its own; such records carry no number.
    pub twin: Option<String>,
}

fn value(text: &str) -> Option<AnyValue> {
    Some(AnyValue { value: Some(any_value::Value::StringValue(text.to_owned())) })
}

pub fn key_value(key: &str, text: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: value(text), ..KeyValue::default() }
}

pub fn trace_id(trace: u64) -> Vec<u8> {
    (u128::from(trace) << 64 | u128::from(trace.wrapping_mul(0x9e37_79b9_7f4a_7c15))).to_be_bytes().to_vec()
}

/// One request: one resource, one scope, whose version is the attempt.
pub fn request(signal: Signal, resource: &[(String, String)], attempt: Attempt, things: &[Thing]) -> Vec<u8> {
    let attributes = resource.iter().map(|(key, text)| key_value(key, text)).collect();
    let resource = Some(Resource { attributes, ..Resource::default() });
    // Twins are equal to the byte.
    let twins = things.iter().any(|thing| thing.twin.is_some());
    let scope = Some(InstrumentationScope {
        name: "sim".into(),
        version: if twins { String::new() } else { attempt.to_string() },
        ..InstrumentationScope::default()
    });
    match signal {
        Signal::Traces => {
            let spans = things.iter().map(span).collect();
            let scope = ScopeSpans { scope, spans, ..ScopeSpans::default() };
            let group = ResourceSpans { resource, scope_spans: vec![scope], ..ResourceSpans::default() };
            ExportTraceServiceRequest { resource_spans: vec![group] }.encode_to_vec()
        }
        Signal::Logs => {
            let log_records = things.iter().map(record).collect();
            let scope = ScopeLogs { scope, log_records, ..ScopeLogs::default() };
            let group = ResourceLogs { resource, scope_logs: vec![scope], ..ResourceLogs::default() };
            ExportLogsServiceRequest { resource_logs: vec![group] }.encode_to_vec()
        }
        _ => {
            let scope = ScopeMetrics { scope, metrics: things.iter().map(gauge).collect(), ..ScopeMetrics::default() };
            let group = ResourceMetrics { resource, scope_metrics: vec![scope], ..ResourceMetrics::default() };
            ExportMetricsServiceRequest { resource_metrics: vec![group] }.encode_to_vec()
        }
    }
}

fn span(thing: &Thing) -> Span {
    Span {
        trace_id: trace_id(thing.trace),
        span_id: thing.item.to_be_bytes().to_vec(),
        name: "call".to_owned(),
        start_time_unix_nano: thing.made.0.saturating_sub(1_000_000),
        end_time_unix_nano: thing.made.0,
        status: Some(Status { code: if thing.failed { 2 } else { 0 }, ..Status::default() }),
        ..Span::default()
    }
}

fn record(thing: &Thing) -> LogRecord {
    let own = thing.twin.is_none();
    LogRecord {
        // Of twins a sender gives whole seconds and no time of observation, as many do.
        time_unix_nano: if own { thing.made.0 } else { thing.made.0 / 1_000_000_000 * 1_000_000_000 },
        observed_time_unix_nano: if own { thing.made.0 } else { 0 },
        trace_id: if own { trace_id(thing.trace) } else { Vec::new() },
        span_id: if own { thing.item.to_be_bytes().to_vec() } else { Vec::new() },
        body: value(thing.twin.as_deref().unwrap_or("order taken")),
        ..LogRecord::default()
    }
}

fn gauge(thing: &Thing) -> Metric {
    let point = NumberDataPoint {
        attributes: vec![key_value("queue", &thing.item.to_string())],
        time_unix_nano: thing.made.0,
        value: Some(number_data_point::Value::AsInt(thing.item as i64)),
        ..NumberDataPoint::default()
    };
    let data = metric::Data::Gauge(Gauge { data_points: vec![point] });
    Metric { name: "queue.depth".to_owned(), data: Some(data), ..Metric::default() }
}

/// What a next hop reads of a request: item, attempt, container.id.
pub type Read = Vec<(Item, Attempt, Option<String>)>;

pub fn read(signal: Signal, body: &[u8]) -> Result<Read, prost::DecodeError> {
    read_with(signal, body, "container.id")
}

/// The same with another attribute of the resource.
pub fn read_with(signal: Signal, body: &[u8], key: &str) -> Result<Read, prost::DecodeError> {
    let mut out = Vec::new();
    match signal {
        Signal::Traces => {
            for group in ExportTraceServiceRequest::decode(body)?.resource_spans {
                let container = group.resource.as_ref().and_then(|resource| text_of(resource, key));
                for scope in &group.scope_spans {
                    let attempt = attempt_of(scope.scope.as_ref());
                    out.extend(scope.spans.iter().map(|span| (number(&span.span_id), attempt, container.clone())));
                }
            }
        }
        Signal::Logs => {
            for group in ExportLogsServiceRequest::decode(body)?.resource_logs {
                let container = group.resource.as_ref().and_then(|resource| text_of(resource, key));
                for scope in &group.scope_logs {
                    let attempt = attempt_of(scope.scope.as_ref());
                    let items = scope.log_records.iter().map(|record| number(&record.span_id));
                    out.extend(items.map(|item| (item, attempt, container.clone())));
                }
            }
        }
        _ => {
            for group in ExportMetricsServiceRequest::decode(body)?.resource_metrics {
                let container = group.resource.as_ref().and_then(|resource| text_of(resource, key));
                for scope in &group.scope_metrics {
                    let attempt = attempt_of(scope.scope.as_ref());
                    let points = scope.metrics.iter().flat_map(points);
                    out.extend(points.map(|item| (item, attempt, container.clone())));
                }
            }
        }
    }
    Ok(out)
}

fn points(metric: &Metric) -> Vec<Item> {
    let Some(metric::Data::Gauge(gauge)) = &metric.data else { return Vec::new() };
    let value = |point: &NumberDataPoint| match point.value {
        Some(number_data_point::Value::AsInt(item)) => item as u64,
        _ => 0,
    };
    gauge.data_points.iter().map(value).collect()
}

fn number(id: &[u8]) -> Item {
    id.try_into().map_or(0, Item::from_be_bytes)
}

fn attempt_of(scope: Option<&InstrumentationScope>) -> Attempt {
    scope.and_then(|scope| scope.version.parse().ok()).unwrap_or(0)
}

fn text_of(resource: &Resource, key: &str) -> Option<String> {
    let found = resource.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text.clone()),
        _ => None,
    }
}

/// The answer of a next hop that rejects so many items.
pub fn response(signal: Signal, rejected: u64) -> Vec<u8> {
    use opentelemetry_proto::tonic::collector::{logs, metrics, trace};
    let rejected = i64::try_from(rejected).unwrap_or(i64::MAX);
    if rejected == 0 {
        return Vec::new();
    }
    let error_message = "over the quota of the tenant".to_owned();
    match signal {
        Signal::Traces => {
            let part = trace::v1::ExportTracePartialSuccess { rejected_spans: rejected, error_message };
            ExportTraceServiceResponse { partial_success: Some(part) }.encode_to_vec()
        }
        Signal::Logs => {
            let part = logs::v1::ExportLogsPartialSuccess { rejected_log_records: rejected, error_message };
            ExportLogsServiceResponse { partial_success: Some(part) }.encode_to_vec()
        }
        _ => {
            let part = metrics::v1::ExportMetricsPartialSuccess { rejected_data_points: rejected, error_message };
            ExportMetricsServiceResponse { partial_success: Some(part) }.encode_to_vec()
        }
    }
}

/// How many items an answer says were rejected.
pub fn rejected(signal: Signal, body: &[u8]) -> u64 {
    let count = match signal {
        Signal::Traces => ExportTraceServiceResponse::decode(body)
            .ok()
            .and_then(|answer| answer.partial_success)
            .map(|part| part.rejected_spans),
        Signal::Logs => ExportLogsServiceResponse::decode(body)
            .ok()
            .and_then(|answer| answer.partial_success)
            .map(|part| part.rejected_log_records),
        _ => ExportMetricsServiceResponse::decode(body)
            .ok()
            .and_then(|answer| answer.partial_success)
            .map(|part| part.rejected_data_points),
    };
    u64::try_from(count.unwrap_or(0)).unwrap_or(0)
}
