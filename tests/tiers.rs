//! Two tiers of processes: metrics from an agent with `load_balancing` to two gateways that write what they get to files, and the
//! official architectures of tests/blueprints with their own configurations.

#[path = "support/process.rs"]
#[allow(dead_code)]
mod process;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use krafka::testing::FakeBroker;
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

/// A configuration of tests/blueprints, its telemetry without a port of its own.
fn blueprint(name: &str, variables: &[(&str, &str)]) -> Running {
    let path = format!("{}/tests/blueprints/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect(name);
    let quiet = "service:\n  telemetry: {metrics: {level: none}}";
    let mut running =
        Running::start_with(&format!("yaml:{}", text.replacen("service:", quiet, 1)), variables, Stdio::null());
    running.wait_for("everything is ready");
    running
}

/// What stands behind: every signal into one file.
fn behind(grpc: u16, http: u16, file: &Path) -> Running {
    let endpoints = format!("grpc: {{endpoint: '127.0.0.1:{grpc}'}}, http: {{endpoint: '127.0.0.1:{http}'}}");
    let row = "{receivers: [otlp], exporters: [file]}";
    let mut running = Running::start(&format!(
        "yaml:receivers: {{otlp: {{protocols: {{{endpoints}}}}}}}
exporters: {{file: {{path: '{}'}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {row}, metrics: {row}, logs: {row}}}
",
        file.display()
    ));
    running.wait_for("everything is ready");
    running
}

/// Ends processes in this order, each with exit code 0.
fn end(processes: impl IntoIterator<Item = Running>) {
    for process in processes {
        process.signal("TERM");
        let (code, log) = process.end_within(Duration::from_secs(60));
        assert_eq!(code, Some(0), "{log}");
    }
}

fn lines(file: &Path) -> Vec<Json> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// Waits until the file has what `is_there` asks for.
fn eventually(file: &Path, what: &str, is_there: impl Fn(&[Json]) -> bool) {
    let until = tokio::time::Instant::now() + Duration::from_secs(60);
    while !is_there(&lines(file)) {
        assert!(tokio::time::Instant::now() < until, "{what}: {:?}", lines(file));
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Trace and span ids in a file.
fn spans_of(lines: &[Json]) -> Vec<(String, String)> {
    let each = |list: &Json| list.as_array().cloned().unwrap_or_default();
    let scopes =
        lines.iter().flat_map(|line| each(&line["resourceSpans"])).flat_map(|group| each(&group["scopeSpans"]));
    let id = |span: &Json, name: &str| span[name].as_str().unwrap_or_default().to_owned();
    scopes.flat_map(|scope| each(&scope["spans"])).map(|span| (id(&span, "traceId"), id(&span, "spanId"))).collect()
}

fn one_of(trace: u64, span: u64, is_error: bool) -> Json {
    let status = if is_error { json!({ "code": 2 }) } else { json!({}) };
    json!({ "traceId": format!("{trace:032x}"), "spanId": format!("{span:016x}"), "name": "work",
            "startTimeUnixNano": "1000", "endTimeUnixNano": "2000", "status": status })
}

#[test]
fn the_blueprints_two_layers_keep_whole_traces_whichever_balancer_their_spans_come_by() {
    const TRACES: u64 = 40;
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("kept.jsonl");
    let [backend, backend_http, one, two, three] = free_ports();
    let [grpc_a, http_a, grpc_b, http_b] = free_ports();
    let behind = behind(backend, backend_http, &file);
    let samplers = [one, two, three].map(|port| {
        let (port, backend) = (port.to_string(), format!("127.0.0.1:{backend}"));
        let variables =
            [("ADDRESS", "127.0.0.1"), ("GRPC_PORT", &*port), ("BACKEND", &*backend), ("DECISION_WAIT", "3s")];
        blueprint("samplers", &variables)
    });
    let addresses = [one, two, three].map(|port| format!("127.0.0.1:{port}"));
    let balancers = [(grpc_a, http_a), (grpc_b, http_b)].map(|(grpc, http)| {
        let (grpc, http) = (grpc.to_string(), http.to_string());
        let [first, second, third] = &addresses;
        let members = [("SAMPLER_1", &**first), ("SAMPLER_2", &**second), ("SAMPLER_3", &**third)];
        let own = [("ADDRESS", "127.0.0.1"), ("GRPC_PORT", &*grpc), ("HTTP_PORT", &*http)];
        blueprint("balancers", &[own, members].concat())
    });
    for trace in 1..=TRACES {
        // One span by each balancer; the second of every fourth trace tells of an error.
        for (span, http) in [(1, http_a), (2, http_b)] {
            let span = one_of(trace, 10 * trace + span, span == 2 && trace % 4 == 0);
            let body = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span] }] }] });
            let answer = ask(http, "POST", "/v1/traces", &body.to_string());
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
    }
    eventually(&file, "the kept traces are there", |lines| spans_of(lines).len() as u64 >= TRACES / 4 * 2);
    end(balancers);
    end(samplers);
    end([behind]);
    let mut seen = spans_of(&lines(&file));
    seen.sort_unstable();
    let kept = (1..=TRACES).filter(|trace| trace % 4 == 0);
    let expected: Vec<(String, String)> = kept
        .flat_map(|trace| [1, 2].map(|span| (format!("{trace:032x}"), format!("{:016x}", 10 * trace + span))))
        .collect();
    assert_eq!(seen, expected, "each kept trace whole and once, and no other");
}

#[test]
fn elastics_pipelines_through_one_topic_deliver_every_signal() {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let broker = runtime.block_on(FakeBroker::start()).expect("loopback has ports");
    broker.create_topic("otel-otlp", 3);
    let address = broker.bootstrap_servers();
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("all.jsonl");
    let [backend, backend_http, grpc, http] = free_ports();
    let behind = behind(backend, backend_http, &file);
    let brokers = [("KAFKA_1", &*address), ("KAFKA_2", &*address), ("KAFKA_3", &*address)];
    let endpoint = format!("http://127.0.0.1:{backend_http}");
    let reader = blueprint(
        "kafka-backend",
        &[&brokers[..], &[("MOTLP_ENDPOINT", &*endpoint), ("MOTLP_API_KEY", "key")]].concat(),
    );
    let (grpc, port) = (grpc.to_string(), http.to_string());
    let own = [("ADDRESS", "127.0.0.1"), ("GRPC_PORT", &*grpc), ("HTTP_PORT", &*port)];
    let edge = blueprint("kafka-edge", &[&brokers[..], &own].concat());
    let records = json!([{ "timeUnixNano": "1", "body": { "stringValue": "words" } }]);
    let logs = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": records }] }] });
    let spans = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [one_of(1, 1, false)] }] }] });
    let has = |lines: &[Json], name: &str| lines.iter().any(|line| line[name].is_array());
    // The group begins at the latest record, and nobody says when it has begun: so what is sent is sent until it arrives.
    let until = tokio::time::Instant::now() + Duration::from_secs(60);
    let names = ["resourceSpans", "resourceMetrics", "resourceLogs"];
    while !names.iter().all(|name| has(&lines(&file), name)) {
        assert!(tokio::time::Instant::now() < until, "{:?}", lines(&file));
        for (path, body) in [("/v1/traces", &spans), ("/v1/metrics", &round(1)), ("/v1/logs", &logs)] {
            let answer = ask(http, "POST", path, &body.to_string());
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    end([edge, reader, behind]);
    let arrived = spans_of(&lines(&file));
    assert!(arrived.iter().all(|span| *span == (format!("{:032x}", 1), format!("{:016x}", 1))), "{arrived:?}");
}
