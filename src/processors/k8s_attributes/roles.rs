//! What a container is there for: to work, to carry others' traffic or telemetry, or to help one that does.
//!
//! By its name and its image, and by a list in the configuration. What a relay sends was made by others, so neither its
//! address nor its connections say who made it.

use crate::kube::pod::{Container, ContainerKind, Pod};

/// Proxies of service meshes. The telemetry that they send over their own connections is their own.
const MESH: [&str; 8] = [
    "istio-proxy",
    "linkerd-proxy",
    "envoy",
    "envoy-sidecar",
    "consul-dataplane",
    "kuma-sidecar",
    "kgateway-proxy",
    "cilium-envoy",
];

/// Containers that pass on telemetry, or a node's traffic, by the names that charts and operators give them.
const RELAY_NAMES: [&str; 20] = [
    "podgate",
    "ztunnel",
    "otc-container",
    "otel-collector",
    "opentelemetry-collector",
    "otel-agent",
    "otelcol",
    "otelcol-contrib",
    "collector",
    "edot-collector",
    "elastic-agent",
    "alloy",
    "grafana-agent",
    "fluent-bit",
    "fluentbit",
    "fluentd",
    "vector",
    "telegraf",
    "tempo-distributor",
    "jaeger-agent",
];

/// The same by the last part of the image's name, for containers that somebody named otherwise.
const RELAY_IMAGES: [&str; 18] = [
    "podgate",
    "opentelemetry-collector",
    "opentelemetry-collector-contrib",
    "opentelemetry-collector-k8s",
    "otelcol",
    "otelcol-contrib",
    "splunk-otel-collector",
    "aws-otel-collector",
    "elastic-otel-collector",
    "edot-collector",
    "elastic-agent",
    "alloy",
    "grafana-agent",
    "fluent-bit",
    "fluentd",
    "vector",
    "telegraf",
    "jaeger-agent",
];

/// Whole names where the last part alone says nothing.
const RELAY_REPOSITORIES: [&str; 1] = ["grafana/agent"];

/// Sidecars that reload configuration: they send nothing themselves.
const HELPERS: [&str; 6] =
    ["config-reloader", "configmap-reload", "config-reload", "reloader", "prometheus-config-reloader", "k8s-sidecar"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerRole {
    Worker,
    /// Carries other containers' traffic; its own telemetry is its own.
    Mesh,
    /// Passes on what others made.
    Relay,
    Helper,
}

impl ContainerRole {
    /// `relays`: further names of containers, or last parts of their images' names.
    pub fn of(container: &Container, relays: &[String]) -> ContainerRole {
        let name = &*container.name;
        if MESH.contains(&name) {
            return ContainerRole::Mesh;
        }
        let (repository, image) = repository(&container.image);
        let listed = relays.iter().any(|relay| *relay == *name || *relay == *image);
        let ends = |known: &&str| {
            repository.strip_suffix(*known).is_some_and(|before| before.is_empty() || before.ends_with('/'))
        };
        if listed || RELAY_NAMES.contains(&name) || RELAY_IMAGES.contains(&image) || RELAY_REPOSITORIES.iter().any(ends)
        {
            return ContainerRole::Relay;
        }
        if HELPERS.contains(&name) || HELPERS.contains(&image) { ContainerRole::Helper } else { ContainerRole::Worker }
    }
}

/// The image's name without tag and digest, and its last part.
fn repository(reference: &str) -> (&str, &str) {
    let named = reference.split_once('@').map_or(reference, |(named, _)| named);
    let last = named.rfind('/').map_or(0, |slash| slash + 1);
    let end = named[last..].find(':').map_or(named.len(), |colon| last + colon);
    (&named[..end], &named[last..end])
}

/// The containers that live as long as their pod.
pub fn living(pod: &Pod) -> impl Iterator<Item = &Container> {
    pod.containers.iter().filter(|c| matches!(c.kind, ContainerKind::Regular | ContainerKind::Sidecar))
}

/// True for a pod that is there to forward (a collector, a node's mesh proxy, with or without helpers and a proxy of its
/// own): the data it sends is others'. A mesh gateway is not: the spans it sends are its own.
pub fn only_forwards(pod: &Pod, relays: &[String]) -> bool {
    let mut relay = false;
    for container in living(pod) {
        match ContainerRole::of(container, relays) {
            ContainerRole::Worker => return false,
            ContainerRole::Relay => relay = true,
            ContainerRole::Mesh | ContainerRole::Helper => {}
        }
    }
    relay
}

/// True when another container of the pod may have opened the connection on behalf of this one.
pub fn is_behind_proxy(pod: &Pod, container: &Container, relays: &[String]) -> bool {
    let carries =
        |other: &Container| matches!(ContainerRole::of(other, relays), ContainerRole::Mesh | ContainerRole::Relay);
    pod.containers.iter().any(|other| other.name != container.name && carries(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(name: &str, image: &str, relays: &[&str]) -> ContainerRole {
        let container = Container { name: name.into(), image: image.into(), kind: ContainerKind::Regular };
        let relays: Vec<String> = relays.iter().map(|relay| (*relay).to_owned()).collect();
        ContainerRole::of(&container, &relays)
    }

    #[test]
    fn a_role_is_told_by_name_image_or_the_configuration() {
        let table = [
            ("app", "registry:5000/shop/app:1.2", ContainerRole::Worker),
            ("alloy", "images.example.com/anything:1", ContainerRole::Relay),
            ("gateway", "docker.io/otel/opentelemetry-collector-contrib:0.161.0@sha256:ab", ContainerRole::Relay),
            ("gateway", "registry:5000/fluent/fluent-bit", ContainerRole::Relay),
            ("gateway", "ghcr.io/grafana/agent:v0.40", ContainerRole::Relay),
            ("gateway", "grafana/agent", ContainerRole::Relay),
            ("gateway", "shop/agent:1", ContainerRole::Worker),
            ("istio-proxy", "proxyv2:1", ContainerRole::Mesh),
            ("config-reloader", "x:1", ContainerRole::Helper),
            ("reload", "quay.io/prometheus-operator/prometheus-config-reloader:v1", ContainerRole::Helper),
            ("vectorizer", "vectorizer:1", ContainerRole::Worker),
        ];
        for (name, image, expected) in table {
            assert_eq!(role(name, image, &[]), expected, "{name} {image}");
        }
        assert_eq!(role("gateway", "shop/gateway:1", &["gateway"]), ContainerRole::Relay);
        assert_eq!(role("x", "shop/router:1", &["router"]), ContainerRole::Relay);
    }
}
