//! The JSON of pods and what belongs to them, as API server 1.35 writes it.

use serde_json::{Map, Value, json};

use crate::core::time::UnixNanos;
use crate::lab::api_double::played::{PlayedContainer, PlayedPod, PlayedRun, PublishedState};

const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// Whole seconds, as the API server normalises all times.
pub fn time(at: UnixNanos) -> Value {
    let seconds = i64::try_from(at.0 / 1_000_000_000).unwrap_or_default();
    jiff::Timestamp::from_second(seconds).map_or(Value::Null, |stamp| Value::String(stamp.to_string()))
}

pub fn pod(pod: &PlayedPod, version: u64) -> Value {
    let statuses: Vec<Value> = pod.containers.iter().map(container_status).collect();
    let containers: Vec<Value> =
        pod.containers.iter().map(|container| json!({"name": container.name, "image": container.image})).collect();
    let mut metadata = json!({
        "name": pod.name, "namespace": pod.namespace, "uid": pod.uid, "resourceVersion": version.to_string(),
        "creationTimestamp": time(pod.created), "labels": pod.labels, "annotations": pod.annotations,
    });
    if let Some(owner) = &pod.owner {
        metadata["ownerReferences"] = json!([{
            "apiVersion": owner.api_version, "kind": owner.kind, "name": owner.name, "uid": owner.uid,
            "controller": true, "blockOwnerDeletion": true,
        }]);
    }
    if let Some(deleted) = pod.deleting {
        metadata["deletionTimestamp"] = time(deleted);
    }
    let mut status = json!({ "phase": pod.phase, "startTime": time(pod.created), "hostIP": "10.0.0.1" });
    if pod.is_bound() {
        status["podIP"] = json!(pod.ip);
        status["podIPs"] = json!([{ "ip": pod.ip }]);
        status["containerStatuses"] = Value::Array(statuses);
    }
    json!({
        "kind": "Pod", "apiVersion": "v1", "metadata": metadata,
        "spec": { "nodeName": pod.node, "hostNetwork": pod.host_network, "containers": containers, "restartPolicy": "Always" },
        "status": status,
    })
}

/// What the kubelet writes of a container (pkg/kubelet/kubelet_pods.go, convertToAPIContainerStatuses).
fn container_status(container: &PlayedContainer) -> Value {
    let run = |number: usize| container.runs.get(number);
    let before = |number: usize| number.checked_sub(1).and_then(run);
    let (state, current, last) = match container.shown {
        PublishedState::Nothing => (json!({"waiting": {"reason": "ContainerCreating"}}), None, None),
        PublishedState::Running(number) => {
            let started = run(number).map_or(Value::Null, |run| time(run.started));
            (json!({"running": {"startedAt": started}}), run(number), before(number))
        }
        PublishedState::Terminated(number) => {
            let ended = run(number).map_or(Value::Null, terminated);
            (json!({"terminated": ended}), run(number), before(number))
        }
        // The dead one stands both as current and as last.
        PublishedState::BackOff(number) => {
            (json!({"waiting": {"reason": "CrashLoopBackOff"}}), run(number), run(number))
        }
        PublishedState::Created(number) => (json!({"waiting": {}}), run(number), before(number)),
    };
    let mut last_state = Map::new();
    if let Some(last) = last {
        last_state.insert("terminated".to_owned(), terminated(last));
    }
    let mut status = json!({
        "name": container.name, "image": container.image, "imageID": "", "state": state, "lastState": last_state,
        "restartCount": current.map_or(0, |run| run.number), "ready": matches!(container.shown, PublishedState::Running(_)),
    });
    if let Some(current) = current {
        status["containerID"] = json!(format!("containerd://{}", current.id));
        status["imageID"] =
            json!(format!("{}@sha256:{}", container.image.split(':').next().unwrap_or(""), "ab".repeat(32)));
    }
    status
}

fn terminated(run: &PlayedRun) -> Value {
    json!({
        "exitCode": 137, "reason": "Error", "startedAt": time(run.started),
        "finishedAt": run.ended.map_or(Value::Null, time), "containerID": format!("containerd://{}", run.id),
    })
}

/// A namespace, node, ReplicaSet or Deployment: metadata only.
pub fn related(kind: &str, name: &str, uid: &str, labels: Value) -> Value {
    json!({
        "kind": kind, "apiVersion": if matches!(kind, "ReplicaSet" | "Deployment") { "apps/v1" } else { "v1" },
        "metadata": { "name": name, "uid": uid, "resourceVersion": "1", "labels": labels },
    })
}

pub fn status(code: u16, reason: &str, message: &str) -> Value {
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    })
}

/// The end mark of initial events is an annotation; the object has no name and its containers are null.
pub fn bookmark(version: u64, initial_events_end: bool) -> Value {
    let mut metadata = json!({ "resourceVersion": version.to_string() });
    if initial_events_end {
        metadata["annotations"] = json!({ INITIAL_EVENTS_END: "true" });
    }
    json!({
        "type": "BOOKMARK",
        "object": { "kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": { "containers": null }, "status": {} },
    })
}
