//! A broker in this process, configurations that write to it and read from it, and what it has.

#![allow(dead_code, reason = "not every test asks for all of it")]

use std::collections::BTreeMap;

use krafka::consumer::ConsumerRecord;
use krafka::testing::FakeBroker;
use krafka::{Kafka, Record};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use podgate::gateway::Gateway;
use prost::Message;

use crate::support::Sink;

pub const OK: i32 = 1;
pub const ERROR: i32 = 2;
pub const GROUP: &str = "samplers";

/// OTLP/HTTP in, records out.
pub fn exporting(broker: &FakeBroker, http: u16, keys: &str) -> String {
    format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}
exporters:
  kafka:
    brokers: ['{}']
    traces: {{topic: spans}}
    timeout: 2s
    sending_queue: {{enabled: false}}
    retry_on_failure: {{initial_interval: 50ms, max_interval: 200ms}}
{keys}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [kafka]}}}}
",
        broker.bootstrap_servers()
    )
}

/// Records in, OTLP/gRPC out, by way of `processors`.
pub fn reading(broker: &FakeBroker, hop: &str, keys: &str, processors: &str) -> String {
    let names: Vec<&str> = processors.lines().filter_map(|line| line.trim().split(':').next()).collect();
    format!(
        "receivers:
  kafka:
    brokers: ['{}']
    group_id: {GROUP}
    initial_offset: earliest
    traces: {{topics: [spans]}}
    session_timeout: 6s
    heartbeat_interval: 100ms
    max_fetch_wait: 50ms
    autocommit: {{interval: 50ms}}
{keys}
processors:
{processors}
exporters:
  otlp_grpc:
    endpoint: '{hop}'
    tls: {{insecure: true}}
    timeout: 1s
    sending_queue: {{enabled: false}}
    retry_on_failure: {{initial_interval: 50ms, max_interval: 200ms, max_elapsed_time: 0}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [kafka], processors: [{}], exporters: [otlp_grpc]}}}}
",
        broker.bootstrap_servers(),
        names.join(", ")
    )
}

pub async fn broker(partitions: i32) -> FakeBroker {
    let broker = FakeBroker::start().await.expect("loopback has ports");
    broker.create_topic("spans", partitions);
    broker
}

pub fn records(broker: &FakeBroker) -> Vec<ConsumerRecord> {
    broker.all_records("spans").expect("the broker's own log")
}

pub fn decoded(record: &ConsumerRecord) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest::decode(record.value.clone().expect("a value")).expect("OTLP")
}

/// `(trace, span)` of every span, in order.
pub fn ids(request: &ExportTraceServiceRequest) -> Vec<(u128, u64)> {
    let scopes = request.resource_spans.iter().flat_map(|group| &group.scope_spans);
    let spans = scopes.flat_map(|scope| &scope.spans);
    let number = |bytes: &[u8]| bytes.iter().fold(0_u128, |number, byte| number << 8 | u128::from(*byte));
    spans.map(|span| (number(&span.trace_id), u64::try_from(number(&span.span_id)).expect("eight bytes"))).collect()
}

/// Writes a record for each request, to this partition.
pub async fn produce(broker: &FakeBroker, partition: i32, requests: &[ExportTraceServiceRequest]) {
    let values: Vec<Vec<u8>> = requests.iter().map(Message::encode_to_vec).collect();
    produce_raw(broker, partition, values).await;
}

pub async fn produce_raw(broker: &FakeBroker, partition: i32, values: Vec<Vec<u8>>) {
    let kafka = Kafka::builder(broker.bootstrap_servers()).connect().await.expect("the broker answers");
    let producer = kafka.producer().metrics_push(false).build().await.expect("a producer");
    for value in values {
        let written = producer.send(Record::new("spans", value).partition(partition)).await;
        assert!(written.is_ok(), "{written:?}");
    }
    producer.close().await.expect("closes");
}

pub fn committed(broker: &FakeBroker, partition: i32) -> Option<i64> {
    broker.committed_offset(GROUP, "spans", partition)
}

pub fn total(gateway: &Gateway, name: &str) -> u64 {
    gateway.host().stats.total(name)
}

/// How often each span id arrived.
pub fn arrived(sinks: &[&Sink]) -> BTreeMap<u64, usize> {
    let mut counts = BTreeMap::new();
    for (_, span) in sinks.iter().flat_map(|sink| sink.spans()) {
        *counts.entry(u64::from_be_bytes(span.span_id[..].try_into().expect("eight bytes"))).or_default() += 1;
    }
    counts
}
