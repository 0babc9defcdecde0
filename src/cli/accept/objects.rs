//! The objects of a run, planned: podgate as the manifests ship it, a sink behind it, and what sends. Pure.
//!
//! Everything is in one namespace and has one label, so that deleting the namespace leaves nothing. podgate's configuration is
//! `manifests/base` with a second one over it that names the sink, and watches this namespace alone: no right beyond it.

use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::cli::accept::pods::{AwaitedRuns, PART, PodPurpose};
use crate::config::read::yaml;
use crate::core::diagnostic::Diagnostics;
use crate::core::node::{Node, SourceId, Value as Yaml};

/// On every object that is made; its value is the name of the namespace.
pub const LABEL: &str = "podgate.io/accept";
/// On the namespace: which run made it.
pub const RUN: &str = "podgate.io/accept-run";
/// The ConfigMap with the sink's tally, and its key.
pub const RESULTS: &str = "results";
pub const TALLY: &str = "tally";
/// Where the sink listens; its readiness too.
pub const SINK_PORT: u16 = 4318;

const SENDER: &str = "sender";
const BASE: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/base/config/base.yaml"));
const DAEMON_SET: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/manifests/base/daemonset.yaml"));
/// How long a container has to end after SIGTERM: senders flush what they have.
const GRACE_SECONDS: u32 = 10;
pub const WANTED: AwaitedRuns = AwaitedRuns { crashing: 2, rolling: 2 };

/// What the objects differ by.
#[derive(Clone, Debug)]
pub struct ObjectParts {
    pub namespace: String,
    /// Random, so that a namespace of the same name is not taken for ours.
    pub run: String,
    pub image: String,
    /// From the start of a crashing container to its crash.
    pub crash_after: Duration,
}

/// One object and the collection it is created in.
#[derive(Clone, Debug)]
pub struct PlannedObject {
    pub collection: String,
    pub body: Value,
}

impl PlannedObject {
    /// `DaemonSet podgate`, for messages.
    pub fn title(&self) -> String {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        format!("{} {}", text(&self.body["kind"]), text(&self.body["metadata"]["name"]))
    }
}

impl ObjectParts {
    pub fn namespace_path(&self) -> String {
        format!("/api/v1/namespaces/{}", self.namespace)
    }

    fn core(&self, resource: &str) -> String {
        format!("{}/{resource}", self.namespace_path())
    }

    fn group(&self, group: &str, resource: &str) -> String {
        format!("/apis/{group}/v1/namespaces/{}/{resource}", self.namespace)
    }

    pub fn results_path(&self) -> String {
        format!("{}/{RESULTS}", self.core("configmaps"))
    }

    pub fn events_path(&self) -> String {
        self.core("events?limit=200")
    }

    pub fn pods_path(&self) -> String {
        self.core("pods")
    }

    /// The Deployment's and the Job's own paths, which are patched.
    pub fn rolling_path(&self) -> String {
        format!("{}/{}", self.group("apps", "deployments"), PodPurpose::Rolling.name())
    }

    pub fn crashing_path(&self) -> String {
        format!("{}/{}", self.group("batch", "jobs"), PodPurpose::Crashing.name())
    }

    /// The first to be made and the last to go.
    pub fn home(&self) -> PlannedObject {
        let mut labels = json!({LABEL: self.namespace});
        for level in ["enforce", "warn"] {
            labels[format!("pod-security.kubernetes.io/{level}")] = json!("restricted");
        }
        let metadata = json!({"name": self.namespace, "labels": labels, "annotations": {RUN: self.run}});
        let body = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
        PlannedObject { collection: "/api/v1/namespaces".to_owned(), body }
    }

    /// In the order in which they are made.
    pub fn objects(&self) -> Vec<PlannedObject> {
        let mut all = self.accounts();
        all.extend(self.configurations());
        all.extend([self.service(PodPurpose::Podgate), self.service(PodPurpose::Sink), self.sink(), self.podgate()]);
        all.extend([self.crashing(), self.rolling()]);
        all
    }

    fn object(&self, collection: String, kind: [&str; 2], name: &str, rest: Value) -> PlannedObject {
        let mut body = json!({"apiVersion": kind[0], "kind": kind[1], "metadata": self.metadata(name)});
        merge(&mut body, rest);
        PlannedObject { collection, body }
    }

    fn metadata(&self, name: &str) -> Value {
        json!({"name": name, "labels": {LABEL: self.namespace}})
    }

    fn labels(&self, part: PodPurpose) -> Value {
        json!({LABEL: self.namespace, PART: part.name()})
    }

    /// Service accounts, what podgate may read and what the sink may write.
    fn accounts(&self) -> Vec<PlannedObject> {
        let rbac = "rbac.authorization.k8s.io";
        let rights = [
            (
                PodPurpose::Podgate.name(),
                json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]),
            ),
            (
                PodPurpose::Sink.name(),
                json!([{"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [RESULTS], "verbs": ["get", "patch"]}]),
            ),
        ];
        let account = |name: &str| {
            let rest = json!({"automountServiceAccountToken": name != SENDER});
            self.object(self.core("serviceaccounts"), ["v1", "ServiceAccount"], name, rest)
        };
        let mut all = vec![account(SENDER)];
        for (name, rules) in rights {
            let version = "rbac.authorization.k8s.io/v1";
            let bound = json!({
                "roleRef": {"apiGroup": rbac, "kind": "Role", "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": self.namespace}],
            });
            all.push(account(name));
            all.push(self.object(self.group(rbac, "roles"), [version, "Role"], name, json!({"rules": rules})));
            all.push(self.object(self.group(rbac, "rolebindings"), [version, "RoleBinding"], name, bound));
        }
        all
    }

    fn configurations(&self) -> [PlannedObject; 2] {
        let map = |name: &str, data: Value| {
            self.object(self.core("configmaps"), ["v1", "ConfigMap"], name, json!({"data": data}))
        };
        [map("podgate", json!({"base.yaml": BASE, "accept.yaml": self.overlay()})), map(RESULTS, json!({TALLY: ""}))]
    }

    /// What this run has over the base.
    pub fn overlay(&self) -> String {
        let namespace = &self.namespace;
        format!(
            "processors:\n  k8s_attributes:\n    filter:\n      namespace: {namespace}\n\
             exporters:\n  otlp_http/sink:\n    endpoint: http://sink.{namespace}.svc:{SINK_PORT}\n    compression: none\n\
             service:\n  pipelines:\n    traces: {{exporters: [otlp_http/sink]}}\n    metrics: {{exporters: [otlp_http/sink]}}\n    \
             logs: {{exporters: [otlp_http/sink]}}\n"
        )
    }

    fn service(&self, part: PodPurpose) -> PlannedObject {
        let mut spec = json!({"selector": self.labels(part), "ports": [{"name": "otlp", "port": SINK_PORT}]});
        if part == PodPurpose::Podgate {
            // As manifests/service: senders reach the podgate of their own node and no other.
            spec["internalTrafficPolicy"] = json!("Local");
        }
        self.object(self.core("services"), ["v1", "Service"], part.name(), json!({"spec": spec}))
    }

    /// The shape of manifests/base, without what is the whole cluster's (priority) and without tainted nodes.
    fn podgate(&self) -> PlannedObject {
        let mut body = plain(&yaml::parse(DAEMON_SET, SourceId::default(), &Diagnostics::default()));
        body["metadata"] = self.metadata("podgate");
        body["spec"]["selector"] = json!({"matchLabels": self.labels(PodPurpose::Podgate)});
        let template = &mut body["spec"]["template"];
        template["metadata"] = json!({"labels": self.labels(PodPurpose::Podgate)});
        let spec = &mut template["spec"];
        for key in ["priorityClassName", "tolerations"] {
            spec.as_object_mut().map(|spec| spec.remove(key));
        }
        spec["securityContext"] = security();
        let container = &mut spec["containers"][0];
        container["image"] = json!(self.image);
        container["args"] = json!(["--config=/conf/base.yaml", "--config=/conf/accept.yaml"]);
        container["terminationMessagePolicy"] = json!("FallbackToLogsOnError");
        PlannedObject { collection: self.group("apps", "daemonsets"), body }
    }

    fn sink(&self) -> PlannedObject {
        let mut spec = self.pod(
            "sink",
            "Always",
            json!(["accept", "sink", "--namespace", self.namespace, "--address", "$(MY_POD_IP)"]),
        );
        spec["containers"][0]["readinessProbe"] =
            json!({"httpGet": {"path": "/readyz", "port": SINK_PORT}, "periodSeconds": 1});
        let mut object = self.object(self.core("pods"), ["v1", "Pod"], "sink", json!({"spec": spec}));
        object.body["metadata"]["labels"] = self.labels(PodPurpose::Sink);
        object
    }

    fn crashing(&self) -> PlannedObject {
        let after = format!("{}ms", self.crash_after.as_millis());
        let spec = self.pod(SENDER, "OnFailure", json!(["accept", "sender", "--crash-after", after]));
        let job = json!({"spec": {
            // It never succeeds: the pods go on until the run is over.
            "parallelism": WANTED.crashing, "backoffLimit": 10_000, "template": self.template(PodPurpose::Crashing, spec),
        }});
        self.object(self.group("batch", "jobs"), ["batch/v1", "Job"], PodPurpose::Crashing.name(), job)
    }

    fn rolling(&self) -> PlannedObject {
        let spec = self.pod(SENDER, "Always", json!(["accept", "sender"]));
        let deployment = json!({"spec": {
            "replicas": WANTED.rolling, "selector": {"matchLabels": self.labels(PodPurpose::Rolling)},
            "template": self.template(PodPurpose::Rolling, spec),
        }});
        self.object(
            self.group("apps", "deployments"),
            ["apps/v1", "Deployment"],
            PodPurpose::Rolling.name(),
            deployment,
        )
    }

    fn template(&self, part: PodPurpose, spec: Value) -> Value {
        json!({"metadata": {"labels": self.labels(part)}, "spec": spec})
    }

    /// A pod of one container of the image, as the restricted Pod Security level wants it.
    fn pod(&self, account: &str, restart: &str, args: Value) -> Value {
        let field = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
        let name = if account == SENDER { SENDER } else { "sink" };
        let mut env = vec![field("POD_UID", "metadata.uid"), field("MY_POD_IP", "status.podIP")];
        if account == SENDER {
            // What `podgate env --mode service` prints, and the restart count that manifests have and nobody updates.
            let endpoint = format!("http://podgate.{}.svc:{SINK_PORT}", self.namespace);
            let known = "k8s.pod.uid=$(POD_UID),k8s.container.name=sender,k8s.container.restart_count=0";
            env.push(json!({"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": endpoint}));
            env.push(json!({"name": "OTEL_RESOURCE_ATTRIBUTES", "value": format!("service.name=accept,{known}")}));
        }
        json!({
            "serviceAccountName": account,
            "restartPolicy": restart,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "securityContext": security(),
            "containers": [{
                "name": name, "image": self.image, "args": args, "env": env,
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "64Mi"}},
                "securityContext": {
                    "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
                },
            }],
        })
    }
}

/// Without a user: the image has a number of its own, and OpenShift gives one of the namespace's range.
fn security() -> Value {
    json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}})
}

/// Merge patch: another template of the Deployment, which its controller rolls out.
pub fn rolled(generation: u32) -> Value {
    json!({"spec": {"template": {"metadata": {"annotations": {"podgate.io/generation": generation.to_string()}}}}})
}

/// Merge patches that end all senders.
pub fn no_replicas() -> Value {
    json!({"spec": {"replicas": 0}})
}

pub fn suspended() -> Value {
    json!({"spec": {"suspend": true}})
}

fn merge(into: &mut Value, from: Value) {
    if let (Some(into), Value::Object(from)) = (into.as_object_mut(), from) {
        into.extend(from);
    }
}

/// YAML as JSON; a fault, which the shipped manifest has none of, is null and refused by the API server.
fn plain<E>(node: &Result<Node, E>) -> Value {
    node.as_ref().map(plain_node).unwrap_or_default()
}

fn plain_node(node: &Node) -> Value {
    match &node.value {
        Yaml::Null => Value::Null,
        Yaml::Bool(value) => json!(value),
        Yaml::Int(value) => json!(value),
        Yaml::Float(value) => json!(value),
        Yaml::String(text) => json!(text),
        Yaml::List(items) => items.iter().map(plain_node).collect(),
        Yaml::Map(entries) => {
            let entries = entries.iter().map(|entry| (entry.key.clone(), plain_node(&entry.value)));
            Value::Object(entries.collect::<Map<String, Value>>())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::rbac;
    use crate::cli::sources::{self, ConfigArgs};
    use crate::core::stage::factory::Environment;

    fn stage() -> ObjectParts {
        ObjectParts {
            namespace: "podgate-accept-x".to_owned(),
            run: "r".to_owned(),
            image: "registry.example/podgate:1".to_owned(),
            crash_after: Duration::from_secs(9),
        }
    }

    fn named(title: &str) -> Value {
        let found = stage().objects().into_iter().find(|object| object.title() == title);
        found.unwrap_or_else(|| panic!("no {title}")).body
    }

    #[test]
    fn every_object_is_in_the_namespace_and_has_the_label_and_no_right_reaches_beyond() {
        let stage = stage();
        for object in stage.objects() {
            assert!(object.collection.contains("/namespaces/podgate-accept-x/"), "{}", object.title());
            assert_eq!(object.body["metadata"]["labels"][LABEL], "podgate-accept-x", "{}", object.title());
            assert!(!object.title().starts_with("Cluster"));
        }
        assert_eq!(stage.home().body["metadata"]["labels"][LABEL], "podgate-accept-x");
    }

    #[test]
    fn podgate_runs_as_the_base_has_it() {
        let shipped = plain(&yaml::parse(DAEMON_SET, SourceId::default(), &Diagnostics::default()));
        let (ours, base) = (named("DaemonSet podgate"), &shipped["spec"]["template"]["spec"]);
        let spec = &ours["spec"]["template"]["spec"];
        for key in ["livenessProbe", "readinessProbe", "env", "ports", "resources", "securityContext", "volumeMounts"] {
            assert!(!base["containers"][0][key].is_null());
            assert_eq!(spec["containers"][0][key], base["containers"][0][key], "{key}");
        }
        assert_eq!((&spec["volumes"], &spec["serviceAccountName"]), (&base["volumes"], &base["serviceAccountName"]));
        assert!(spec["priorityClassName"].is_null() && spec["containers"][0]["image"] == "registry.example/podgate:1");
    }

    /// Checked as `validate` does, with the variables of the pod.
    fn checked() -> sources::Checked {
        let config = [BASE.to_owned(), stage().overlay()].map(|text| format!("yaml:{text}")).into();
        let env = |name: &str| match name {
            "MY_POD_IP" => Some("10.0.0.7".to_owned()),
            "OTEL_K8S_NODE_NAME" => Some("node-1".to_owned()),
            "OTEL_K8S_NODE_IP" => Some("10.0.0.1".to_owned()),
            _ => None,
        };
        sources::check_with(&ConfigArgs { config, ..ConfigArgs::default() }, Environment::of(env))
    }

    #[test]
    fn the_configuration_is_valid_delivers_to_the_sink_alone_and_needs_what_the_role_grants() {
        let checked = checked();
        let plan = checked.plan.unwrap_or_else(|| panic!("{:?}", checked.findings));
        assert!(
            plan.pipelines
                .iter()
                .all(|pipeline| pipeline.exporters.iter().all(|id| id.to_string() == "otlp_http/sink"))
        );
        let access = rbac::access(&plan);
        let one = &access[0];
        assert_eq!((access.len(), one.namespaces.as_slice()), (1, ["podgate-accept-x".to_owned()].as_slice()));
        let rule = &named("Role podgate")["rules"][0];
        assert_eq!(rule["resources"], json!([one.resource]));
        assert_eq!(rule["verbs"], json!(one.verbs));
    }

    #[test]
    fn senders_know_what_an_sdk_knows_and_the_stale_count() {
        for title in ["Job crashing", "Deployment rolling"] {
            let body = named(title);
            let container = &body["spec"]["template"]["spec"]["containers"][0];
            let value = |name: &str| {
                let env = container["env"].as_array().expect("a list");
                env.iter().find(|one| one["name"] == name).expect(name)["value"].clone()
            };
            assert_eq!(value("OTEL_EXPORTER_OTLP_ENDPOINT"), "http://podgate.podgate-accept-x.svc:4318");
            assert!(value("OTEL_RESOURCE_ATTRIBUTES").as_str().expect("text").ends_with("restart_count=0"));
            assert_eq!(body["spec"]["template"]["spec"]["serviceAccountName"], SENDER);
        }
        assert_eq!(named("ServiceAccount sender")["automountServiceAccountToken"], false);
    }
}
