//! What tail sampling costs, one core: walking and filing spans, deciding traces, looking up late ones, and memory.
//!
//! Prints nanoseconds a span (a lookup: a trace), the median of rounds, on W1's spans (567 bytes, 12 attributes, ten a
//! trace, 500 a request). `cargo bench --bench sampling`.

use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::RandomState;
use podgate::core::budget::{Budget, Ticket};
use podgate::core::component::ComponentId;
use podgate::core::factory::{CheckContext, Checks};
use podgate::core::node::{Entry, Node, Place, Value};
use podgate::core::origin::Origin;
use podgate::core::payload::{Payload, Signal};
use podgate::core::time::UnixNanos;
use podgate::otlp::envelope;
use podgate::processors::tail_sampling::account::Account;
use podgate::processors::tail_sampling::admission::Admission;
use podgate::processors::tail_sampling::cache::Decided;
use podgate::processors::tail_sampling::config::{self, Settings};
use podgate::processors::tail_sampling::core::{Bounds, Core};
use tokio::time::Instant;

#[path = "../tests/sampling/load.rs"]
mod load;
#[path = "../tests/otlp/w1.rs"]
mod w1;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Requests held at a time: two million spans.
const HELD_REQUESTS: u64 = 4_000;
const ROUNDS: usize = 5;

const TRACE_LEVEL: &str = r#"[
    {"name": "errors", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}},
    {"name": "slow", "type": "latency", "latency": {"threshold_ms": 60000}},
    {"name": "some", "type": "probabilistic", "probabilistic": {"sampling_percentage": 23}}
]"#;

/// Ten attribute policies, none of which matches, so that every key is compared on every span.
fn attribute_policies() -> String {
    let text = |key: &str| {
        format!(
            r#"{{"name": "{key}", "type": "string_attribute", "string_attribute": {{"key": "{key}", "values": ["no"]}}}}"#
        )
    };
    let number = |key: &str| {
        format!(
            r#"{{"name": "{key}", "type": "numeric_attribute", "numeric_attribute": {{"key": "{key}", "min_value": 99999999}}}}"#
        )
    };
    let texts = ["http.request.method", "url.path", "server.address", "client.address", "url.scheme", "http.route"];
    let texts = texts.into_iter().map(text);
    let numbers = ["http.response.status_code", "server.port", "thread.id", "absent.key"].map(number);
    format!("[{}]", texts.chain(numbers).collect::<Vec<_>>().join(","))
}

fn settings(policies: &str) -> Settings {
    let json = format!(r#"{{"decision_wait": "10s", "policies": {policies}}}"#);
    let json: serde_json::Value = serde_json::from_str(&json).expect("valid JSON");
    let checks = Checks::default();
    let id = ComponentId::parse("tail_sampling").expect("an id");
    let cx = CheckContext { id: &id, path: "bench".into(), place: Place::default(), checks: &checks };
    config::check(&cx, &node(&json)).expect("a valid configuration")
}

fn node(json: &serde_json::Value) -> Node {
    let value = match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => Value::Bool(*value),
        serde_json::Value::Number(number) => Value::Int(number.as_i64().unwrap_or_default()),
        serde_json::Value::String(text) => Value::String(text.clone()),
        serde_json::Value::Array(items) => Value::List(items.iter().map(node).collect()),
        serde_json::Value::Object(map) => {
            let entry = |(key, value): (&String, _)| Entry {
                key: key.clone(),
                key_place: Place::default(),
                value: node(value),
            };
            Value::Map(map.iter().map(entry).collect())
        }
    };
    Node::new(value, Place::default())
}

fn payload(bytes: Bytes, origin: &Arc<Origin>) -> Payload {
    let envelope = envelope::decode(bytes).expect("a valid request");
    let items = envelope.messages() as u64;
    Payload { signal: Signal::Traces, envelope, items, origin: origin.clone(), ticket: Ticket::free() }
}

const NOW: UnixNanos = UnixNanos(1_760_000_000_000_000_000);

struct Figures {
    read: f64,
    file: f64,
    decide: f64,
    held_bytes: u64,
    resident: u64,
}

/// Fills a store with two million spans, then decides all of them.
fn round(settings: &Settings, load: &load::Load) -> Figures {
    let account = Account::new(u64::MAX / 2, &Budget::unlimited());
    let origin = Arc::new(Origin::internal(NOW));
    let before = resident_bytes();
    let bounds = Bounds { traces: None, giant_bytes: u64::MAX };
    let mut core = Core::new(settings.clone(), bounds, RandomState::default(), NOW);
    let admission = Admission { leaves: &settings.leaves, account: &account, shards: 1 };
    let (mut reading, mut filing) = (Duration::ZERO, Duration::ZERO);
    let mut held_bytes = 0;
    for number in 0..HELD_REQUESTS {
        let bytes = load.request(number);
        held_bytes += bytes.len() as u64;
        let payload = payload(bytes, &origin);
        let start = Instant::now();
        let admitted = admission.read(&payload);
        let read = Instant::now();
        core.accept(&payload.envelope, &admitted.groups, &admitted.runs[0], NOW);
        reading += read - start;
        filing += read.elapsed();
    }
    let resident = resident_bytes().saturating_sub(before);
    let later = NOW.saturating_add(Duration::from_secs(11));
    let start = Instant::now();
    while core.decide_due(later, 10_000) {
        while let Some(parcel) = core.take_parcel() {
            black_box(parcel.spans());
        }
    }
    let deciding = start.elapsed();
    let spans = (HELD_REQUESTS * w1::SPANS as u64) as f64;
    let each = |time: Duration| time.as_nanos() as f64 / spans;
    Figures { read: each(reading), file: each(filing), decide: each(deciding), held_bytes, resident }
}

/// Resident memory of this process.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or_default() * 4096
}

fn lookup() -> f64 {
    let mut decided = Decided::new(1 << 16, 1 << 19, RandomState::default());
    let id = |number: u64| u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes();
    let count = 1 << 19;
    (0..count).for_each(|number| decided.remember_dropped(&id(number)));
    let start = Instant::now();
    let found = (0..count).filter(|number| decided.find(&id(*number)).is_some()).count();
    assert!(found as u64 > count * 99 / 100, "{found} of {count} remembered");
    start.elapsed().as_nanos() as f64 / count as f64
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() -> std::io::Result<()> {
    let load = load::Load::new(w1::wire());
    let mut out = std::io::stdout().lock();
    let attributes = attribute_policies();
    let dropping = r#"[{"name": "errors", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}}]"#;
    let keeping = r#"[{"name": "all", "type": "always_sample"}]"#;
    let sets = [
        ("3 trace-level policies, 23 % kept", TRACE_LEVEL),
        ("10 attribute policies, none kept", &attributes),
        ("errors only, 1 % kept", dropping),
        ("everything kept", keeping),
    ];
    writeln!(
        out,
        "{:36} {:>8} {:>8} {:>8} {:>8}  ns/span; memory over held wire bytes",
        "", "walk", "file", "ingest", "decide"
    )?;
    for (name, policies) in sets {
        let settings = settings(policies);
        let figures: Vec<Figures> = (0..ROUNDS).map(|_| round(&settings, &load)).collect();
        let of = |read: fn(&Figures) -> f64| median(figures.iter().map(read).collect());
        let (walk, file, decide) = (of(|f| f.read), of(|f| f.file), of(|f| f.decide));
        let first = &figures[0];
        let over = first.resident as f64 / first.held_bytes as f64;
        writeln!(
            out,
            "{name:36} {walk:8.1} {file:8.1} {:8.1} {decide:8.1}  {over:.3} x {} MiB",
            walk + file,
            first.held_bytes >> 20
        )?;
    }
    writeln!(out, "late lookup: {:.1} ns", median((0..ROUNDS).map(|_| lookup()).collect()))
}
