//! What the project shows people to copy is accepted by its own check: examples, manifests, every factory's example.

use std::fs;
use std::path::Path;

use podgate::cli::sources::{Checked, ConfigArgs, check_with};
use podgate::config::show::diagnose;
use podgate::core::stage::component::Kind;
use podgate::core::stage::factory::Environment;
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

fn assert_without_a_word(what: &str, checked: &Checked) {
    assert_accepted(what, checked);
    let findings = diagnose::render(&checked.findings, &checked.sources, false);
    assert!(checked.findings.is_empty(), "{what} is accepted with warnings:\n{findings}");
}

/// As a person types it: no variable is set.
#[test]
fn every_example_is_accepted_without_a_word_and_without_any_variable() {
    for entry in fs::read_dir(path("examples")).expect("examples/") {
        let file = entry.expect("readable").path().to_string_lossy().into_owned();
        let args = ConfigArgs { config: vec![file.clone()], ..ConfigArgs::default() };
        assert_without_a_word(&file, &check_with(&args, Environment::of(|_| None)));
    }
}

/// Whole configurations in the documents of single components.
#[test]
fn configurations_in_the_documents_are_accepted() {
    for document in ["docs/audit.md", "docs/kafka.md", "docs/logs.md"] {
        let text = fs::read_to_string(path(document)).expect("it is there");
        let blocks: Vec<&str> = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
        assert!(!blocks.is_empty(), "{document} shows none");
        for block in blocks {
            assert_accepted(document, &check(vec![shipped_text(block)]));
        }
    }
}

/// The text of a shipped configuration. The node's name and a key of an exporter are read from the process's own
/// environment; any variable that is set will do here.
fn shipped(file: &str) -> String {
    shipped_text(&fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}")))
}

fn shipped_text(text: &str) -> String {
    let text = text.replace("node_from_env_var: OTEL_K8S_NODE_NAME", "node_from_env_var: PATH");
    format!("yaml:{}", text.replace("node_from_env_var: K8S_NODE_NAME", "node_from_env_var: PATH"))
}

const BASE: &str = "manifests/base/config/base.yaml";
/// What the kustomizations put over the base, one or all of them.
const OVERLAYS: [&str; 7] = [
    "manifests/components/sampling/config/sampling.yaml",
    "manifests/components/elasticsearch/config/elasticsearch.yaml",
    "manifests/components/logs-from-files/config/logs-from-files.yaml",
    "manifests/components/durable/config/durable.yaml",
    "manifests/components/mtls-agents/config/mtls-agents.yaml",
    "manifests/components/kafka-agents/config/kafka-agents.yaml",
    "manifests/components/balanced-agents/config/balanced-agents.yaml",
];
/// Over the base and the overlay `durable`.
const LOGS: &str = "manifests/components/logs/config/logs.yaml";
/// What is put over the gateway's.
const GATEWAY_OVERLAYS: [&str; 3] = [
    "manifests/components/mtls-gateway/config/mtls-gateway.yaml",
    "manifests/components/kafka-samplers/config/kafka-samplers.yaml",
    "manifests/components/balanced-gateways/config/balanced-gateways.yaml",
];
const ALONE: [&str; 3] = [BASE, "manifests/gateway/config/gateway.yaml", "charts/podgate/config/sidecar.yaml"];

#[test]
fn every_shipped_configuration_is_accepted_without_a_word() {
    for file in ALONE {
        assert_without_a_word(file, &check(vec![shipped(file)]));
    }
    for file in OVERLAYS {
        assert_without_a_word(file, &check(vec![shipped(BASE), shipped(file)]));
    }
    assert_without_a_word(LOGS, &check(vec![shipped(BASE), shipped(OVERLAYS[3]), shipped(LOGS)]));
    for file in GATEWAY_OVERLAYS {
        assert_without_a_word(file, &check(vec![shipped(ALONE[1]), shipped(file)]));
    }
}

#[test]
fn the_overlay_for_logs_sends_what_the_files_have_beside_what_comes_by_otlp() {
    let plan = check(vec![shipped(BASE), shipped(OVERLAYS[3]), shipped(LOGS)]).plan.expect("accepted");
    let receivers = |name: &str| {
        let found = plan.pipelines.iter().find(|pipeline| pipeline.name == name).expect(name);
        found.receivers.iter().map(|id| id.component_type.to_string()).collect::<Vec<_>>()
    };
    assert_eq!((receivers("logs"), receivers("logs/files")), (vec!["otlp".to_owned()], vec!["file_log".to_owned()]));
}

#[test]
fn the_base_delivers_every_signal_and_what_drops_one_is_an_overlay() {
    let dropping = |configs: Vec<String>| -> Vec<String> {
        let plan = check(configs).plan.expect("accepted");
        plan.pipelines
            .iter()
            .filter(|pipeline| pipeline.drops_everything)
            .map(|pipeline| pipeline.name.clone())
            .collect()
    };
    for file in ALONE {
        assert_eq!(dropping(vec![shipped(file)]), Vec::<String>::new(), "{file}");
    }
    assert_eq!(dropping(vec![shipped(BASE), shipped(OVERLAYS[2])]), ["logs"]);
}

#[test]
fn the_overlay_for_sampling_samples() {
    let plan = check(vec![shipped(BASE), shipped(OVERLAYS[0])]).plan.expect("accepted");
    let traces = plan.pipelines.iter().find(|pipeline| pipeline.name == "traces").expect("a traces pipeline");
    assert!(traces.processors.iter().any(|id| id.component_type == "tail_sampling"));
}

#[test]
fn shipped_configurations_have_no_keys_that_only_podgate_knows() {
    for file in ALONE {
        assert!(!shipped(file).contains("podgate:"), "{file}: a Collector must start with it");
    }
}

#[test]
fn the_chart_has_the_configurations_of_the_manifests() {
    let tiers = ["balanced-agents", "balanced-gateways", "kafka-agents", "kafka-samplers"];
    let of_tier = |tier: &str| (format!("manifests/components/{tier}/config/{tier}.yaml"), tier.to_owned());
    let modes = [(ALONE[0].to_owned(), "node".to_owned()), (ALONE[1].to_owned(), "cluster".to_owned())];
    for (original, charts) in modes.into_iter().chain(tiers.map(of_tier)) {
        let copy = format!("charts/podgate/config/{charts}.yaml");
        let [ours, copied] = [&original, &copy].map(|file| fs::read_to_string(path(file)).expect(file));
        assert!(ours == copied, "cp {original} {copy}");
    }
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
