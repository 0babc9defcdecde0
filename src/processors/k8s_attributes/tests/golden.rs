//! What the real processor (contrib 0.161) wrote for 22 resources under 9 configurations, decided case by case.
//!
//! Equal everywhere, except where the table below says why podgate is better. `host.name`, `restart hint` and so on are
//! the recording's own names of its cases.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{Attributes, MadeUp, NOW, decoded, enricher, origin};
use crate::core::data::origin::Origin;
use crate::kube::decode::{Decoder, Related};
use crate::kube::table::PodChange;
use crate::otlp::edit::Appender;
use crate::processors::k8s_attributes::enrich::Enricher;
use crate::processors::k8s_attributes::hub_cluster;

const RECORDED: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/k8s_attributes/collector.json"));

/// One difference: cases and configurations it concerns (empty: all), what differs, and why.
struct Better {
    case: &'static str,
    config: &'static str,
    difference: Difference,
    why: &'static str,
}

enum Difference {
    /// These keys are there in addition, or have another value, or are gone.
    Keys(&'static [&'static str]),
    /// The whole pod is found here and was not there.
    PodFound,
    /// Nothing of a pod is added here, and a pod was there.
    NoPod,
}

/// The particular before the general: the first that fits is the reason.
const BETTER: &[Better] = &[
    Better {
        case: "uid unknown, ip known",
        config: "",
        difference: Difference::NoPod,
        why: "the resource says it is another pod than the one at the address: attributes of a stranger help nobody",
    },
    Better {
        case: "container.id with scheme",
        config: "cid",
        difference: Difference::PodFound,
        why: "the scheme is no part of the id",
    },
    Better {
        case: "container.id of the previous instance",
        config: "cid",
        difference: Difference::PodFound,
        why: "the previous run is in the ledger",
    },
    Better {
        case: "restarted pod",
        config: "",
        difference: Difference::Keys(&["container.id", "container.image.repo_digests", "k8s.container.restart_count"]),
        why: "the restart count is a hint: it selects no run, and a wrong one is replaced by the true number",
    },
    Better {
        case: "not restarted, hint 1",
        config: "",
        difference: Difference::Keys(&["container.id", "container.image.repo_digests", "k8s.container.restart_count"]),
        why: "a number of a run that never was is a wrong hint, not a reason to leave the id out",
    },
    Better {
        case: "",
        config: "",
        difference: Difference::Keys(&["container.image.tag"]),
        why: "Elastic maps the singular tag only, so both generations are written",
    },
    Better {
        case: "",
        config: "",
        difference: Difference::Keys(&["k8s.pod.hostname"]),
        why: "the Collector writes an empty text; Kubernetes gives such a pod its own name",
    },
    Better {
        case: "",
        config: "defaults_all",
        difference: Difference::Keys(&["container.id", "k8s.container.name"]),
        why: "the run of the container is what podgate is for, so it is on by default",
    },
    Better {
        case: "",
        config: "connection",
        difference: Difference::Keys(&["k8s.pod.ip"]),
        why: "an address that no pod has is not written as a pod's address",
    },
    Better {
        case: "",
        config: "default",
        difference: Difference::Keys(&["k8s.pod.ip"]),
        why: "an address that no pod has is not written as a pod's address",
    },
    Better {
        case: "",
        config: "default",
        difference: Difference::PodFound,
        why: "without rules the claimed uid is tried first, and every further rule until a pod is found",
    },
    Better {
        case: "",
        config: "defaults_all",
        difference: Difference::PodFound,
        why: "without rules the claimed uid is tried first, and every further rule until a pod is found",
    },
];

/// The entry that gives the reason.
fn reason(case: &str, config: &str, difference: &str) -> Option<usize> {
    BETTER.iter().position(|better| {
        let concerns = case.starts_with(better.case) && (better.config.is_empty() || better.config == config);
        let covers = match better.difference {
            Difference::Keys(keys) => keys.contains(&difference),
            Difference::PodFound => difference == "pod found",
            Difference::NoPod => difference == "no pod",
        };
        concerns && covers
    })
}

impl Better {
    /// A row of the table in docs/kubernetes.md.
    fn row(&self) -> String {
        let or_all = |text: &str| if text.is_empty() { "all".to_owned() } else { text.to_owned() };
        let difference = match self.difference {
            Difference::Keys(keys) => keys.join(", "),
            Difference::PodFound => "the pod is found".to_owned(),
            Difference::NoPod => "no pod is taken".to_owned(),
        };
        format!("| {} | {} | {difference} | {} |", or_all(self.case), or_all(self.config), self.why)
    }
}

#[test]
fn every_difference_stands_in_the_documentation() {
    let path = format!("{}/docs/kubernetes.md", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).expect("the page");
    for better in BETTER {
        assert!(text.contains(&better.row()), "missing: {}", better.row());
    }
}

/// Recorded values as the tests read them.
fn recorded(output: &Value) -> Attributes {
    let object = output.as_object().expect("attributes");
    let shown = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Object(list) => {
            let values = list["values"].as_array().expect("a list").iter();
            let texts: Vec<&str> = values.map(|value| value["stringValue"].as_str().expect("text")).collect();
            format!("[{}]", texts.join(","))
        }
        other => other.to_string(),
    };
    object.iter().map(|(key, value)| (key.clone(), shown(value))).collect()
}

fn related(json: &Value) -> Arc<Related> {
    let all = crate::kube::decode::KeepKey::All;
    let keep = crate::kube::decode::Keep { related_labels: vec![all], ..Default::default() };
    Arc::new(Decoder::new(keep).related(json.to_string().as_bytes()).expect("an object"))
}

/// What the wait for pods of other nodes comes to.
fn settled(enricher: &Enricher, resource: &[u8], from: &Origin) -> Attributes {
    let later = NOW.saturating_add(Duration::from_secs(4));
    super::enriched_at(enricher, resource, from, Duration::from_secs(10), later).expect("old enough")
}

fn cluster(objects: &Value, body: &str) -> Arc<MadeUp> {
    let keep = hub_cluster::spec(&super::config(body)).keep;
    let mut cluster = MadeUp::default();
    for name in ["namespace", "kube_system"] {
        let namespace = related(&objects[name]);
        cluster.namespaces.insert(namespace.name.to_string(), namespace);
    }
    for node in objects["nodes"]["items"].as_array().expect("nodes") {
        let node = related(node);
        cluster.nodes.insert(node.name.to_string(), node);
    }
    for owner in objects["replicasets"]["items"].as_array().expect("replica sets") {
        let owner = related(owner);
        cluster.owners.insert(owner.uid.to_string(), owner);
    }
    for pod in objects["pods"].as_array().expect("pods") {
        let seen = NOW.saturating_sub(Duration::from_secs(60));
        cluster.apply(PodChange::Applied(decoded(pod, keep.clone())), seen);
    }
    Arc::new(cluster)
}

/// What differs: single keys, or a whole pod on one side.
fn differences(ours: &Attributes, theirs: &Attributes) -> BTreeSet<String> {
    match (ours.contains_key("k8s.pod.start_time"), theirs.contains_key("k8s.pod.start_time")) {
        (true, false) => return BTreeSet::from(["pod found".to_owned()]),
        (false, true) => return BTreeSet::from(["no pod".to_owned()]),
        _ => {}
    }
    let keys: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    keys.into_iter().filter(|key| ours.get(*key) != theirs.get(*key)).cloned().collect()
}

#[test]
fn every_recorded_case_is_equal_or_better_for_a_stated_reason() {
    let recording: Value = serde_json::from_str(RECORDED).expect("the recording is JSON");
    let mut faults = Vec::new();
    let mut compared = 0;
    let mut used = BTreeSet::new();
    for (name, body) in recording["configs"].as_object().expect("configurations") {
        let body = body.to_string();
        let cluster = cluster(&recording["api_objects"], &body);
        for case in recording["cases"].as_array().expect("cases") {
            // A fresh one for each: the recording's requests had nothing to do with each other.
            let (enricher, _) = enricher(&body, &cluster);
            let case_name = case["name"].as_str().expect("a name");
            let mut edit = Appender::new(b"").expect("empty is valid");
            for (key, value) in case["input"].as_object().expect("attributes") {
                match value {
                    Value::Number(number) => edit.append(key, number.as_i64().expect("an integer")),
                    value => edit.append(key, value.as_str().expect("a text")),
                }
            }
            let resource = edit.finish().expect("unlimited");
            let from = origin(Some("127.0.0.1"), 1, NOW.saturating_sub(Duration::from_secs(30)));
            let ours = settled(&enricher, &resource, &from);
            let theirs = recorded(&case["output"][name]);
            compared += 1;
            for difference in differences(&ours, &theirs) {
                if let Some(entry) = reason(case_name, name, &difference) {
                    used.insert(entry);
                    continue;
                }
                let pair = (ours.get(&difference), theirs.get(&difference));
                faults.push(format!("{case_name} / {name}: {difference}: ours, theirs {pair:?}"));
            }
        }
    }
    assert_eq!(compared, 22 * 9);
    assert_eq!(used.len(), BETTER.len(), "an entry that explains nothing: {used:?}");
    assert!(faults.is_empty(), "{} differences without a reason:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn a_restarted_container_gets_its_current_id_whatever_the_hint_says() {
    let recording: Value = serde_json::from_str(RECORDED).expect("the recording is JSON");
    let body = recording["configs"]["uid"].to_string();
    let cluster = cluster(&recording["api_objects"], &body);
    for hint in ["0", "1", "abc", "7"] {
        let (enricher, stats) = enricher(&body, &cluster);
        let resource = super::resource(&[
            ("k8s.pod.uid", "e3676701-1dc5-42bb-b4ea-0cc4658353a7"),
            ("k8s.container.name", "app"),
            ("k8s.container.restart_count", hint),
        ]);
        let from = origin(Some("127.0.0.1"), 1, NOW.saturating_sub(Duration::from_secs(30)));
        let ours = settled(&enricher, &resource, &from);
        assert_eq!(ours["container.id"], "01".repeat(32), "hint {hint}");
        assert_eq!(ours["k8s.container.restart_count"], "1", "hint {hint}");
        assert_eq!(stats.total("podgate_k8s_restart_hint_conflict"), u64::from(hint != "1"), "hint {hint}");
    }
}
