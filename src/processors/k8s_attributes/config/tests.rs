//! Configuration: what is refused with its place, what is only warned of, and what defaults are filled in.

use super::super::tests::{checked, config};
use super::*;
use crate::core::diagnostic::Severity;

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
        ("{pod_association: [{from: connection}]}", "pod_association::0::from", "stand in a list"),
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
fn a_rule_of_container_attributes_alone_is_accepted_with_a_warning() {
    let body = "{pod_association: [{sources: [{from: resource_attribute, name: k8s.container.name}]}]}";
    let found = findings(body, Severity::Warning);
    assert!(found.len() == 1 && found[0].1.contains("can never find a pod"), "{found:?}");
    assert_eq!(config(body).rules.len(), 1);
}

#[test]
fn an_unset_node_variable_is_explained_with_the_cure() {
    let (config, found) = checked("{filter: {node_from_env_var: PODGATE_NO_SUCH_VARIABLE}}");
    assert!(config.is_none());
    let help = found[0].help.as_deref().expect("a cure");
    assert!(help.contains("name: PODGATE_NO_SUCH_VARIABLE") && help.contains("spec.nodeName"), "{help}");
}

#[test]
fn the_environment_is_read_when_the_configuration_is_checked() {
    let expected = std::env::var("PATH").expect("every test has a path");
    assert_eq!(config("{filter: {node_from_env_var: PATH}}").filter.node, Some(expected));
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
    assert_eq!((config.grace, config.own.hold), (Duration::from_secs(120), Duration::from_secs(3)));
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
