//! kill -9 at random moments, again and again, under load.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

use crate::elastic::Elastic;
use crate::hop::Hop;
use crate::process::Running;
use crate::producer::{Acknowledged, Content, Load, Producer, ids, trace_of};
use crate::{Ports, config};

/// Processors of a gateway: entries of the section, and the list of a pipeline.
type Processors = (&'static str, &'static str);

const PLAIN: Processors = ("", "");
const KEEP_ALL: Processors =
    ("tail_sampling: {decision_wait: 1s, policies: [{name: all, type: always_sample}]}", "tail_sampling");
const HALF: Processors = (
    "tail_sampling: {decision_wait: 1s, policies: [{name: half, type: probabilistic, probabilistic: {sampling_percentage: 50}}]}",
    "tail_sampling",
);
/// What [`Content`] of a trace says decides, so that the right verdict is known for each.
const MIXED: Processors = (
    "tail_sampling: {decision_wait: 1s, policies: [
        {name: errors, type: status_code, status_code: {status_codes: [ERROR]}},
        {name: slow, type: latency, latency: {threshold_ms: 500}},
        {name: checkout, type: string_attribute, string_attribute: {key: step, values: [checkout]}},
        {name: slow get, type: and, and: {and_sub_policy: [
            {name: a, type: string_attribute, string_attribute: {key: step, values: [payment]}},
            {name: b, type: latency, latency: {threshold_ms: 100}}]}}]}",
    "tail_sampling",
);

/// Runs among which `PODGATE_KILLS` are spread.
const RUNS: u64 = 6;

pub fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// Where spans go.
pub enum End {
    Otlp(Hop),
    Elastic(Elastic),
}

impl End {
    fn seen(&self) -> HashMap<u64, u32> {
        match self {
            End::Otlp(hop) => hop.seen().clone(),
            End::Elastic(elastic) => elastic.seen(),
        }
    }

    /// The configuration of a gateway with this end.
    pub fn config(&self, ports: Ports, folder: &std::path::Path, processors: Processors) -> String {
        match self {
            End::Otlp(hop) => config(ports, hop.port, folder, processors),
            End::Elastic(elastic) => {
                let exporter = format!(
                    "  elasticsearch:
    endpoints: ['http://127.0.0.1:{}']
    compression: none
    retry: {{initial_interval: 100ms, max_interval: 500ms}}
    sending_queue: {{storage: file_storage, queue_size: 5000, batch: {{flush_timeout: 50ms}}}}
",
                    elastic.port
                );
                let otlp = config(ports, 1, folder, processors);
                let (from, to) =
                    (otlp.find("  otlp_grpc:").expect("an exporter"), otlp.find("extensions:\n").expect("a section"));
                otlp.replace(&otlp[from..to], &exporter).replace("exporters: [otlp_grpc]", "exporters: [elasticsearch]")
            }
        }
    }
}

/// What is expected of a trace.
#[derive(Clone, Copy, PartialEq)]
enum Verdicts {
    All,
    /// Any, but of the whole trace.
    Half,
    /// That of the policies over its content.
    Mixed,
}

/// What a run showed, in spans.
#[derive(Default)]
struct Outcome {
    acknowledged: u64,
    /// Acknowledged, and not seen although their trace was to be kept.
    missing: u64,
    /// Seen although their trace was to be dropped.
    wrong: u64,
    /// Of traces that were dropped.
    sampled_out: u64,
    /// Spans that came more often than their sender sent them.
    surplus: u64,
    repeated: u64,
}

/// Kills the gateway so many times while four senders send 5,000 spans a second, and waits for what was acknowledged.
fn killed(kills: u64, seed: u64, end: &End, (processors, verdicts): (Processors, Verdicts)) -> Outcome {
    let mut random = fastrand::Rng::with_seed(seed);
    let (folder, ports) = (tempfile::tempdir().expect("a folder"), Ports::free());
    let config = end.config(ports, &folder.path().join("log"), processors);
    let mut gateway = Running::start(&config);
    gateway.wait_for("everything is ready");
    let load = Load { every: Duration::from_millis(20), pad: 0 };
    let producers: Vec<Producer> = (1..=4).map(|number| Producer::with(number, ports.http, load)).collect();
    // The short form has no time for pauses.
    let longest = if kills > 10 { 5_000 } else { 1_500 };
    for _ in 0..kills {
        std::thread::sleep(Duration::from_millis(random.u64(500..longest)));
        drop(gateway);
        gateway = Running::start(&config);
        gateway.wait_for("everything is ready");
    }
    std::thread::sleep(Duration::from_millis(500));
    let acknowledged: Vec<Acknowledged> = producers.into_iter().flat_map(Producer::end).collect();
    let until = Instant::now() + Duration::from_secs(60);
    if verdicts != Verdicts::All {
        // The last traces wait for a second.
        std::thread::sleep(Duration::from_secs(2));
    }
    while judged(&end.seen(), &acknowledged, verdicts).missing > 0 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(100));
    }
    let outcome = judged(&end.seen(), &acknowledged, verdicts);
    gateway.signal("TERM");
    let (code, log) = gateway.end_within(Duration::from_secs(30));
    assert_eq!(code, Some(0), "{log}");
    outcome
}

/// Where half is sampled the spans of a trace of which nothing came were dropped by its verdict: a trace is kept or dropped
/// as a whole.
fn judged(seen: &HashMap<u64, u32>, acknowledged: &[Acknowledged], verdicts: Verdicts) -> Outcome {
    let spans = || acknowledged.iter().flat_map(|request| ids(request.first, request.spans));
    let came: HashSet<u64> = match verdicts {
        Verdicts::Half => spans().filter(|id| seen.contains_key(id)).map(trace_of).collect(),
        _ => HashSet::new(),
    };
    let mut outcome = Outcome::default();
    for Acknowledged { first, spans, sent } in acknowledged {
        outcome.acknowledged += spans;
        outcome.repeated += u64::from(*sent > 1) * spans;
        for id in ids(*first, *spans) {
            let times = seen.get(&id).copied().unwrap_or(0);
            outcome.surplus += u64::from(times.saturating_sub(*sent));
            let kept = match verdicts {
                Verdicts::All => true,
                Verdicts::Half => came.contains(&trace_of(id)),
                Verdicts::Mixed => Content::of(trace_of(id)).is_kept(),
            };
            outcome.missing += u64::from(kept && times == 0);
            outcome.wrong += u64::from(!kept && times > 0);
            outcome.sampled_out += u64::from(!kept && times == 0);
        }
    }
    outcome
}

/// Spans that were acknowledged and did not come.
pub fn missing(hop: &Hop, acknowledged: &[Acknowledged]) -> u64 {
    judged(&hop.seen(), acknowledged, Verdicts::All).missing
}

fn assert_nothing_lost(name: &str, end: &End, expected: (Processors, Verdicts)) {
    let kills = (number("PODGATE_KILLS", 4 * RUNS) / RUNS).max(1);
    let seed = number("PODGATE_KILL_SEED", fastrand::u64(..1_000_000));
    eprintln!("{name}: {kills} kills, seed {seed}");
    let outcome = killed(kills, seed, end, expected);
    let Outcome { acknowledged, missing, wrong, sampled_out, surplus, repeated } = outcome;
    let percent = surplus as f64 * 100.0 / acknowledged.max(1) as f64;
    eprintln!(
        "{name}: {kills} kills, {acknowledged} spans acknowledged, {missing} missing, {wrong} kept against their verdict, \
         {sampled_out} sampled out, {surplus} came more often than they were sent ({percent:.2} %), {repeated} were repeated by their senders"
    );
    if let End::Elastic(elastic) = end {
        eprintln!("{name}: {} documents came again and were there by their ids", elastic.conflicts());
    }
    assert!(acknowledged >= 100 * kills, "a run of {acknowledged} acknowledged spans shows nothing");
    assert_eq!((missing, wrong), (0, 0), "acknowledged and lost, or kept against the verdict, seed {seed}");
    if expected.1 == Verdicts::Half {
        let share = sampled_out as f64 / acknowledged as f64;
        assert!((0.4..0.6).contains(&share), "half is sampled: {share}");
    }
    // A short run under another one's load says nothing of so small a part.
    assert!(kills < 10 || percent < 1.0, "{percent} % came twice");
}

fn otlp() -> End {
    End::Otlp(Hop::at(0))
}

fn elastic() -> End {
    End::Elastic(Elastic::start())
}

#[test]
fn what_a_queue_on_disk_acknowledged_survives_kill_9() {
    assert_nothing_lost("queue", &otlp(), (PLAIN, Verdicts::All));
}

#[test]
fn what_a_queue_in_front_of_elasticsearch_acknowledged_survives_kill_9_and_is_indexed_once() {
    assert_nothing_lost("queue, Elasticsearch", &elastic(), (PLAIN, Verdicts::All));
}

#[test]
fn what_a_sampler_holds_survives_kill_9_and_is_kept_to_the_last_span() {
    assert_nothing_lost("keep all", &otlp(), (KEEP_ALL, Verdicts::All));
}

#[test]
fn a_trace_is_kept_or_dropped_as_a_whole_across_kills() {
    assert_nothing_lost("half", &otlp(), (HALF, Verdicts::Half));
}

#[test]
fn every_verdict_of_mixed_policies_is_that_of_its_spans_across_kills() {
    assert_nothing_lost("mixed", &otlp(), (MIXED, Verdicts::Mixed));
}

#[test]
fn every_verdict_in_front_of_elasticsearch_is_that_of_its_spans_across_kills() {
    assert_nothing_lost("mixed, Elasticsearch", &elastic(), (MIXED, Verdicts::Mixed));
}
