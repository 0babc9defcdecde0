//! Requests of all signals as bytes and as payloads, the same for the same arguments.
//!
//! Traces come from the load generator, so that tests, benches and demo speak of the same spans. Logs and metrics are
//! plain: what matters about them is that they pass. Nothing here reads a clock.

use std::sync::Arc;

use bytes::Bytes;

use crate::core::data::budget::Ticket;
use crate::core::data::origin::Origin;
use crate::core::data::payload::{Payload, Signal};
use crate::core::data::settlement::Share;
use crate::core::time::UnixNanos;
use crate::lab::loadgen::generate::{Mix, TraceStream, attribute, field_resource, pod_uid};
use crate::otlp::{envelope, write};

/// A resource with the attributes of the field's shape, for service and pod number `number`.
pub fn resource(number: usize) -> Bytes {
    let service = format!("service-{number}");
    field_resource(&service, &pod_uid(number), &format!("{service}-0"), "app")
}

/// An `ExportTraceServiceRequest` of `spans` spans in traces of ten, from one service; 567 bytes a span.
pub fn traces(spans: u32, now: UnixNanos, seed: u64) -> Bytes {
    TraceStream::new(vec![resource(0)], Mix::default(), seed).request(spans, now)
}

/// An `ExportLogsServiceRequest` of `records` log records.
pub fn logs(records: u32, now: UnixNanos) -> Bytes {
    let items: Vec<Vec<u8>> = (0..records)
        .map(|number| {
            let mut record = Vec::new();
            time(&mut record, 1, now);
            write::key(&mut record, 2, write::VARINT);
            write::varint(&mut record, 9);
            let mut body = Vec::new();
            write::bytes(&mut body, 1, format!("order {number} accepted").as_bytes());
            write::bytes(&mut record, 5, &body);
            write::bytes(&mut record, 6, &attribute("log.logger", "orders"));
            time(&mut record, 11, now);
            record
        })
        .collect();
    request(&items)
}

/// An `ExportMetricsServiceRequest` of `points` gauges with one data point each.
pub fn metrics(points: u32, now: UnixNanos) -> Bytes {
    let items: Vec<Vec<u8>> = (0..points)
        .map(|number| {
            let mut point = Vec::new();
            time(&mut point, 3, now);
            write::key(&mut point, 4, write::FIXED64);
            point.extend_from_slice(&f64::from(number).to_bits().to_le_bytes());
            let mut gauge = Vec::new();
            write::bytes(&mut gauge, 1, &point);
            let mut metric = Vec::new();
            write::bytes(&mut metric, 1, format!("queue.depth.{number}").as_bytes());
            write::bytes(&mut metric, 5, &gauge);
            metric
        })
        .collect();
    request(&items)
}

fn time(out: &mut Vec<u8>, number: u32, at: UnixNanos) {
    write::key(out, number, write::FIXED64);
    out.extend_from_slice(&at.0.to_le_bytes());
}

/// One resource, one scope, these items: the shape all signals share.
fn request(items: &[Vec<u8>]) -> Bytes {
    let mut scope = Vec::new();
    for item in items {
        write::bytes(&mut scope, 2, item);
    }
    let mut group = Vec::new();
    write::bytes(&mut group, 1, &resource(0));
    write::bytes(&mut group, 2, &scope);
    let mut out = Vec::new();
    write::bytes(&mut out, 1, &group);
    Bytes::from(out)
}

/// The payload a receiver would make of request bytes; without peer, without a ticket's charge, and answering for nothing.
pub fn payload(signal: Signal, body: Bytes, now: UnixNanos) -> Payload {
    let envelope = envelope::decode(body).expect("generated requests are valid");
    let items = envelope::count_items(signal, &envelope);
    let origin = Arc::new(Origin::internal(now));
    Payload { signal, envelope, items, origin, ticket: Ticket::free(), share: Share::none() }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use prost::Message;

    use super::*;

    #[test]
    fn every_signal_decodes_with_the_reference_classes_to_as_many_items_as_asked_for() {
        let now = UnixNanos::from_secs(1_000);
        let logs_request = ExportLogsServiceRequest::decode(logs(3, now)).expect("valid protobuf");
        assert_eq!(logs_request.resource_logs[0].scope_logs[0].log_records.len(), 3);
        assert_eq!(logs_request.encode_to_vec(), logs(3, now));
        let metrics_request = ExportMetricsServiceRequest::decode(metrics(4, now)).expect("valid protobuf");
        assert_eq!(metrics_request.resource_metrics[0].scope_metrics[0].metrics.len(), 4);
        for (signal, body, items) in [
            (Signal::Traces, traces(20, now, 1), 20),
            (Signal::Logs, logs(3, now), 3),
            (Signal::Metrics, metrics(4, now), 4),
        ] {
            assert_eq!(payload(signal, body, now).items, items, "{}", signal.name());
        }
    }
}
