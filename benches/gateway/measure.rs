//! The cases, how each is run, and the table at the end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::gateway_config::{self, Stages};
use crate::process::Pinned;
use podgate::telemetry::stdout;

const CORE_LOAD: u8 = 0;
const CORE_TEST: u8 = 1;
/// Spans per second of the fixed load.
const RATE: u32 = 100_000;
const WARM_UP_SECONDS: u32 = 3;
/// Longer than traces are held, so that as much is decided as comes.
const WARM_UP_W5_SECONDS: u32 = 13;
/// Pods in the static table of most cases, and of W5.
const PODS: usize = 250;
const PODS_W5: usize = 5_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Subject {
    Floor,
    Obvious,
    ObviousSampling,
    Podgate(Stages),
}

impl Subject {
    fn samples(self) -> bool {
        matches!(self, Subject::ObviousSampling | Subject::Podgate(Stages::EnrichmentAndSampling))
    }
}

struct Case {
    name: &'static str,
    subject: Subject,
    spans_per_request: u32,
    /// Spans per second; 0 is as fast as answered.
    rate: u32,
    /// 16384 sends the small frames of grpc-go; 0 whatever the receiver allows.
    frame_bytes: u32,
    pods: usize,
    /// Of 100 traces, how many come in two requests.
    spread_percent: u32,
    warm_up_seconds: u32,
}

const fn case(name: &'static str, subject: Subject, spans_per_request: u32, rate: u32, frame_bytes: u32) -> Case {
    let (pods, spread_percent, warm_up_seconds) = (PODS, 0, WARM_UP_SECONDS);
    Case { name, subject, spans_per_request, rate, frame_bytes, pods, spread_percent, warm_up_seconds }
}

/// The whole work: enrichment from many pods, tail sampling of traces that partly come in two requests.
const fn w5(name: &'static str, subject: Subject) -> Case {
    let whole = case(name, subject, 500, RATE, 0);
    Case { pods: PODS_W5, spread_percent: 20, warm_up_seconds: WARM_UP_W5_SECONDS, ..whole }
}

const CASES: &[Case] = &[
    case("W1 floor: bare TCP, nothing read", Subject::Floor, 500, RATE, 0),
    case("W1 tonic + prost + 10 attributes", Subject::Obvious, 500, RATE, 0),
    case("W1 podgate, pass on", Subject::Podgate(Stages::Passthrough), 500, RATE, 0),
    case("W1 podgate, pass on, 16 KiB frames", Subject::Podgate(Stages::Passthrough), 500, RATE, 16_384),
    case("W1 podgate, enrichment", Subject::Podgate(Stages::Enrichment), 500, RATE, 0),
    case("W1 podgate, enrichment, 16 KiB frames", Subject::Podgate(Stages::Enrichment), 500, RATE, 16_384),
    case("W1 podgate, enrichment, sampling", Subject::Podgate(Stages::EnrichmentAndSampling), 500, RATE, 0),
    case("W2 tonic + prost + 10 attributes", Subject::Obvious, 50, RATE, 0),
    case("W2 podgate, enrichment", Subject::Podgate(Stages::Enrichment), 50, RATE, 0),
    w5("W5 tonic + prost + 10 attributes + sampling", Subject::ObviousSampling),
    w5("W5 podgate, enrichment, sampling", Subject::Podgate(Stages::EnrichmentAndSampling)),
    case("full floor: bare TCP, nothing read", Subject::Floor, 500, 0, 0),
    case("full tonic + prost + 10 attributes", Subject::Obvious, 500, 0, 0),
    case("full podgate, enrichment", Subject::Podgate(Stages::Enrichment), 500, 0, 0),
];

/// One line of the table.
struct Row {
    name: &'static str,
    nanos_per_span: f64,
    spans_per_second: f64,
    p50_micros: u64,
    p99_micros: u64,
    idle_kib: u64,
    peak_kib: u64,
    lost: i64,
    sampled: bool,
}

struct Bench {
    itself: PathBuf,
    podgate: PathBuf,
    seconds: u32,
    pods_file: PathBuf,
}

/// Runs the chosen cases in order and prints the table.
pub fn all() -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let pods_file = folder.path().join("pods.yaml");
    let seconds = std::env::var("BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(10);
    let wanted = std::env::var("BENCH_CASES").unwrap_or_default();
    let itself = std::env::current_exe().map_err(|error| error.to_string())?;
    let bench = Bench { itself, podgate: env!("CARGO_BIN_EXE_podgate").into(), seconds, pods_file };
    stdout::line(&format!(
        "each case: {WARM_UP_SECONDS} s to warm up (W5: {WARM_UP_W5_SECONDS}), {seconds} s measured; process under test on core 1"
    ));
    let mut rows = Vec::new();
    for case in CASES.iter().filter(|case| case.name.contains(&wanted)) {
        let row = bench.run(case).map_err(|why| format!("{}: {why}", case.name))?;
        stdout::line(&format!("{:<42} {:>6.0} ns/span", row.name, row.nanos_per_span));
        rows.push(row);
    }
    print(&rows);
    Ok(())
}

fn print(rows: &[Row]) {
    stdout::line("");
    stdout::line("| case | CPU ns/span | spans/s | p50 us | p99 us | RSS idle / peak MiB | lost |");
    stdout::line("|---|---|---|---|---|---|---|");
    for row in rows {
        let lost = if row.sampled { "sampled".to_owned() } else { row.lost.to_string() };
        stdout::line(&format!(
            "| {} | {:.0} | {:.0} | {} | {} | {:.1} / {:.1} | {lost} |",
            row.name,
            row.nanos_per_span,
            row.spans_per_second,
            row.p50_micros,
            row.p99_micros,
            row.idle_kib as f64 / 1024.0,
            row.peak_kib as f64 / 1024.0,
        ));
    }
}

impl Bench {
    fn run(&self, case: &Case) -> Result<Row, String> {
        let sink_role = if case.subject == Subject::Floor { "floor-sink" } else { "sink" };
        let mut sink = Pinned::start(CORE_LOAD, &self.itself, &[sink_role])?;
        let sink_address = sink.line()?;
        let (subject, address) = self.start(case, &sink_address)?;
        let idle_kib = subject.memory_kib("VmRSS");
        self.load(case, &address, (case.warm_up_seconds, 1))?;
        let counts = |sink: &mut Pinned| match case.subject {
            Subject::Floor => Ok(0),
            _ => sink.ask("count")?.parse::<i64>().map_err(|error| error.to_string()),
        };
        let seen_before = counts(&mut sink)?;
        let cpu_before = subject.cpu_nanos();
        let report = self.load(case, &address, (self.seconds, 2))?;
        let cpu = subject.cpu_nanos() - cpu_before;
        let number = |path: &str| report.pointer(path).and_then(Value::as_f64).unwrap_or(0.0);
        let accepted = number("/spans/accepted");
        let unhappy = number("/spans/refused") + number("/spans/rejected") + number("/spans/failed");
        if accepted == 0.0 || unhappy > 0.0 {
            return Err(format!("not all spans were accepted: {report}"));
        }
        let lost =
            if case.subject == Subject::Floor { 0 } else { accepted as i64 - (counts(&mut sink)? - seen_before) };
        Ok(Row {
            name: case.name,
            nanos_per_span: cpu as f64 / accepted,
            spans_per_second: accepted / number("/seconds").max(f64::MIN_POSITIVE),
            p50_micros: number("/latency_us/p50") as u64,
            p99_micros: number("/latency_us/p99") as u64,
            idle_kib,
            peak_kib: subject.memory_kib("VmHWM"),
            lost,
            sampled: case.subject.samples(),
        })
    }

    /// Starts the process under test; returns it with the address it listens on, once it does.
    fn start(&self, case: &Case, sink: &str) -> Result<(Pinned, String), String> {
        let Subject::Podgate(stages) = case.subject else {
            let role = match case.subject {
                Subject::Floor => "floor",
                Subject::ObviousSampling => "obvious-sampling",
                _ => "obvious",
            };
            let mut subject = Pinned::start(CORE_TEST, &self.itself, &[role, sink])?;
            let address = subject.line()?;
            return Ok((subject, address));
        };
        std::fs::write(&self.pods_file, gateway_config::pod_list(case.pods)).map_err(|error| error.to_string())?;
        let port = free_port()?;
        let yaml = gateway_config::yaml(stages, port, sink, &self.pods_file.display().to_string());
        let subject = Pinned::start(CORE_TEST, &self.podgate, &["--config", &format!("yaml:{yaml}")])?;
        let address = format!("127.0.0.1:{port}");
        for _ in 0..100 {
            if std::net::TcpStream::connect(&address).is_ok() {
                return Ok((subject, address));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err("podgate does not listen".to_owned())
    }

    /// Runs the load generator to its end and returns its report. Each run needs a seed of its own: spans of traces that
    /// were decided before would only be late.
    fn load(&self, case: &Case, address: &str, (seconds, seed): (u32, u32)) -> Result<Value, String> {
        let (rate, spans) = (case.rate.to_string(), case.spans_per_request.to_string());
        let text = if case.subject == Subject::Floor {
            let words = ["floor-load", address, &rate, &spans, &seconds.to_string()];
            run_to_end(&self.itself, &words)?
        } else {
            let (duration, frame) = (format!("{seconds}s"), case.frame_bytes.to_string());
            let (spread, seed) = (case.spread_percent.to_string(), seed.to_string());
            let words = ["loadgen", "--endpoint", address, "--rate", &rate, "--spans-per-request", &spans];
            let more = ["--duration", &duration, "--services", "1", "--format", "json", "--frame-bytes", &frame];
            run_to_end(
                &self.podgate,
                &[&words[..], &more[..], &["--spread-percent", &spread, "--seed", &seed]].concat(),
            )?
        };
        serde_json::from_str(&text).map_err(|error| format!("{error} in {text:?}"))
    }
}

fn run_to_end(program: &Path, words: &[&str]) -> Result<String, String> {
    Pinned::start(CORE_LOAD, program, words)?.finish()
}

fn free_port() -> Result<u16, String> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    listener.local_addr().map(|address| address.port()).map_err(|error| error.to_string())
}
