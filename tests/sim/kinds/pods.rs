//! Kinds about containers: crashes, rolls, addresses used again, silent API servers, clocks that step, late binding.

use std::time::Duration;

use fastrand::Rng;
use podgate::core::data::payload::Signal;
use podgate::lab::api_double::ApiFault;

use super::{bystanders, millis, moment, seconds};
use crate::api;
use crate::client::Habits;
use crate::net::Way;
use crate::scenario::{Between, Event, Ids, PodPlan, Scenario};

const METADATA: &str = "[k8s.namespace.name, k8s.pod.name, k8s.pod.uid, k8s.container.name, container.id]";

fn enriching() -> (String, String) {
    let uid = "{sources: [{from: resource_attribute, name: k8s.pod.uid}]}";
    let ip = "{sources: [{from: resource_attribute, name: k8s.pod.ip}]}";
    let body = format!(
        "{{wait_for_metadata: true, filter: {{node: node-a}}, extract: {{metadata: {METADATA}}}, \
         pod_association: [{uid}, {ip}, {{sources: [{{from: connection}}]}}], \
         podgate: {{api_server: 'http://api:{}'}}}}",
        api::PORT
    );
    ("k8s_attributes".to_owned(), body)
}

fn sampling(rng: &mut Rng) -> (String, String) {
    let wait = rng.u64(1..=10);
    let policy = match rng.u8(0..3) {
        0 => "{name: failed, type: status_code, status_code: {status_codes: [ERROR]}}",
        1 => "{name: some, type: probabilistic, probabilistic: {sampling_percentage: 50}}",
        _ => "{name: all, type: always_sample}",
    };
    ("tail_sampling".to_owned(), format!("{{decision_wait: {wait}s, policies: [{policy}]}}"))
}

/// How processes in pods send: batches from a quarter of a second to a minute, by their names or by their address alone.
fn habits(rng: &mut Rng, batch: std::ops::RangeInclusive<u64>) -> Habits {
    let names = match rng.u8(0..4) {
        0 => vec!["k8s.pod.uid", "k8s.container.name", "service.name"],
        1 => vec!["k8s.pod.ip", "k8s.container.name", "service.instance.id"],
        2 => vec!["k8s.container.name", "service.name", "service.instance.id"],
        _ => Habits::default().names,
    };
    Habits { batch: millis(rng, batch), names, repeats: Duration::from_secs(30), ..super::habits(rng) }
}

fn pod(rng: &mut Rng, batch: std::ops::RangeInclusive<u64>) -> PodPlan {
    PodPlan { containers: rng.usize(1..=2), habits: habits(rng, batch), boots: millis(rng, 20..=2_000) }
}

fn cluster(rng: &mut Rng, batch: std::ops::RangeInclusive<u64>) -> Scenario {
    let mut processors = bystanders(rng);
    processors.insert(rng.usize(0..=processors.len()), enriching());
    if rng.bool() {
        processors.push(sampling(rng));
    }
    let mut scenario = Scenario {
        processors,
        senders: Vec::new(),
        pods: (0..rng.usize(1..=4)).map(|_| pod(rng, batch.clone())).collect(),
        publish_delay: (Duration::ZERO, millis(rng, 0..=2_800)),
        length: seconds(rng, 40..=90),
        recovery: Duration::from_secs(75),
        ids: Ids::MissingAtLastPercent(25),
        ..Scenario::default()
    };
    // One name and port for two containers' processes would be a lie of the pod: containers tell their name then.
    for pod in scenario.pods.iter_mut().filter(|pod| pod.containers > 1) {
        if !pod.habits.names.contains(&"k8s.container.name") {
            pod.habits.names.push("k8s.container.name");
        }
    }
    troubles(rng, &mut scenario);
    scenario
}

/// Containers crash and restart, pods are rolled.
fn troubles(rng: &mut Rng, scenario: &mut Scenario) {
    for _ in 0..rng.usize(1..=6) {
        let (when, pod) = (moment(rng, scenario), rng.usize(0..scenario.pods.len()));
        let what = match rng.u8(0..4) {
            0 => Event::Crash(pod),
            1 => Event::Roll(pod, rng.bool()),
            _ => Event::Restart(pod),
        };
        scenario.at(when, what);
    }
}

/// Everything but the containers is well.
pub fn restarts(rng: &mut Rng) -> Scenario {
    cluster(rng, 250..=20_000)
}

/// H2: the API server goes silent in one of several ways; containers restart meanwhile; senders batch for seconds.
pub fn silent_api(rng: &mut Rng) -> Scenario {
    let mut scenario = cluster(rng, 250..=15_000);
    let when = seconds(rng, 5..=20);
    let what = match rng.u8(0..4) {
        0 => Event::Way(api::PORT, Way::Silent),
        1 => Event::Way(api::PORT, Way::Refused),
        2 => Event::Api(Some(ApiFault::SilentAfterHead)),
        _ => Event::Api(Some(ApiFault::Silent)),
    };
    scenario.at(when, what);
    for _ in 0..rng.usize(1..=3) {
        let (after, pod) = (when + millis(rng, 0..=20_000), rng.usize(0..scenario.pods.len()));
        scenario.at(after, Event::Restart(pod));
    }
    scenario
}

/// An outage of everything: what happens in it kubelets write up to ten seconds after it is over.
pub fn held_back(rng: &mut Rng) -> Scenario {
    let mut scenario = cluster(rng, 250..=15_000);
    let (from, lasts) = (seconds(rng, 5..=20), seconds(rng, 9..=30));
    scenario.at(from, Event::Way(api::PORT, Way::Silent));
    scenario.at(from + lasts, Event::Way(api::PORT, Way::Open));
    let usual = scenario.publish_delay;
    for _ in 0..rng.usize(1..=3) {
        let (after, pod) = (lasts.mul_f64(rng.f64()), rng.usize(0..scenario.pods.len()));
        let told = lasts - after + millis(rng, 0..=10_000);
        scenario.at(from + after, Event::Kubelet(told, told));
        scenario.at(from + after, Event::Restart(pod));
        scenario.at(from + after, Event::Kubelet(usual.0, usual.1));
    }
    scenario
}

/// An API server that errs in other ways.
pub fn rough_api(rng: &mut Rng) -> Scenario {
    let mut scenario = cluster(rng, 250..=15_000);
    for _ in 0..rng.usize(1..=3) {
        let when = moment(rng, &scenario);
        let code = [401, 403, 429, 500, 503][rng.usize(0..5)];
        let faults = [
            ApiFault::EndAtOnce,
            ApiFault::GoneAsEvent,
            ApiFault::GoneAsStatus,
            ApiFault::Garbage,
            ApiFault::Truncated,
            ApiFault::Duplicates,
            ApiFault::Slow,
            ApiFault::NoBookmarks,
            ApiFault::Status { code, retry_after: None },
        ];
        scenario.at(when, Event::Api(Some(faults[rng.usize(0..faults.len())])));
        let lasts = seconds(rng, 1..=20);
        scenario.at(when + lasts, Event::Api(None));
    }
    scenario
}

/// H3: the wall clock of the node steps while containers restart.
pub fn stepped_clock(rng: &mut Rng) -> Scenario {
    let mut scenario = cluster(rng, 250..=8_000);
    if !scenario.samples() && rng.bool() {
        scenario.processors.push(sampling(rng));
    }
    for pod in &mut scenario.pods {
        pod.habits.signal = Signal::Traces;
    }
    for _ in 0..rng.usize(1..=2) {
        let when = moment(rng, &scenario);
        let size = i64::try_from(rng.u64(500..=180_000)).unwrap_or(0);
        scenario.at(when, Event::Step(if rng.bool() { size } else { -size }));
    }
    scenario
}

/// H1: a processor that reads or changes the container between the enrichment and the sampler.
pub fn between(rng: &mut Rng) -> Scenario {
    let kinds = [Between::Deletes, Between::Copies, Between::Forgets, Between::Filters];
    let between = kinds[rng.usize(0..kinds.len())];
    let processor = match between {
        Between::Deletes => ("resource", "{attributes: [{key: container.id, action: delete}]}"),
        Between::Copies => (
            "transform",
            "{trace_statements: ['set(resource.attributes[\"copied\"], resource.attributes[\"container.id\"])']}",
        ),
        Between::Forgets => ("resource", "{attributes: [{key: k8s.pod.uid, action: delete}]}"),
        _ => ("filter", "{traces: {span: ['resource.attributes[\"container.id\"] == nil']}}"),
    };
    let mut scenario = cluster(rng, 250..=5_000);
    let sampler = sampling(rng);
    scenario.processors = vec![enriching(), (format!("{}/between", processor.0), processor.1.to_owned()), sampler];
    for pod in &mut scenario.pods {
        pod.habits.signal = Signal::Traces;
        pod.habits.names = Habits::default().names;
    }
    // A share without an id is lost to crashes alone.
    let ids = if between == Between::Forgets { Ids::MissingPercent(50) } else { Ids::None };
    Scenario { between, ids, ..scenario }
}
