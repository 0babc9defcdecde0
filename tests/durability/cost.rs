//! What a log on disk costs: delay of the acknowledgement, throughput, CPU for a span, each beside a queue in memory and the
//! disk's own rate, in one run. This is printed, and nothing of it asserted; it runs where `PODGATE_COST` says for how many
//! seconds, over the optimised build that `PODGATE_BIN` names. And how long a start takes with much in the log.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::time::Instant;

use podgate::core::data::origin::{Origin, Transport};
use podgate::core::data::payload::Signal;
use podgate::core::time::UnixNanos;
use podgate::extensions::file_storage::entry;
use podgate::wal::files::LogFolder;
use podgate::wal::recovery::open;
use podgate::wal::writer::{LogRecord, LogTime, Options};

use crate::kills::number;
use crate::process::{Running, free_port};
use crate::producer::request;
use crate::{Ports, config};

/// A gateway by its receiver's port, and its process.
struct Loaded {
    gateway: Running,
    port: u16,
}

impl Loaded {
    fn start(exporter: &str, extensions: (&str, &str)) -> Loaded {
        let port = free_port();
        let (section, list) = extensions;
        let mut gateway = Running::start(&format!(
            "yaml:
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{port}'}}}}}}}}
exporters: {{{exporter}}}
extensions: {{admin: {{endpoint: '127.0.0.1:0'}}{section}}}
service:
  extensions: [admin{list}]
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], processors: [], exporters: [{}]}}}}
",
            exporter.split(':').next().unwrap_or_default()
        ));
        gateway.wait_for("everything is ready");
        Loaded { gateway, port }
    }

    /// Seconds of CPU so far.
    fn cpu(&self) -> f64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.gateway.0.id())).expect("it runs");
        let after = stat.rsplit(')').next().expect("a name");
        let ticks: u64 = after.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
        // USER_HZ is 100 on Linux.
        ticks as f64 / 100.0
    }

    /// What `podgate loadgen` says of so many spans a second; 0 is as fast as they are answered.
    fn load(&self, rate: u64, seconds: u64) -> Value {
        let built = std::env::var("PODGATE_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_podgate").to_owned());
        let output = Command::new(built)
            .args(["loadgen", "--format", "json", "--endpoint", &format!("127.0.0.1:{}", self.port)])
            .args(["--rate", &rate.to_string(), "--duration", &format!("{seconds}s")])
            .stderr(Stdio::null())
            .output()
            .expect("it runs");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

fn spans_a_second(said: &Value) -> f64 {
    said["spans"]["accepted"].as_f64().expect("a number") / said["seconds"].as_f64().expect("a number")
}

/// Bytes a second that the disk takes in groups of 256 KiB, each synced.
fn disk_rate(folder: &std::path::Path, seconds: u64) -> f64 {
    let mut file = std::fs::File::create(folder.join("rate")).expect("made");
    let (group, began, mut bytes) = (vec![7; 256 << 10], Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(seconds) {
        file.write_all(&group).and_then(|()| file.sync_data()).expect("written");
        bytes += group.len();
    }
    bytes as f64 / began.elapsed().as_secs_f64()
}

#[test]
fn what_the_log_costs_is_measured() {
    let seconds = number("PODGATE_COST", 0);
    if seconds == 0 {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let sink = Loaded::start("nop: {}", ("", ""));
    let exporter = |storage: &str| {
        format!(
            "otlp_grpc: {{endpoint: '127.0.0.1:{}', tls: {{insecure: true}}, compression: none, sending_queue: {{{storage}}}}}",
            sink.port
        )
    };
    let log = format!(
        ", file_storage: {{directory: '{}', create_directory: true, podgate: {{max_bytes: 8GiB}}}}",
        folder.path().join("log").display()
    );
    let memory = Loaded::start(&exporter(""), ("", ""));
    let disk = Loaded::start(&exporter("storage: file_storage"), (&log, ", file_storage"));
    let rate = disk_rate(folder.path(), seconds.min(5));
    eprintln!("the disk alone: {:.0} MB/s in synced groups of 256 KiB", rate / 1e6);
    for round in 1..=3 {
        for (name, gateway) in [("memory", &memory), ("log", &disk)] {
            for spans in [5_000, 20_000, 50_000] {
                let before = gateway.cpu();
                let said = gateway.load(spans, seconds);
                let accepted = said["spans"]["accepted"].as_f64().expect("a number");
                eprintln!(
                    "{round} {name} at {spans}: {:.0} spans/s, {:.0} ns of CPU a span, acknowledged within {} us (p50) and {} us (p99)",
                    spans_a_second(&said),
                    (gateway.cpu() - before) * 1e9 / accepted,
                    said["latency_us"]["p50"],
                    said["latency_us"]["p99"]
                );
            }
            let said = gateway.load(0, seconds);
            let bytes = said["bytes"].as_f64().expect("a number") / said["seconds"].as_f64().expect("a number");
            eprintln!(
                "{round} {name} as fast as it goes: {:.0} spans/s, {:.0} MB/s",
                spans_a_second(&said),
                bytes / 1e6
            );
        }
    }
}

/// A log of so many bytes of requests without an end, as a crash leaves it.
fn filled(folder: &std::path::Path, bytes: usize) {
    std::fs::create_dir_all(folder).expect("made");
    let now = LogTime::default();
    let disk = Box::new(LogFolder::with(folder, false));
    let (mut writer, _) = open(disk, Options::default(), 7, now).expect("opens");
    let arrived = UnixNanos(1_700_000_000_000_000_000);
    let origin = Origin::new(None, 0, arrived, arrived, Transport::Http);
    let description = entry::describe("exporters::otlp_grpc", Signal::Traces, &origin);
    let body = request(0, 50).repeat(6);
    let mut written = 0;
    while written < bytes {
        let payload = vec![Bytes::from(body.clone())];
        let record = LogRecord { description: description.clone(), items: 300, payload, parked: false };
        writer.append(now, &record).expect("taken");
        written += body.len();
        if writer.is_group_full() {
            writer.commit(now);
        }
    }
    writer.commit(now);
}

/// How long five starts took, the shortest first, with a log of so many bytes, or of none.
fn starts(bytes: usize) -> Vec<Duration> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut took = Vec::new();
    for round in 1..=5 {
        let log = folder.path().join(format!("{round}"));
        if bytes > 0 {
            filled(&log, bytes);
        }
        let config = config(Ports::free(), free_port(), &log, ("", "")).replace("max_bytes: 1GiB", "max_bytes: 2GiB");
        let began = Instant::now();
        let mut gateway = Running::start(&config);
        gateway.wait_for("everything is ready");
        took.push(began.elapsed());
        drop(gateway);
        std::fs::remove_dir_all(&log).expect("its own");
    }
    took.sort_unstable();
    took
}

/// What a start reads does not grow with what stands in the log but for its last part: the records are read when they go.
/// With 1 GiB where `PODGATE_COST` is said, which is asked of an optimised build; a part of that says the same of any.
#[test]
fn a_start_is_ready_at_once_however_much_the_log_holds() {
    let (bytes, more) = if number("PODGATE_COST", 0) > 0 { (1 << 30, 300) } else { (128 << 20, 3_000) };
    let (without, with) = (starts(0), starts(bytes));
    eprintln!("ready after {without:?} without a log, after {with:?} with {} MiB of it", bytes >> 20);
    // The shortest, because other work of the machine only adds to it.
    assert!(with[0] < Duration::from_millis(more), "{with:?}, without a log {without:?}");
}
