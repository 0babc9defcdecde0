//! Kubernetes manifests as sources: the configuration in a ConfigMap or an OpenTelemetryCollector resource, and the
//! variables that a pod spec beside it sets.
//!
//! What is found keeps its lines and columns of the file: everything around it is blanked out, so that a finding points at
//! the manifest, and nothing of the manifest's own is shown. Reads text only; which components exist is not known here.

use std::collections::BTreeMap;

use crate::config::read::yaml;
use crate::core::diagnostic::Diagnostics;
use crate::core::node::{Node, SourceId, Value};

/// Documents of a file that are looked at.
const DOCUMENTS_MAX: usize = 256;
/// A block scalar's text begins this near to where its key stands.
const HEAD_LINES_MAX: usize = 3;

/// One object of a manifest.
#[derive(Clone, Debug)]
pub struct ManifestObject {
    pub kind: String,
    pub name: String,
    pub node: Node,
    /// Lines of the file before its document.
    lines_before: usize,
}

/// A configuration that was found in a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestConfig {
    /// In its place among blank lines, or by itself when the manifest writes it in another way than line by line.
    pub text: String,
    /// The key of the ConfigMap, or `spec.config`.
    pub key: String,
    /// False: lines and columns are those of the text alone.
    pub in_place: bool,
}

/// The objects of a manifest; `None` when the text is none: a Collector's configuration has neither `apiVersion` nor `kind`.
pub fn objects(text: &str) -> Option<Vec<ManifestObject>> {
    if !text.contains("apiVersion") || !text.contains("kind") {
        return None;
    }
    let mut found = Vec::new();
    for (lines_before, document) in documents(text).into_iter().take(DOCUMENTS_MAX) {
        // Faults of a manifest are the cluster's to tell; what is no YAML is read the usual way, which tells them.
        let node = yaml::parse(&document, SourceId::default(), &Diagnostics::default()).ok()?;
        let items = node.get("items").filter(|_| text_at(&node, &["kind"]).is_some_and(|kind| kind.ends_with("List")));
        match items {
            Some(items) => found.extend(items.items().iter().filter_map(|item| object(item, lines_before))),
            None => found.extend(object(&node, lines_before)),
        }
    }
    (!found.is_empty()).then_some(found)
}

fn object(node: &Node, lines_before: usize) -> Option<ManifestObject> {
    text_at(node, &["apiVersion"])?;
    let kind = text_at(node, &["kind"])?.to_owned();
    let name = text_at(node, &["metadata", "name"]).unwrap_or_default().to_owned();
    Some(ManifestObject { kind, name, node: node.clone(), lines_before })
}

/// The documents between lines of `---`, each with the number of lines before it.
fn documents(text: &str) -> Vec<(usize, String)> {
    let mut all = vec![(0, String::new())];
    for (at, line) in text.lines().enumerate() {
        if line == "---" || line.starts_with("--- ") {
            all.push((at + 1, String::new()));
        } else if let Some((_, document)) = all.last_mut() {
            document.push_str(line);
            document.push('\n');
        }
    }
    all.retain(|(_, document)| document.lines().any(|line| !line.trim().is_empty() && !line.starts_with('#')));
    all
}

/// The value below these keys.
pub fn at<'a>(node: &'a Node, path: &[&str]) -> Option<&'a Node> {
    path.iter().try_fold(node, |node, key| node.get(key))
}

/// The text below these keys.
pub fn text_at<'a>(node: &'a Node, path: &[&str]) -> Option<&'a str> {
    match &at(node, path)?.value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

/// The configuration of a manifest. `key` chooses one of a ConfigMap's; without it there has to be exactly one that is a
/// whole configuration. The error is a sentence.
pub fn configuration(text: &str, objects: &[ManifestObject], key: Option<&str>) -> Result<ManifestConfig, String> {
    let mut found = Vec::new();
    for object in objects {
        match object.kind.as_str() {
            "ConfigMap" => {
                for entry in at(&object.node, &["data"]).map(Node::entries).unwrap_or_default() {
                    let Value::String(body) = &entry.value.value else { continue };
                    let is_meant = key.map_or_else(|| is_configuration(body), |key| key == entry.key);
                    if is_meant {
                        found.push(of_text(text, object, &entry.value, &entry.key, body));
                    }
                }
            }
            "OpenTelemetryCollector" => found.extend(of_collector(text, object)?),
            _ => {}
        }
    }
    let keys: Vec<String> = found.iter().map(|found| found.key.clone()).collect();
    match (found.len(), found.pop(), key) {
        (1, Some(found), _) => Ok(found),
        (0, _, Some(key)) => Err(format!("no ConfigMap of this manifest has the key {key:?}")),
        (0, ..) => {
            Err("this manifest has no ConfigMap with a Collector's configuration and no OpenTelemetryCollector"
                .to_owned())
        }
        _ => Err(format!("this manifest has several configurations; choose one with FILE#KEY: {}", keys.join(", "))),
    }
}

fn is_configuration(text: &str) -> bool {
    let node = yaml::parse(text, SourceId::default(), &Diagnostics::default());
    node.is_ok_and(|node| node.get("service").is_some() && node.get("receivers").is_some())
}

fn of_collector(text: &str, object: &ManifestObject) -> Result<Option<ManifestConfig>, String> {
    let Some(config) = at(&object.node, &["spec", "config"]) else { return Ok(None) };
    match &config.value {
        Value::String(body) => Ok(Some(of_text(text, object, config, "spec.config", body))),
        Value::Map(entries) => {
            let first = entries.first().map(|entry| (&entry.key, entry.key_place));
            let Some((key, place)) = first else { return Err("spec.config is empty".to_owned()) };
            let (line, indent) = (object.lines_before + place.line as usize, place.column as usize - 1);
            let written = text.lines().nth(line - 1).unwrap_or_default();
            if !written.get(..indent).is_some_and(|before| before.trim().is_empty()) {
                return Err(format!(
                    "spec.config stands within brackets, before {key:?}; print it with kubectl get -o yaml"
                ));
            }
            Ok(Some(ManifestConfig { text: cut(text, line, indent), key: "spec.config".to_owned(), in_place: true }))
        }
        _ => Err(format!("spec.config is {}", config.kind())),
    }
}

/// A configuration that the manifest holds as a text.
fn of_text(text: &str, object: &ManifestObject, node: &Node, key: &str, body: &str) -> ManifestConfig {
    let first = body.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let from = object.lines_before + node.place.line as usize;
    let lines = text.lines().enumerate().skip(from.saturating_sub(1)).take(HEAD_LINES_MAX);
    let begin = lines.map(|(at, line)| (at + 1, line)).find(|(_, line)| line.trim() == first.trim());
    let in_place = begin.and_then(|(number, line)| {
        let indent = line.len().checked_sub(first.trim_end().len())?;
        let cut = cut(text, number, indent);
        let same = |(cut, plain): (&str, &str)| cut.get(indent..).unwrap_or_default().trim_end() == plain.trim_end();
        let (kept, plain) = (cut.lines().skip(number - 1), body.lines().skip_while(|line| line.trim().is_empty()));
        kept.zip(plain).all(same).then_some(cut)
    });
    let key = key.to_owned();
    match in_place {
        Some(text) => ManifestConfig { text, key, in_place: true },
        None => ManifestConfig { text: body.to_owned(), key, in_place: false },
    }
}

/// The block that begins in this line (from 1) and is indented so far or further, every other line blank.
fn cut(text: &str, line: usize, indent: usize) -> String {
    let mut kept = "\n".repeat(line - 1);
    for line in text.lines().skip(line - 1) {
        let content = line.trim_start_matches(' ');
        let belongs = content.is_empty() || line.len() - content.len() >= indent;
        if belongs {
            kept.push_str(line);
        } else if !content.starts_with('#') {
            break;
        }
        // A comment may stand further to the left without ending the block.
        kept.push('\n');
    }
    kept
}

/// Where the pod template of a workload stands.
pub fn pod_spec(object: &ManifestObject) -> Option<&Node> {
    let path: &[&str] = match object.kind.as_str() {
        "Pod" => &["spec"],
        "CronJob" => &["spec", "jobTemplate", "spec", "template", "spec"],
        "Deployment" | "DaemonSet" | "StatefulSet" | "ReplicaSet" | "Job" => &["spec", "template", "spec"],
        _ => return None,
    };
    at(&object.node, path)
}

/// What the containers of a manifest would find in their environment; what only the cluster knows is a stand-in.
pub fn environment(objects: &[ManifestObject]) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for object in objects {
        let spec = if object.kind == "OpenTelemetryCollector" { at(&object.node, &["spec"]) } else { pod_spec(object) };
        let Some(spec) = spec else { continue };
        let containers =
            ["containers", "initContainers"].into_iter().flat_map(|key| spec.get(key)).flat_map(Node::items);
        for owner in containers.chain([spec]) {
            for variable in owner.get("env").map(Node::items).unwrap_or_default() {
                let Some(name) = text_at(variable, &["name"]) else { continue };
                all.insert(name.to_owned(), stand_in(variable));
            }
        }
    }
    all
}

fn stand_in(variable: &Node) -> String {
    if let Some(value) = text_at(variable, &["value"]) {
        return value.to_owned();
    }
    // Addresses of a range that is for documentation (RFC 5737).
    match text_at(variable, &["valueFrom", "fieldRef", "fieldPath"]) {
        Some("status.podIP") => "192.0.2.1".to_owned(),
        Some("status.hostIP") => "192.0.2.2".to_owned(),
        Some(path) => path.replace(['.', '\'', '[', ']', '/'], "-"),
        None => "from-the-cluster".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: p\ndata:\n  note: hello\n  relay: |\n    receivers:\n      otlp:\n\n    service: {}\n---\napiVersion: apps/v1\nkind: DaemonSet\nspec: {template: {spec: {containers: [{name: c, env: [{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}, {name: X, value: y}]}]}}}\n";

    fn found(text: &str, key: Option<&str>) -> Result<ManifestConfig, String> {
        configuration(text, &objects(text).expect("a manifest"), key)
    }

    #[test]
    fn a_configmaps_configuration_keeps_its_lines_and_columns() {
        let found = found(MANIFEST, None).expect("one");
        let lines: Vec<&str> = found.text.lines().collect();
        assert_eq!((lines.len(), lines[11], lines[14]), (15, "    receivers:", "    service: {}"));
        assert!(lines[..11].iter().all(|line| line.is_empty()) && found.in_place && found.key == "relay");
    }

    #[test]
    fn a_resource_of_the_operator_may_hold_it_as_a_map_or_as_a_text() {
        let head = "apiVersion: opentelemetry.io/v1beta1\nkind: OpenTelemetryCollector\nmetadata: {name: c}\nspec:\n";
        let as_map = format!(
            "{head}  mode: daemonset\n  config:\n    receivers: {{}}\n# a comment\n    service: {{}}\n  replicas: 1\n"
        );
        assert_eq!(found(&as_map, None).expect("one").text, "\n\n\n\n\n\n    receivers: {}\n\n    service: {}\n");
        let as_text = format!("{head}  config: |-\n    receivers: {{}}\n    service: {{}}\n");
        assert_eq!(found(&as_text, None).expect("one").text, "\n\n\n\n\n    receivers: {}\n    service: {}\n");
        let flow = format!("{head}  config: {{receivers: {{}}}}\n");
        assert!(found(&flow, None).unwrap_err().contains("-o yaml"));
    }

    #[test]
    fn a_text_that_is_not_written_line_by_line_is_read_by_itself() {
        let text =
            "{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"data\": {\"r\": \"receivers: {}\\nservice: {}\\n\"}}";
        let found = found(text, None).expect("one");
        assert_eq!((found.text.as_str(), found.in_place), ("receivers: {}\nservice: {}\n", false));
    }

    #[test]
    fn what_is_meant_has_to_be_plain() {
        let two = MANIFEST.replace("note: hello", "second: |\n    receivers: {}\n    service: {}");
        assert!(found(&two, None).unwrap_err().ends_with("FILE#KEY: second, relay"));
        assert_eq!(found(&two, Some("relay")).expect("chosen").key, "relay");
        assert!(found(MANIFEST, Some("other")).unwrap_err().contains("\"other\""));
        assert!(found("apiVersion: v1\nkind: Secret\n", None).unwrap_err().contains("no ConfigMap"));
        assert!(objects("receivers: {}\n").is_none() && objects("apiVersion: [\nkind").is_none());
    }

    #[test]
    fn variables_of_the_pod_spec_are_stood_in_for() {
        let all = environment(&objects(MANIFEST).expect("a manifest"));
        assert_eq!(
            all.into_iter().collect::<Vec<_>>(),
            [("IP".to_owned(), "192.0.2.1".to_owned()), ("X".to_owned(), "y".to_owned())]
        );
    }
}
