//! A sender: requests of spans whose ids are its own number and a sequence, over OTLP/HTTP, each repeated until it is
//! acknowledged. It notes how often it sent each request, because what it repeated may come twice.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use tokio::time::Instant;

/// Spans of one trace.
const TRACE_SPANS: u64 = 5;

/// A request that was acknowledged.
pub struct Acknowledged {
    /// Of its first span; the others follow.
    pub first: u64,
    pub spans: u64,
    /// How often it was sent.
    pub sent: u32,
}

/// What a producer sends.
#[derive(Clone, Copy, Default)]
pub struct Load {
    /// Between two requests.
    pub every: Duration,
    /// Bytes that each span's name is made longer by: words with numbers between them, as attributes are.
    pub pad: usize,
    /// Whether the end of a trace, with what decides on it, sometimes follows in a later request.
    pub splits: bool,
}

/// Spans of a trace that follow; among them is the one that says what there is to say.
const FOLLOWING: u64 = 3;
/// When they do: well within a wait of a second, and well behind it.
const FOLLOWS_AFTER: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(2)];

pub struct Producer {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Acknowledged>>,
}

impl Producer {
    /// Sends a request of at most 50 spans every `every`, as far as the answers let it.
    pub fn with(number: u64, port: u16, load: Load) -> Producer {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || send(number, port, load, &stopped));
        Producer { stop, thread }
    }

    /// Everything that was acknowledged; waits for the request under way.
    pub fn end(self) -> Vec<Acknowledged> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().expect("a producer does not panic")
    }
}

fn send(number: u64, port: u16, load: Load, stop: &AtomicBool) -> Vec<Acknowledged> {
    let mut random = fastrand::Rng::with_seed(number);
    let (mut acknowledged, mut sequence, mut stream) = (Vec::new(), 0, None);
    let mut following: Vec<(Instant, u64)> = Vec::new();
    let mut next = Instant::now();
    while !stop.load(Ordering::SeqCst) {
        let spans = TRACE_SPANS * random.u64(1..=9);
        let first = ((number * TRACE_SPANS) << 38) + sequence;
        sequence += spans;
        let now = Instant::now();
        let late: Vec<u64> = following.extract_if(.., |(at, _)| *at <= now).take(1).map(|(_, first)| first).collect();
        let mut ranges = vec![(first, spans)];
        ranges.extend(late.into_iter().map(|first| (first, FOLLOWING)));
        if load.splits && random.u8(..16) == 0 {
            ranges[0].1 -= FOLLOWING;
            following.push((now + FOLLOWS_AFTER[random.usize(..2)], first + spans - FOLLOWING));
        }
        let body = padded(&ranges, load.pad);
        let mut sent = 0;
        while !stop.load(Ordering::SeqCst) || sent == 0 {
            sent += u32::from(stream.is_some());
            match stream.as_mut().map(|stream| post(stream, &body)) {
                Some(Some(200)) => {
                    acknowledged.extend(ranges.iter().map(|(first, spans)| Acknowledged {
                        first: *first,
                        spans: *spans,
                        sent,
                    }));
                    break;
                }
                // Not now: the same again, over the same connection.
                Some(Some(503 | 429)) => std::thread::sleep(Duration::from_millis(20)),
                Some(Some(status)) => panic!("an answer of {status}"),
                _ => {
                    std::thread::sleep(Duration::from_millis(5));
                    stream = connect(port);
                    if stream.is_none() && stop.load(Ordering::SeqCst) {
                        break;
                    }
                }
            }
        }
        // What it is behind by is not made up for.
        next = (next + load.every).max(Instant::now());
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    acknowledged
}

fn connect(port: u16) -> Option<TcpStream> {
    let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(15))).ok()?;
    stream.set_nodelay(true).ok()?;
    Some(stream)
}

/// The status; `None` when the connection broke.
pub fn post(stream: &mut TcpStream, body: &[u8]) -> Option<u16> {
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).ok()?;
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        (stream.read(&mut byte).ok()? == 1).then(|| answer.push(byte[0]))?;
    }
    let head = String::from_utf8(answer).ok()?.to_ascii_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "))?;
    let mut rest = vec![0; length.trim().parse().ok()?];
    stream.read_exact(&mut rest).ok()?;
    head.get(9..12)?.parse().ok()
}

/// Spans `first..first + spans`, five of a trace.
pub fn request(first: u64, spans: u64) -> Vec<u8> {
    padded(&[(first, spans)], 0)
}

fn padded(ranges: &[(u64, u64)], pad: usize) -> Vec<u8> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos() as u64;
    let span = |id: u64| {
        let Content { fails, takes, step } = Content::of(trace_of(id));
        // The trace's middle span says what there is to say.
        let says = id % TRACE_SPANS == 3;
        let takes = if says { takes } else { 5 };
        let step = step.filter(|_| says).map(|step| KeyValue {
            key: "step".to_owned(),
            value: Some(AnyValue { value: Some(Value::StringValue(step.to_owned())) }),
            ..KeyValue::default()
        });
        let code = if fails && says { StatusCode::Error } else { StatusCode::Unset };
        Span {
            trace_id: trace_id(trace_of(id)).to_vec(),
            span_id: id.to_be_bytes().to_vec(),
            name: format!("GET /cart{}", words(id, pad)),
            start_time_unix_nano: now - takes * 1_000_000,
            end_time_unix_nano: now,
            attributes: step.into_iter().collect(),
            status: Some(Status { code: code.into(), ..Status::default() }),
            ..Span::default()
        }
    };
    let spans = ranges.iter().flat_map(|(first, spans)| ids(*first, *spans)).map(span).collect();
    let scope = ScopeSpans { spans, ..ScopeSpans::default() };
    let group =
        ResourceSpans { resource: Some(Resource::default()), scope_spans: vec![scope], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![group] }.encode_to_vec()
}

/// Text of this length, of which a log compressor makes as much as of telemetry.
fn words(seed: u64, length: usize) -> String {
    const WORDS: [&str; 8] = [
        "http.route",
        "net.peer.ip",
        "db.statement",
        "SELECT",
        "k8s.pod.uid",
        "user.id",
        "/api/v1/cart/",
        "thread.name",
    ];
    let (mut random, mut text) = (fastrand::Rng::with_seed(seed), String::with_capacity(length + 24));
    while text.len() < length {
        text.push_str(WORDS[random.usize(..WORDS.len())]);
        text.push_str(&format!("={:04x} ", random.u16(..)));
    }
    text.truncate(length);
    text
}

/// The ids of spans as the next hop sees them. An id of zeros is none.
pub fn ids(first: u64, spans: u64) -> impl Iterator<Item = u64> {
    first + 1..=first + spans
}

/// The id of a trace, by its number.
pub fn trace_id(trace: u64) -> [u8; 16] {
    (u128::from(trace).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835) | 1).to_be_bytes()
}

/// The number of a span's trace.
pub fn trace_of(id: u64) -> u64 {
    (id - 1) / TRACE_SPANS
}

/// What a sampler finds in a trace.
pub struct Content {
    fails: bool,
    /// Milliseconds.
    takes: u64,
    step: Option<&'static str>,
}

impl Content {
    /// By the trace's number.
    pub fn of(trace: u64) -> Content {
        let step = [(13, "checkout"), (5, "payment")].into_iter().find(|(every, _)| trace.is_multiple_of(*every));
        let takes = if trace.is_multiple_of(11) {
            900
        } else if trace.is_multiple_of(3) {
            200
        } else {
            5
        };
        Content { fails: trace.is_multiple_of(7), takes, step: step.map(|(_, step)| step) }
    }
}
