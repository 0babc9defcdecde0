//! Every OTTL text of the configurations from the field (tests/configs) is accepted, or refused for a reason known here.

use std::collections::BTreeMap;

use podgate::cli::sources::{Checked, ConfigArgs, UnsupportedArg, check_with};
use podgate::config::yaml;
use podgate::core::component::ComponentId;
use podgate::core::diagnostic::Diagnostics;
use podgate::core::factory::{CheckContext, Checks, Environment};
use podgate::core::node::{Place, SourceId};
use podgate::registry::PROCESSORS;

/// What is refused, and the reason it must give.
const REFUSED: &[(&str, &str, &str)] = &[
    (
        "10-otel-demo-base.yaml",
        "transform/sanitize_spans",
        "podgate does not have the function `set_semconv_span_name`",
    ),
    ("10-otel-demo-base.yaml", "filter/sanitize_profiles", "`profiles` is not supported yet"),
    ("18-google-otlp-k8s-ingest.yaml", "transform/unknown-counter", "podgate does not have the function `co"),
    ("20-coralogix-agent-loadbalancing.yaml", "transform/profiles", "`profile_statements` is not supported yet"),
];

#[test]
fn configurations_from_the_field_are_accepted_or_refused_for_a_known_reason() {
    let mut faults = Vec::new();
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    let mut refused = Vec::new();
    let mut files: Vec<_> =
        std::fs::read_dir("tests/configs").expect("a folder").map(|file| file.expect("readable").path()).collect();
    files.sort();
    for path in files.iter().filter(|path| path.extension().is_some_and(|ext| ext == "yaml")) {
        let file = path.file_name().expect("a name").to_string_lossy().into_owned();
        let text = std::fs::read_to_string(path).expect("readable");
        let document = yaml::parse(&text, SourceId(0), &Diagnostics::default()).expect("YAML");
        for entry in document.get("processors").map(|all| all.entries()).unwrap_or_default() {
            let kind = entry.key.split('/').next().unwrap_or_default();
            let Some(factory) = PROCESSORS.iter().find(|known| known.about.name == kind) else { continue };
            if kind != "filter" && kind != "transform" {
                continue;
            }
            *seen.entry(kind.to_owned()).or_default() += 1;
            let checks = Checks::default();
            let id = ComponentId::parse(&entry.key).expect("an id");
            let cx = CheckContext { id: &id, path: entry.key.clone(), place: Place::default(), checks: &checks };
            (factory.check)(&cx, &entry.value);
            let known = REFUSED.iter().find(|(of, name, _)| *of == file && *name == entry.key);
            let found: Vec<String> = checks
                .diagnostics
                .sorted()
                .into_iter()
                .map(|found| {
                    assert!(found.place.is_some_and(|place| place.line > 0), "{file}: {found:?}");
                    found.message
                })
                .collect();
            match known {
                Some((_, _, reason)) if found.iter().all(|found| found.contains(reason)) && !found.is_empty() => {
                    refused.push((file.clone(), entry.key.clone()))
                }
                None if found.is_empty() => {}
                _ => faults.push(format!("{file}: {}: {found:#?}", entry.key)),
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(refused.len(), REFUSED.len(), "a refusal that no file shows: {refused:?}");
    assert!(seen["filter"] >= 5 && seen["transform"] >= 10, "{seen:?}");
}

/// One text that podgate has not goes alone; what stands beside it is run.
#[test]
fn with_unsupported_skip_only_the_texts_that_are_not_built_are_left_out() {
    let yaml = "\
receivers: {otlp: {protocols: {grpc: {}}}}
processors:
  transform:
    trace_statements:
      - set_semconv_span_name(\"1.43.0\")
      - set(span.name, \"a\")
      - set(span.attributes[\"id\"], UUID())
  filter:
    logs: {log_record: ['IsInCIDR(attributes[\"ip\"], [\"10.0.0.0/8\"])', 'severity_number < 9']}
exporters: {nop: {}}
service: {pipelines: {traces: {receivers: [otlp], processors: [transform, filter], exporters: [nop]}}}
";
    let mut args = ConfigArgs { config: vec![format!("yaml:{yaml}")], ..ConfigArgs::default() };
    let refused = check_with(&args, Environment::default());
    let codes = |checked: &Checked| -> Vec<&'static str> { checked.findings.iter().map(|found| found.code).collect() };
    assert!(refused.plan.is_none());
    assert_eq!(codes(&refused), ["E0205"; 3]);
    args.unsupported = UnsupportedArg::Skip;
    let skipping = check_with(&args, Environment::default());
    assert!(skipping.plan.is_some(), "{:?}", skipping.findings);
    assert_eq!(codes(&skipping), ["W0404"; 3]);
    for (found, named) in skipping.findings.iter().zip(["set_semconv_span_name", "UUID", "IsInCIDR"]) {
        assert!(found.message.starts_with("left out: podgate") && found.message.contains(named), "{found:?}");
    }
}
