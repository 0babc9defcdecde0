//! The binary as a person meets it: exit codes, messages, what goes to which stream.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

const MINIMAL: &str = "\
receivers:
  otlp:
    protocols:
      http: {endpoint: '127.0.0.1:0'}
exporters:
  nop:
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    traces: {receivers: [otlp], exporters: [nop]}
";

fn podgate(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_podgate")).args(args).output().expect("the binary runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn config(folder: &tempfile::TempDir, yaml: &str) -> String {
    let path: PathBuf = folder.path().join("config.yaml");
    fs::write(&path, yaml).expect("writable");
    path.to_string_lossy().into_owned()
}

/// Ends the process whatever the test does.
struct Running(Child);

impl Running {
    fn start(config: &str) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_podgate"));
        Running(
            command
                .args(["--config", config])
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .expect("the binary runs"),
        )
    }

    /// Reads the log until a line holds `word`; panics with what came instead.
    fn wait_for(&mut self, word: &str) -> String {
        let log = self.0.stderr.as_mut().expect("piped");
        let mut seen = Vec::new();
        let mut byte = [0u8];
        while !text(&seen).contains(word) {
            assert_eq!(log.read(&mut byte).unwrap_or(0), 1, "ended without {word:?}:\n{}", text(&seen));
            seen.push(byte[0]);
        }
        text(&seen)
    }

    fn terminate(&self) {
        let killed = Command::new("kill").args(["-TERM", &self.0.id().to_string()]).status();
        assert!(killed.is_ok_and(|status| status.success()));
    }

    fn end(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        let _ = self.0.stderr.take().expect("piped").read_to_string(&mut log);
        (self.0.wait().expect("ends").code(), log)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_to_type() {
    let without = podgate(&["validate"]);
    assert_eq!(without.status.code(), Some(2), "{}", text(&without.stderr));
    assert!(text(&without.stderr).contains("--config"), "{}", text(&without.stderr));
    assert_eq!(podgate(&["no-such-command"]).status.code(), Some(2));
}

#[test]
fn help_names_every_command_and_the_exit_codes() {
    let help = text(&podgate(&["--help"]).stdout);
    for word in [
        "run",
        "validate",
        "components",
        "print-config",
        "demo",
        "doctor",
        "elastic",
        "loadgen",
        "78 wrong configuration",
    ] {
        assert!(help.contains(word), "{word} is not in:\n{help}");
    }
}

#[test]
fn a_faulty_configuration_ends_with_78_and_every_fault_has_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    let yaml = MINIMAL.replace("exporters: [nop]", "exporters: [nopp]").replace("http:", "htttp:");
    let path = config(&folder, &yaml);
    for command in ["validate", "run"] {
        let output = podgate(&[command, "--config", &path]);
        let seen = text(&output.stderr);
        assert_eq!(output.status.code(), Some(78), "{command}: {seen}");
        assert!(
            seen.contains("config.yaml:10:") && seen.contains("config.yaml:4:"),
            "{command} names both places:\n{seen}"
        );
        assert!(
            seen.contains("did you mean `nop`?") && seen.contains("did you mean `http`?"),
            "{command} names the nearest:\n{seen}"
        );
    }
}

#[test]
fn a_missing_file_is_named_with_its_reason() {
    let output = podgate(&["validate", "--config", "/nowhere/at/all.yaml"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("/nowhere/at/all.yaml"), "{}", text(&output.stderr));
}

#[test]
fn validate_says_which_pipelines_would_run() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = podgate(&["validate", "--config", &config(&folder, MINIMAL)]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("1 pipeline(s): traces"), "{}", text(&output.stdout));
}

#[test]
fn secrets_are_printed_only_when_asked_for() {
    let folder = tempfile::tempdir().expect("a folder");
    let yaml = MINIMAL.replace(
        "  nop:\n",
        "  nop:\n  otlp_http: {endpoint: 'http://127.0.0.1:1', headers: {Authorization: ApiKey canary}}\n",
    );
    let path = config(&folder, &yaml);
    let redacted = podgate(&["print-config", "--config", &path]);
    assert!(!text(&redacted.stdout).contains("canary") && !text(&redacted.stderr).contains("canary"));
    let shown = podgate(&["print-config", "--unredacted", "--config", &path]);
    assert!(text(&shown.stdout).contains("canary"), "{}", text(&shown.stdout));
}

#[test]
fn components_lists_old_names_beside_new_ones() {
    let listed = text(&podgate(&["components"]).stdout);
    assert!(listed.contains("k8s_attributes (k8sattributes)") && listed.contains("otlp_grpc (otlp)"), "{listed}");
    let json: serde_json::Value =
        serde_json::from_slice(&podgate(&["components", "--format", "json"]).stdout).expect("JSON");
    assert!(json["receivers"].as_array().is_some_and(|receivers| !receivers.is_empty()));
}

#[test]
fn sigterm_drains_and_ends_with_0_and_the_balance() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut running = Running::start(&config(&folder, MINIMAL));
    running.wait_for("everything is ready");
    running.terminate();
    let (code, log) = running.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("balance: nothing was received"), "{log}");
}

#[test]
fn a_port_in_use_ends_with_1_and_names_component_and_cure() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let folder = tempfile::tempdir().expect("a folder");
    let yaml = MINIMAL.replace("127.0.0.1:0", &taken.local_addr().expect("bound").to_string());
    let output = Command::new(env!("CARGO_BIN_EXE_podgate"))
        .args(["--config", &config(&folder, &yaml)])
        .output()
        .expect("the binary runs");
    let seen = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{seen}");
    assert!(seen.contains("receivers::otlp") && seen.contains("cannot listen on"), "{seen}");
}

#[test]
fn unsupported_components_can_be_left_out_with_a_warning_each() {
    let folder = tempfile::tempdir().expect("a folder");
    let yaml = MINIMAL
        .replace("receivers: [otlp]", "receivers: [otlp, jaeger]")
        .replace("  otlp:\n", "  jaeger: {protocols: {grpc: }}\n  otlp:\n");
    let path = config(&folder, &yaml);
    assert_eq!(podgate(&["validate", "--config", &path]).status.code(), Some(78));
    let skipped = podgate(&["validate", "--unsupported=skip", "--config", &path]);
    assert_eq!(skipped.status.code(), Some(0), "{}", text(&skipped.stderr));
    assert!(text(&skipped.stderr).contains("jaeger"), "{}", text(&skipped.stderr));
}

#[test]
fn a_feature_gate_is_accepted_with_a_warning() {
    let folder = tempfile::tempdir().expect("a folder");
    let output =
        podgate(&["validate", "--feature-gates=service.AllowNoPipelines", "--config", &config(&folder, MINIMAL)]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("service.AllowNoPipelines"), "{}", text(&output.stderr));
}

#[test]
fn a_closed_pipe_ends_printing_without_a_panic() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_podgate"))
        .args(["components", "--format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs");
    drop(child.stdout.take());
    let ended = child.wait_with_output().expect("ends");
    assert!(!text(&ended.stderr).contains("panicked"), "{}", text(&ended.stderr));
}

/// The longest any of these tests may hang; a guard, not a measurement.
#[test]
fn the_drain_of_an_idle_gateway_ends() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut running = Running::start(&config(&folder, MINIMAL));
    running.wait_for("everything is ready");
    running.terminate();
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(running.end()));
    let (code, log) = receiver.recv_timeout(Duration::from_secs(30)).expect("the process ended");
    assert_eq!(code, Some(0), "{log}");
}
