//! Which of the field's workloads start with podgate in the place of their image, and with which one value if not as they are:
//! the table of docs/migration.md, made by this test.
//!
//! `tests/configs/workloads.json` has the command, arguments, variables and configuration of each workload that the OpenTelemetry
//! Collector's chart 0.170.0 renders for its examples, and two shaped after what is known of Elastic's kube-stack.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use podgate::cli::sources::{ConfigArgs, UnsupportedArg, check_with};
use podgate::core::diagnostic::Severity;
use podgate::core::stage::factory::Environment;
use serde_json::Value;

/// What each variable that workloads set comes to.
const VALUES: &[(&str, &str)] = &[
    ("ELASTIC_API_KEY", "bm90OmFrZXk="),
    ("ELASTIC_ENDPOINT", "https://elasticsearch.example:9200"),
    ("GOMEMLIMIT", "160MiB"),
    ("MY_POD_IP", "10.0.0.7"),
    ("K8S_NODE_IP", "10.0.0.1"),
    ("K8S_NODE_NAME", "node-1"),
    ("OTEL_K8S_NAMESPACE", "observability"),
    ("OTEL_K8S_NODE_IP", "10.0.0.1"),
    ("OTEL_K8S_NODE_NAME", "node-1"),
    ("OTEL_K8S_POD_IP", "10.0.0.7"),
    ("OTEL_K8S_POD_NAME", "collector-x"),
];

/// The least that makes it start, in the chart's own words.
const WAYS: [(UnsupportedArg, &str); 3] = [
    (UnsupportedArg::Refuse, "as it is"),
    (UnsupportedArg::Skip, "`command.extraArgs: [--unsupported=skip]`"),
    (UnsupportedArg::SkipAll, "`command.extraArgs: [--unsupported=skip-all]`"),
];

const BEGIN: &str = "<!-- made by tests/migration.rs -->\n";
const END: &str = "<!-- end -->\n";

fn texts(value: &Value) -> Vec<String> {
    value.as_array().expect("a list").iter().map(|one| one.as_str().expect("a text").to_owned()).collect()
}

/// What is left out when it starts so: names of components, each once.
struct Outcome {
    way: &'static str,
    left_out: Vec<String>,
}

fn outcome(config: &str, env: &BTreeMap<String, String>) -> Outcome {
    let mut refused = Vec::new();
    for (unsupported, way) in WAYS {
        let args = ConfigArgs {
            config: vec![format!("yaml:{config}")],
            unsupported: Some(unsupported),
            ..ConfigArgs::default()
        };
        let env = env.clone();
        let checked = check_with(&args, Environment::of(move |name| env.get(name).cloned()));
        let component = |path: &str| path.split("::").nth(1).map(str::to_owned);
        let of = |codes: &[&str]| -> Vec<String> {
            let found = checked.findings.iter().filter(|found| codes.contains(&found.code));
            let mut names: Vec<String> = found.filter_map(|found| component(&found.path)).collect();
            names.sort();
            names.dedup();
            names
        };
        if checked.plan.is_some() {
            return Outcome { way, left_out: refused };
        }
        refused = of(&["E0301", "E0307", "E0205"]);
    }
    let args = ConfigArgs {
        config: vec![format!("yaml:{config}")],
        unsupported: Some(UnsupportedArg::SkipAll),
        ..ConfigArgs::default()
    };
    let env = env.clone();
    let checked = check_with(&args, Environment::of(move |name| env.get(name).cloned()));
    let error = checked.findings.into_iter().find(|found| found.severity == Severity::Error).expect("an error");
    Outcome { way: "does not start", left_out: vec![format!("{}: {}", error.path, error.message)] }
}

fn table() -> String {
    let text = fs::read_to_string("tests/configs/workloads.json").expect("the workloads");
    let workloads: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    let mut table = String::from("| workload | kind | it starts | what is left out, or why not |\n|---|---|---|---|\n");
    let mut counts = BTreeMap::new();
    for workload in &workloads {
        let names = texts(&workload["env"]);
        let env = VALUES.iter().filter(|(name, _)| names.iter().any(|set| set == name));
        let env = env.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let told = outcome(workload["config"].as_str().expect("a text"), &env);
        let [of, kind] = ["of", "kind"].map(|key| workload[key].as_str().expect("a text"));
        let code = |name: &String| if name.contains(' ') { name.clone() } else { format!("`{name}`") };
        let left = told.left_out.iter().map(code).collect::<Vec<_>>().join(", ");
        let _ = writeln!(table, "| {of} | {kind} | {} | {} |", told.way, if left.is_empty() { "-" } else { &left });
        *counts.entry(told.way).or_insert(0) += 1;
    }
    let counts: Vec<String> = counts.iter().map(|(way, count)| format!("{count} {way}")).collect();
    format!("{table}\nOf {}: {}.\n", workloads.len(), counts.join("; "))
}

#[test]
fn the_table_of_what_starts_in_the_place_of_another_image_is_the_documents() {
    let document = fs::read_to_string("docs/migration.md").expect("docs/migration.md");
    let (before, rest) = document.split_once(BEGIN).expect("the table's begin");
    let (written, after) = rest.split_once(END).expect("the table's end");
    let made = table();
    if std::env::var_os("PODGATE_WRITE").is_some() {
        fs::write("docs/migration.md", format!("{before}{BEGIN}{made}{END}{after}")).expect("written");
        return;
    }
    assert!(
        written == made,
        "docs/migration.md says otherwise; PODGATE_WRITE=1 cargo test --test migration writes:\n{made}"
    );
}

/// The commands and first arguments of the field are the image's: its links, and the `--config` that podgate takes.
#[test]
fn every_command_of_the_field_is_a_name_of_the_image() {
    let layout = fs::read_to_string("image/layout.py").expect("the image's layout");
    let names = layout.lines().find(|line| line.starts_with("NAMES = ")).expect("the names");
    let text = fs::read_to_string("tests/configs/workloads.json").expect("the workloads");
    let workloads: Vec<Value> = serde_json::from_str(&text).expect("JSON");
    for workload in &workloads {
        for command in texts(&workload["command"]) {
            assert!(names.contains(&format!("\"{}\"", command.trim_start_matches('/'))), "{command}");
        }
        assert!(texts(&workload["args"]).iter().all(|arg| arg.starts_with("--config=")), "{workload}");
    }
}
