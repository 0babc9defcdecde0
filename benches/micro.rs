//! Micro-measurements of the byte path beside what decoding and encoding the same bytes with prost costs.
//!
//! Prints nanoseconds of CPU time a span. `cargo bench --bench micro`; a word after `--` picks rows by name.

use std::hint::black_box;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use podgate::core::data::budget::Budget;
use podgate::core::data::payload::Signal;
use podgate::core::stage::factory::ProcessorFactory;
use podgate::core::stage::host::Host;
use podgate::core::time::UnixNanos;
use podgate::otlp::edit::Appender;
use podgate::otlp::regroup::{latest_time, split};
use podgate::otlp::{envelope, json, span};
use podgate::processors::{attributes, filter, probabilistic_sampler, resource, transform};
use podgate::testing::{stage, telemetry};
use prost::Message;

#[path = "support/rows.rs"]
mod rows;
#[path = "../tests/otlp/w1.rs"]
mod w1;

use rows::{COPIES, Rows};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The ten attributes that enrichment appends.
const APPENDED: [(&str, &str); 10] = [
    ("k8s.pod.name", "orders-7c9d8b6f5-x2x4z"),
    ("k8s.pod.uid", "0e3a1c9e-0e5b-4c6e-9f0b-2f1c9a7d5b11"),
    ("k8s.pod.ip", "10.244.1.17"),
    ("k8s.namespace.name", "shop"),
    ("k8s.node.name", "worker-3"),
    ("k8s.deployment.name", "orders"),
    ("k8s.container.name", "orders"),
    ("container.id", "5f0b1c2d3e4f5061728394a5b6c7d8e9f00112233445566778899aabbccddeef"),
    ("container.image.name", "registry.local/shop/orders"),
    ("k8s.pod.start_time", "2026-01-01T00:00:00Z"),
];

fn main() {
    let copies: Vec<Bytes> = (0..COPIES).map(|_| Bytes::from(w1::wire())).collect();
    let envelopes: Vec<_> = copies.iter().map(|bytes| envelope::decode(bytes.clone()).expect("valid")).collect();
    let texts: Vec<Vec<u8>> = envelopes
        .iter()
        .map(|envelope| {
            let mut line = Vec::new();
            json::from_wire(Signal::Traces, envelope, &mut line).expect("valid");
            line
        })
        .collect();
    let mut line = Vec::new();

    let stages =
        SHAPES.map(|(_, factory, body)| stage::bench(factory, body, Signal::Traces, Host::new(Budget::unlimited())));
    let now = UnixNanos(0);
    let mut rows = Rows::new(w1::SPANS);
    rows.row("prost decode + append 10 + encode", |at| _ = black_box(prost_pass(&copies[at])));
    rows.row("prost decode + encode", |at| {
        let request = ExportTraceServiceRequest::decode(copies[at].as_ref()).expect("valid");
        black_box(request.encode_to_vec());
    });
    rows.row("memcpy of the bytes", |at| _ = black_box(copies[at].to_vec()));
    rows.row("envelope decode", |at| _ = black_box(envelope::decode(copies[at].clone())));
    rows.row("envelope decode + append 10 + encode", |at| _ = black_box(byte_pass(&copies[at])));
    rows.row("resource append 10", |at| _ = black_box(append(envelopes[at].groups[0].resource.as_deref())));
    rows.row("span facts", |at| {
        envelopes[at].items().for_each(|item| _ = black_box(span::read(item)));
    });
    rows.row("depth check", |at| {
        envelopes[at].items().for_each(|item| _ = black_box(span::check_depth(Signal::Traces, item)));
    });
    rows.row("facts and grouping by trace", |at| _ = black_box(split::by_trace(&envelopes[at])));
    rows.row("latest time", |at| {
        black_box(latest_time::latest_time(Signal::Traces, &envelopes[at].groups[0].scopes));
    });
    rows.row("JSON in", |at| _ = black_box(json::to_wire(Signal::Traces, &texts[at])));
    rows.row("JSON out", |at| {
        line.clear();
        json::from_wire(Signal::Traces, &envelopes[at], &mut line).expect("valid");
        black_box(&line);
    });
    for ((name, ..), stage) in SHAPES.iter().zip(&stages) {
        let copies = &copies;
        // The decode of the row above is part of this one.
        rows.row(name, move |at| {
            _ = black_box(stage.send(telemetry::payload(Signal::Traces, copies[at].clone(), now)));
        });
    }
    rows.run();
}

/// Processors that change or drop, with a body that touches every item.
const SHAPES: [(&str, &ProcessorFactory, &str); 8] = [
    (
        "resource: upsert 2",
        &resource::FACTORY,
        "{attributes: [{key: a, value: 1, action: upsert}, {key: b, value: x, action: upsert}]}",
    ),
    ("attributes: nothing to change", &attributes::FACTORY, "{actions: [{key: absent, action: delete}]}"),
    (
        "attributes: delete 1, insert 1",
        &attributes::FACTORY,
        "{actions: [{key: http.route, action: delete}, {key: a, value: x, action: insert}]}",
    ),
    ("attributes: hash 1", &attributes::FACTORY, "{actions: [{key: http.route, action: hash}]}"),
    (
        "filter: 3 conditions, nothing goes",
        &filter::FACTORY,
        "{traces: {span: ['attributes[\"http.route\"] == \"/none\" and kind == SPAN_KIND_SERVER', 'IsMatch(name, \"^never$\")', \
         'resource.attributes[\"k\"] == 1']}}",
    ),
    (
        "transform: 3 statements, 1 changes",
        &transform::FACTORY,
        "{trace_statements: [{context: span, statements: ['set(attributes[\"added\"], name)', \
         'set(status.code, 2) where attributes[\"http.route\"] == \"/none\"', 'delete_key(attributes, \"absent\")']}]}",
    ),
    (
        "transform: replace_pattern",
        &transform::FACTORY,
        "{trace_statements: [{context: span, statements: ['replace_pattern(name, \"^GET \", \"\")']}]}",
    ),
    ("probabilistic_sampler: 10 %", &probabilistic_sampler::FACTORY, "{mode: proportional, sampling_percentage: 10}"),
];

fn append(resource: Option<&[u8]>) -> Bytes {
    let mut edit = Appender::new(resource.unwrap_or_default()).expect("valid");
    for (key, value) in APPENDED {
        edit.set_if_absent_or_empty(key, value);
    }
    edit.finish().expect("unlimited")
}

fn byte_pass(bytes: &Bytes) -> Bytes {
    let mut envelope = envelope::decode(bytes.clone()).expect("valid");
    for group in &mut envelope.groups {
        group.resource = Some(append(group.resource.as_deref()));
    }
    envelope::encode(&envelope)
}

fn prost_pass(bytes: &Bytes) -> Vec<u8> {
    let mut request = ExportTraceServiceRequest::decode(bytes.as_ref()).expect("valid");
    for resource in request.resource_spans.iter_mut().filter_map(|group| group.resource.as_mut()) {
        resource.attributes.extend(APPENDED.map(|(key, value)| KeyValue {
            key: key.into(),
            value: Some(AnyValue { value: Some(Value::StringValue(value.into())) }),
            ..KeyValue::default()
        }));
    }
    request.encode_to_vec()
}
