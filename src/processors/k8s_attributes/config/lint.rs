//! Configurations that are legal and almost never meant: rules that can find nothing, keys that are not read.

use super::{ApiAuth, AssociationSource, Config, Field, Hint, KeyWanted};
use crate::config::check::Section;
use crate::core::diagnostic::code;
use crate::kube::selection::FIELDS;

/// Sources that find a pod whatever is extracted.
const ALWAYS: [&str; 8] = [
    "k8s.pod.uid",
    "k8s.pod.ip",
    "ip",
    "host.name",
    "container.id",
    "k8s.pod.name",
    "k8s.namespace.name",
    "k8s.node.name",
];

/// Sources each of which finds one pod at most, so that a rule which asks for more finds no other.
const UNIQUE: [&str; 5] = ["k8s.pod.uid", "k8s.pod.ip", "ip", "host.name", "container.id"];

/// Fields by which an API server selects pods (k8s.io/kubernetes, pkg/apis/core/v1, pod field labels).
const SELECTABLE: [&str; 11] = [
    "metadata.name",
    "metadata.namespace",
    "spec.nodeName",
    "spec.restartPolicy",
    "spec.schedulerName",
    "spec.serviceAccountName",
    "spec.hostNetwork",
    "status.phase",
    "status.podIP",
    "status.podIPs",
    "status.nominatedNodeName",
];

/// Written with the container or its run: the same in many pods, so no pod is found by it.
fn is_container_level(name: &str) -> bool {
    name.starts_with("container.") || name.starts_with("k8s.container.")
}

pub(super) fn lint(body: &Section<'_>, config: &Config) {
    if config.passthrough {
        for key in ["extract", "pod_association", "filter", "exclude", "wait_for_metadata", "wait_for_metadata_timeout"]
        {
            body.without_effect(key, "`passthrough` only writes the sender's address as k8s.pod.ip");
        }
        return;
    }
    if config.wait_for_metadata.is_none() {
        body.without_effect("wait_for_metadata_timeout", "nothing waits without `wait_for_metadata: true`");
    }
    if config.auth == ApiAuth::None && config.own.pods_file.is_some() && config.own.api_server.is_some() {
        own(body, |own| own.without_effect("api_server", "`pods_file` takes the place of an API server"));
    }
    rules(body, config);
    filters(body, config);
    hints(body, config);
}

fn own(body: &Section<'_>, say: impl FnOnce(&Section<'_>)) {
    if let Some(own) = body.section("podgate") {
        say(&own);
    }
}

fn hints(body: &Section<'_>, config: &Config) {
    let why = if config.own.hint == Hint::Ignore {
        "with `hint: ignore` the restart count is not used"
    } else if !config.extract.has(Field::ContainerId) {
        "the run is looked for only when container.id is extracted"
    } else {
        return;
    };
    own(body, |own| own.without_effect("restart_count", why));
}

fn rules(body: &Section<'_>, config: &Config) {
    let items = body.list("pod_association").unwrap_or_default();
    let path = body.child_path("pod_association");
    for (at, (item, rule)) in items.iter().zip(&config.rules).enumerate() {
        let section = Section::new(item, format!("{path}::{at}"), body.diagnostics());
        // A container's name narrows a rule that names a pod, and finds none alone.
        let narrows =
            |source: &AssociationSource| source.name() == "k8s.container.name" && rule.sources.iter().any(names_pods);
        let impossible = rule.sources.iter().find(|source| !narrows(source) && !can_find(source, config));
        if let Some(source) = impossible {
            let name = source.name();
            let (why, help) = if is_container_level(name) {
                (
                    format!("{name} is the same in many pods"),
                    "remove it: the container is chosen by k8s.container.name anyway, once the pod is found",
                )
            } else {
                (
                    format!("{name} is not extracted"),
                    "add it to `extract`, by metadata, label or annotation, or remove it from the rule",
                )
            };
            section.warn("sources", code::LINT, format!("this rule can never find a pod: {why}"), Some(help));
            continue;
        }
        let before = config.rules[..at].iter().find(|earlier| shadows(&earlier.sources, &rule.sources));
        if let Some(earlier) = before {
            let message = format!("this rule can never find what `{}` before it did not", earlier.label);
            section.warn("sources", code::LINT, message, Some("put the rule that asks for more first"));
        }
    }
}

fn names_pods(source: &AssociationSource) -> bool {
    *source == AssociationSource::Connection || UNIQUE.contains(&source.name()) || source.name() == "k8s.pod.name"
}

fn can_find(source: &AssociationSource, config: &Config) -> bool {
    let AssociationSource::Attribute(name) = source else { return true };
    let extract = &config.extract;
    if ALWAYS.contains(&name.as_str()) || extract.otel_annotations {
        return true;
    }
    if is_container_level(name) {
        return false;
    }
    let mut rules = extract.labels.iter().chain(&extract.annotations);
    extract.fields.iter().any(|field| field.name() == name)
        || rules.any(|rule| match &rule.wanted {
            KeyWanted::Exact(key) => rule.names_for(key).any(|known| known == *name),
            // What captures make of a key is not known before it is seen.
            KeyWanted::Pattern(_) => {
                let older = rule.older_prefix.as_ref().is_some_and(|prefix| name.starts_with(prefix));
                let newer = !rule.prefix.is_empty() && name.starts_with(&rule.prefix);
                !rule.tag_name.is_empty() || older || newer
            }
        })
}

/// Whatever `later` could find, `earlier` has found before.
fn shadows(earlier: &[AssociationSource], later: &[AssociationSource]) -> bool {
    let unique =
        |source: &AssociationSource| *source == AssociationSource::Connection || UNIQUE.contains(&source.name());
    earlier.len() < later.len() && earlier.iter().all(|source| later.contains(source)) && earlier.iter().any(unique)
}

fn filters(body: &Section<'_>, config: &Config) {
    let Some(filter) = body.section("filter") else { return };
    if filter.node("node_from_env_var").is_some() {
        filter.without_effect("node", "`node_from_env_var` names the node");
    }
    let path = filter.child_path("fields");
    for (at, item) in filter.list("fields").unwrap_or_default().iter().enumerate() {
        let field = Section::new(item, format!("{path}::{at}"), body.diagnostics());
        let key = field.string("key");
        if config.own.pods_file.is_some() && key.as_ref().is_some_and(|key| !FIELDS.contains(&key.as_str())) {
            field.without_effect("key", "pods of a file are not selected by this field");
            continue;
        }
        let Some(key) = key.filter(|key| !SELECTABLE.contains(&key.as_str())) else { continue };
        field.warn(
            "key",
            code::LINT,
            format!("API servers do not select pods by {key} and refuse the watch"),
            Some("use a label, or one of metadata.name, metadata.namespace, spec.nodeName, spec.serviceAccountName, status.phase"),
        );
    }
}
