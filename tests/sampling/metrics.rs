//! The Collector's metrics as it printed them after the recorded runs: the same names, and the same counts for each policy.

use std::collections::BTreeSet;

use podgate::core::report::stats::{Metric, Series};
use podgate::core::stage::host::Host;

use crate::verdicts;

const RECORDED: &str = include_str!("../golden/sampling/a.metrics.txt");

/// Sets whose counts differ on purpose.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("latency_100_1000", "contrib #43948, as in the verdicts"),
    ("latency_0_500", "contrib #43948, as in the verdicts"),
    ("span_ingest_drop", "refused here"),
    ("span_ingest_error", "asked once for each request there, once more for each late batch here"),
];

/// Name, labels, value of a line.
fn line(text: &str) -> (&str, Vec<(&str, &str)>, u64) {
    let (series, value) = text.rsplit_once(' ').expect("holds in this test");
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let labels = labels.trim_end_matches('}').split(',').filter(|label| !label.is_empty());
    let labels = labels.map(|label| {
        let (key, value) = label.split_once('=').expect("holds in this test");
        (key, value.trim_matches('"'))
    });
    (name, labels.collect(), value.parse().expect("holds in this test"))
}

fn has_labels(series: &Series, labels: &[(&str, &str)]) -> bool {
    labels.iter().all(|(key, value)| series.labels.iter().any(|(known, is)| known == key && is == value))
}

fn count(host: &Host, name: &str, labels: &[(&str, &str)]) -> Option<u64> {
    let all = host.stats.all();
    let series = all.iter().find(|series| series.name == name && has_labels(series, labels))?;
    match &series.metric {
        Metric::Counter(counter) => Some(counter.get()),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn every_metric_of_the_collectors_processor_is_there_under_its_name() {
    let set = &verdicts::sets()["late_slow"];
    let (_, host) = verdicts::outcome("late_slow", &set["config"]).await;
    let ours: BTreeSet<String> = host.stats.all().into_iter().map(|series| series.name).collect();
    for recorded in RECORDED.lines() {
        let (name, labels, _) = line(recorded);
        let histogram = name.strip_suffix("_sum").or_else(|| name.strip_suffix("_count"));
        assert!(ours.contains(name) || histogram.is_some_and(|name| ours.contains(name)), "{name}");
        let keys: Vec<&str> = labels.iter().map(|(key, _)| *key).filter(|key| *key != "policy").collect();
        let all = host.stats.all();
        let same = all.iter().any(|series| series.name == name && series.labels.len() >= keys.len());
        assert!(same || histogram.is_some(), "{name} with {keys:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn each_policy_is_asked_as_often_as_in_the_collector_and_votes_the_same() {
    let mut differences = Vec::new();
    let mut compared = 0;
    for (name, set) in verdicts::sets() {
        if set["kept"].is_null() || EXCEPTIONS.iter().any(|(excepted, _)| *excepted == name) {
            continue;
        }
        let (_, host) = verdicts::outcome(&name, &set["config"]).await;
        let prefix = format!("{name}.");
        for recorded in RECORDED.lines() {
            let (metric, labels, value) = line(recorded);
            let is_policys = labels.iter().any(|(key, is)| *key == "policy" && is.starts_with(&prefix));
            if !is_policys || metric.ends_with("time_sum") {
                continue;
            }
            let ours = count(&host, metric, &labels);
            compared += 1;
            if ours != Some(value) {
                differences.push(format!("{recorded}: {ours:?}"));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(compared > 140, "{compared}");
}
