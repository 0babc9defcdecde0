//! The questions to a running gateway, asked by the binary as a person does: state, account, pods, verdicts, the doctor.

#[path = "support/process.rs"]
#[expect(dead_code, reason = "the tests of signals use the rest of it")]
mod process;

#[path = "ask/walk.rs"]
mod walk;

#[path = "ask/shadow.rs"]
mod shadow;

#[path = "ask/locked.rs"]
mod locked;

use std::fs;
use std::process::{Command, Stdio};

use process::{Running, ask, free_port, one_span, text};
use serde_json::{Value, json};

const PODS: &str = r#"{"kind": "PodList", "apiVersion": "v1", "items": [
  {"metadata": {"name": "cart-1", "namespace": "shop", "uid": "uid-cart"}, "spec": {"nodeName": "n1", "containers": [{"name": "app"}]},
   "status": {"phase": "Running", "podIP": "127.0.0.9", "containerStatuses": [{"name": "app", "restartCount": 2,
     "containerID": "containerd://9b27aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
     "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}}}]}},
  {"metadata": {"name": "cart-1", "namespace": "test", "uid": "uid-test"}, "spec": {"nodeName": "n1", "containers": [{"name": "app"}]},
   "status": {"phase": "Running", "podIP": "127.0.0.10"}}]}"#;

struct Gateway {
    /// Held for its end.
    _running: Running,
    folder: tempfile::TempDir,
    http: u16,
    admin: u16,
}

/// A gateway that knows two pods, samples with a short wait and hands on to `next_hop`.
fn start(next_hop: u16) -> Gateway {
    let (http, admin) = (free_port(), free_port());
    let folder = tempfile::tempdir().expect("a folder");
    let pods = folder.path().join("pods.json");
    fs::write(&pods, PODS).expect("writable");
    let yaml = format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}\n\
         processors:\n  memory_limiter: {{limit_mib: 128}}\n  k8s_attributes: {{podgate: {{pods_file: {}}}}}\n  \
         tail_sampling: {{decision_wait: 1s, policies: [{{name: failed, type: status_code, status_code: {{status_codes: [ERROR]}}}}]}}\n\
         exporters: {{otlp_http: {{endpoint: 'http://127.0.0.1:{next_hop}'}}, debug: {{verbosity: basic}}}}\n\
         extensions: {{admin: {{endpoint: '127.0.0.1:{admin}'}}}}\n\
         service:\n  extensions: [admin]\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    \
         traces: {{receivers: [otlp], processors: [memory_limiter, k8s_attributes, tail_sampling], exporters: [debug]}}\n    \
         logs: {{receivers: [otlp], processors: [memory_limiter], exporters: [otlp_http]}}\n",
        pods.display()
    );
    let path = folder.path().join("config.yaml");
    fs::write(&path, yaml).expect("writable");
    let mut running = Running::start_with(&path.to_string_lossy(), &[], Stdio::null());
    running.wait_for("everything is ready");
    let gateway = Gateway { _running: running, folder, http, admin };
    // Pods are read beside everything else.
    let until = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    while !gateway.ask(&["pods"]).1.contains("shop/cart-1") {
        assert!(tokio::time::Instant::now() < until, "the pods are not read");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    gateway
}

impl Gateway {
    /// Exit code, what was printed, and what was said of faults.
    fn ask(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let admin = format!("127.0.0.1:{}", self.admin);
        let output = Command::new(env!("CARGO_BIN_EXE_podgate")).args(arguments).args(["--admin", &admin]).output();
        let output = output.expect("the binary runs");
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let (code, out, err) = self.ask(&[arguments, &["--format", "json"]].concat());
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?} {code:?} {error}: {out}{err}"))
    }

    fn config(&self) -> String {
        self.folder.path().join("config.yaml").to_string_lossy().into_owned()
    }
}

#[test]
fn a_gateway_tells_its_state_account_pods_and_rates_to_people_and_machines() {
    let gateway = start(free_port());
    let answer = ask(gateway.http, "POST", "/v1/traces", &one_span("GET /"));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let (code, out, _) = gateway.ask(&["status"]);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("podgate 0.1.0: ok, up") && out.contains("receivers::otlp::protocols::http"), "{out}");
    assert_eq!(gateway.json(&["status"])["state"], "ok");
    let (_, out, _) = gateway.ask(&["balance"]);
    assert!(out.starts_with("signal") && out.contains("traces"), "{out}");
    assert_eq!(gateway.json(&["balance"])["traces"]["received"], 1);
    let (_, out, _) = gateway.ask(&["pods", "--namespace", "shop"]);
    assert!(out.contains("shop/cart-1") && out.contains("9b27aaaaaaaa") && !out.contains("test/cart-1"), "{out}");
    let (_, out, _) = gateway.ask(&["sampling"]);
    assert!(out.contains("policy failed"), "{out}");
    let top = gateway.json(&["top", "-n", "1", "--interval", "10ms"]);
    assert!(top["flows"]["traces"]["held"].is_number(), "{top}");
}

#[test]
fn a_pod_is_explained_by_the_name_people_have() {
    let gateway = start(free_port());
    let (code, out, err) = gateway.ask(&["explain", "resource", "shop/cart-1"]);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("pod shop/cart-1 on n1") && out.contains("run 2 9b27aaaaaaaa"), "{out}");
    let page = gateway.json(&["explain", "pod", "shop/cart-1"]);
    assert_eq!(page["processors"]["k8s_attributes"]["asked"]["value"], "uid-cart");
    let (code, _, err) = gateway.ask(&["explain", "resource", "cart-1"]);
    assert_eq!(code, Some(1));
    assert!(err.contains("are in shop, test: ask for NAMESPACE/cart-1"), "{err}");
    let (code, _, err) = gateway.ask(&["explain", "resource", "nobody"]);
    assert!(code == Some(1) && err.contains("no pod named \"nobody\" is known"), "{err}");
    let (code, _, err) = gateway.ask(&["explain", "trace", "0102030405060708090a0b0c0d0e0f10"]);
    assert!(code == Some(1) && err.contains("never came here"), "{err}");
}

#[test]
fn a_trace_is_explained_while_it_is_held_and_after_it_was_dropped() {
    let gateway = start(free_port());
    let answer = ask(gateway.http, "POST", "/v1/traces", &one_span("GET /"));
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut said = String::new();
    // Twenty seconds for a wait of one.
    for _ in 0..400 {
        let (code, out, err) = gateway.ask(&["explain", "trace", "0102030405060708090a0b0c0d0e0f10"]);
        assert!(
            code == Some(0) && (out.starts_with("held: 1 spans since ") || out.starts_with("dropped: ")),
            "{out}{err}"
        );
        assert!(out.starts_with("dropped: ") || out.contains("at the latest, in "), "{out}");
        said = out;
        if said.starts_with("dropped") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(said.contains("policy failed: no vote for it"), "{said}");
}

#[test]
fn where_no_gateway_runs_every_question_ends_with_1_and_says_what_to_do() {
    let admin = format!("127.0.0.1:{}", free_port());
    for question in
        [vec!["status"], vec!["balance"], vec!["pods"], vec!["sampling"], vec!["top"], vec!["explain", "pod", "x"]]
    {
        let output = Command::new(env!("CARGO_BIN_EXE_podgate"))
            .args(&question)
            .args(["--admin", &admin])
            .output()
            .expect("runs");
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{question:?}: {said}");
        assert!(said.contains(&admin) && said.contains("kubectl exec"), "{question:?}: {said}");
    }
}

/// Findings of one subject, as (health, message).
fn findings(report: &Value, about: &str, subject: &str) -> Vec<(String, String)> {
    let sections = report["sections"].as_array().into_iter().flatten().filter(|section| section["about"] == about);
    let of = sections.flat_map(|section| section["findings"].as_array().into_iter().flatten());
    let wanted = of.filter(|finding| finding["subject"] == subject);
    let word = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    wanted.map(|finding| (word(finding, "health"), word(finding, "message"))).collect()
}

#[test]
fn the_doctor_finds_a_dead_next_hop_and_follows_a_marked_trace() {
    let dead = free_port();
    let gateway = start(dead);
    let config = gateway.config();
    let (code, out, err) = gateway.ask(&["doctor", "--config", &config, "--trace", "--format", "json"]);
    assert_eq!(code, Some(1), "{out}{err}");
    let report: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(report["healthy"], false);
    let hop = findings(&report, "exporters::otlp_http", "logs");
    assert!(hop.len() == 1 && hop[0].0 == "bad" && hop[0].1.contains("connection refused"), "{hop:?}");
    for (about, subject, words) in [
        ("ports", "port", "held by the podgate that runs here"),
        ("memory", "limit", "payloads may take"),
        ("running gateway", "gateway", "podgate 0.1.0 runs here"),
        ("running gateway", "pods", "knows 2 pods"),
        ("marked trace", "door", "accepted the marked trace"),
        ("marked trace", "sampler", "policy failed"),
        ("marked trace", "next hop", "debug delivered 1 spans"),
    ] {
        let found = findings(&report, about, subject);
        assert!(
            found.iter().any(|(health, said)| health == "good" && said.contains(words)),
            "{about} {subject}: {report:#}"
        );
    }
    let (code, out, _) = gateway.ask(&["doctor", "--config", &config]);
    assert_eq!(code, Some(1));
    assert!(
        out.contains("  FAIL logs") && out.contains("-> nothing listens there") && out.contains("things are wrong"),
        "{out}"
    );
}

#[test]
fn the_doctor_is_content_with_a_next_hop_that_takes_data_and_hears_one_that_lets_nobody_in() {
    let gateway = start(free_port());
    let next_hop = gateway.http;
    let config = |headers: &str, port: u16| {
        format!(
            "yaml:receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:0'}}}}}}}}\nprocessors: {{memory_limiter: {{limit_mib: 128}}}}\n\
             exporters: {{otlp_http: {{endpoint: 'http://127.0.0.1:{port}'{headers}}}}}\n\
             service: {{pipelines: {{traces: {{receivers: [otlp], processors: [memory_limiter], exporters: [otlp_http]}}}}}}\n"
        )
    };
    let report = gateway.json(&["doctor", "--config", &config("", next_hop)]);
    assert_eq!(findings(&report, "exporters::otlp_http", "traces")[0].0, "good", "{report:#}");
    assert_eq!(report["healthy"], json!(true), "{report:#}");
    let door = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = door.local_addr().expect("bound").port();
    std::thread::spawn(move || {
        for mut stream in door.incoming().flatten() {
            let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
            let answer = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 5\r\nconnection: close\r\n\r\nsorry";
            let _ = std::io::Write::write_all(&mut stream, answer.as_bytes());
        }
    });
    let report = gateway.json(&["doctor", "--config", &config(", compression: none", port)]);
    let found = findings(&report, "exporters::otlp_http", "traces");
    assert!(found[0].0 == "bad" && found[0].1.contains("401"), "{report:#}");
}
