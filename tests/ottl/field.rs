//! Every OTTL text of the configurations from the field (tests/configs) is accepted, or refused for a reason known here.

use std::collections::BTreeMap;

use podgate::cli::sources::{Checked, ConfigArgs, UnsupportedArg, check_with};
use podgate::config::read::yaml;
use podgate::core::diagnostic::Diagnostics;
use podgate::core::node::SourceId;
use podgate::core::stage::factory::{Checks, Environment};
use podgate::registry::PROCESSORS;
use podgate::testing::check;

/// What is refused, and the reason it must give.
const REFUSED: &[(&str, &str, &str)] = &[
    ("10-otel-demo-base.yaml", "filter/sanitize_profiles", "`profiles` is not supported yet"),
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
            check::run(&checks, &entry.key, &entry.value, factory.check);
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
      - set(span.attributes[\"x\"], UserAgent(span.name))
      - set(span.name, \"a\")
      - set(span.attributes[\"id\"], ParseXML(span.name))
  filter:
    logs: {log_record: ['IsEmpty(Find(attributes[\"l\"], (x) => true))', 'severity_number < 9']}
exporters: {nop: {}}
service: {pipelines: {traces: {receivers: [otlp], processors: [transform, filter], exporters: [nop]}}}
";
    let mut args = ConfigArgs { config: vec![format!("yaml:{yaml}")], ..ConfigArgs::default() };
    let refused = check_with(&args, Environment::default());
    let codes = |checked: &Checked| -> Vec<&'static str> { checked.findings.iter().map(|found| found.code).collect() };
    assert!(refused.plan.is_none());
    assert_eq!(codes(&refused), ["E0205"; 3]);
    args.unsupported = Some(UnsupportedArg::Skip);
    let skipping = check_with(&args, Environment::default());
    assert!(skipping.plan.is_some(), "{:?}", skipping.findings);
    assert_eq!(codes(&skipping), ["W0404"; 3]);
    for (found, named) in skipping.findings.iter().zip(["UserAgent", "ParseXML", "functions of functions"]) {
        assert!(found.message.starts_with("left out") && found.message.contains(named), "{found:?}");
    }
}

/// Braces that count nothing, and a bracket in a class: Go's dialect, which the crate behind it refuses.
#[test]
fn every_place_that_takes_a_pattern_takes_gos() {
    let yaml = r#"
receivers: {otlp: {protocols: {grpc: {}}}}
processors:
  attributes:
    include: {match_type: regexp, span_names: ['^/users/{id}[^[]+$'], attributes: [{key: a, value: '^{.*}$'}]}
    actions:
      - {key: url, action: extract, pattern: '^/users/{id}/(?P<rest>[^[]+)$'}
      - {action: delete, pattern: '^{.*}$'}
  filter:
    metrics: {exclude: {match_type: regexp, metric_names: ['^/users/{id}[^[]+$']}}
    traces: {span: ['IsMatch(name, "^/users/{id}[^[]+$")']}
  k8s_attributes:
    auth_type: none
    extract: {metadata: [k8s.pod.name], labels: [{key_regex: 'app{x}([^[]+)', tag_name: '$$1'}]}
    exclude: {pods: [{name: '^job-{n}[^[]+$'}]}
  tail_sampling:
    decision_wait: 1s
    policies:
      - name: p
        type: string_attribute
        string_attribute: {key: k, values: ['^/users/{id}[^[]+$'], enabled_regex_matching: true}
  transform:
    trace_statements: ['replace_pattern(span.name, "/{id}[^[]+", "/x")']
exporters: {nop: {}}
service:
  pipelines:
    traces: {receivers: [otlp], processors: [k8s_attributes, attributes, filter, transform, tail_sampling], exporters: [nop]}
    metrics: {receivers: [otlp], processors: [filter], exporters: [nop]}
"#;
    let args = ConfigArgs { config: vec![format!("yaml:{yaml}")], ..ConfigArgs::default() };
    let checked = check_with(&args, Environment::default());
    let wrong: Vec<_> = checked.findings.iter().filter(|found| found.message.contains("regular expression")).collect();
    assert!(wrong.is_empty() && checked.plan.is_some(), "{:#?}", checked.findings);
}
