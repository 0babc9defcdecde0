//! Other policies on a running gateway, and on recorded traces: what they would keep, without effect on what is kept.

use std::fs;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::process::{Running, ask, free_port, text};
use super::walk::span;

const CARTS: &str = "- {name: carts, type: string_attribute, string_attribute: {key: service.name, values: [cart]}}\n";

fn podgate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_podgate")).args(arguments).output().expect("the binary runs")
}

fn id(trace: u8) -> String {
    format!("0af7651916cd43dd8448eb211c8031{trace:02x}")
}

#[test]
fn a_running_gateway_judges_other_policies_for_who_has_the_token() {
    let (http, admin) = (free_port(), free_port());
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let yaml = format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}\nprocessors:\n  tail_sampling:\n    \
         decision_wait: 1s\n    policies: [{{name: errors, type: status_code, status_code: {{status_codes: [ERROR]}}}}]\n\
         exporters: {{debug: {{verbosity: basic}}}}\nextensions: {{admin: {{endpoint: '127.0.0.1:{admin}', token_file: '{}'}}}}\n\
         service:\n  extensions: [admin]\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    \
         traces: {{receivers: [otlp], processors: [tail_sampling], exporters: [debug]}}\n",
        file("token")
    );
    for (name, content) in [
        ("config.yaml", &*yaml),
        ("token", "open-sesame-open-sesame\n"),
        ("wrong", "another-sesame-another\n"),
        ("policies.yaml", CARTS),
    ] {
        fs::write(file(name), content).expect("writable");
    }
    let mut running = Running::start_with(&file("config.yaml"), &[], Stdio::null());
    running.wait_for("everything is ready");
    let at = format!("127.0.0.1:{admin}");
    let give = |token: &str| {
        podgate(&[
            "shadow",
            "--policies",
            &file("policies.yaml"),
            "--for",
            "1m",
            "--token-file",
            &file(token),
            "--admin",
            &at,
        ])
    };
    let refused = give("wrong");
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("token"), "{refused:?}");
    let given = give("token");
    assert_eq!(given.status.code(), Some(0), "{given:?}");
    assert!(text(&given.stdout).contains("tail_sampling in traces judges them for 1 min"), "{given:?}");
    for (trace, service, failed) in [(1, "cart", false), (2, "shop", true), (3, "shop", false)] {
        let answer = ask(http, "POST", "/v1/traces", &span(&id(trace), service, 1, 10, failed));
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let explain = || text(&podgate(&["explain", "sampling", "--admin", &at]).stdout);
    let said = (0..200)
        .map(|_| explain())
        .inspect(|_| std::thread::sleep(Duration::from_millis(50)))
        .find(|said| said.contains("both leave 1 traces"))
        .unwrap_or_else(explain);
    for part in [
        "shadow policies are judged beside these, without effect:",
        &format!("the shadow would lose 1 traces, 1 spans, 0.0 MiB, for example trace {}", id(2)),
        &format!("the shadow would add 1 traces, 1 spans, 0.0 MiB, for example trace {}", id(1)),
        "of cart: would lose 0 traces, 0 spans, 0.0 MiB; would add 1 traces, 1 spans, 0.0 MiB",
    ] {
        assert!(said.contains(part), "{part}:\n{said}");
    }
    // Without the token nobody changes anything.
    let answer = ask(admin, "POST", "/v1/sampling/shadow", CARTS);
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
}

#[test]
fn recorded_traces_are_judged_by_other_policies_against_a_configurations_or_against_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let mut lines: Vec<String> =
        (1..=3).map(|trace| span(&id(trace), if trace == 1 { "cart" } else { "shop" }, 1, 10, trace == 2)).collect();
    lines.push(span(&id(3), "cart", 2, 20, false));
    lines.push("{\"resourceMetrics\":[]}".to_owned());
    lines.push("no json".to_owned());
    let config = "receivers: {otlp: {protocols: {http: }}}\nprocessors: {tail_sampling: {policies: [{name: errors, type: status_code, \
                  status_code: {status_codes: [ERROR]}}]}}\nexporters: {nop: }\nservice: {pipelines: {traces: {receivers: [otlp], \
                  processors: [tail_sampling], exporters: [nop]}}}\n";
    for (name, content) in
        [("otlp.jsonl", lines.join("\n")), ("policies.yaml", CARTS.to_owned()), ("config.yaml", config.to_owned())]
    {
        fs::write(file(name), content).expect("writable");
    }
    let judged = |more: &[&str]| {
        let (policies, input) = (file("policies.yaml"), file("otlp.jsonl"));
        let arguments = [&["what-if", "--policies", &policies, "--input", &input], more].concat();
        let output = podgate(&arguments);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        text(&output.stdout)
    };
    let page: Value = serde_json::from_str(&judged(&["--format", "json"])).expect("JSON");
    let traces = |page: &Value, outcome: &str| page["shadow"]["outcomes"][outcome]["traces"].as_u64();
    assert_eq!((traces(&page, "both"), traces(&page, "only_live")), (Some(2), Some(1)), "{page}");
    assert_eq!(page["lines"], serde_json::json!({ "read": 4, "of_other_signals": 1, "unreadable": 1 }));
    let against = judged(&["--config", &file("config.yaml")]);
    for part in
        ["the shadow would lose 1 traces", "the shadow would add 2 traces, 3 spans", "1 lines could not be read"]
    {
        assert!(against.contains(part), "{part}:\n{against}");
    }
    fs::write(file("policies.yaml"), "policies: [{name: x, type: latencies}]\n").expect("writable");
    let wrong = podgate(&["what-if", "--policies", &file("policies.yaml"), "--input", &file("otlp.jsonl")]);
    assert_eq!(wrong.status.code(), Some(78));
    assert!(text(&wrong.stderr).contains("latencies"), "{wrong:?}");
    // What is wrong stands in the file that the option named, list or map, at its own line.
    fs::write(file("policies.yaml"), "- {name: all, type: always_sample}\n- {name: x, type: latencies}\n")
        .expect("writable");
    let wrong = podgate(&["what-if", "--policies", &file("policies.yaml"), "--input", &file("otlp.jsonl")]);
    let (said, place) = (text(&wrong.stderr), format!("{}:2:19", file("policies.yaml")));
    assert!(said.contains(&place) && said.contains("shadow::policies::1::type") && !said.contains("--set"), "{said}");
}

#[test]
fn a_recording_whose_times_and_bytes_lie_is_judged_to_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let (start, end) = ("\"1760000000000000000\"", "\"1760000000010000000\"");
    let whole = |trace: u8| span(&id(trace), "cart", 1, 10, false);
    let lines = [
        whole(1),
        whole(2).replace(end, "\"18446744073709551615\""),
        whole(3).replace(end, "\"0\""),
        whole(4).replace(start, "\"18446744073709551615\"").replace(end, "\"18446744073709551615\""),
        whole(5).replace(&id(5), "abcd"),
        whole(6).replace("\"parentSpanId\":\"\"", "\"parentSpanId\":\"zz\""),
        whole(7)[..100].to_owned(),
        format!("{{\"resourceSpans\":{}", "[".repeat(100_000)),
        "{}".to_owned(),
        "\u{fffd}\0".to_owned(),
        whole(8),
    ];
    fs::write(file("policies.yaml"), CARTS).expect("writable");
    fs::write(file("otlp.jsonl"), lines.join("\n")).expect("writable");
    let output =
        podgate(&["what-if", "--policies", &file("policies.yaml"), "--input", &file("otlp.jsonl"), "--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let page: Value = serde_json::from_str(&text(&output.stdout)).expect("JSON");
    assert_eq!(page["lines"], serde_json::json!({ "read": 7, "of_other_signals": 1, "unreadable": 3 }), "{page}");
    assert_eq!(page["shadow"]["outcomes"]["both"]["traces"], 6, "{page}");
    assert_eq!(page["unreadable_spans"], 1, "the one whose trace id is none");
}
