//! T8: each abuse for a minute (two seconds in the short form) beside honest clients, who must not be refused, and liveness
//! probes, which must be answered within a second.

use std::time::Duration;

use futures_util::stream::{self, StreamExt};

use super::attacker::Attacker;
use super::gateway::{HONEST, Process, is_long, real_time, setting};
use super::honest::{Clients, Felt};
use super::report;
use crate::abuses::{self, Seen};

const LIMIT_MIB: u64 = 256;
/// The promise: p99 beside an attacker over p99 alone.
const RATIO_MAX: f64 = 2.0;
/// Below this nobody feels a difference, and a clock tick makes one.
const FLOOR_MILLIS: f64 = 2.0;

struct Row {
    name: &'static str,
    /// By the attacker.
    sent: u64,
    before: (f64, f64),
    during: (f64, f64),
    put_off: u64,
    probe: Duration,
    peak_mib: f64,
    cores: f64,
}

impl Row {
    fn keeps_the_promise(&self) -> bool {
        self.during.1 <= (self.before.1 * RATIO_MAX).max(FLOOR_MILLIS)
    }
}

fn percentiles(felt: &mut Felt) -> (f64, f64) {
    (felt.percentile(50), felt.percentile(99))
}

/// 1234567 as 1,234,567.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let pieces = digits.as_bytes().rchunks(3).rev().map(|piece| String::from_utf8_lossy(piece).into_owned());
    pieces.collect::<Vec<_>>().join(",")
}

async fn measure(number: usize, seconds: u64) -> Row {
    let rest = format!(
        "processors:\n  memory_limiter: {{check_interval: 1s, limit_mib: {LIMIT_MIB}}}\nexporters:\n  nop:\nservice:\n  \
         telemetry: {{metrics: {{level: none}}}}\n  extensions: [health_check]\n  pipelines:\n    \
         traces: {{receivers: [otlp], processors: [memory_limiter], exporters: [nop]}}\n"
    );
    let process = Process::start("", &rest).await;
    let mut clients = Clients::connect(&process).await;
    clients.send(Duration::from_millis(500)).await;
    // The short form judges no times: of the time before it wants to know only that nobody was refused.
    let alone = if is_long() { Duration::from_secs(seconds.div_ceil(4).max(2)) } else { Duration::from_millis(300) };
    let mut before = clients.send(alone).await;
    let attacker = Attacker::start(number, &process, seconds + 60);
    let (cpu, how_long) = (process.cpu(), Duration::from_secs(seconds));
    let mut during = clients.send(how_long).await;
    let cores = (process.cpu() - cpu).as_secs_f64() / how_long.as_secs_f64();
    let sent = attacker.end();
    let abuse = &abuses::all()[number];
    assert!(during.requests() > 10 && before.refused + before.put_off == 0);
    assert_eq!(during.refused, 0, "{}: honest requests refused", abuse.name);
    let waits = matches!(abuse.seen, Seen::Memory);
    assert!(waits || during.put_off == 0, "{}: {} honest requests put off", abuse.name, during.put_off);
    let row = Row {
        name: abuse.name,
        sent,
        before: percentiles(&mut before),
        during: percentiles(&mut during),
        put_off: during.put_off,
        probe: during.probe,
        peak_mib: process.peak_mib(),
        cores,
    };
    let ended = process.stop().await;
    assert!(ended.took < Duration::from_secs(5), "{}: the stop took {:?}", row.name, ended.took);
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    row
}

#[tokio::test]
async fn no_abuse_has_an_honest_request_refused_or_memory_above_its_limit() {
    let seconds = setting("PODGATE_ABUSE_SECONDS", 2);
    if is_long() {
        HONEST.take();
    }
    let mut table = String::from(
        "| abuse | bytes sent | p50 / p99 before, ms | during, ms | honest requests put off | longest liveness probe, ms | \
         gateway's peak MiB | cores |\n|---|---|---|---|---|---|---|---|\n",
    );
    let mut missed = Vec::new();
    // `make test-abuse ABUSE=gzip` looks at some of them and leaves the document alone.
    let only = std::env::var("PODGATE_ABUSE").unwrap_or_default();
    let numbers =
        abuses::all().into_iter().enumerate().filter(|(_, abuse)| abuse.name.contains(&only)).map(|(number, _)| number);
    // The short form judges no times.
    let at_once = if is_long() { 1 } else { 2 };
    let mut rows = stream::iter(numbers.map(|number| measure(number, seconds))).buffered(at_once);
    while let Some(row) = rows.next().await {
        assert!(row.peak_mib < LIMIT_MIB as f64, "{}: {} MiB", row.name, row.peak_mib);
        let cell = |(p50, p99): (f64, f64)| format!("{p50:.2} / {p99:.2}");
        table.push_str(&format!(
            "| {} | {} | {} | {} | {} | {:.0} | {:.0} | {:.2} |\n",
            row.name,
            grouped(row.sent),
            cell(row.before),
            cell(row.during),
            row.put_off,
            row.probe.as_secs_f64() * 1e3,
            row.peak_mib,
            row.cores
        ));
        if !row.keeps_the_promise() {
            missed.push(row.name);
        }
    }
    let verdict = match missed.len() {
        0 => "Every p99 during stays below twice the one before (or below 2 ms).".to_owned(),
        _ => format!("Twice the p99 of before (or 2 ms) was exceeded beside: {}.", missed.join("; ")),
    };
    let how = format!(
        "Honest load: 1,000 spans a second over both transports, latency from the moment a request was due; ten liveness probes \
         a second, each answered within one. No honest request was refused for good; put off is one that heard 503 \
         or UNAVAILABLE with a hint and was taken when it was sent again, as SDKs do: where memory is what is attacked. Attacker: eight \
         runs of the attack at a time from another address, capped at 0.3 core, {seconds} s each; limits at their defaults, \
         memory limit {LIMIT_MIB} MiB. Gateway on one core, attacker and honest clients on the other{}.",
        match real_time() {
            true => {
                "; gateway and honest clients at real-time priority, the attacker not. (The kernel's network threads have none: \
                 on a machine with other work their waits, tens of milliseconds at times, are in these figures)"
            }
            false => "",
        }
    );
    if !only.is_empty() {
        return println!("{verdict}\n{table}");
    }
    report::write(
        "Abuses",
        &format!("`make test-abuse S={seconds}`, {}.\n{how} {verdict}\n\n{table}", report::circumstances()),
    );
}
