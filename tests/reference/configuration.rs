//! The field's configuration is sound as it stands, and says at the start what it drops.

use std::collections::BTreeMap;

use podgate::cli::sources::{ConfigArgs, check_with};
use podgate::core::stage::factory::Environment;

use crate::world::World;

/// Of every spelling that has a newer one, and of the rule that can find nobody: warnings, and nothing that stops it.
const WARNINGS: [&str; 5] = [
    "W0405 receivers::otlp::protocols::grpc::endpoint",
    "W0401 processors::k8sattributes",
    "W0403 processors::k8sattributes::pod_association::1::sources",
    "W0401 exporters::logging",
    "W0401 exporters::otlp",
];

#[test]
fn the_configuration_in_the_fields_spellings_is_valid_as_it_stands() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/reference/relay.yaml");
    let variables = [("MY_POD_IP", "10.1.0.5"), ("OTEL_K8S_NODE_IP", "10.0.0.1"), ("OTEL_K8S_NODE_NAME", "node-a")];
    let variables = BTreeMap::from(variables);
    let environment = Environment::of(move |name| variables.get(name).map(|value| (*value).to_owned()));
    let args = ConfigArgs { config: vec![file.to_owned()], ..ConfigArgs::default() };
    let checked = check_with(&args, environment);
    let found: Vec<String> = checked.findings.iter().map(|found| format!("{} {}", found.code, found.path)).collect();
    assert_eq!(found, WARNINGS);
    assert!(checked.plan.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_start_says_which_log_records_are_dropped_and_the_count_is_kept() {
    let mut world = World::new(1, &[]).await;
    let said = world.log();
    let line =
        said.lines().find(|line| line.contains("items that match these conditions are dropped")).unwrap_or_default();
    for word in ["filter/events", "pipeline=logs", "log_records", "event_name"] {
        assert!(line.contains(word), "{word}: {said}");
    }
    let pod = world.pod("cart");
    world.app(&pod, "app").say(podgate::core::time::UnixNanos::now()).await;
    let (code, log) = world.end();
    // Two records were sent, the one without an event name is what its file has too.
    assert!(log.contains("logs: received 2,") && log.contains("dropped(filtered) 1"), "{log}");
    assert_eq!(code, Some(0), "what was configured to be dropped is no loss: {log}");
}
