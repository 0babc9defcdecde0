//! What is printed, read back as YAML.

use super::*;
use crate::config::read::yaml;
use crate::core::diagnostic::Diagnostics;
use crate::core::node::{Node, SourceId};

fn args(mode: EndpointMode) -> Args {
    Args {
        manifest: None,
        mode,
        service: "podgate.podgate.svc".to_owned(),
        container: "app".to_owned(),
        ipv6: false,
        instrumentation: false,
    }
}

fn read(text: &str) -> Node {
    let diagnostics = Diagnostics::default();
    let node = yaml::parse(text, SourceId::default(), &diagnostics).unwrap_or_else(|fault| panic!("{fault:?}\n{text}"));
    assert!(diagnostics.is_empty(), "{diagnostics:?}\n{text}");
    node
}

/// Name and value of each variable in order; of the downward API the field's path.
fn variables(container: &Node) -> Vec<(String, String)> {
    let text = |node: &Node, path: &[&str]| manifest::text_at(node, path).map(str::to_owned);
    let all = container.get("env").map(Node::items).unwrap_or_default().iter();
    let pair = |variable: &Node| {
        let value = text(variable, &["value"]).or(text(variable, &["valueFrom", "fieldRef", "fieldPath"]));
        (text(variable, &["name"]).expect("a name"), value.expect("a value"))
    };
    all.map(pair).collect()
}

fn endpoint_of(variables: &[(String, String)]) -> &str {
    variables.iter().find(|(name, _)| name == "OTEL_EXPORTER_OTLP_ENDPOINT").map_or("", |(_, value)| value)
}

/// Every `$(X)` is a variable that is written above.
fn assert_resolvable(variables: &[(String, String)]) {
    for (at, (name, value)) in variables.iter().enumerate() {
        for used in value.split("$(").skip(1).filter_map(|rest| rest.split(')').next()) {
            assert!(variables[..at].iter().any(|(name, _)| name == used), "{name} uses {used}: {variables:?}");
        }
    }
}

#[test]
fn the_block_says_where_podgate_is_and_who_the_container_is() {
    for (mode, ipv6, endpoint) in [
        (EndpointMode::Hostport, false, "http://$(NODE_IP):4317"),
        (EndpointMode::Hostport, true, "http://[$(NODE_IP)]:4317"),
        (EndpointMode::Service, false, "http://podgate.podgate.svc:4317"),
        (EndpointMode::Sidecar, false, "http://localhost:4317"),
    ] {
        let args = Args { ipv6, ..args(mode) };
        let variables = variables(&read(&block::variables(&args, "app", None, 0)));
        assert_eq!(endpoint_of(&variables), endpoint);
        assert_resolvable(&variables);
        let attributes =
            ("OTEL_RESOURCE_ATTRIBUTES".to_owned(), "k8s.pod.uid=$(POD_UID),k8s.container.name=app".to_owned());
        assert!(variables.contains(&attributes), "{variables:?}");
        assert_eq!(variables.iter().any(|(_, value)| value == "status.hostIP"), mode == EndpointMode::Hostport);
    }
}

const WORKLOADS: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: checkout}
spec:
  template:
    spec:
      initContainers:
        - {name: migrate}
        - {name: proxy, restartPolicy: Always}
      containers:
        - name: app
          env:
            - {name: OTEL_RESOURCE_ATTRIBUTES, value: "service.version=1.2,"}
        - name: "odd, name"
---
apiVersion: v1
kind: Service
metadata: {name: checkout}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: "on: time"}
spec: {jobTemplate: {spec: {template: {spec: {containers: [{name: job}]}}}}}
---
apiVersion: v1
kind: Pod
metadata: {name: alone}
spec: {containers: [{name: one}]}
"#;

#[test]
fn a_patch_reaches_every_long_lived_container_of_every_workload() {
    let kustomization = read(&patch(&args(EndpointMode::Hostport), "deploy/shop.yaml", WORKLOADS).expect("workloads"));
    assert_eq!(manifest::text_at(&kustomization, &["kind"]), Some("Kustomization"));
    let patches = kustomization.get("patches").map(Node::items).unwrap_or_default();
    let mut seen = Vec::new();
    for item in patches {
        let target = manifest::text_at(item, &["target", "name"]).expect("a target").to_owned();
        let body = read(manifest::text_at(item, &["patch"]).expect("a patch"));
        assert_eq!(manifest::text_at(&body, &["metadata", "name"]), Some(target.as_str()));
        let object = manifest::objects(manifest::text_at(item, &["patch"]).expect("a patch")).expect("an object");
        let spec = manifest::pod_spec(&object[0]).expect("containers stand where the kind has them");
        for key in ["containers", "initContainers"] {
            for container in spec.get(key).map(Node::items).unwrap_or_default() {
                let variables = variables(container);
                assert_resolvable(&variables);
                assert!(endpoint_of(&variables).starts_with("http://"), "{variables:?}");
                let name = manifest::text_at(container, &["name"]).expect("a name");
                seen.push(format!("{target}/{name}: {}", variables.last().map_or("", |(_, value)| value)));
            }
        }
    }
    assert_eq!(
        seen,
        [
            "checkout/app: service.version=1.2,k8s.pod.uid=$(POD_UID),k8s.container.name=app",
            "checkout/odd, name: k8s.pod.uid=$(POD_UID),k8s.container.name=odd%2C%20name",
            "checkout/proxy: k8s.pod.uid=$(POD_UID),k8s.container.name=proxy",
            "on: time/job: k8s.pod.uid=$(POD_UID),k8s.container.name=job",
            "alone/one: k8s.pod.uid=$(POD_UID),k8s.container.name=one",
        ]
    );
}

#[test]
fn what_has_no_containers_is_refused_with_a_sentence() {
    let refused = |text: &str| patch(&args(EndpointMode::Hostport), "x.yaml", text).expect_err("refused");
    assert!(refused("receivers: {}\n").contains("not a Kubernetes manifest"));
    assert!(refused("apiVersion: v1\nkind: Service\nmetadata: {name: x}\n").contains("Deployment"));
}

#[test]
fn the_operators_resource_sends_to_podgate_and_names_the_pods_uid() {
    for mode in [EndpointMode::Hostport, EndpointMode::Service, EndpointMode::Sidecar] {
        let resource = read(&instrumentation(&args(mode)));
        assert_eq!(manifest::text_at(&resource, &["kind"]), Some("Instrumentation"));
        let endpoint = manifest::text_at(&resource, &["spec", "exporter", "endpoint"]).expect("an endpoint");
        assert!(endpoint.starts_with("http://"), "{endpoint}");
        let uid = manifest::at(&resource, &["spec", "resource", "addK8sUIDAttributes"]).expect("asked for");
        assert_eq!(uid.value, crate::core::node::Value::Bool(true));
        let variables = manifest::at(&resource, &["spec"]).map(variables).unwrap_or_default();
        assert_eq!(endpoint.contains("$(NODE_IP)"), variables.iter().any(|(name, _)| name == "NODE_IP"));
    }
}
