//! Configuration: what is refused with its place, what is only warned of, and what defaults are filled in.

use super::super::tests::{checked, checked_in, config};
use super::*;
use crate::core::diagnostic::Severity;
use crate::core::stage::factory::Environment;
use crate::processors::k8s_attributes::hub_cluster;

/// Path and message of each finding of this severity.
fn findings(body: &str, severity: Severity) -> Vec<(String, String)> {
    let (_, found) = checked(body);
    found.into_iter().filter(|found| found.severity == severity).map(|found| (found.path, found.message)).collect()
}

#[test]
fn every_fault_is_reported_at_its_place() {
    let table = [
        ("{extract: {metadata: [k8s.pod.nope]}}", "extract::metadata::0", "is not a metadata attribute"),
        ("{pod_association: [{sources: [{from: nowhere}]}]}", "pod_association::0::sources::0::from", "nowhere"),
        (
            "{pod_association: [{sources: [{from: resource_attribute}]}]}",
            "pod_association::0::sources::0::name",
            "`name`",
        ),
        ("{pod_association: [{sources: []}]}", "pod_association::0::sources", "`sources` is required"),
        ("{pod_association: [{from: connection}]}", "pod_association::0::from", "are a list"),
        (
            "{pod_association: [{sources: [{from: connection}, {from: connection}, {from: connection}, \
             {from: connection}, {from: connection}]}]}",
            "pod_association::0::sources",
            "5 sources",
        ),
        (
            "{pod_association: [{sources: [{from: connection}]}, {sources: [{from: connection}]}]}",
            "pod_association::1::sources",
            "same sources",
        ),
        ("{extract: {labels: [{tag_name: a, key: a, key_regex: b}]}}", "extract::labels::0::key_regex", "exclude"),
        ("{extract: {labels: [{key_regex: '('}]}}", "extract::labels::0::key_regex", "regular expression"),
        ("{extract: {labels: [{tag_name: a}]}}", "extract::labels::0::key", "`key` is required"),
        ("{extract: {labels: [{key: a, from: moon}]}}", "extract::labels::0::from", "moon"),
        ("{extract: {labels: [{key: a, regex: b}]}}", "extract::labels::0::regex", "removed"),
        ("{extract: {deployment_name_from_replicaset: true}}", "extract::deployment_name_from_replicaset", "removed"),
        ("{filter: {fields: [{key: a, op: exists}]}}", "filter::fields::0::op", "exists"),
        ("{filter: {labels: [{key: 'a,b', value: c}]}}", "filter::labels::0::key", "would change the selector"),
        ("{filter: {node_from_env_var: PODGATE_NO_SUCH_VARIABLE}}", "filter::node_from_env_var", "is not set"),
        ("{exclude: {pods: [{name: '('}]}}", "exclude::pods::0::name", "regular expression"),
        ("{auth_type: magic}", "auth_type", "magic"),
        ("{auth_type: kubeConfig, kube_config_path: /x}", "kube_config_path", "unknown key"),
        ("{pod_delete_grace_period: -1s}", "pod_delete_grace_period", ""),
        ("{podgate: {hint: obey}}", "podgate::hint", "obey"),
        ("{podgate: {hold: 5m}}", "podgate::hold", ""),
        ("{podgate: {node_logs: var/log}}", "podgate::node_logs", ""),
    ];
    for (body, path, message) in table {
        let found = findings(body, Severity::Error);
        let path = format!("processors::k8s_attributes::{path}");
        assert!(found.len() == 1 && found[0].0 == path && found[0].1.contains(message), "{body}: {found:?}");
    }
}

#[test]
fn several_faults_come_at_once() {
    let body = "{auth_type: magic, extract: {metadata: [x, y]}, exclude: {pods: [{name: '('}]}}";
    assert_eq!(findings(body, Severity::Error).len(), 4);
}

#[test]
fn what_is_legal_and_never_meant_is_accepted_with_a_warning_at_its_place() {
    let rules = |rules: &[&[&str]]| {
        let source = |name: &&str| match *name {
            "connection" => "{from: connection}".to_owned(),
            name => format!("{{from: resource_attribute, name: {name}}}"),
        };
        let rule =
            |rule: &&[&str]| format!("{{sources: [{}]}}", rule.iter().map(source).collect::<Vec<_>>().join(", "));
        format!("pod_association: [{}]", rules.iter().map(rule).collect::<Vec<_>>().join(", "))
    };
    let rule = "pod_association::0::sources";
    let second = "pod_association::1::sources";
    let table = [
        (rules(&[&["k8s.container.name"]]), Some((rule, "k8s.container.name is the same in many pods"))),
        (rules(&[&["k8s.pod.uid", "k8s.container.name"]]), None),
        (rules(&[&["k8s.cronjob.name"]]), Some((rule, "k8s.cronjob.name is not extracted"))),
        (rules(&[&["k8s.deployment.name"]]), None),
        (rules(&[&["app"]]), Some((rule, "app is not extracted"))),
        (format!("{}, extract: {{labels: [{{key: x, tag_name: app}}]}}", rules(&[&["app"]])), None),
        (format!("{}, extract: {{labels: [{{key_regex: (.*), tag_name: $1}}]}}", rules(&[&["app"]])), None),
        (
            format!(
                "{}, extract: {{labels: [{{key: x}}]}}, podgate: {{label_names: new}}",
                rules(&[&["k8s.pod.label.x"]])
            ),
            None,
        ),
        ("extract: {labels: [{key: x}]}".to_owned(), Some(("extract::labels", "since v0.161"))),
        (format!("{}, extract: {{otel_annotations: true}}", rules(&[&["app"]])), None),
        (
            rules(&[&["k8s.pod.uid"], &["k8s.pod.uid", "connection"]]),
            Some((second, "what `k8s.pod.uid` before it did")),
        ),
        (rules(&[&["k8s.pod.uid", "connection"], &["k8s.pod.uid"]]), None),
        (rules(&[&["k8s.pod.name"], &["k8s.pod.name", "k8s.namespace.name"]]), None),
        (
            "filter: {fields: [{key: spec.color, value: red}]}".to_owned(),
            Some(("filter::fields::0::key", "spec.color")),
        ),
        ("filter: {fields: [{key: status.phase, value: Running}]}".to_owned(), None),
        ("passthrough: true, exclude: {pods: []}".to_owned(), Some(("exclude", "`passthrough` only writes"))),
        ("wait_for_metadata_timeout: 5s".to_owned(), Some(("wait_for_metadata_timeout", "nothing waits"))),
        ("wait_for_metadata: true, wait_for_metadata_timeout: 5s".to_owned(), None),
        ("podgate: {hint: ignore, restart_count: repair}".to_owned(), Some(("podgate::restart_count", "hint: ignore"))),
        (
            "extract: {metadata: [k8s.pod.name]}, podgate: {restart_count: repair}".to_owned(),
            Some(("podgate::restart_count", "when container.id is extracted")),
        ),
    ];
    for (body, expected) in table {
        let body = format!("{{{body}}}");
        let found = findings(&body, Severity::Warning);
        let told = found.first().map(|(path, message)| (path.as_str(), message.as_str()));
        match (told, expected) {
            (None, None) => {}
            (Some((path, message)), Some((place, text))) => assert!(
                found.len() == 1 && path == format!("processors::k8s_attributes::{place}") && message.contains(text),
                "{body}: {found:?}"
            ),
            _ => panic!("{body}: {found:?}"),
        }
        assert!(config(&body).rules.len() < 6);
    }
}

#[test]
fn a_node_named_twice_is_the_one_of_the_environment() {
    let environment = Environment::of(|_| Some("node-7".to_owned()));
    let (config, found) = checked_in(environment, "{filter: {node: a, node_from_env_var: NODE}}");
    assert_eq!(config.expect("sound").filter.node.as_deref(), Some("node-7"));
    assert!(found.len() == 1 && found[0].path.ends_with("filter::node"), "{found:?}");
}

#[test]
fn ranges_of_proxies_are_read_and_wrong_ones_refused() {
    assert_eq!(config("{podgate: {proxies: [10.244.0.1, 'fd00::/64']}}").own.proxies.len(), 2);
    let found = findings("{podgate: {proxies: [10.244.0.1/40]}}", Severity::Error);
    assert!(found.len() == 1 && found[0].1.contains("is no range"), "{found:?}");
}

#[test]
fn an_unset_node_variable_is_explained_with_the_cure() {
    let (config, found) = checked("{filter: {node_from_env_var: PODGATE_NO_SUCH_VARIABLE}}");
    assert!(config.is_none());
    let help = found[0].help.as_deref().expect("a cure");
    assert!(help.contains("name: PODGATE_NO_SUCH_VARIABLE") && help.contains("spec.nodeName"), "{help}");
}

#[test]
fn the_node_comes_from_the_environment_that_the_check_was_given_and_not_from_the_process() {
    let environment = |node: &'static str| Environment::of(move |name| (name == "NODE").then(|| node.to_owned()));
    let (config, _) = checked_in(environment("node-7"), "{filter: {node_from_env_var: NODE}}");
    assert_eq!(config.expect("sound").filter.node.as_deref(), Some("node-7"));
    for (node, variable) in [("", "NODE"), ("node-7", "PATH")] {
        let (config, found) = checked_in(environment(node), &format!("{{filter: {{node_from_env_var: {variable}}}}}"));
        assert!(config.is_none() && found[0].message.contains("is not set"), "{found:?}");
    }
}

#[test]
fn filters_become_selectors() {
    let filter = config(
        "{filter: {namespace: [a, b], fields: [{key: status.phase, value: Running, op: not-equals}], \
         labels: [{key: app, value: web}, {key: tier, op: exists}, {key: test, op: does-not-exist}]}}",
    )
    .filter;
    assert_eq!(filter.namespaces, ["a", "b"]);
    assert_eq!(filter.field_selector, "status.phase!=Running");
    assert_eq!(filter.label_selector, "app=web,tier,!test");
    assert_eq!(config("{filter: {namespace: a}}").filter.namespaces, ["a"]);
}

#[test]
fn an_empty_body_is_the_collectors_default_with_the_container() {
    let config = config("{}");
    let rules: Vec<&str> = config.rules.iter().map(|rule| rule.label.as_str()).collect();
    assert_eq!(rules, ["k8s.pod.uid", "k8s.pod.ip", "ip", "connection", "host.name"]);
    assert!(config.extract.has(Field::ContainerId) && config.extract.has(Field::ImageTag));
    assert!(!config.extract.has(Field::PodIp));
    assert_eq!(config.own.hold, Duration::from_secs(3));
    let waits = [0, 10, 300].map(|wait| config.remembers_for(Duration::from_secs(wait)).as_secs());
    assert_eq!(waits, [120, 120, 330], "a deleted pod is found for as long as data can stay in the pipeline");
}

#[test]
fn whoever_asks_for_one_generation_of_the_image_tag_gets_both() {
    for name in ["container.image.tag", "container.image.tags"] {
        let config = config(&format!("{{extract: {{metadata: [{name}]}}}}"));
        assert_eq!(config.extract.fields, [Field::ImageTag, Field::ImageTags]);
    }
}

#[test]
fn accepted_keys_without_effect_are_named_once_each() {
    let body = "{kube_api_qps: 5, kube_api_burst: 10, watch_sync_period: 5m}";
    assert_eq!(findings(body, Severity::Warning).len(), 3);
    assert!(findings(body, Severity::Error).is_empty());
}

#[test]
fn the_nodes_logs_are_looked_for_where_pods_of_one_node_are_watched_and_where_told() {
    let path = |body: &str| hub_cluster::spec(&config(body)).node_logs.map(|path| path.display().to_string());
    assert_eq!(path("{filter: {node: a}}").as_deref(), Some("/var/log"));
    assert_eq!(path("{}"), None);
    assert_eq!(path("{filter: {node: a}, podgate: {node_logs: off}}"), None);
    assert_eq!(path("{podgate: {node_logs: /host/log}}").as_deref(), Some("/host/log"));
    assert_eq!(path("{filter: {node: a}, podgate: {pods_file: pods.yaml}}"), None);
}
