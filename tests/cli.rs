//! The binary as a person meets it: exit codes, messages, what goes to which stream.

#[path = "support/process.rs"]
#[expect(dead_code, reason = "the tests of signals use the rest of it")]
mod process;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use process::{Running, ask, free_port, text};

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

fn config(folder: &tempfile::TempDir, yaml: &str) -> String {
    let path: PathBuf = folder.path().join("config.yaml");
    fs::write(&path, yaml).expect("writable");
    path.to_string_lossy().into_owned()
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
        "accept",
        "validate",
        "components",
        "print-config",
        "demo",
        "doctor",
        "elastic",
        "ottl",
        "try",
        "rbac",
        "loadgen",
        "78 wrong configuration",
    ] {
        assert!(help.contains(word), "{word} is not in:\n{help}");
    }
}

#[test]
fn accept_wants_an_image_and_a_run_that_can_prove_something_and_makes_nothing_where_no_cluster_answers() {
    let without = podgate(&["accept"]);
    assert_eq!(without.status.code(), Some(2), "{}", text(&without.stderr));
    assert!(text(&without.stderr).contains("--image"), "{}", text(&without.stderr));
    let short = podgate(&["accept", "--image", "podgate:1", "--duration", "3s"]);
    assert_eq!(short.status.code(), Some(2));
    assert!(text(&short.stderr).contains("at least 20s"), "{}", text(&short.stderr));
    let folder = tempfile::tempdir().expect("a folder");
    let (missing, path) = (folder.path().join("no-such-file"), folder.path().join("kubeconfig"));
    let cluster = r#"{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}"#;
    let context = r#"{"name": "c", "context": {"cluster": "c", "user": "u"}}"#;
    let config = format!(
        r#"{{"clusters": [{cluster}], "contexts": [{context}], "users": [{{"name": "u", "user": {{}}}}], "current-context": "c"}}"#
    );
    fs::write(&path, config).expect("writable");
    for (path, said) in [(missing, "no-such-file names: "), (path, "kubeconfig names: ")] {
        let output = podgate(&["accept", "--image", "podgate:1", "--kubeconfig", &path.to_string_lossy()]);
        let seen = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{seen}");
        assert!(seen.starts_with("cannot reach the cluster that /") && seen.contains(said), "{seen}");
        assert!(seen.contains("-> kubectl --kubeconfig /"), "{seen}");
        let output =
            podgate(&["accept", "--image=podgate:1", "--format=json", "--kubeconfig", &path.to_string_lossy()]);
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(json["passed"], false, "{json}");
    }
    // What its pods are started with is no business of a person's.
    assert!(!text(&podgate(&["accept", "--help"]).stdout).contains("sender"));
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
    let said = text(&output.stdout);
    assert!(said.contains("1 pipeline(s): traces\n  traces: otlp > nop  (everything is dropped)\n"), "{said}");
}

#[test]
fn flags_may_stand_before_the_subcommand_as_the_collector_takes_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = config(&folder, MINIMAL);
    for arguments in [["--config", &path, "validate"], ["-c", &path, "validate"]] {
        let output = podgate(&arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
    }
    let output = podgate(&["--config", &path, "--set", "exporters.nop.x=1", "validate"]);
    assert_eq!(output.status.code(), Some(78), "{}", text(&output.stderr));
    let output = podgate(&["--config", &path, "components"]);
    assert_eq!(output.status.code(), Some(2), "what is not heard is not ignored");
}

/// A ConfigMap as a chart writes it, with the pod spec that sets its variables.
fn manifest(config: &str) -> String {
    let body: String = config.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: podgate\ndata:\n  relay: |\n{body}---\n\
         apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {{name: podgate}}\nspec: {{template: {{spec: {{containers: [{{name: p, env: [\
         {{name: SOME_ADDRESS_OF_A_POD, valueFrom: {{fieldRef: {{fieldPath: status.podIP}}}}}}]}}]}}}}}}\n"
    )
}

#[test]
fn a_configmap_in_a_manifest_is_validated_with_its_own_lines() {
    let folder = tempfile::tempdir().expect("a folder");
    let sound = MINIMAL.replace("127.0.0.1:0", "${env:SOME_ADDRESS_OF_A_POD}:4318");
    let path = config(&folder, &manifest(&sound));
    let output = podgate(&["validate", "--config", &path]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(text(&output.stderr).is_empty(), "{}", text(&output.stderr));
    let path = config(&folder, &manifest(&sound.replace("exporters: [nop]", "exporters: [nopp]")));
    let output = podgate(&["validate", "--config", &path, "--format", "json"]);
    assert_eq!(output.status.code(), Some(78));
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let findings = report["findings"].as_array().expect("a list");
    let finding = findings.iter().find(|finding| finding["severity"] == "error").expect("an error");
    assert_eq!((&report["valid"], &finding["code"]), (&false.into(), &"E0302".into()), "{report}");
    // Six lines of the manifest come before the configuration's first, four blanks before each.
    assert_eq!((finding["line"].as_u64(), finding["column"].as_u64()), (Some(16), Some(49)), "{report}");
    let output = podgate(&["validate", "--config", &format!("{path}#other")]);
    assert!(text(&output.stderr).contains("has the key \"other\""), "{}", text(&output.stderr));
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
fn index_templates_are_shown_without_a_cluster_and_where_none_is_wanted_that_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let yaml =
        MINIMAL.replace("  nop:", "  elasticsearch: {endpoint: 'http://127.0.0.1:1'}").replace("nop", "elasticsearch");
    let elastic = config(&folder, &yaml);
    let setup = |more: &[&str]| podgate(&[&["elastic", "setup", "--config", &elastic], more].concat());
    let shown = setup(&["--print"]);
    let said = text(&shown.stdout);
    assert_eq!(shown.status.code(), Some(0), "{}", text(&shown.stderr));
    assert!(said.contains("for version 8.19, which was not asked"), "{said}");
    assert!(said.contains("PUT /_index_template/podgate-traces-otel\n{\n"), "{said}");
    let older = text(&setup(&["--print", "--assume", "8.12"]).stdout);
    assert!(older.contains("PUT /_ilm/policy/podgate-retention") && !said.contains("_ilm"), "{older}");
    assert_eq!(setup(&["--print", "--assume", "nine"]).status.code(), Some(2));
    assert_eq!(setup(&["--ask"]).status.code(), Some(1), "nobody is there to be asked");
    let none = config(&folder, MINIMAL);
    for manner in ["--print", "--ask", "--apply"] {
        let output = podgate(&["elastic", "setup", manner, "--config", &none]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{manner}: {said}");
        assert!(said.contains("ends in an elasticsearch exporter"), "{manner}: {said}");
    }
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
    running.signal("TERM");
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
fn what_is_printed_is_what_is_left_of_a_configuration_and_starts_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let yaml = MINIMAL
        .replace("receivers: [otlp]", "receivers: [otlp, jaeger]")
        .replace("  otlp:\n", "  jaeger: {protocols: {grpc: }}\n  otlp:\n")
        + "    logs: {receivers: [jaeger], exporters: [nop]}\n";
    let path = config(&folder, &yaml);
    let all = podgate(&["print-config", "--config", &path]);
    assert!(text(&all.stdout).contains("jaeger"), "{}", text(&all.stdout));
    let printed = podgate(&["print-config", "--unsupported=skip", "--config", &path]);
    assert_eq!(printed.status.code(), Some(0), "{}", text(&printed.stderr));
    let left = text(&printed.stdout);
    assert!(!left.contains("jaeger") && !left.contains("logs") && left.contains("otlp"), "{left}");
    let second = tempfile::tempdir().expect("a folder");
    let checked = podgate(&["validate", "--config", &config(&second, &left)]);
    assert_eq!((checked.status.code(), text(&checked.stderr)), (Some(0), String::new()), "{left}");
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
fn the_collectors_gate_of_tail_sampling_is_the_switch_for_weights() {
    let sampler = "receivers: {otlp: {protocols: {http: }}}\nprocessors: {tail_sampling: {policies: [{name: some, type: probabilistic, \
                   probabilistic: {sampling_percentage: 10}}]}}\nexporters: {nop: }\nservice: {pipelines: {traces: {receivers: [otlp], \
                   processors: [tail_sampling], exporters: [nop]}}}\n";
    let folder = tempfile::tempdir().expect("a folder");
    let path = config(&folder, sampler);
    let weighed = |more: &[&str]| {
        let output = podgate(&[&["validate", "--config", &path], more].concat());
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let said = text(&output.stderr);
        assert!(!said.contains("has no effect: no component"), "{said}");
        said.contains("decide by the trace's own randomness")
    };
    const GATE: &str = "processor.tailsamplingprocessor.usetracestate";
    assert!(!weighed(&[]));
    assert!(weighed(&["--feature-gates", GATE]));
    assert!(!weighed(&[&format!("--feature-gates=-{GATE}")]));
    assert!(!weighed(&["--feature-gates", GATE, "--set", "processors::tail_sampling::podgate::weights=off"]));
}

#[test]
fn a_decision_cache_that_the_memory_budget_has_no_room_for_is_told_with_its_place_and_what_holds() {
    let folder = tempfile::tempdir().expect("a folder");
    let said = |kept: u64, dropped: u64| {
        let yaml = format!(
            "receivers: {{otlp: {{protocols: {{http: }}}}}}\nprocessors:\n  memory_limiter: {{check_interval: 1s, limit_mib: 64}}\n  \
             tail_sampling:\n    policies: [{{name: all, type: always_sample}}]\n    decision_cache:\n      sampled_cache_size: \
             {kept}\n      non_sampled_cache_size: {dropped}\nexporters: {{nop: }}\nservice: {{pipelines: {{traces: {{receivers: \
             [otlp], processors: [memory_limiter, tail_sampling], exporters: [nop]}}}}}}\n"
        );
        let output = podgate(&["validate", "--config", &config(&folder, &yaml)]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        text(&output.stderr)
    };
    let both = said(10_000_000, 20_000_000);
    for (key, line) in [("sampled_cache_size", 7), ("non_sampled_cache_size", 8)] {
        let named = format!("processors::tail_sampling::decision_cache::{key}");
        assert!(both.contains(&named) && both.contains(&format!("config.yaml:{line}:")), "{both}");
    }
    assert!(both.contains("a sixteenth of the memory budget") && both.contains("write a size that fits"), "{both}");
    let one = said(1_000, 20_000_000);
    assert!(!one.contains("::sampled_cache_size") && one.contains("::non_sampled_cache_size"), "{one}");
    assert!(!said(1_000, 1_000).contains("cache_size"));
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
    running.signal("TERM");
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || sender.send(running.end()));
    let (code, log) = receiver.recv_timeout(Duration::from_secs(30)).expect("the process ended");
    assert_eq!(code, Some(0), "{log}");
}

/// A condition that is false is told with the value of each part, and a statement with what it changed.
#[test]
fn a_text_of_ottl_is_tried_on_the_items_of_a_request() {
    let traces = "tests/ottl/oracle/traces.json";
    let ask = [
        "ottl",
        "--context",
        "span",
        "IsMatch(span.name, \"^GET\") and span.kind == SPAN_KIND_CLIENT",
        "--input",
        traces,
    ];
    let asked = podgate(&ask);
    let shown = text(&asked.stdout);
    assert_eq!(asked.status.code(), Some(0), "{}", text(&asked.stderr));
    for line in [
        "IsMatch(span.name, \"^GET\") = true",
        "span.kind == SPAN_KIND_CLIENT = false",
        "span.kind = 2",
        "5 of kind span",
    ] {
        assert!(shown.contains(line), "{line} is not in:\n{shown}");
    }
    let change = ["ottl", "--context", "span", "set(name, \"x\") where IsRootSpan()", "--input", traces];
    let changed = text(&podgate(&change).stdout);
    assert!(changed.contains("name: \"root\"") && changed.contains("name: \"x\""), "{changed}");
    let wrong = podgate(&["ottl", "--context", "span", "span.nam == 1"]);
    assert_eq!(wrong.status.code(), Some(78));
    assert!(text(&wrong.stderr).contains("there is no `nam`"), "{}", text(&wrong.stderr));
}

#[test]
fn the_version_names_commit_and_target_and_the_metrics_do_too() {
    let seen = text(&podgate(&["--version"]).stdout);
    let inner = seen.trim().strip_prefix(concat!("podgate ", env!("CARGO_PKG_VERSION"), " (")).expect(&seen);
    let (commit, target) = inner.strip_suffix(')').and_then(|inner| inner.split_once(", ")).expect(&seen);
    assert!(!commit.is_empty() && target.contains("-linux-"), "{seen}");
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let reader = format!("{{readers: [{{pull: {{exporter: {{prometheus: {{port: {port}}}}}}}}}]}}");
    let yaml = MINIMAL.replace("{level: none}", &reader);
    let mut running = Running::start(&config(&folder, &yaml));
    running.wait_for("everything is ready");
    let page = ask(port, "GET", "/metrics", "");
    let version = env!("CARGO_PKG_VERSION");
    let line = format!("podgate_build_info{{version=\"{version}\",commit=\"{commit}\",target=\"{target}\"}} 1");
    assert!(page.lines().any(|seen| seen == line), "{line} is not in {page}");
}

#[test]
fn every_shell_gets_completions_of_every_command() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = podgate(&["completion", shell]);
        let script = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{shell}");
        for word in ["validate", "print-config", "accept", "loadgen", "completion"] {
            assert!(script.contains(word), "{shell} lacks {word}");
        }
    }
    assert_eq!(podgate(&["completion", "csh"]).status.code(), Some(2));
}

#[test]
fn a_pipeline_that_drops_everything_says_so_at_the_start_and_no_other_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let yaml = MINIMAL.replace("  nop:\n", "  nop:\n  debug:\n")
        + "    logs: {receivers: [otlp], exporters: [debug]}\n    metrics: {receivers: [otlp], exporters: [nop, debug]}\n";
    let mut running = Running::start(&config(&folder, &yaml));
    let log = running.wait_for("everything is ready");
    let told: Vec<&str> = log.lines().filter(|line| line.contains("ends in nop")).collect();
    assert!(told.len() == 1 && told[0].contains("pipeline=traces") && told[0].contains(" warn "), "{log}");
}

/// A configuration whose receiver wants a port that this test holds, and its health page's port.
fn of_a_held_port(folder: &tempfile::TempDir, wait: &str) -> (std::net::TcpListener, u16, String) {
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let health = free_port();
    let yaml = MINIMAL
        .replace("127.0.0.1:0", &held.local_addr().expect("bound").to_string())
        .replace("service:\n", &format!("service:\n  podgate: {{port_wait: {wait}}}\n  extensions: [health_check]\n"))
        + &format!("extensions: {{health_check: {{endpoint: '127.0.0.1:{health}'}}}}\n");
    let path = config(folder, &yaml);
    (held, health, path)
}

#[test]
fn a_held_port_is_waited_for_alive_and_not_ready_and_taken_when_it_is_free() {
    let folder = tempfile::tempdir().expect("a folder");
    let (held, health, path) = of_a_held_port(&folder, "10m");
    let mut running = Running::start(&path);
    running.wait_for("another process holds the port");
    assert!(ask(health, "GET", "/livez", "").starts_with("HTTP/1.1 200"));
    assert!(ask(health, "GET", "/readyz", "").starts_with("HTTP/1.1 503"));
    assert!(
        ask(health, "GET", "/status", "").contains("waiting for it to end"),
        "{}",
        ask(health, "GET", "/status", "")
    );
    drop(held);
    running.wait_for("everything is ready");
    assert!(ask(health, "GET", "/readyz", "").starts_with("HTTP/1.1 200"));
    assert!(!ask(health, "GET", "/status", "").contains("waiting"), "{}", ask(health, "GET", "/status", ""));
}

#[test]
fn the_wait_for_a_held_port_ends_with_a_signal_and_after_its_time() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_held, _, path) = of_a_held_port(&folder, "10m");
    let mut running = Running::start(&path);
    running.wait_for("another process holds the port");
    running.signal("TERM");
    let (code, log) = running.end_within(Duration::from_secs(20));
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("balance: nothing was received"), "{log}");
    let (_held, _, path) = of_a_held_port(&folder, "50ms");
    let (code, log) = Running::start(&path).end_within(Duration::from_secs(20));
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("cannot listen on") && log.contains("holds the port"), "{log}");
}

#[test]
fn in_a_pod_a_held_port_is_waited_for_without_being_asked() {
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let folder = tempfile::tempdir().expect("a folder");
    let yaml = MINIMAL.replace("127.0.0.1:0", &held.local_addr().expect("bound").to_string());
    let in_a_pod = [("KUBERNETES_SERVICE_HOST", "10.96.0.1")];
    let mut running = Running::start_with(&config(&folder, &yaml), &in_a_pod, Stdio::null());
    running.wait_for("another process holds the port");
    drop(held);
    running.wait_for("everything is ready");
}
