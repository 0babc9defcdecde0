//! kill -9 at random moments, again and again, under load.

use std::collections::HashSet;
use std::time::Duration;

use tokio::time::Instant;

use crate::hop::Hop;
use crate::process::Running;
use crate::producer::{Acknowledged, Producer, ids, trace_of};
use crate::{Ports, config};

/// Processors of a gateway: entries of the section, and the list of a pipeline.
const PLAIN: (&str, &str) = ("", "");
const KEEP_ALL: (&str, &str) =
    ("tail_sampling: {decision_wait: 1s, policies: [{name: all, type: always_sample}]}", "tail_sampling");
const HALF: (&str, &str) = (
    "tail_sampling: {decision_wait: 1s, policies: [{name: half, type: probabilistic, probabilistic: {sampling_percentage: 50}}]}",
    "tail_sampling",
);

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// What a run showed, in spans.
struct Outcome {
    kills: u64,
    acknowledged: u64,
    /// Acknowledged, and not seen although their trace was kept.
    missing: u64,
    /// Of traces that were dropped.
    sampled_out: u64,
    /// Spans that came more often than their sender sent them.
    surplus: u64,
    repeated: u64,
}

/// Kills the gateway so many times while four senders send 2,500 spans a second, and waits for what was acknowledged.
fn killed(kills: u64, seed: u64, processors: (&str, &str)) -> Outcome {
    let samples = processors == HALF;
    let mut random = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().expect("a folder");
    let (hop, ports) = (Hop::at(0), Ports::free());
    let config = config(ports, hop.port, &folder.path().join("log"), processors);
    let mut gateway = Running::start(&config);
    gateway.wait_for("everything is ready");
    let producers: Vec<Producer> =
        (1..=4).map(|number| Producer::start(number, ports.http, Duration::from_millis(40))).collect();
    for _ in 0..kills {
        std::thread::sleep(Duration::from_millis(random.u64(300..2_500)));
        drop(gateway);
        gateway = Running::start(&config);
        gateway.wait_for("everything is ready");
    }
    std::thread::sleep(Duration::from_millis(500));
    let acknowledged: Vec<Acknowledged> = producers.into_iter().flat_map(Producer::end).collect();
    let until = Instant::now() + Duration::from_secs(60);
    if samples {
        // The last traces wait for a second.
        std::thread::sleep(Duration::from_secs(2));
    }
    while missing(&hop, &acknowledged, samples).0 > 0 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(100));
    }
    let (missing, sampled_out) = missing(&hop, &acknowledged, samples);
    gateway.signal("TERM");
    let (code, log) = gateway.end_within(Duration::from_secs(30));
    assert_eq!(code, Some(0), "{log}");
    let seen = hop.seen();
    let (mut surplus, mut repeated, mut total) = (0, 0, 0);
    for Acknowledged { first, spans, sent } in &acknowledged {
        total += spans;
        repeated += u64::from(*sent > 1) * spans;
        for id in ids(*first, *spans) {
            surplus += u64::from(seen.get(&id).copied().unwrap_or(0).saturating_sub(*sent));
        }
    }
    Outcome { kills, acknowledged: total, missing, sampled_out, surplus, repeated }
}

/// Spans that were acknowledged and did not come. Where half is sampled those of a trace of which nothing came were
/// dropped by its verdict, which is the second number: a trace is kept or dropped as a whole.
fn missing(hop: &Hop, acknowledged: &[Acknowledged], samples: bool) -> (u64, u64) {
    let seen = hop.seen();
    let spans = || acknowledged.iter().flat_map(|request| ids(request.first, request.spans));
    let kept: HashSet<u64> = spans().filter(|id| seen.contains_key(id)).map(trace_of).collect();
    let (missing, dropped): (Vec<u64>, Vec<u64>) =
        spans().filter(|id| !seen.contains_key(id)).partition(|id| !samples || kept.contains(&trace_of(*id)));
    (missing.len() as u64, dropped.len() as u64)
}

fn assert_nothing_lost(name: &str, processors: (&str, &str)) {
    let (kills, seed) = (number("PODGATE_KILLS", 6), number("PODGATE_KILL_SEED", fastrand::u64(..1_000_000)));
    eprintln!("{name}: {kills} kills, seed {seed}");
    let Outcome { kills, acknowledged, missing, sampled_out, surplus, repeated } = killed(kills, seed, processors);
    eprintln!(
        "{name}: {kills} kills, {acknowledged} spans acknowledged, {missing} missing, {sampled_out} sampled out, {surplus} came more often than they \
         were sent, {repeated} were repeated by their senders"
    );
    assert!(acknowledged >= 100 * kills, "a run of {acknowledged} acknowledged spans shows nothing");
    assert_eq!(missing, 0, "acknowledged and lost, seed {seed}");
    if processors == HALF {
        let share = sampled_out as f64 / acknowledged as f64;
        assert!((0.4..0.6).contains(&share), "half is sampled: {share}");
    }
}

#[test]
fn what_a_queue_on_disk_acknowledged_survives_kill_9() {
    assert_nothing_lost("queue", PLAIN);
}

#[test]
fn what_a_sampler_holds_survives_kill_9_and_is_kept_to_the_last_span() {
    assert_nothing_lost("keep all", KEEP_ALL);
}

#[test]
fn a_trace_is_kept_or_dropped_as_a_whole_across_kills() {
    assert_nothing_lost("half", HALF);
}
