//! The workloads of a manifest and their containers.

use std::fmt::Write as _;

use crate::cli::env::args::Args;
use crate::cli::env::block;
use crate::config::read::manifest::{ManifestObject, pod_spec, text_at};
use crate::core::node::Node;

pub struct Workload {
    pub kind: String,
    pub name: String,
    api_version: String,
    containers: Vec<Container>,
    /// Those that run beside the others for as long as the pod (restartPolicy: Always).
    sidecars: Vec<Container>,
}

struct Container {
    name: String,
    /// Its OTEL_RESOURCE_ATTRIBUTES.
    attributes: Option<String>,
}

impl Workload {
    /// `None` for what runs no containers.
    pub fn of(object: &ManifestObject) -> Option<Workload> {
        let spec = pod_spec(object)?;
        let listed = |key: &str| spec.get(key).map(Node::items).unwrap_or_default().iter();
        let containers: Vec<Container> = listed("containers").filter_map(Container::of).collect();
        let stays = |node: &&Node| text_at(node, &["restartPolicy"]) == Some("Always");
        let sidecars = listed("initContainers").filter(stays).filter_map(Container::of).collect();
        let (kind, name) = (object.kind.clone(), object.name.clone());
        let api_version = text_at(&object.node, &["apiVersion"]).unwrap_or_default().to_owned();
        (!containers.is_empty()).then_some(Workload { kind, name, api_version, containers, sidecars })
    }

    /// A strategic merge patch: lists join by name.
    pub fn patch(&self, args: &Args) -> String {
        let (version, kind, name) = (&self.api_version, &self.kind, block::quoted(&self.name));
        let mut yaml = format!("apiVersion: {version}\nkind: {kind}\nmetadata:\n  name: {name}\nspec:\n");
        let steps: &[&str] = match self.kind.as_str() {
            "Pod" => &[],
            "CronJob" => &["jobTemplate", "spec", "template", "spec"],
            _ => &["template", "spec"],
        };
        for (depth, step) in steps.iter().enumerate() {
            let _ = writeln!(yaml, "{}{step}:", "  ".repeat(depth + 1));
        }
        let indent = 2 * (steps.len() + 1);
        for (key, containers) in [("containers", &self.containers), ("initContainers", &self.sidecars)] {
            if containers.is_empty() {
                continue;
            }
            let _ = writeln!(yaml, "{}{key}:", " ".repeat(indent));
            for container in containers {
                let _ = writeln!(yaml, "{}- name: {}", " ".repeat(indent + 2), block::quoted(&container.name));
                yaml.push_str(&block::variables(args, &container.name, container.attributes.as_deref(), indent + 4));
            }
        }
        yaml
    }
}

impl Container {
    fn of(node: &Node) -> Option<Container> {
        let name = text_at(node, &["name"])?.to_owned();
        let variables = node.get("env").map(Node::items).unwrap_or_default();
        let attributes =
            variables.iter().find(|variable| text_at(variable, &["name"]) == Some("OTEL_RESOURCE_ATTRIBUTES"));
        let attributes = attributes.and_then(|variable| text_at(variable, &["value"])).map(str::to_owned);
        Some(Container { name, attributes })
    }
}
