//! `file` and `debug` on media that fail, in a real process: full, closed, hanging (issue 12, item 6).

#[path = "support/process.rs"]
#[expect(dead_code, reason = "the tests of signals use the rest of it")]
mod process;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use process::{Running, ask, free_port, one_span};

struct Ports {
    http: u16,
    health: u16,
}

/// One exporter behind the receiver, without a queue.
fn config(folder: &Path, exporter: &str) -> (PathBuf, Ports) {
    let ports = Ports { http: free_port(), health: free_port() };
    let yaml = format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{}'}}}}}}}}\nexporters: {{{exporter}}}\n\
         extensions: {{admin: {{endpoint: '127.0.0.1:0'}}, health_check: {{endpoint: '127.0.0.1:{}'}}}}\n\
         service:\n  extensions: [admin, health_check]\n  telemetry: {{metrics: {{level: none}}}}\n  \
         pipelines: {{traces: {{receivers: [otlp], exporters: [{}]}}}}\n",
        ports.http,
        ports.health,
        exporter.split(':').next().unwrap_or_default()
    );
    let path = folder.join("config.yaml");
    fs::write(&path, yaml).expect("written");
    (path, ports)
}

/// The status of the answer to one span with a name of 1,000 letters.
fn send(ports: &Ports) -> String {
    let answer = ask(ports.http, "POST", "/v1/traces", &one_span(&"n".repeat(1_000)));
    answer.split(' ').nth(1).unwrap_or_default().to_owned()
}

fn status(ports: &Ports) -> String {
    ask(ports.health, "GET", "/status", "")
}

fn assert_whole_lines(file: &Path, lines: usize) {
    let text = fs::read_to_string(file).expect("a file");
    assert!(text.is_empty() || text.ends_with('\n'), "a torn tail");
    for line in text.lines() {
        let read: Result<serde_json::Value, _> = serde_json::from_str(line);
        assert!(read.is_ok(), "a torn line: {line}");
    }
    assert_eq!(text.lines().count(), lines, "each acknowledged request is one line");
}

#[test]
fn a_full_file_leaves_whole_lines_a_status_and_a_cure_and_is_written_again_when_there_is_room() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("out.jsonl");
    let (path, ports) = config(folder.path(), &format!("file: {{path: '{}'}}", file.display()));
    // The limit of a file's size stands for a full disk: the write comes back short, and the next one fails.
    let script = "trap '' XFSZ; ulimit -S -f 10; exec \"$0\" --config \"$1\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_podgate")]).arg(&path);
    let mut running = Running::of(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("a shell"));
    running.wait_for("everything is ready");
    let mut taken = 0;
    while send(&ports) == "200" {
        taken += 1;
        assert!(taken < 100, "the limit holds");
    }
    assert!(taken > 2);
    let log = running.wait_for("cannot write");
    assert!(log.contains("cause=") && log.contains("cure="), "{log}");
    assert_whole_lines(&file, taken);
    assert!(status(&ports).contains("\"state\":\"degraded\""), "{}", status(&ports));
    assert_eq!(send(&ports), "503", "retryable");
    let pid = running.0.id().to_string();
    let raised = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited:"]).status();
    assert!(raised.is_ok_and(|status| status.success()), "util-linux is there");
    assert_eq!(send(&ports), "200");
    running.wait_for("writes again");
    assert_whole_lines(&file, taken + 1);
    running.signal("TERM");
    let (code, log) = running.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains(&format!("delivered {}, refused 2, held 0", taken + 1)), "{log}");
}

#[test]
fn a_closed_standard_output_is_a_status_and_a_line_with_its_cure() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, ports) = config(folder.path(), "debug: {verbosity: normal}");
    let mut running = Running::start_with(&path.to_string_lossy(), &[], Stdio::piped());
    running.wait_for("everything is ready");
    drop(running.0.stdout.take());
    assert_eq!(send(&ports), "503", "retryable");
    let log = running.wait_for("cannot write");
    assert!(log.contains("standard output") && log.contains("nobody reads it any more"), "{log}");
    assert!(status(&ports).contains("\"state\":\"degraded\""), "{}", status(&ports));
}

#[test]
fn a_pipe_that_nobody_reads_stops_its_exporter_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, ports) = config(folder.path(), "debug: {verbosity: normal, sampling_initial: 1000}");
    let mut running = Running::start_with(&path.to_string_lossy(), &[], Stdio::piped());
    running.wait_for("everything is ready");
    let begun = Instant::now();
    let mut taken = 0;
    while send(&ports) == "200" {
        taken += 1;
        assert!(taken < 1_000, "a pipe has an end");
    }
    assert!(begun.elapsed() < Duration::from_secs(30));
    running.wait_for("cannot write");
    // Everything else goes on: probes, pages, and a refusal at once.
    let asked = Instant::now();
    assert!(ask(ports.health, "GET", "/livez", "").starts_with("HTTP/1.1 200"));
    assert!(status(&ports).contains("a write has not returned for 5 s"), "{}", status(&ports));
    assert_eq!(send(&ports), "503");
    assert!(asked.elapsed() < Duration::from_secs(4), "nobody waits for the pipe again");
    running.signal("TERM");
    let (code, log) = running.end_within(Duration::from_secs(10));
    assert_eq!(code, Some(0), "what was refused is its sender's: {log}");
}
