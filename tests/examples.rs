//! What the project shows people to copy is accepted by its own check: examples, manifests, every factory's example.

use std::fs;
use std::path::Path;

use podgate::cli::sources::{Checked, ConfigArgs, check_with};
use podgate::config::diagnose;
use podgate::core::component::Kind;
use podgate::core::diagnostic::Severity;
use podgate::core::factory::Environment;
use podgate::registry;

fn check(configs: Vec<String>) -> Checked {
    let args = ConfigArgs { config: configs, ..ConfigArgs::default() };
    // What the downward API would give.
    let environment = Environment::of(|name| match name {
        "MY_POD_IP" | "OTEL_K8S_NODE_IP" => Some("10.0.0.7".to_owned()),
        _ => Some(format!("value-of-{}", name.to_lowercase().replace('_', "-"))),
    });
    check_with(&args, environment)
}

fn assert_accepted(what: &str, checked: &Checked) {
    let findings = diagnose::render(&checked.findings, &checked.sources, false);
    assert!(checked.plan.is_some(), "{what} is refused:\n{findings}");
}

fn path(of: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(of).to_string_lossy().into_owned()
}

#[test]
fn every_example_is_accepted() {
    for entry in fs::read_dir(path("examples")).expect("examples/") {
        let file = entry.expect("readable").path().to_string_lossy().into_owned();
        assert_accepted(&file, &check(vec![file.clone()]));
    }
}

/// The text of a ConfigMap's key, as the cluster would mount it.
fn mounted(manifest: &str, key: &str) -> String {
    let text = fs::read_to_string(path(manifest)).expect("the manifest");
    let begin = text.find(&format!("\n  {key}: |\n")).unwrap_or_else(|| panic!("{manifest} has {key}"));
    let body = text[begin + 1..].lines().skip(1);
    let lines = body
        .take_while(|line| line.is_empty() || line.starts_with("    "))
        .map(|line| line.strip_prefix("    ").unwrap_or(""));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_daemonset_and_its_sampling_overlay_are_accepted_without_warnings() {
    // The node's name is read from the process's own environment; any variable that is set will do here.
    let base = mounted("manifests/daemonset.yaml", "base.yaml")
        .replace("node_from_env_var: OTEL_K8S_NODE_NAME", "node_from_env_var: PATH");
    let base = format!("yaml:{base}");
    let checked = check(vec![base.clone()]);
    assert_accepted("manifests/daemonset.yaml", &checked);
    let warnings = checked.findings.iter().filter(|finding| finding.severity == Severity::Warning);
    let texts: Vec<&str> = warnings
        .map(|finding| finding.message.as_str())
        .filter(|message| !message.contains("check_interval"))
        .collect();
    assert!(texts.is_empty(), "{texts:?}");
    // Any variable that is set stands for the API key.
    let elastic = std::fs::read_to_string(path("manifests/elasticsearch.yaml")).expect("it is there");
    let elastic = format!("yaml:{}", elastic.replace("env:ELASTIC_API_KEY", "env:USER_ID:-a2V5"));
    assert_accepted("manifests/elasticsearch.yaml over the base", &check(vec![base.clone(), elastic]));
    let both = check(vec![base, path("manifests/sampling.yaml")]);
    assert_accepted("manifests/sampling.yaml over the base", &both);
    let plan = both.plan.expect("accepted");
    let traces = plan.pipelines.iter().find(|pipeline| pipeline.name == "traces").expect("a traces pipeline");
    assert!(traces.processors.iter().any(|id| id.component_type == "tail_sampling"), "the overlay adds sampling");
}

#[test]
fn the_base_has_no_keys_that_only_podgate_knows() {
    assert!(!mounted("manifests/daemonset.yaml", "base.yaml").contains("podgate:"), "a Collector must start with it");
}

#[test]
fn every_components_own_example_is_accepted() {
    for (kind, about) in registry::about() {
        let body: String = about.example.lines().map(|line| format!("    {line}\n")).collect();
        let name = about.name;
        let declared = format!("{}:\n  {name}:\n{body}", kind.section());
        let signal = about.signals[0].name();
        let (receiver, exporter) = (declared_receiver(kind), declared_exporter(kind));
        let pipeline = match kind {
            Kind::Receiver => format!("{signal}: {{receivers: [{name}], exporters: [nop]}}"),
            Kind::Processor => format!("{signal}: {{receivers: [otlp], processors: [{name}], exporters: [nop]}}"),
            Kind::Exporter => format!("{signal}: {{receivers: [otlp], exporters: [{name}]}}"),
            Kind::Connector => format!(
                "{signal}/a: {{receivers: [otlp], exporters: [{name}]}}\n    {signal}/b: {{receivers: [{name}], exporters: [nop]}}"
            ),
            Kind::Extension => format!("{signal}: {{receivers: [otlp], exporters: [nop]}}"),
        };
        let yaml = format!("yaml:{declared}{receiver}{exporter}service:\n  pipelines:\n    {pipeline}\n");
        assert_accepted(&yaml, &check(vec![yaml.clone()]));
    }
}

fn declared_receiver(kind: Kind) -> &'static str {
    if kind == Kind::Receiver { "" } else { "receivers:\n  otlp: {protocols: {grpc: }}\n" }
}

fn declared_exporter(kind: Kind) -> &'static str {
    if kind == Kind::Exporter { "" } else { "exporters:\n  nop:\n" }
}
