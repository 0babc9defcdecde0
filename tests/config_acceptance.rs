//! Which configurations are accepted: beside the recorded answers of a Collector, on files from the field, and on the
//! examples of docs/errors.md.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use podgate::cli::sources::{Checked, ConfigArgs, UnsupportedArg, check_with};
use podgate::config::show::diagnose;
use podgate::core::diagnostic::Severity;
use podgate::core::stage::factory::Environment;
use podgate::pipeline::wiring::restart::needed;
use serde_json::Value;

fn check(args: &ConfigArgs, env: &BTreeMap<String, String>) -> Checked {
    let env = env.clone();
    check_with(args, Environment::of(move |name| env.get(name).cloned()))
}

fn said(checked: &Checked) -> String {
    diagnose::render(&checked.findings, &checked.sources, false)
}

/// The variables that the field's files use, as they are where these run.
const FIELD_ENV: &[(&str, &str)] = &[
    ("MY_POD_IP", "127.0.0.1"),
    ("K8S_NODE_NAME", "node-1"),
    ("KUBE_NODE_NAME", "node-1"),
    ("OTEL_K8S_NODE_NAME", "node-1"),
    ("OTEL_COLLECTOR_HOST", "localhost"),
    ("OTEL_COLLECTOR_PORT_GRPC", "4317"),
    ("OTEL_COLLECTOR_PORT_HTTP", "4318"),
    ("ELASTIC_APM_ENDPOINT", "http://localhost:8200"),
    ("ELASTIC_OTLP_ENDPOINT", "http://localhost:8200"),
    ("SPLUNK_MEMORY_LIMIT_MIB", "500"),
    ("K8S_POD_NAME", "pod-1"),
    ("K8S_POD_UID", "0f1e"),
    ("K8S_NAMESPACE", "shop"),
];

/// Cases in which podgate's `validate` answers otherwise than the Collector's, and why.
const DIFFERENCES: &[(&str, &str)] = &[
    ("receiver-bad-endpoint", "an endpoint without port cannot be listened on; the Collector finds out at start"),
    ("env-bare-dollar", "`$ADDR` is a literal and no endpoint; the Collector finds out at start"),
    ("unclosed-expansion", "`${env:ADDR` is a literal and no endpoint; the Collector finds out at start"),
    ("batch-bad-duration", "`timeout: 5` means five nanoseconds to the Collector"),
    ("batch-float", "the Collector cuts 1.5 to 1"),
    ("k8s-bad-association", "the Collector finds out at start"),
    ("tail-unknown-policy", "the Collector finds out at start"),
    ("tail-bad-regex", "the Collector finds out at start"),
    ("feature-gate-unknown", "podgate has no gates and says so in a warning"),
    ("es-bad-mapping", "podgate does not have the elasticsearch exporter"),
    ("tail-no-policies", "without a policy nothing is kept, which nobody means"),
];

/// `tests/golden/config/validate.json`: 86 configurations with the answers that `otelcol validate` of a Collector v0.161
/// (core and contrib) gave them.
#[test]
fn what_the_collector_accepts_or_refuses_podgate_does_too() {
    let text = fs::read_to_string("tests/golden/config/validate.json").expect("the recording");
    let cases: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    assert_eq!(cases.len(), 86);
    let folder = tempfile::tempdir().expect("a folder");
    let address = folder.path().join("addr.txt");
    fs::write(&address, "127.0.0.1:4000").expect("written");
    let mut faults = Vec::new();
    let mut seen = 0;
    for case in &cases {
        let name = case["name"].as_str().expect("a name");
        let args = args_of(case, &address.display().to_string());
        let env: BTreeMap<String, String> = serde_json::from_value(case["env"].clone()).expect("an environment");
        let checked = check(&args, &env);
        let (ours, theirs) = (checked.plan.is_some(), case["exit"] == 0);
        let differs = DIFFERENCES.iter().any(|(of, _)| *of == name);
        seen += usize::from(differs);
        if (ours == theirs) == differs {
            let verdict = if ours { "accepted" } else { "refused" };
            faults.push(format!("{name}: {verdict}, differs: {differs}\n{}", said(&checked)));
        }
        let errors = checked.findings.iter().filter(|found| found.severity == Severity::Error);
        if errors.clone().any(|error| error.place.is_none() && !args.config.is_empty()) || ours != (errors.count() == 0)
        {
            faults.push(format!("{name}: an error without place, or none\n{}", said(&checked)));
        }
    }
    assert_eq!(seen, DIFFERENCES.len(), "a difference that no case shows");
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), cases.len(), faults.join("\n"));
}

fn args_of(case: &Value, address: &str) -> ConfigArgs {
    let files = case["files"].as_array().expect("files").iter().map(|file| file.as_str().expect("a text"));
    let mut args = ConfigArgs {
        config: files
            .map(|file| format!("yaml:{}", file.replace("${file:addr.txt}", &format!("${{file:{address}}}"))))
            .collect(),
        ..ConfigArgs::default()
    };
    let given: Vec<&str> = case["args"].as_array().expect("args").iter().filter_map(Value::as_str).collect();
    for pair in given.chunks(2) {
        let value = pair[1].to_owned();
        match pair[0] {
            "--set" => args.set.push(value),
            "--config" => args.config.push(value),
            "--feature-gates" => args.feature_gates.push(value),
            other => panic!("unknown argument {other}"),
        }
    }
    args
}

/// Configurations from the field (origin in tests/configs/README.md). An overlay is checked on its base.
const FIELD: &[(&[&str], Field)] = &[
    (&["01-helm-agent-default"], Field::StartsSkipping),
    (&["02-helm-kubernetes-attributes"], Field::Undeclared),
    (&["03-helm-daemonset-container-logs"], Field::StartsSkipping),
    (&["04-helm-deployment-otlp-traces"], Field::Starts),
    (&["05-helm-resource-detection"], Field::StartsSkipping),
    (&["06-helm-internal-telemetry-otlp"], Field::StartsSkipping),
    (&["07-kube-stack-default-daemon"], Field::StartsSkipping),
    (&["08-kube-stack-isolated-multicollector"], Field::StartsSkipping),
    (&["09-operator-sample"], Field::Starts),
    (&["10-otel-demo-base"], Field::OnlyPrints),
    (&["10-otel-demo-base", "11-otel-demo-observability-overlay"], Field::OnlyPrints),
    (&["12-elastic-demo-otlp-to-elastic"], Field::StartsSkipping),
    (&["12-elastic-demo-otlp-to-elastic", "13-elastic-demo-overlay"], Field::StartsSkipping),
    (&["14-elastic-elastiflix"], Field::OnlyPrints),
    (&["15-splunk-agent-default"], Field::StartsSkipping),
    (&["16-coralogix-tail-sampling-gateway"], Field::OnlyPrints),
    (&["17-newrelic-daemonset"], Field::Refused),
    (&["18-google-otlp-k8s-ingest"], Field::Refused),
    (&["19-kubecon-tail-sampling-spanmetrics"], Field::StartsSkipping),
    (&["20-coralogix-agent-loadbalancing"], Field::OnlyPrints),
    (&["21-helm-logs-checkpoints"], Field::Starts),
    (&["22-elastic-kube-stack-logs"], Field::Starts),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    /// As it is.
    Starts,
    /// Refused, and started with `--unsupported=skip`.
    StartsSkipping,
    /// Refused, with `--unsupported=skip` too, because a pipeline would then only print; started with `skip-all`.
    OnlyPrints,
    /// Refused; with `--unsupported=skip` no pipeline is left, because every one ends in what podgate does not have.
    Refused,
    /// Refused, by the Collector too: it names a processor that it does not declare.
    Undeclared,
}

#[test]
fn configurations_from_the_field_start_or_are_refused_with_places() {
    let mut faults = Vec::new();
    for (files, expected) in FIELD {
        let (refusing, told) = validate(files, &[]);
        let (skipping, told_skipping) = validate(files, &["--unsupported=skip"]);
        let found = match (refusing, skipping) {
            (0, 0) => Field::Starts,
            (78, 0) => Field::StartsSkipping,
            (78, 78) if told_skipping.contains("error[E0302]") => Field::Undeclared,
            (78, 78) if told_skipping.contains("error[E0307]") => {
                let (skipping_all, told) = validate(files, &["--unsupported=skip-all"]);
                assert_eq!(skipping_all, 0, "{files:?}\n{told}");
                Field::OnlyPrints
            }
            (78, 78) => Field::Refused,
            codes => panic!("{files:?}: exit codes {codes:?}\n{told}\n{told_skipping}"),
        };
        if found != *expected {
            faults.push(format!("{files:?}: {found:?}, expected {expected:?}\n{told_skipping}\n{told}"));
        }
        if found == Field::Refused && !told_skipping.contains("error[E0306]: no pipeline is left to run") {
            faults.push(format!("{files:?}: refused for another reason\n{told_skipping}"));
        }
        // Every finding begins a block whose second line is its place.
        for block in [&told, &told_skipping].into_iter().flat_map(|told| told.split("\n\n")) {
            let finding = block.starts_with("error") || block.starts_with("warning");
            if finding && !block.lines().nth(1).is_some_and(|line| line.trim_start().starts_with("--> tests/configs/"))
            {
                faults.push(format!("{files:?}: a finding without place: {block}"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Exit code and findings of `podgate validate`.
fn validate(files: &[&str], options: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_podgate"));
    command.arg("validate").args(options).env_clear().envs(FIELD_ENV.iter().copied());
    for file in files {
        command.arg("--config").arg(format!("tests/configs/{file}.yaml"));
    }
    let output = command.output().expect("the binary runs");
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The base configuration of docs/errors.md and its rows: code and example.
fn documented() -> (String, Vec<(String, String)>) {
    let text = fs::read_to_string("docs/errors.md").expect("docs/errors.md");
    let base = text.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a base").to_owned();
    let rows = text.lines().filter(|line| line.starts_with("| E") || line.starts_with("| W")).map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        (cells[1].to_owned(), cells[3].trim_matches('`').to_owned())
    });
    (base, rows.collect())
}

#[test]
fn each_example_of_the_error_list_gives_its_code() {
    let (base, rows) = documented();
    let env = BTreeMap::from([("NAMES_ITSELF".to_owned(), "${env:NAMES_ITSELF}".to_owned())]);
    let mut faults = Vec::new();
    for (code, example) in &rows {
        let mut args = ConfigArgs { config: vec![format!("yaml:{base}")], ..ConfigArgs::default() };
        let (reloaded, example) = match example.strip_prefix("--reload ") {
            Some(rest) => (check(&args, &env).plan, rest),
            None => (None, example.as_str()),
        };
        let example = match example.strip_prefix("--unsupported=skip ") {
            Some(rest) => {
                args.unsupported = Some(UnsupportedArg::Skip);
                rest
            }
            None => example,
        };
        args.config.push(example.strip_prefix("--config ").map_or(format!("yaml:{example}"), str::to_owned));
        let mut checked = check(&args, &env);
        if let (Some(from), Some(to)) = (&reloaded, &checked.plan) {
            checked.findings.extend(needed(from, to));
        }
        if !checked.findings.iter().any(|found| found.code == code) {
            faults.push(format!("{code}: {example}\n{}", said(&checked)));
        }
        let first_error = checked.findings.iter().find(|found| found.severity == Severity::Error);
        if first_error.is_some_and(|error| error.code != code) {
            faults.push(format!("{code} is not the only error: {example}\n{}", said(&checked)));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn each_code_has_one_row_in_the_error_list() {
    let source = fs::read_to_string("src/core/diagnostic.rs").expect("the list of codes");
    let quoted = source.lines().filter(|line| line.contains("pub const") && line.contains("&str = \""));
    let mut codes: Vec<String> = quoted.filter_map(|line| line.split('"').nth(1)).map(str::to_owned).collect();
    let mut rows: Vec<String> = documented().1.into_iter().map(|(code, _)| code).collect();
    codes.sort();
    rows.sort();
    assert!(codes.len() > 20, "{codes:?}");
    assert_eq!(codes, rows);
}

/// Two memory_limiters, of which pipelines use these.
fn limited(traces: &str, logs: &str) -> Checked {
    let text = format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{}}}}}}}}\nexporters: {{nop: {{}}}}\n\
         processors:\n  memory_limiter: {{limit_mib: 400}}\n  memory_limiter/small: {{limit_mib: 10}}\n\
         service:\n  pipelines:\n    traces: {{receivers: [otlp], processors: [{traces}], exporters: [nop]}}\n    \
         logs: {{receivers: [otlp], processors: [{logs}], exporters: [nop]}}\n"
    );
    check(&ConfigArgs { config: vec![format!("yaml:{text}")], ..ConfigArgs::default() }, &BTreeMap::new())
}

#[test]
fn a_memory_limiter_that_no_pipeline_uses_limits_nothing() {
    let limit =
        |checked: &Checked| checked.plan.as_ref().map(|plan| plan.memory_limit.map(|limit| limit.of(1).0 >> 20));
    for (traces, logs, expected) in [
        ("memory_limiter", "memory_limiter", Some(400)),
        ("memory_limiter/small", "", Some(10)),
        ("", "memory_limiter", Some(400)),
        ("", "", None),
    ] {
        let checked = limited(traces, logs);
        assert_eq!(limit(&checked), Some(expected), "{traces} {logs}: {}", said(&checked));
        assert!(said(&checked).contains("is declared but not used"), "{}", said(&checked));
    }
}

#[test]
fn memory_limiters_that_pipelines_use_have_to_agree() {
    let checked = limited("memory_limiter", "memory_limiter/small");
    assert!(checked.plan.is_none());
    let error = checked.findings.iter().find(|found| found.severity == Severity::Error).expect("an error");
    assert_eq!((error.code, error.path.as_str()), ("E0207", "processors::memory_limiter/small"), "{}", error.message);
    assert_eq!(error.expected.as_deref(), Some("the limits of line 4"));
}

#[test]
fn what_a_later_configuration_takes_out_of_its_list_is_not_missed() {
    let base = "receivers: {otlp: {protocols: {grpc: }}}\nexporters: {debug: , nop: }\n\
                service: {pipelines: {traces: {receivers: [otlp], exporters: [debug, nop]}}}";
    let overlay = "service: {pipelines: {traces: {exporters: [nop]}}}";
    let said = |configs: &[&str]| {
        let config = configs.iter().map(|text| format!("yaml:{text}")).collect();
        said(&check(&ConfigArgs { config, ..ConfigArgs::default() }, &BTreeMap::new()))
    };
    assert_eq!(said(&[base, overlay]), "");
    // In one file nobody took it out.
    let once = base.replace("[debug, nop]", "[nop]");
    assert!(said(&[&once]).contains("exporter `debug` is declared but not used"), "{}", said(&[&once]));
    assert!(said(&[base, overlay, "processors: {batch: }"]).contains("processor `batch` is declared but not used"));
}
