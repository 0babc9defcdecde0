//! Metrics through two tiers of processes: an agent with `load_balancing`, two gateways that write what they get to files.

#[path = "support/process.rs"]
#[allow(dead_code)]
mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use process::{Running, ask, free_ports};
use serde_json::{Value as Json, json};

const SERVICES: u64 = 12;
/// Points of each service's metric, each of another queue.
const QUEUES: u64 = 6;
const ROUNDS: u64 = 3;

fn gateway(grpc: u16, file: &Path) -> String {
    format!(
        "yaml:receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{grpc}'}}}}}}}}
exporters: {{file: {{path: '{}'}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{metrics: {{receivers: [otlp], exporters: [file]}}}}
",
        file.display()
    )
}

/// `key` is further keys of the balancer.
fn agent(http: u16, gateways: [u16; 2], key: &str) -> String {
    let [one, two] = gateways;
    format!(
        "yaml:receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}
exporters:
  load_balancing:
    {key}
    protocol: {{otlp: {{tls: {{insecure: true}}}}}}
    resolver: {{static: {{hostnames: ['127.0.0.1:{one}', '127.0.0.1:{two}']}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{metrics: {{receivers: [otlp], exporters: [load_balancing]}}}}
"
    )
}

fn attribute(key: &str, value: String) -> Json {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// One point for each queue of each service.
fn round(round: u64) -> Json {
    let point = |queue: u64| {
        json!({ "attributes": [attribute("queue", format!("q{queue}"))], "timeUnixNano": (round + 1).to_string(),
                "asInt": round.to_string() })
    };
    let group = |service: u64| {
        let points: Vec<Json> = (0..QUEUES).map(point).collect();
        let metrics = json!([{ "name": "queue.depth", "gauge": { "dataPoints": points } }]);
        json!({ "resource": { "attributes": [attribute("service.name", format!("s{service}"))] },
                "scopeMetrics": [{ "metrics": metrics }] })
    };
    json!({ "resourceMetrics": (0..SERVICES).map(group).collect::<Vec<_>>() })
}

/// Service and queue of each point in a file, and how often it came.
fn points(file: &Path) -> BTreeMap<(String, String), u64> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let lines = text.lines().map(|line| serde_json::from_str::<Json>(line).expect("a line of JSON"));
    let of = |attributes: &Json| attributes[0]["value"]["stringValue"].as_str().unwrap_or_default().to_owned();
    let each = |list: &Json| list.as_array().cloned().unwrap_or_default();
    let mut seen = BTreeMap::new();
    for group in lines.flat_map(|line| each(&line["resourceMetrics"])) {
        let metrics = each(&group["scopeMetrics"]).into_iter().flat_map(|scope| each(&scope["metrics"]));
        for point in metrics.flat_map(|metric| each(&metric["gauge"]["dataPoints"])) {
            let stream = (of(&group["resource"]["attributes"]), of(&point["attributes"]));
            *seen.entry(stream).or_default() += 1;
        }
    }
    seen
}

/// What each of two gateways has after a few rounds.
fn played(key: &str) -> [BTreeMap<(String, String), u64>; 2] {
    let folder = tempfile::tempdir().expect("a folder");
    let files = [folder.path().join("one.jsonl"), folder.path().join("two.jsonl")];
    let [http, one, two] = free_ports();
    let mut gateways = [Running::start(&gateway(one, &files[0])), Running::start(&gateway(two, &files[1]))];
    gateways.iter_mut().for_each(|gateway| _ = gateway.wait_for("everything is ready"));
    let mut agent = Running::start(&agent(http, [one, two], key));
    agent.wait_for("everything is ready");
    for number in 0..ROUNDS {
        let answer = ask(http, "POST", "/v1/metrics", &round(number).to_string());
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    for process in std::iter::once(agent).chain(gateways) {
        process.signal("TERM");
        assert_eq!(process.end_within(Duration::from_secs(60)).0, Some(0));
    }
    files.each_ref().map(|file| points(file))
}

fn assert_all_came(each: &[BTreeMap<(String, String), u64>; 2]) {
    let [one, two] = each;
    assert!(one.values().chain(two.values()).all(|times| *times == ROUNDS), "{each:?}");
    assert!(one.keys().all(|stream| !two.contains_key(stream)), "a stream has one owner: {each:?}");
    assert_eq!(one.len() + two.len(), (SERVICES * QUEUES) as usize, "{each:?}");
    assert!(!one.is_empty() && !two.is_empty(), "each gateway has its share");
}

#[test]
fn the_metrics_of_a_service_go_to_one_gateway_unless_another_key_is_written() {
    let each = played("timeout: 5s");
    assert_all_came(&each);
    let services = each.each_ref().map(|seen| seen.keys().map(|(service, _)| service).collect::<BTreeSet<_>>());
    assert!(services[0].is_disjoint(&services[1]), "{services:?}");
}

#[test]
fn the_points_of_a_metric_are_divided_by_their_streams() {
    let each = played("routing_key: streamID");
    assert_all_came(&each);
    let services = each.each_ref().map(|seen| seen.keys().map(|(service, _)| service).collect::<BTreeSet<_>>());
    assert!(!services[0].is_disjoint(&services[1]), "streams of one service are with both: {services:?}");
}
