//! All recorded policy sets: the same traces kept with the same number of spans, exceptions named.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use serde_json::Value as Json;

use podgate::core::data::budget::Budget;
use podgate::core::stage::host::Host;

use crate::rig::{Rig, checked};

const CORPUS: &str = include_str!("../golden/sampling/a.corpus.jsonl");
const TRACES: &str = include_str!("../golden/sampling/a.traces.json");
const VERDICTS: &str = include_str!("../golden/sampling/a.tail_sampling.json");

/// Traces on which podgate differs on purpose: `(policy set, trace, why)`.
const EXCEPTIONS: &[(&str, u64, &str)] = &[
    ("latency_100_1000", 33, "contrib #43948: 900 ms after its first span, 1,200 ms in the end"),
    ("latency_0_500", 22, "contrib #43948: within the bounds after its first span, beyond them in the end"),
    ("latency_0_500", 23, "contrib #43948, the same"),
    ("latency_0_500", 26, "contrib #43948, the same"),
    ("latency_0_500", 32, "contrib #43948: 100 ms after its first span, 1,050 ms in the end"),
    ("latency_0_500", 156, "contrib #43948, the same"),
];

/// Where the outcome depends on which traces come first: the most spans that may pass, sixteen late ones included.
const BOUNDS: &[(&str, u64)] = &[
    ("rate_limiting_35_burst_300", 300 + 35 + 16),
    ("bytes_limiting_5000", 15_000 / 60 + 16),
    ("bytes_limiting_5000_burst_40000", 45_000 / 60 + 16),
    ("composite_tight", 20 + 16),
    ("late_evicted_error", 44),
];

/// Sets that podgate refuses.
const REFUSED: &[(&str, &str)] = &[("span_ingest_drop", "contrib #47476: keeps nothing, whatever else it says")];

/// Requests by phase.
pub fn corpus(phase: u64) -> Vec<ExportTraceServiceRequest> {
    let lines = CORPUS.lines().map(|line| serde_json::from_str::<Json>(line).expect("holds in this test"));
    let mine = lines.filter(|line| line["phase"] == phase);
    mine.map(|line| serde_json::from_value(line["request"].clone()).expect("holds in this test")).collect()
}

pub fn trace_ids() -> Vec<String> {
    let traces: Vec<Json> = serde_json::from_str(TRACES).expect("holds in this test");
    traces.iter().map(|trace| trace["trace_id"].as_str().expect("holds in this test").to_owned()).collect()
}

pub fn sets() -> BTreeMap<String, Json> {
    serde_json::from_str(VERDICTS).expect("holds in this test")
}

/// What a policy set keeps of the corpus, late spans included: spans by trace index; and what was counted.
pub async fn outcome(name: &str, config: &Json) -> (BTreeMap<u64, u64>, Arc<Host>) {
    let id = format!("tail_sampling/{name}");
    let rig = Rig::start_as(&id, config, Budget::new(1 << 30, 1 << 29), Default::default()).await;
    for request in corpus(0) {
        rig.send(&request).await.expect("holds in this test");
    }
    tokio::time::sleep(Duration::from_secs(7)).await;
    for request in corpus(1) {
        rig.send(&request).await.expect("holds in this test");
    }
    tokio::time::sleep(Duration::from_secs(4)).await;
    rig.drain().await;
    let ids = trace_ids();
    let index = |id: &String| ids.iter().position(|known| known == id).expect("holds in this test") as u64;
    let kept = rig.sink.by_trace().iter().map(|(id, spans)| (index(id), *spans)).collect();
    rig.assert_settled();
    (kept, rig.host)
}

/// How what a set keeps differs from what the Collector kept, exceptions aside.
pub fn differs(name: &str, expected: &[Json], kept: &BTreeMap<u64, u64>) -> Option<String> {
    let pair =
        |pair: &Json| (pair[0].as_u64().expect("holds in this test"), pair[1].as_u64().expect("holds in this test"));
    let expected: BTreeMap<u64, u64> = expected.iter().map(pair).collect();
    let excepted = |trace: &u64| EXCEPTIONS.iter().any(|(set, at, _)| *set == name && at == trace);
    let differs = (0..300).filter(|trace| kept.get(trace) != expected.get(trace));
    let (excused, differing): (Vec<u64>, Vec<u64>) = differs.partition(excepted);
    let listed = EXCEPTIONS.iter().filter(|(set, ..)| *set == name).count();
    let show = |map: &BTreeMap<u64, u64>| differing.iter().map(|at| map.get(at).copied()).collect::<Vec<_>>();
    let is_same = differing.is_empty() && excused.len() == listed;
    (!is_same).then(|| format!("{name}: {differing:?} want {:?} got {:?}", show(&expected), show(kept)))
}

#[tokio::test(start_paused = true)]
async fn every_recorded_policy_set_gives_the_collectors_verdict_on_every_trace() {
    let mut wrong = Vec::new();
    let (mut exact, mut bounded) = (0, 0);
    for (name, set) in sets() {
        if REFUSED.iter().any(|(refused, _)| *refused == name) {
            continue;
        }
        let (kept, _) = outcome(&name, &set["config"]).await;
        let Some(expected) = set["kept"].as_array() else {
            bounded += 1;
            let spans: u64 = kept.values().sum();
            let (_, most) = BOUNDS.iter().find(|(bounded, _)| *bounded == name).expect("a set with a bound");
            if spans == 0 || spans > *most || kept.len() >= 300 {
                wrong.push(format!("{name}: kept {} traces with {spans} spans", kept.len()));
            }
            continue;
        };
        exact += 1;
        wrong.extend(differs(&name, expected, &kept));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!((exact, bounded), (50, 5));
}

#[test]
fn a_set_that_keeps_nothing_upstream_is_refused_with_its_place() {
    for (name, why) in REFUSED {
        let (plan, findings) = checked(&sets()[*name]["config"]);
        assert!(plan.is_none(), "{name}: {why}");
        assert!(findings.iter().all(|finding| finding.place.is_some()), "{findings:?}");
    }
}

#[test]
fn the_probabilistic_policy_agrees_with_the_collector_on_every_recorded_id() {
    let golden: Json =
        serde_json::from_str(include_str!("../golden/sampling/b.probabilistic.json")).expect("holds in this test");
    let ids: Vec<[u8; 16]> = golden["ids"]
        .as_array()
        .expect("holds in this test")
        .iter()
        .map(|id| {
            podgate::otlp::ids::hex_to_bytes(id.as_str().expect("holds in this test").as_bytes())
                .expect("holds in this test")
        })
        .collect();
    let mut compared = 0;
    for result in golden["results"].as_array().expect("holds in this test") {
        let salt = Some(result["hash_salt"].as_str().expect("holds in this test")).filter(|salt| !salt.is_empty());
        let percentage = result["sampling_percentage"].as_f64().expect("holds in this test");
        let policy = podgate::processors::tail_sampling::policies::kinds::probabilistic::Probabilistic::new(
            salt.unwrap_or("default-hash-seed"),
            percentage,
        );
        let sampled: Vec<u64> = result["sampled"]
            .as_array()
            .expect("holds in this test")
            .iter()
            .map(|at| at.as_u64().expect("holds in this test"))
            .collect();
        for (at, id) in ids.iter().enumerate() {
            assert_eq!(policy.matches(id), sampled.contains(&(at as u64)), "{salt:?} {percentage} {at}");
            compared += 1;
        }
    }
    assert_eq!(compared, 7800);
}
