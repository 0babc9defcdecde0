//! What tail sampling costs, one core: walking and filing spans, deciding traces, looking up late ones, and memory.
//!
//! Two million of W1's spans are held (567 bytes, 12 attributes, ten a trace, 500 a request, ten seconds of 200,000 a
//! second). They are filled in once, which touches fresh memory, and then as many come as are decided, which is the
//! state a gateway is in. Prints nanoseconds a span (a lookup: a trace), the median and the best of rounds. Each figure is
//! the mean over requests or steps; those that took five times the median were interrupted and are left out.
//! `cargo bench --bench sampling`, or the journal, the weights and a shadow of the same policies against none of them alone:
//! `-- compared`; one such case once, for who counts instructions: `-- once plain`, `journal`, `weights` or `shadow`.

use std::hash::BuildHasher;
use std::hint::black_box;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::RandomState;
use podgate::core::data::budget::{Budget, Ticket};
use podgate::core::data::origin::Origin;
use podgate::core::data::payload::{Payload, Signal};
use podgate::core::data::settlement::Share;
use podgate::core::time::UnixNanos;
use podgate::otlp::envelope;
use podgate::processors::tail_sampling::config::SamplingSettings;
use podgate::processors::tail_sampling::decided::cache::Decided;
use podgate::processors::tail_sampling::engine::{Bounds, Engine};
use podgate::processors::tail_sampling::held::account::ByteAccount;
use podgate::processors::tail_sampling::held::admission::{Admission, AdmittedRequest};
use podgate::processors::tail_sampling::policies::meter::RateMeters;
use podgate::processors::tail_sampling::weights::marking::WeightMode;
use tokio::time::Instant;

#[path = "../tests/sampling/load.rs"]
mod load;
#[path = "../tests/sampling/settings.rs"]
mod settings;
#[path = "../tests/otlp/w1.rs"]
mod w1;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Requests held at a time: two million spans.
const HELD_REQUESTS: u64 = 4_000;
/// The same for who counts instructions.
const ONCE_REQUESTS: u64 = 400;
const WAIT: Duration = Duration::from_secs(10);
const ROUNDS: usize = 3;
const COMPARED_ROUNDS: usize = 7;
const DECISIONS_A_STEP: usize = 128;
const SPANS_A_TRACE: u64 = 10;

const TRACE_LEVEL: &str = r#"[
    {"name": "errors", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}},
    {"name": "slow", "type": "latency", "latency": {"threshold_ms": 60000}},
    {"name": "some", "type": "probabilistic", "probabilistic": {"sampling_percentage": 4}}
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

fn settings_of(policies: &str) -> SamplingSettings {
    let json = format!(r#"{{"decision_wait": "{}s", "policies": {policies}}}"#, WAIT.as_secs());
    settings::settings(&serde_json::from_str(&json).expect("valid JSON"))
}

/// W1's spans in the order in which senders that run many traces at a time have them: each trace's spread over its scope.
fn mixed() -> Vec<u8> {
    let mut request = w1::request();
    for scope in request.resource_spans.iter_mut().flat_map(|group| &mut group.scope_spans) {
        let traces: Vec<_> = scope.spans.chunks(SPANS_A_TRACE as usize).collect();
        let turns = (0..SPANS_A_TRACE as usize).flat_map(|turn| traces.iter().map(move |trace| trace[turn].clone()));
        scope.spans = turns.collect();
    }
    prost::Message::encode_to_vec(&request)
}

fn payload(bytes: Bytes, origin: &Arc<Origin>) -> Payload {
    let envelope = envelope::decode(bytes).expect("a valid request");
    let items = envelope.messages() as u64;
    let (origin, share) = (origin.clone(), Share::none());
    Payload { signal: Signal::Traces, envelope, items, origin, ticket: Ticket::free(), share }
}

/// Durations with the spans each stands for.
#[derive(Default)]
struct Samples(Vec<(u64, u64)>);

impl Samples {
    fn add(&mut self, took: Duration, spans: u64) {
        if spans > 0 {
            self.0.push((took.as_nanos() as u64, spans));
        }
    }

    /// Nanoseconds a span.
    fn mean(&self) -> f64 {
        let each = |(nanos, spans): &(u64, u64)| *nanos as f64 / *spans as f64;
        let usual = median(self.0.iter().map(each).collect());
        let quiet = || self.0.iter().filter(|sample| each(sample) < 5.0 * usual);
        quiet().map(|(nanos, _)| *nanos as f64).sum::<f64>() / quiet().map(|(_, spans)| *spans as f64).sum::<f64>()
    }
}

struct Figures {
    fill: f64,
    walk: f64,
    file: f64,
    decide: f64,
    /// Share of traces kept.
    kept: f64,
    held_bytes: u64,
    resident: u64,
}

struct Bench<'a> {
    settings: &'a SamplingSettings,
    load: &'a load::Load,
    core: Engine,
    account: Arc<ByteAccount>,
    origin: Arc<Origin>,
    now: UnixNanos,
    /// Requests held at a time.
    held: u64,
}

impl Bench<'_> {
    /// Takes in a request; returns its bytes, and how long walking and filing took.
    fn ingest(&mut self, number: u64) -> (u64, Duration, Duration) {
        self.now = self.now.saturating_add(WAIT / self.held as u32);
        let admission = Admission { leaves: &self.settings.leaves, account: &self.account, shards: 1, seed: 1 };
        let bytes = self.load.request(number);
        let length = bytes.len() as u64;
        let payload = payload(bytes, &self.origin);
        let start = Instant::now();
        let admitted = admission.read(&payload).expect("memory without limit");
        let read = Instant::now();
        let incoming = AdmittedRequest {
            envelope: &payload.envelope,
            groups: &admitted.groups,
            links: &admitted.links,
            version: 1,
        };
        self.core.accept(incoming, &admitted.runs[0], self.now);
        (length, read - start, read.elapsed())
    }

    /// Decides what is due.
    fn decide(&mut self, samples: &mut Samples) {
        while self.core.is_due(self.now) {
            let before = self.core.traces();
            let start = Instant::now();
            self.core.decide_due(self.now, DECISIONS_A_STEP);
            while let Some(parcel) = self.core.take_parcel() {
                black_box(parcel.spans());
            }
            self.core.tidy(self.now);
            samples.add(start.elapsed(), (before - self.core.traces()) * SPANS_A_TRACE);
        }
    }
}

/// Fills a store with two million spans, then takes in as many more while those that came first are decided.
fn round(settings: &SamplingSettings, load: &load::Load, held: u64) -> Figures {
    let before = resident_bytes();
    let now = UnixNanos::from_secs(1_760_000_000);
    let meters = Arc::new(RateMeters::new(&settings.meters, now));
    let bounds = Bounds { traces: None, giant_bytes: u64::MAX, spare_bytes: 256 << 20 };
    let mut bench = Bench {
        settings,
        load,
        core: Engine::new(settings.clone(), meters, bounds, RandomState::default(), (now, Instant::now)),
        account: ByteAccount::new(u64::MAX / 2, &Budget::unlimited()),
        origin: Arc::new(Origin::internal(now)),
        now,
        held,
    };
    let (mut fill, mut walk, mut file, mut decide) =
        (Samples::default(), Samples::default(), Samples::default(), Samples::default());
    let spans = w1::SPANS as u64;
    let mut held_bytes = 0;
    for number in 0..held {
        let (bytes, _, filing) = bench.ingest(number);
        held_bytes += bytes;
        fill.add(filing, spans);
    }
    let resident = resident_bytes().saturating_sub(before);
    for number in held..2 * held {
        let (_, walking, filing) = bench.ingest(number);
        walk.add(walking, spans);
        file.add(filing, spans);
        bench.decide(&mut decide);
    }
    let counts = &bench.core.counts;
    let kept = counts.kept as f64 / (counts.kept + counts.not_kept) as f64;
    Figures {
        kept,
        fill: fill.mean(),
        walk: walk.mean(),
        file: file.mean(),
        decide: decide.mean(),
        held_bytes,
        resident,
    }
}

/// Resident memory of this process.
fn resident_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or_default() * 4096
}

fn lookup() -> f64 {
    let hasher = RandomState::default();
    let mut decided = Decided::new(1 << 16, 1 << 19, Ticket::free);
    let id = |number: u64| u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes();
    let hash = |id: &[u8; 16]| hasher.hash_one(u128::from_ne_bytes(*id));
    let count = 1 << 19;
    (0..count).for_each(|number| decided.remember_dropped(hash(&id(number))));
    let mut samples = Samples::default();
    let mut found = 0;
    for first in (0..count).step_by(1024) {
        let start = Instant::now();
        found += (first..first + 1024).map(id).filter(|id| decided.find(hash(id), id).is_some()).count();
        samples.add(start.elapsed(), 1024);
    }
    assert!(found as u64 > count * 99 / 100, "{found} of {count} remembered");
    samples.mean()
}

/// Sampling without journal, weights and shadow, and with each of them.
fn cases() -> [(&'static str, SamplingSettings); 4] {
    let mut plain = settings_of(TRACE_LEVEL);
    plain.journal_bytes = Some(0);
    let journal = SamplingSettings { journal_bytes: None, ..plain.clone() };
    let weights = SamplingSettings { weights: WeightMode::Auto, ..plain.clone() };
    let json = format!(
        r#"{{"decision_wait": "{}s", "policies": {TRACE_LEVEL}, "podgate": {{"shadow": {{"policies": {TRACE_LEVEL}}}}}}}"#,
        WAIT.as_secs()
    );
    let shadow = settings::settings(&serde_json::from_str(&json).expect("valid JSON"));
    let shadow = SamplingSettings { journal_bytes: Some(0), ..shadow };
    [("plain", plain), ("journal", journal), ("weights", weights), ("shadow", shadow)]
}

/// Each case against none of them: rounds in turn, so that what else runs slows all of them alike.
fn compared(out: &mut impl Write, load: &load::Load) -> std::io::Result<()> {
    let cases = cases();
    let mut figures: [Vec<f64>; 4] = Default::default();
    for _ in 0..COMPARED_ROUNDS {
        for ((_, settings), figures) in cases.iter().zip(&mut figures) {
            let round = round(settings, load, HELD_REQUESTS);
            figures.push(round.walk + round.file + round.decide);
        }
    }
    let figures = figures.map(median);
    for ((name, _), figure) in cases.iter().zip(figures) {
        let more = 100.0 * (figure - figures[0]) / figures[0];
        writeln!(out, "walk, file and decide, {name:8} {figure:.1} ns a span ({more:+.1} %)")?;
    }
    Ok(())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() -> std::io::Result<()> {
    let (load, mixed) = (load::Load::new(w1::wire(), false), load::Load::new(mixed(), false));
    let mut out = std::io::stdout().lock();
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|argument| argument == "compared") {
        return compared(&mut out, &load);
    }
    if arguments.iter().any(|argument| argument == "once") {
        for (name, settings) in cases().iter().filter(|(name, _)| arguments.iter().any(|argument| argument == name)) {
            let spans = 2 * ONCE_REQUESTS * w1::SPANS as u64;
            let kept = round(settings, &load, ONCE_REQUESTS).kept;
            writeln!(out, "{name}: {spans} spans, {:.1} % of the traces kept", 100.0 * kept)?;
        }
        return Ok(());
    }
    let attributes = attribute_policies();
    let dropping = r#"[{"name": "errors", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}}]"#;
    let keeping = r#"[{"name": "all", "type": "always_sample"}]"#;
    let sets = [
        ("3 trace-level policies", TRACE_LEVEL, &load),
        ("the same, traces mixed in a scope", TRACE_LEVEL, &mixed),
        ("10 attribute policies", &attributes, &load),
        ("errors only", dropping, &load),
        ("always_sample", keeping, &load),
    ];
    writeln!(out, "ns/span, median of {ROUNDS} rounds (best)")?;
    writeln!(
        out,
        "{:34} {:>16} {:>16} {:>16} {:>16} {:>16} {:>7}  memory over held wire bytes",
        "", "file, filling", "walk", "file", "walk and file", "decide", "kept"
    )?;
    for (name, policies, load) in sets {
        let settings = settings_of(policies);
        let rounds: Vec<Figures> = (0..ROUNDS).map(|_| round(&settings, load, HELD_REQUESTS)).collect();
        let of = |read: fn(&Figures) -> f64| {
            let figures: Vec<f64> = rounds.iter().map(read).collect();
            let best = figures.iter().copied().fold(f64::INFINITY, f64::min);
            format!("{:8.1} ({best:5.1})", median(figures))
        };
        let over = rounds[0].resident as f64 / rounds[0].held_bytes as f64;
        writeln!(
            out,
            "{name:34} {:>16} {:>16} {:>16} {:>16} {:>16} {:5.0} %  {over:.3} x {} MiB",
            of(|f| f.fill),
            of(|f| f.walk),
            of(|f| f.file),
            of(|f| f.walk + f.file),
            of(|f| f.decide),
            100.0 * rounds[0].kept,
            rounds[0].held_bytes >> 20
        )?;
    }
    compared(&mut out, &load)?;
    writeln!(out, "late lookup: {:.1} ns", median((0..ROUNDS).map(|_| lookup()).collect()))
}
