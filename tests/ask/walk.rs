//! The walk-through of docs/sampling.md is what the binary prints: a kept, a dropped, a late and a pressured trace.

use std::fs;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::process::{Running, ask, free_port, text};

const PRESSURED: &str = "1c0de1c0de1c0de1c0de1c0de1c0de01";
const KEPT: &str = "0af7651916cd43dd8448eb211c80319c";
const DROPPED: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const LATE: &str = "7d1e4b5a9c8f40213e6d5c4b3a291807";

/// The configuration of the walk-through, as docs/sampling.md shows it.
const SAMPLER: &str = "  tail_sampling:
    decision_wait: 1s
    num_traces: 2
    policies:
      - {name: errors, type: status_code, status_code: {status_codes: [ERROR]}}
      - {name: slow, type: latency, latency: {threshold_ms: 1000}}
      - name: some-carts
        type: and
        and:
          and_sub_policy:
            - {name: carts, type: string_attribute, string_attribute: {key: service.name, values: [cart]}}
            - {name: tenth, type: probabilistic, probabilistic: {sampling_percentage: 10}}
";

/// A request of one span, as OTLP/JSON; number 1 is the root.
pub fn span(trace: &str, service: &str, number: u8, millis: u64, failed: bool) -> String {
    let parent = if number == 1 { "" } else { "0000000000000001" };
    let (start, status) = (1_760_000_000_000_000_000u64, if failed { 2 } else { 0 });
    let end = start + millis * 1_000_000;
    format!(
        "{{\"resourceSpans\":[{{\"resource\":{{\"attributes\":[{{\"key\":\"service.name\",\"value\":{{\"stringValue\":\
         \"{service}\"}}}}]}},\"scopeSpans\":[{{\"spans\":[{{\"traceId\":\"{trace}\",\"spanId\":\"{number:016x}\",\
         \"parentSpanId\":\"{parent}\",\"name\":\"work\",\"startTimeUnixNano\":\"{start}\",\"endTimeUnixNano\":\"{end}\",\
         \"status\":{{\"code\":{status}}}}}]}}]}}]}}"
    )
}

/// Times and ages differ from run to run; nothing else may.
fn without_times(text: &str) -> String {
    let words = text.split(' ').map(|word| {
        let bare = word.trim_end_matches([',', ':', '\n']);
        let is_time = bare.len() > 19 && bare.ends_with('Z') && bare.as_bytes()[10] == b'T';
        let is_age = bare.split_once('.').is_some_and(|(whole, part)| {
            part.len() == 1 && (whole.to_owned() + part).bytes().all(|byte| byte.is_ascii_digit())
        });
        if is_time || is_age { word.replace(bare, "*") } else { word.to_owned() }
    });
    words.collect::<Vec<_>>().join(" ")
}

#[test]
fn the_walk_through_is_what_the_binary_prints() {
    let (http, admin) = (free_port(), free_port());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("config.yaml");
    let yaml = format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}\nprocessors:\n{SAMPLER}\
         exporters: {{debug: {{verbosity: basic}}}}\nextensions: {{admin: {{endpoint: '127.0.0.1:{admin}'}}}}\n\
         service:\n  extensions: [admin]\n  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    \
         traces: {{receivers: [otlp], processors: [tail_sampling], exporters: [debug]}}\n"
    );
    fs::write(&path, yaml).expect("writable");
    let mut running = Running::start_with(&path.to_string_lossy(), &[], Stdio::null());
    running.wait_for("everything is ready");
    let send = |request: String| {
        let answer = ask(http, "POST", "/v1/traces", &request);
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    };
    let explain = |trace: &str| {
        let admin = format!("127.0.0.1:{admin}");
        let asked = ["explain", "trace", trace, "--admin", &admin];
        let output = Command::new(env!("CARGO_BIN_EXE_podgate")).args(asked).output().expect("the binary runs");
        text(&output.stdout)
    };
    // Twenty seconds for a wait of one.
    let decided = |trace: &str| {
        for _ in 0..400 {
            let said = explain(trace);
            if said.lines().take(2).any(|line| line.starts_with("kept") || line.starts_with("dropped")) {
                return said;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{trace} was never decided");
    };
    send(span(PRESSURED, "mail", 2, 20, false));
    send(span(KEPT, "shop", 1, 230, false));
    send(span(KEPT, "cart", 2, 190, true));
    send(span(DROPPED, "cart", 1, 812, false));
    let mut said = vec![decided(KEPT), decided(DROPPED)];
    send(span(LATE, "shop", 1, 1_300, false));
    decided(LATE);
    send(span(LATE, "cart", 2, 1_900, false));
    let late = || explain(LATE);
    let until = (0..400).map(|_| late()).find(|said| said.contains("late: "));
    said.push(until.expect("late spans are recorded"));
    said.push(decided(&PRESSURED[..12]));
    let written = without_times(include_str!("../../docs/sampling.md"));
    let lacking: Vec<&String> = said.iter().filter(|said| !written.contains(&without_times(said))).collect();
    let lacking = lacking.into_iter().map(String::as_str).collect::<Vec<_>>().join("\n");
    assert!(lacking.is_empty(), "docs/sampling.md does not show this:\n{lacking}");
    assert!(written.contains(&without_times(SAMPLER)), "the configuration of the walk-through");
}
