//! A load for `make bench-versus`: requests due at fixed times over many connections, latency from the due time.
//!
//! What `podgate loadgen` cannot be told: how many connections, requests of many resources, JSON and gzip. The requests are
//! made by a thread of its own ahead of their time, because tokio's timers turn once a millisecond.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use podgate::core::data::payload::Signal;
use podgate::core::time::UnixNanos;
use podgate::lab::loadgen::generate::{Mix, TraceStream, field_resource, resource};
use podgate::lab::loadgen::latency::LatencyHistogram;
use podgate::otlp::{envelope, json};
use podgate::telemetry::stdout;
use serde::Deserialize;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::lines::{Line, Wire};

/// Requests made ahead at most.
const AHEAD: usize = 64;

#[derive(Clone, Deserialize)]
struct Load {
    address: String,
    /// Of the pods that send; a request's resources take turns.
    uids: Vec<String>,
    wire: Wire,
    spans: u32,
    spans_per_trace: u32,
    connections: usize,
    /// Requests of a connection at a time.
    in_flight: usize,
    /// Requests each second.
    rate: f64,
    seconds: f64,
    seed: u64,
}

struct Due {
    at: Instant,
    body: Bytes,
}

#[derive(Default)]
struct Tally {
    failed: u64,
    latency: LatencyHistogram,
    why: Option<String>,
}

/// One JSON object in, one out.
pub fn run(words: &[String]) -> Result<(), String> {
    let load: Load = serde_json::from_str(words.first().map_or("", String::as_str)).map_err(|why| why.to_string())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|why| why.to_string())?;
    runtime.block_on(send(load))
}

async fn send(load: Load) -> Result<(), String> {
    let mut lines = Vec::new();
    for _ in 0..load.connections {
        lines.push(Line::open(&load.address, load.wire).await?);
    }
    let (give, due) = mpsc::channel(AHEAD);
    let started = Instant::now();
    let pacer = std::thread::spawn({
        let load = load.clone();
        move || pace(&load, started, &give)
    });
    let due = Arc::new(Mutex::new(due));
    let mut workers = JoinSet::new();
    for line in lines {
        for _ in 0..load.in_flight {
            workers.spawn(work(due.clone(), line.clone()));
        }
    }
    let mut tally = Tally::default();
    while let Some(part) = workers.join_next().await {
        let part = part.map_err(|why| why.to_string())?;
        tally.failed += part.failed;
        tally.latency.merge(&part.latency);
        tally.why = part.why.or(tally.why);
    }
    let unsent = pacer.join().map_err(|_| "the pacer panicked")?;
    let micros = |quantile: f64| tally.latency.quantile(quantile).as_micros() as u64;
    let (sent, why) = (tally.latency.count(), tally.why);
    stdout::line(
        &serde_json::json!({
            "sent": sent, "spans": sent * u64::from(load.spans), "failed": tally.failed, "unsent": unsent, "why": why,
            "seconds": started.elapsed().as_secs_f64(), "p50_us": micros(0.5), "p99_us": micros(0.99),
        })
        .to_string(),
    );
    Ok(())
}

/// Makes each request before it is due and gives it out when it is; how many of the schedule were not sent.
fn pace(load: &Load, started: Instant, give: &mpsc::Sender<Due>) -> u64 {
    let of_pod = |(number, uid): (usize, &String)| {
        let service = format!("service-{number}");
        // As SDKs do that name their process; without it no answer could be given before the run is known for sure.
        let process = resource(&[("service.instance.id", &format!("5b1f0c77-9d2e-4c1a-8a55-{number:012x}"))]);
        Bytes::from([field_resource(&service, uid, &format!("{service}-0"), "app"), process].concat())
    };
    let resources = load.uids.iter().enumerate().map(of_pod).collect();
    let mix = Mix { spans_per_trace: load.spans_per_trace, ..Mix::default() };
    let mut traces = TraceStream::new(resources, mix, load.seed);
    let all = (load.rate * load.seconds) as u64;
    for number in 0..all {
        let at = started + Duration::from_secs_f64(number as f64 / load.rate);
        let body = load.wire.body(traces.request(load.spans, UnixNanos::now()));
        std::thread::sleep(at.saturating_duration_since(Instant::now()));
        if started.elapsed().as_secs_f64() > 1.5 * load.seconds + 5.0 || give.blocking_send(Due { at, body }).is_err() {
            return all - number;
        }
    }
    0
}

async fn work(due: Arc<Mutex<mpsc::Receiver<Due>>>, line: Line) -> Tally {
    let mut tally = Tally::default();
    loop {
        let next = due.lock().await.recv().await;
        let Some(Due { at, body }) = next else { return tally };
        match line.send(body).await {
            Ok(()) => tally.latency.record(Instant::now().saturating_duration_since(at)),
            Err(why) => {
                tally.failed += 1;
                tally.why = Some(why);
            }
        }
    }
}

/// The text of a request.
pub fn as_json(request: Bytes) -> Bytes {
    let mut text = Vec::new();
    let envelope = envelope::decode(request).expect("a request of our own");
    json::from_wire(Signal::Traces, &envelope, &mut text).expect("a request of our own");
    Bytes::from(text)
}

/// The request, packed as SDKs do.
pub fn packed(request: &[u8]) -> Bytes {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::new(6));
    let written = gzip.write_all(request).and_then(|()| gzip.finish());
    Bytes::from(written.expect("memory takes every byte"))
}
