//! The floor: the same requests through bare TCP, received into one buffer and sent on, nothing read of them.
//!
//! A length of four bytes, the request, one byte of acknowledgement end to end. What it costs is the kernel's copies and
//! wake-ups; no gateway over plain sockets can be below it.

use std::io::{Read, Result, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

use podgate::core::time::UnixNanos;
use podgate::lab::loadgen::generate::{Mix, TraceStream, field_resource, pod_uid};
use podgate::lab::loadgen::latency::LatencyHistogram;
use podgate::telemetry::stdout;
use tokio::time::Instant;

const CONNECTIONS: u32 = 4;

/// Accepts on a free port, which it prints, and gives every connection a thread.
fn listen(serve: impl FnMut(TcpStream) -> Result<()> + Clone + Send + 'static) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    stdout::line(&listener.local_addr().expect("bound").to_string());
    while let Ok((stream, _)) = listener.accept() {
        let _ = stream.set_nodelay(true);
        let mut serve = serve.clone();
        std::thread::spawn(move || {
            // The end of the connection is the end of the work; the thread stays, because the kernel forgets the CPU
            // time of threads that are gone.
            let _ = serve(stream);
            loop {
                std::thread::park();
            }
        });
    }
}

fn receive(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Result<()> {
    buffer.resize(4, 0);
    stream.read_exact(buffer)?;
    let length = u32::from_be_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]) as usize;
    buffer.resize(4 + length, 0);
    stream.read_exact(&mut buffer[4..])
}

pub fn forward(sink: &str) {
    let sink = sink.to_owned();
    listen(move |mut stream| {
        let mut next = TcpStream::connect(&sink)?;
        next.set_nodelay(true)?;
        let (mut buffer, mut acknowledgement) = (Vec::new(), [0]);
        loop {
            receive(&mut stream, &mut buffer)?;
            next.write_all(&buffer)?;
            next.read_exact(&mut acknowledgement)?;
            stream.write_all(&acknowledgement)?;
        }
    });
}

pub fn sink() {
    listen(|mut stream| {
        let mut buffer = Vec::new();
        loop {
            receive(&mut stream, &mut buffer)?;
            stream.write_all(&[1])?;
        }
    });
}

/// `ADDRESS RATE SPANS-PER-REQUEST SECONDS`; prints the same object as `podgate loadgen --format json`.
pub fn load(words: &[String]) {
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<u32>().ok()).unwrap_or(0);
    let (rate, spans, seconds) = (number(1), number(2).max(1), number(3));
    let started = Instant::now();
    let until = started + Duration::from_secs(u64::from(seconds));
    let senders = (0..CONNECTIONS).map(|connection| {
        let address = words.first().cloned().unwrap_or_default();
        std::thread::spawn(move || send(&address, Schedule { connection, rate, spans, started, until }))
    });
    let mut latency = LatencyHistogram::default();
    for sender in senders.collect::<Vec<_>>() {
        match sender.join() {
            Ok(Ok(part)) => latency.merge(&part),
            _ => stdout::error_line("a sender of the floor failed"),
        }
    }
    let accepted = latency.count() * u64::from(spans);
    let micros = |quantile: f64| latency.quantile(quantile).as_micros() as u64;
    stdout::line(
        &serde_json::json!({
            "seconds": started.elapsed().as_secs_f64(),
            "spans": { "accepted": accepted, "refused": 0, "rejected": 0, "failed": 0, "unsent": 0 },
            "latency_us": { "p50": micros(0.5), "p99": micros(0.99) },
        })
        .to_string(),
    );
}

#[derive(Clone, Copy)]
struct Schedule {
    connection: u32,
    rate: u32,
    spans: u32,
    started: Instant,
    until: Instant,
}

/// One connection's share: every `CONNECTIONS`th request of the schedule, or as fast as answered when the rate is 0.
fn send(address: &str, schedule: Schedule) -> Result<LatencyHistogram> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let resource = field_resource("service-0", &pod_uid(0), "service-0-0", "app");
    let mut traces = TraceStream::new(vec![resource], Mix::default(), u64::from(schedule.connection));
    let mut latency = LatencyHistogram::default();
    let mut acknowledgement = [0];
    for turn in 0u32.. {
        let mut due = Instant::now();
        if schedule.rate > 0 {
            let number = f64::from(turn) * f64::from(CONNECTIONS) + f64::from(schedule.connection);
            let offset = number * f64::from(schedule.spans) / f64::from(schedule.rate);
            due = schedule.started + Duration::from_secs_f64(offset);
        }
        if due >= schedule.until || Instant::now() >= schedule.until {
            break;
        }
        let body = traces.request(schedule.spans, UnixNanos::now());
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        stream.write_all(&(body.len() as u32).to_be_bytes())?;
        stream.write_all(&body)?;
        stream.read_exact(&mut acknowledgement)?;
        latency.record(Instant::now().saturating_duration_since(due));
    }
    Ok(latency)
}
