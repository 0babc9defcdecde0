//! Micro-measurements of the byte path beside what decoding and encoding the same bytes with prost costs.
//!
//! Prints nanoseconds of CPU time a span: the median of rounds in which every row runs in turn, so that a slow moment of
//! the machine hits all of them. CPU time is the scheduler's account of this thread (Linux), so that a busy machine does
//! not count; elsewhere it is the clock on the wall. `cargo bench --bench micro`; a word after `--` picks rows by name.

use std::hint::black_box;
use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use podgate::core::payload::Signal;
use podgate::otlp::edit::Appender;
use podgate::otlp::{envelope, json, latest, span, split};
use prost::Message;
use tokio::time::Instant;

#[path = "../tests/otlp/w1.rs"]
mod w1;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 21;
const ROUND_TIME: Duration = Duration::from_millis(60);
/// Requests that take turns, so that the bytes come from the outer caches as they do from a socket.
const COPIES: usize = 16;

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

    let mut rows = Rows::default();
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
        black_box(latest::latest_time(Signal::Traces, &envelopes[at].groups[0].scopes));
    });
    rows.row("JSON in", |at| _ = black_box(json::to_wire(Signal::Traces, &texts[at])));
    rows.row("JSON out", |at| {
        line.clear();
        json::from_wire(Signal::Traces, &envelopes[at], &mut line).expect("valid");
        black_box(&line);
    });
    rows.run();
}

fn append(resource: Option<&[u8]>) -> Bytes {
    let mut edit = Appender::new(resource.unwrap_or_default()).expect("valid");
    for (key, value) in APPENDED {
        edit.set_if_absent_or_empty(key, value);
    }
    edit.finish()
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

/// What is measured: each row is one request's work on the copy whose number it is given.
#[derive(Default)]
struct Rows<'a> {
    rows: Vec<Row<'a>>,
}

struct Row<'a> {
    name: &'static str,
    work: Box<dyn FnMut(usize) + 'a>,
    /// Nanoseconds a span, one for each round.
    rounds: Vec<f64>,
}

impl<'a> Rows<'a> {
    fn row(&mut self, name: &'static str, work: impl FnMut(usize) + 'a) {
        self.rows.push(Row { name, work: Box::new(work), rounds: Vec::new() });
    }

    fn run(mut self) {
        let wanted: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
        self.rows.retain(|row| wanted.is_empty() || wanted.iter().any(|word| row.name.contains(word.as_str())));
        for _ in 0..ROUNDS {
            self.rows.iter_mut().for_each(Row::round);
        }
        let mut screen = std::io::stdout().lock();
        for row in &mut self.rows {
            row.rounds.sort_by(f64::total_cmp);
            let (fastest, median) = (row.rounds[0], row.rounds[ROUNDS / 2]);
            _ = writeln!(screen, "{:<40} {median:>9.1} ns/span   (fastest {fastest:.1})", row.name);
        }
    }
}

impl Row<'_> {
    /// Runs for about the round's time and notes the mean.
    fn round(&mut self) {
        let (start, spent) = (Instant::now(), cpu_time());
        let mut requests = 0;
        while start.elapsed() < ROUND_TIME {
            for copy in 0..COPIES {
                (self.work)(copy);
            }
            requests += COPIES;
        }
        let wall = start.elapsed().as_nanos() as u64;
        let spent = cpu_time().zip(spent).map_or(wall, |(now, before)| now - before);
        self.rounds.push(spent as f64 / (requests * w1::SPANS) as f64);
    }
}

/// Nanoseconds that this thread has run.
fn cpu_time() -> Option<u64> {
    let account = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    account.split_whitespace().next()?.parse().ok()
}
