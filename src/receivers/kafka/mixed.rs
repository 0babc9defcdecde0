//! Which signal a record is of, where traces, metrics and logs share a topic, as Elastic's page on Kafka has it.
//!
//! Pure. The three requests have the same outer shape - resources, scopes, items - and their first item tells them apart by
//! fields that only one of the three has with that wire type (opentelemetry-proto, trace.proto, logs.proto, metrics.proto).

use crate::core::data::payload::Signal;
use crate::otlp::fields::collector_logs::export_logs_service_request;
use crate::otlp::fields::collector_metrics::export_metrics_service_request;
use crate::otlp::fields::collector_trace::export_trace_service_request;
use crate::otlp::fields::logs::log_record;
use crate::otlp::fields::trace::span;
use crate::otlp::fields::{request, resource_group, scope_group};
use crate::otlp::walk::{Fields, Wire};
use crate::receivers::kafka::config::RecordEncoding;

const TRACE_ID_BYTES: usize = 16;
const SPAN_ID_BYTES: usize = 8;
/// A name of JSON's is sought in so many bytes at the head.
const JSON_HEAD_BYTES: usize = 256;

/// The signal of a record; `None` where it has no item that tells.
pub fn signal_of(encoding: RecordEncoding, value: &[u8]) -> Option<Signal> {
    match encoding {
        RecordEncoding::Protobuf => messages(value, request::RESOURCE_GROUPS)
            .flat_map(|resource| messages(resource, resource_group::SCOPE_GROUPS))
            .flat_map(|scope| messages(scope, scope_group::ITEMS))
            .map(of_item)
            .next(),
        RecordEncoding::Json => {
            let head = &value[..value.len().min(JSON_HEAD_BYTES)];
            let has = |name: &str| head.windows(name.len()).any(|part| part == name.as_bytes());
            let names = [
                (export_trace_service_request::json::RESOURCE_SPANS, Signal::Traces),
                (export_metrics_service_request::json::RESOURCE_METRICS, Signal::Metrics),
                (export_logs_service_request::json::RESOURCE_LOGS, Signal::Logs),
            ];
            names.into_iter().find(|(name, _)| has(name)).map(|(_, signal)| signal)
        }
    }
}

fn messages(message: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    let fields = Fields::new(message).map_while(Result::ok);
    fields.filter(move |field| field.number == number).filter_map(|field| field.bytes().ok())
}

fn of_item(item: &[u8]) -> Signal {
    let (mut is_log, mut is_span, mut has_name) = (false, false, false);
    let (mut trace_id, mut span_id) = (false, false);
    for field in Fields::new(item).map_while(Result::ok) {
        match (field.number, field.wire) {
            (log_record::TIME_UNIX_NANO | log_record::OBSERVED_TIME_UNIX_NANO, Wire::Fixed64(_))
            | (log_record::SEVERITY_NUMBER, Wire::Varint(_))
            | (log_record::FLAGS, Wire::Fixed32(_)) => is_log = true,
            (span::START_TIME_UNIX_NANO | span::END_TIME_UNIX_NANO, Wire::Fixed64(_))
            | (span::KIND, Wire::Varint(_)) => is_span = true,
            // The number of a metric's name, too.
            (span::TRACE_ID, Wire::Bytes(bytes)) => (has_name, trace_id) = (true, bytes.len() == TRACE_ID_BYTES),
            (span::SPAN_ID, Wire::Bytes(bytes)) => span_id = bytes.len() == SPAN_ID_BYTES,
            _ => {}
        }
    }
    match (is_log, is_span || (trace_id && span_id), has_name) {
        (true, ..) => Signal::Logs,
        (_, true, _) => Signal::Traces,
        (_, _, true) => Signal::Metrics,
        _ => Signal::Logs,
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
    use opentelemetry_proto::tonic::logs::v1::{LogRecord, LogsData, ResourceLogs, ScopeLogs};
    use opentelemetry_proto::tonic::metrics::v1::{
        Gauge, Histogram, Metric, MetricsData, ResourceMetrics, ScopeMetrics, Sum, metric,
    };
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, TracesData};
    use prost::Message;

    use super::*;

    fn of(value: Vec<u8>) -> Option<Signal> {
        signal_of(RecordEncoding::Protobuf, &value)
    }

    fn spans(span: Span) -> Vec<u8> {
        let scopes = ScopeSpans { spans: vec![span], ..ScopeSpans::default() };
        let empty = ResourceSpans { scope_spans: vec![ScopeSpans::default()], ..ResourceSpans::default() };
        let full = ResourceSpans { scope_spans: vec![scopes], ..ResourceSpans::default() };
        TracesData { resource_spans: vec![empty, full] }.encode_to_vec()
    }

    fn logs(record: LogRecord) -> Vec<u8> {
        let scopes = ScopeLogs { log_records: vec![record], ..ScopeLogs::default() };
        LogsData { resource_logs: vec![ResourceLogs { scope_logs: vec![scopes], ..ResourceLogs::default() }] }
            .encode_to_vec()
    }

    fn metrics(name: &str, data: metric::Data) -> Vec<u8> {
        let metrics = vec![Metric {
            name: name.to_owned(),
            description: "12345678".to_owned(),
            data: Some(data),
            ..Metric::default()
        }];
        let scopes = ScopeMetrics { metrics, ..ScopeMetrics::default() };
        let resource = ResourceMetrics { scope_metrics: vec![scopes], ..ResourceMetrics::default() };
        MetricsData { resource_metrics: vec![resource] }.encode_to_vec()
    }

    #[test]
    fn each_signal_is_told_by_its_first_item_however_little_that_has() {
        let ids = Span { trace_id: vec![1; 16], span_id: vec![2; 8], ..Span::default() };
        for span in [ids.clone(), Span { start_time_unix_nano: 1, ..Span::default() }, Span { kind: 2, ..ids }] {
            assert_eq!(of(spans(span.clone())), Some(Signal::Traces), "{span:?}");
        }
        let body = AnyValue { value: Some(any_value::Value::StringValue("words".to_owned())) };
        for record in [
            LogRecord { time_unix_nano: 1, ..LogRecord::default() },
            LogRecord { observed_time_unix_nano: 1, ..LogRecord::default() },
            LogRecord { severity_number: 9, trace_id: vec![1; 16], span_id: vec![2; 8], ..LogRecord::default() },
            LogRecord { body: Some(body), ..LogRecord::default() },
        ] {
            assert_eq!(of(logs(record.clone())), Some(Signal::Logs), "{record:?}");
        }
        for data in [
            metric::Data::Gauge(Gauge::default()),
            metric::Data::Sum(Sum::default()),
            metric::Data::Histogram(Histogram::default()),
        ] {
            assert_eq!(of(metrics("http.requests", data.clone())), Some(Signal::Metrics), "{data:?}");
        }
        assert_eq!(of(Vec::new()), None);
    }

    #[test]
    fn json_is_told_by_its_first_name() {
        let of = |text: &str| signal_of(RecordEncoding::Json, text.as_bytes());
        assert_eq!(of("{\"resourceSpans\": []}"), Some(Signal::Traces));
        assert_eq!(of("{ \"resource_spans\": []}"), None);
        assert_eq!(of("{\"resourceMetrics\":[{\"resource\":{}}]}"), Some(Signal::Metrics));
        assert_eq!(of("{\"resourceLogs\":[]}"), Some(Signal::Logs));
    }

    #[test]
    fn no_bytes_make_it_panic() {
        fastrand::seed(20);
        for _ in 0..20_000 {
            let bytes: Vec<u8> = (0..fastrand::usize(0..64)).map(|_| fastrand::u8(..)).collect();
            signal_of(RecordEncoding::Protobuf, &bytes);
            signal_of(RecordEncoding::Json, &bytes);
        }
    }
}
