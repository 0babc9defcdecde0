//! Deterministic OTLP traces as bytes: the same seed gives the same traces, and every span costs one copy.
//!
//! Shared by `loadgen`, `demo`, tests and benches. Spans are rendered once per kind (operation, root or child, failed or
//! not) and then copied with ids, times and a request id patched in, so that a generator on one core outruns the gateway
//! on the other. Shape: 12 attributes and 1 or 2 events, 567 bytes a span on average. Knows no sockets and no clock.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::core::time::UnixNanos;
use crate::otlp::fields::common::{any_value, instrumentation_scope, key_value as pair_fields};
use crate::otlp::fields::resource::resource as resource_fields;
use crate::otlp::fields::trace::{span, span_event, span_kind, status};
use crate::otlp::fields::{request as request_fields, resource_group, scope_group};
use crate::otlp::write;

/// Operations in a trace; the first is the root's.
const OPERATIONS: [&str; 5] =
    ["POST /api/v1/orders", "SELECT orders", "POST payment.Charge", "GET /api/v1/stock", "orders publish"];
/// Digits of the request id that every span carries as an attribute.
const REQUEST_ID_DIGITS: usize = 32;
const STATUS_ERROR: u64 = 2;

/// What is particular to one span.
#[derive(Clone, Copy, Debug)]
pub struct GeneratedSpan {
    pub trace: [u8; 16],
    pub span: [u8; 8],
    /// `None` makes a root.
    pub parent: Option<[u8; 8]>,
    pub start: UnixNanos,
    pub end: UnixNanos,
    /// Any number; picks name and attribute values.
    pub operation: usize,
    pub failed: bool,
}

/// One rendered span with the offsets of what differs.
struct Template {
    bytes: Vec<u8>,
    trace: usize,
    span: usize,
    parent: Option<usize>,
    start: usize,
    end: usize,
    request_id: usize,
    event_times: Vec<usize>,
}

/// All kinds of spans, rendered once.
pub struct Templates {
    /// Index: operation * 4 + root * 2 + failed.
    all: Vec<Template>,
}

impl Default for Templates {
    fn default() -> Templates {
        let mut all = Vec::with_capacity(OPERATIONS.len() * 4);
        for operation in 0..OPERATIONS.len() {
            for (root, failed) in [(false, false), (false, true), (true, false), (true, true)] {
                all.push(Template::render(operation, root, failed));
            }
        }
        Templates { all }
    }
}

impl Templates {
    /// Appends one span as an item of a scope group (`ScopeSpans.spans`, tag and length included).
    pub fn write(&self, out: &mut Vec<u8>, facts: &GeneratedSpan, request_id: u128) {
        let operation = facts.operation % OPERATIONS.len();
        let kind = operation * 4 + usize::from(facts.parent.is_none()) * 2 + usize::from(facts.failed);
        let template = &self.all[kind];
        let base = out.len();
        out.extend_from_slice(&template.bytes);
        let span = &mut out[base..];
        patch(span, template.trace, &facts.trace);
        patch(span, template.span, &facts.span);
        if let (Some(at), Some(parent)) = (template.parent, facts.parent) {
            patch(span, at, &parent);
        }
        patch(span, template.start, &facts.start.0.to_le_bytes());
        patch(span, template.end, &facts.end.0.to_le_bytes());
        let middle = facts.start.0 + facts.end.0.saturating_sub(facts.start.0) / 2;
        for at in &template.event_times {
            patch(span, *at, &middle.to_le_bytes());
        }
        let digits = hex_digits(request_id);
        patch(span, template.request_id, &digits);
    }
}

fn patch(span: &mut [u8], at: usize, value: &[u8]) {
    span[at..at + value.len()].copy_from_slice(value);
}

fn hex_digits(value: u128) -> [u8; REQUEST_ID_DIGITS] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [0; REQUEST_ID_DIGITS];
    for (digit, byte) in text.chunks_exact_mut(2).zip(value.to_be_bytes()) {
        digit[0] = DIGITS[usize::from(byte >> 4)];
        digit[1] = DIGITS[usize::from(byte & 15)];
    }
    text
}

impl Template {
    /// Fields in ascending order, as encoders write them.
    fn render(operation: usize, root: bool, failed: bool) -> Template {
        let mut body = Vec::with_capacity(640);
        let trace = placeholder(&mut body, span::TRACE_ID, 16);
        let span_id = placeholder(&mut body, span::SPAN_ID, 8);
        let parent = (!root).then(|| placeholder(&mut body, span::PARENT_SPAN_ID, 8));
        write::bytes(&mut body, span::NAME, OPERATIONS[operation].as_bytes());
        let kind = if root { span_kind::SERVER } else { span_kind::CLIENT };
        write::key(&mut body, span::KIND, write::VARINT);
        write::varint(&mut body, u64::from(kind));
        let start = fixed64(&mut body, span::START_TIME_UNIX_NANO);
        let end = fixed64(&mut body, span::END_TIME_UNIX_NANO);
        let request_id = attributes(&mut body, operation, failed);
        let event_times = (0..1 + operation % 2).map(|number| event(&mut body, number, failed)).collect();
        if failed {
            let mut status = Vec::new();
            write::bytes(&mut status, status::MESSAGE, b"upstream connect error");
            write::key(&mut status, status::CODE, write::VARINT);
            write::varint(&mut status, STATUS_ERROR);
            write::bytes(&mut body, span::STATUS, &status);
        }
        let mut bytes = Vec::with_capacity(body.len() + 4);
        write::bytes(&mut bytes, scope_group::ITEMS, &body);
        let head = bytes.len() - body.len();
        let event_times: Vec<usize> = event_times;
        Template {
            bytes,
            trace: trace + head,
            span: span_id + head,
            parent: parent.map(|at| at + head),
            start: start + head,
            end: end + head,
            request_id: request_id + head,
            event_times: event_times.into_iter().map(|at| at + head).collect(),
        }
    }
}

/// A bytes field of zeros; returns where its content begins.
fn placeholder(body: &mut Vec<u8>, number: u32, length: usize) -> usize {
    write::bytes(body, number, &vec![0; length]);
    body.len() - length
}

fn fixed64(body: &mut Vec<u8>, number: u32) -> usize {
    write::key(body, number, write::FIXED64);
    body.extend_from_slice(&[0; 8]);
    body.len() - 8
}

/// Twelve attributes; returns where the digits of the request id begin.
fn attributes(body: &mut Vec<u8>, operation: usize, failed: bool) -> usize {
    const PATHS: [&str; 5] = ["/api/v1/orders", "/db/orders", "/payment.Charge", "/api/v1/stock", "/topics/orders"];
    const PEERS: [&str; 5] = ["frontend", "postgres", "payments", "stock", "kafka"];
    let address = format!("{}.shop.svc", PEERS[operation]);
    for (key, value) in [
        ("http.request.method", "POST"),
        ("url.scheme", "http"),
        ("url.path", PATHS[operation]),
        ("server.address", address.as_str()),
        ("network.protocol.version", "1.1"),
        ("client.address", "10.244.1.17"),
        ("user_agent.original", "opentelemetry-shop-client/1.4.2 (linux; amd64)"),
        ("thread.name", "http-worker-7"),
    ] {
        write::bytes(body, span::ATTRIBUTES, &attribute(key, value));
    }
    let status = if failed { 503 } else { 200 };
    for (key, value) in [("http.response.status_code", status), ("server.port", 8080), ("thread.id", 42)] {
        write::bytes(body, span::ATTRIBUTES, &int_attribute(key, value));
    }
    let zeros = "0".repeat(REQUEST_ID_DIGITS);
    write::bytes(body, span::ATTRIBUTES, &attribute("request.id", &zeros));
    body.len() - REQUEST_ID_DIGITS
}

/// One event; returns where its time begins.
fn event(body: &mut Vec<u8>, number: usize, failed: bool) -> usize {
    let mut event = Vec::with_capacity(64);
    let time = fixed64(&mut event, span_event::TIME_UNIX_NANO);
    let name = if failed { "exception" } else { ["cache.lookup", "message"][number % 2] };
    write::bytes(&mut event, span_event::NAME, name.as_bytes());
    write::bytes(&mut event, span_event::ATTRIBUTES, &attribute("event.detail", "orders/7"));
    write::bytes(body, span::EVENTS, &event);
    body.len() - event.len() + time
}

/// A `KeyValue` with a string.
pub fn attribute(key: &str, value: &str) -> Vec<u8> {
    let mut any = Vec::with_capacity(value.len() + 4);
    write::bytes(&mut any, any_value::STRING_VALUE, value.as_bytes());
    key_value(key, &any)
}

fn int_attribute(key: &str, value: u64) -> Vec<u8> {
    let mut any = Vec::with_capacity(12);
    write::key(&mut any, any_value::INT_VALUE, write::VARINT);
    write::varint(&mut any, value);
    key_value(key, &any)
}

fn key_value(key: &str, any: &[u8]) -> Vec<u8> {
    let mut pair = Vec::with_capacity(key.len() + any.len() + 8);
    write::bytes(&mut pair, pair_fields::KEY, key.as_bytes());
    write::bytes(&mut pair, pair_fields::VALUE, any);
    pair
}

/// A `Resource` message of string attributes.
pub fn resource(attributes: &[(&str, &str)]) -> Bytes {
    let mut body = Vec::with_capacity(512);
    for (key, value) in attributes {
        write::bytes(&mut body, resource_fields::ATTRIBUTES, &attribute(key, value));
    }
    Bytes::from(body)
}

/// A resource as applications in the field send it: what the SDK knows, the pod's identity from the downward API as
/// strings, and `k8s.container.restart_count` with the constant 0 of a manifest that cannot know better.
pub fn field_resource(service: &str, pod_uid: &str, pod_name: &str, container: &str) -> Bytes {
    resource(&[
        ("service.name", service),
        ("service.namespace", "shop"),
        ("service.version", "1.4.2"),
        ("deployment.environment.name", "production"),
        ("telemetry.sdk.language", "java"),
        ("telemetry.sdk.name", "opentelemetry"),
        ("telemetry.sdk.version", "1.55.0"),
        ("k8s.namespace.name", "shop"),
        ("k8s.pod.name", pod_name),
        ("k8s.pod.uid", pod_uid),
        ("k8s.container.name", container),
        ("k8s.container.restart_count", "0"),
    ])
}

/// The uid of the `number`th pod of generated data, so that a static pod table can be written for it.
pub fn pod_uid(number: usize) -> String {
    format!("6f1c2a90-0000-4000-8000-{number:012x}")
}

/// An `ExportTraceServiceRequest` of `(resource, items)`; items as [`Templates::write`] appends them.
pub fn request(groups: &[(&[u8], &[u8])]) -> Bytes {
    let mut scope_message = Vec::new();
    write::bytes(&mut scope_message, instrumentation_scope::NAME, b"io.opentelemetry.shop");
    write::bytes(&mut scope_message, instrumentation_scope::VERSION, b"2.21.0");
    let mut scope = Vec::new();
    write::bytes(&mut scope, scope_group::SCOPE, &scope_message);
    let size: usize = groups.iter().map(|(resource, items)| resource.len() + items.len() + scope.len() + 24).sum();
    let mut out = Vec::with_capacity(size);
    for (resource, items) in groups {
        let scope_spans = scope.len() + items.len();
        let group = write::field_len(resource_group::RESOURCE, resource.len())
            + write::field_len(resource_group::SCOPE_GROUPS, scope_spans);
        write::key(&mut out, request_fields::RESOURCE_GROUPS, write::LEN);
        write::varint(&mut out, group as u64);
        write::bytes(&mut out, resource_group::RESOURCE, resource);
        write::key(&mut out, resource_group::SCOPE_GROUPS, write::LEN);
        write::varint(&mut out, scope_spans as u64);
        out.extend_from_slice(&scope);
        out.extend_from_slice(items);
    }
    Bytes::from(out)
}

/// What a stream of traces is made of.
#[derive(Clone, Copy, Debug)]
pub struct Mix {
    pub spans_per_trace: u32,
    /// Of 100 traces, how many hold a failed span.
    pub failed_percent: u8,
    /// Of 100 traces, how many take 1.2 s in place of 20 to 90 ms.
    pub slow_percent: u8,
    /// Of 100 traces, how many come in two requests, half in each.
    pub spread_percent: u8,
}

impl Default for Mix {
    /// Together with a probabilistic policy of 10 %, status and latency policies keep 23 % of these.
    fn default() -> Mix {
        Mix { spans_per_trace: 10, failed_percent: 5, slow_percent: 10, spread_percent: 0 }
    }
}

/// The trace being written.
#[derive(Clone, Copy)]
struct Current {
    trace: [u8; 16],
    spans: [u8; 8],
    resource: usize,
    written: u32,
    /// After so many spans the rest is left to the next request.
    pause_at: u32,
    end: u64,
    duration: u64,
    failed_at: Option<u32>,
}

/// An endless row of traces over some resources; each trace belongs to one resource.
pub struct TraceStream {
    templates: Templates,
    random: fastrand::Rng,
    mix: Mix,
    resources: Vec<Bytes>,
    /// Items of the request being made, one buffer per resource, kept for their capacity.
    items: Vec<Vec<u8>>,
    current: Current,
    /// Traces whose rest is for the next request, and those whose rest is for this one.
    paused: VecDeque<Current>,
    resumed: VecDeque<Current>,
    traces: u64,
}

impl TraceStream {
    /// `resources` must hold at least one.
    pub fn new(resources: Vec<Bytes>, mix: Mix, seed: u64) -> TraceStream {
        assert!(!resources.is_empty(), "a stream of traces needs a resource");
        let items = vec![Vec::new(); resources.len()];
        let current = Current {
            trace: [0; 16],
            spans: [0; 8],
            resource: 0,
            written: u32::MAX,
            pause_at: 0,
            end: 0,
            duration: 0,
            failed_at: None,
        };
        let random = fastrand::Rng::with_seed(seed);
        let (paused, resumed) = Default::default();
        TraceStream {
            templates: Templates::default(),
            random,
            mix,
            resources,
            items,
            current,
            paused,
            resumed,
            traces: 0,
        }
    }

    /// The next `spans` spans as one request. Traces that do not fit go on in the next request.
    pub fn request(&mut self, spans: u32, now: UnixNanos) -> Bytes {
        self.items.iter_mut().for_each(Vec::clear);
        self.resumed.append(&mut self.paused);
        // A trace that did not fit is in two requests already.
        if self.current.written > 0 && self.current.written <= self.current.pause_at {
            self.current.pause_at = u32::MAX;
        }
        for _ in 0..spans {
            self.span(now);
        }
        let filled = self.resources.iter().zip(&self.items).filter(|(_, items)| !items.is_empty());
        let groups: Vec<(&[u8], &[u8])> =
            filled.map(|(resource, items)| (resource.as_ref(), items.as_slice())).collect();
        request(&groups)
    }

    fn span(&mut self, now: UnixNanos) {
        if self.current.written == self.current.pause_at {
            self.paused.push_back(Current { pause_at: u32::MAX, ..self.current });
            self.next(now);
        } else if self.current.written >= self.mix.spans_per_trace.max(1) {
            self.next(now);
        }
        let current = &mut self.current;
        let number = current.written;
        current.written += 1;
        // A child begins and ends within its parent, later ones deeper.
        let inset = current.duration * u64::from(number) / (2 * u64::from(self.mix.spans_per_trace.max(1)) + 1);
        let facts = GeneratedSpan {
            trace: current.trace,
            span: span_id(current.spans, number),
            parent: (number > 0).then(|| span_id(current.spans, (number - 1) / 2)),
            start: UnixNanos(current.end - current.duration + inset),
            end: UnixNanos(current.end - inset),
            operation: number as usize,
            failed: current.failed_at == Some(number),
        };
        let resource = current.resource;
        self.templates.write(&mut self.items[resource], &facts, self.random.u128(..));
    }

    fn next(&mut self, now: UnixNanos) {
        match self.resumed.pop_front() {
            Some(trace) => self.current = trace,
            None => self.begin(now),
        }
    }

    fn begin(&mut self, now: UnixNanos) {
        self.traces += 1;
        let mut trace = [0; 16];
        self.random.fill(&mut trace);
        let mut spans = [0; 8];
        self.random.fill(&mut spans);
        // Neither id may be all zeros, which OTLP calls invalid.
        trace[15] |= 1;
        spans[0] |= 1;
        let failed = self.random.u8(0..100) < self.mix.failed_percent;
        let slow = self.random.u8(0..100) < self.mix.slow_percent;
        let millis = if slow { 1_200 } else { self.random.u64(20..90) };
        let spread = self.mix.spread_percent > 0 && self.random.u8(0..100) < self.mix.spread_percent;
        self.current = Current {
            trace,
            spans,
            resource: (self.traces % self.resources.len() as u64) as usize,
            written: 0,
            pause_at: if spread { self.mix.spans_per_trace.div_ceil(2) } else { u32::MAX },
            end: now.0.max(2_000_000_000),
            duration: millis * 1_000_000,
            failed_at: failed.then(|| self.random.u32(0..self.mix.spans_per_trace.max(1))),
        };
    }
}

fn span_id(base: [u8; 8], number: u32) -> [u8; 8] {
    (u64::from_be_bytes(base).wrapping_add(u64::from(number) << 1) | 1).to_be_bytes()
}

#[cfg(test)]
mod tests;
