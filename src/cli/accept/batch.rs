//! What a sender makes: spans, records and a counter as an SDK batches them, under its nonce. Pure: `now` and randomness are arguments.

use std::collections::VecDeque;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::cli::accept::note::SignalCounts;
use crate::cli::accept::tally::SCOPE;
use crate::core::data::payload::Signal;
use crate::core::time::UnixNanos;
use crate::otlp::json::to_wire;

/// Spans, or records, that wait for their batch: what SDKs keep.
const QUEUE_MAX: usize = 2_048;
const SPAN_NANOS: u64 = 50_000_000;

/// One run's telemetry.
pub struct Maker {
    resource: Value,
    scope: Value,
    started: UnixNanos,
    spans: VecDeque<Value>,
    records: VecDeque<Value>,
    made: u64,
    /// What found no room.
    pub given_up: SignalCounts,
}

/// One request: its body in protobuf, and how many items it holds.
#[derive(Clone, Debug)]
pub struct AcceptRequest {
    pub signal: Signal,
    pub body: Bytes,
    pub items: u64,
}

impl Maker {
    /// `attributes` are the resource's.
    pub fn new(attributes: &[(String, String)], nonce: &str, started: UnixNanos) -> Maker {
        let attributes: Vec<Value> =
            attributes.iter().map(|(key, value)| json!({"key": key, "value": {"stringValue": value}})).collect();
        Maker {
            resource: json!({ "attributes": attributes }),
            scope: json!({"name": SCOPE, "version": nonce}),
            started,
            spans: VecDeque::new(),
            records: VecDeque::new(),
            made: 0,
            given_up: SignalCounts::default(),
        }
    }

    /// One unit of the application's work: a span, a record within it, a count.
    pub fn work(&mut self, now: UnixNanos, random: &mut fastrand::Rng) {
        self.made += 1;
        let (trace, span) = (format!("{:032x}", random.u128(1..)), format!("{:016x}", random.u64(1..)));
        let start = UnixNanos(now.0.saturating_sub(SPAN_NANOS).max(self.started.0));
        let record = json!({
            "timeUnixNano": now.0.to_string(), "severityNumber": 9, "body": {"stringValue": "worked"},
            "traceId": trace, "spanId": span,
        });
        let span = json!({
            "traceId": trace, "spanId": span, "name": "work", "kind": 2,
            "startTimeUnixNano": start.0.to_string(), "endTimeUnixNano": now.0.to_string(),
        });
        for (signal, queue, item) in
            [(Signal::Traces, &mut self.spans, span), (Signal::Logs, &mut self.records, record)]
        {
            if queue.len() >= QUEUE_MAX {
                queue.pop_front();
                self.given_up.add(signal, 1);
            }
            queue.push_back(item);
        }
    }

    /// Everything of a signal that waits; metrics are observed now. `None` when there is nothing.
    pub fn batch(&mut self, signal: Signal, now: UnixNanos) -> Option<AcceptRequest> {
        let items: Vec<Value> = match signal {
            Signal::Traces => self.spans.drain(..).collect(),
            Signal::Logs => self.records.drain(..).collect(),
            Signal::Metrics if self.made > 0 => vec![self.counter(now)],
            _ => Vec::new(),
        };
        let [groups, scopes, list] = match signal {
            Signal::Metrics => ["resourceMetrics", "scopeMetrics", "metrics"],
            Signal::Logs => ["resourceLogs", "scopeLogs", "logRecords"],
            _ => ["resourceSpans", "scopeSpans", "spans"],
        };
        let count = items.len() as u64;
        let request = json!({groups: [{"resource": self.resource, scopes: [{"scope": self.scope, list: items}]}]});
        // What is made here is OTLP/JSON.
        let body = to_wire(signal, request.to_string().as_bytes()).ok()?;
        (count > 0).then_some(AcceptRequest { signal, body, items: count })
    }

    /// A cumulative counter since the start of the process, one point.
    fn counter(&self, now: UnixNanos) -> Value {
        let point = json!({
            "startTimeUnixNano": self.started.0.to_string(), "timeUnixNano": now.0.to_string(), "asInt": self.made.to_string(),
        });
        json!({"name": "work.done", "unit": "1", "sum": {"aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [point]}})
    }
}

/// OTEL_RESOURCE_ATTRIBUTES as SDKs read it: pairs with commas between, values percent-decoded; what is no pair is left out.
pub fn resource_attributes(text: &str) -> Vec<(String, String)> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.trim().to_owned(), decoded(value.trim()))).collect()
}

fn decoded(value: &str) -> String {
    let mut out = Vec::new();
    let bytes = value.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.filter(|_| bytes[at] == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(byte.unwrap_or(bytes[at]));
        at += if byte.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::accept::note::SIGNALS;
    use crate::cli::accept::tally::ArrivalTally;
    use crate::otlp::envelope;

    fn maker() -> Maker {
        let attributes = resource_attributes("service.name=accept,k8s.pod.uid=6f1c,bad,team=a%2Cb");
        Maker::new(&attributes, "00000000000000aa", UnixNanos::from_secs(100))
    }

    #[test]
    fn what_is_made_arrives_at_the_sink_under_its_nonce() {
        let (mut maker, mut random, mut tally) = (maker(), fastrand::Rng::with_seed(7), ArrivalTally::default());
        assert!(SIGNALS.iter().all(|signal| maker.batch(*signal, UnixNanos::from_secs(100)).is_none()));
        (101..104).for_each(|second| maker.work(UnixNanos::from_secs(second), &mut random));
        for signal in SIGNALS {
            let request = maker.batch(signal, UnixNanos::from_secs(104)).expect("something was made");
            assert_eq!(request.items, if signal == Signal::Metrics { 1 } else { 3 });
            tally.take(signal, &envelope::decode(request.body).expect("OTLP"));
        }
        let seen: Vec<_> = tally.entries().collect();
        let nonce = "00000000000000aa";
        assert_eq!(
            seen,
            [(nonce, Signal::Traces, "", 3), (nonce, Signal::Metrics, "", 1), (nonce, Signal::Logs, "", 3)]
        );
        assert!(maker.batch(Signal::Traces, UnixNanos::from_secs(105)).is_none(), "each item once");
    }

    #[test]
    fn what_nobody_takes_is_bounded_and_counted() {
        let (mut maker, mut random) = (maker(), fastrand::Rng::with_seed(7));
        (0..2_050).for_each(|_| maker.work(UnixNanos::from_secs(101), &mut random));
        assert_eq!(maker.given_up, SignalCounts { traces: 2, metrics: 0, logs: 2 });
        assert_eq!(maker.batch(Signal::Logs, UnixNanos::from_secs(102)).map(|request| request.items), Some(2_048));
    }

    #[test]
    fn resource_attributes_are_read_as_sdks_read_them() {
        let read = resource_attributes("service.name=accept,k8s.pod.uid=6f1c, bad,team=a%2Cb%zz,=x");
        let expected = [("service.name", "accept"), ("k8s.pod.uid", "6f1c"), ("team", "a,b%zz"), ("", "x")];
        assert_eq!(read, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
        assert!(resource_attributes("").is_empty());
    }
}
