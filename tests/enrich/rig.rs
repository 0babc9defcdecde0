//! The processor as a gateway builds it, over a pods file, with an end that keeps what arrives.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use podgate::core::data::budget::{Budget, Ticket};
use podgate::core::data::origin::{Origin, Transport};
use podgate::core::data::payload::{Envelope, Group, Payload, ScopeGroup, Signal};
use podgate::core::data::settlement::Share;
use podgate::core::stage::component::Component;
use podgate::core::stage::consumer::{Consumed, Consumer};
use podgate::core::stage::factory::Stage;
use podgate::core::stage::host::Host;
use podgate::core::time::UnixNanos;
use podgate::otlp::edit::Appender;
use podgate::otlp::write;
use podgate::processors::k8s_attributes::FACTORY;
use podgate::testing::check;
use podgate::testing::stage::stage_context;

pub struct Rig {
    pub consumer: Arc<dyn Consumer>,
    pub component: Arc<dyn Component>,
    pub host: Arc<Host>,
    pub end: Arc<End>,
}

/// Keeps payloads, or only counts them when told to forget.
#[derive(Default)]
pub struct End {
    pub kept: Mutex<Vec<Payload>>,
    pub forget: bool,
}

impl Consumer for End {
    fn consume(&self, payload: Payload) -> Consumed<'_> {
        if !self.forget {
            self.kept.lock().expect("not poisoned").push(payload);
        }
        Box::pin(std::future::ready(Ok(())))
    }
}

pub fn rig(body: &str, forget: bool) -> Rig {
    const PATH: &str = "processors::k8s_attributes";
    let plan = check::sound(PATH, body, FACTORY.check);
    let host = Host::new(Budget::unlimited());
    let end = Arc::new(End { forget, ..End::default() });
    match plan.build(stage_context(&host, PATH, Signal::Logs), end.clone()) {
        Stage::Consumer { consumer, component: Some(component) } => Rig { consumer, component, host, end },
        _ => panic!("the processor is a stage with a lifecycle"),
    }
}

/// A PodList of `count` pods as `kubectl get pods -o json` prints it.
pub fn pod_list(count: usize) -> String {
    let pods: Vec<serde_json::Value> = (0..count).map(pod).collect();
    serde_json::json!({"kind": "List", "apiVersion": "v1", "items": pods}).to_string()
}

pub fn pod(at: usize) -> serde_json::Value {
    let (high, low) = (at / 250, at % 250);
    let ip = format!("10.{}.{}.{}", 1 + high / 250, high % 250, low + 1);
    serde_json::json!({
        "metadata": {
            "name": format!("orders-7c9d8b6f5-{at:05x}"), "namespace": format!("shop-{}", at % 20),
            "uid": uid(at), "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"app.kubernetes.io/name": "orders", "pod-template-hash": "7c9d8b6f5"},
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "orders-7c9d8b6f5",
                "uid": "3751b9aa-942d-4029-9352-6e13d938e780", "controller": true}],
        },
        "spec": {"nodeName": format!("node-{}", at % 100), "containers": [
            {"name": "orders", "image": "registry.local/shop/orders:1.4.2"},
            {"name": "istio-proxy", "image": "registry.local/istio/proxyv2:1.30"}]},
        "status": {"phase": "Running", "startTime": "2026-01-01T00:00:00Z", "podIP": ip, "podIPs": [{"ip": ip}],
            "hostIP": format!("192.168.0.{}", 1 + at % 100),
            "containerStatuses": [status(at, "orders", 1), status(at, "istio-proxy", 0)]},
    })
}

fn status(at: usize, name: &str, restarts: usize) -> serde_json::Value {
    let last = if restarts == 0 {
        serde_json::json!({})
    } else {
        serde_json::json!({"terminated": {"exitCode": 137, "reason": "OOMKilled", "startedAt": "2026-01-01T00:00:05Z",
            "finishedAt": "2026-01-01T01:00:00Z", "containerID": format!("containerd://{}", container_id(at, name, 0))}})
    };
    serde_json::json!({"name": name, "restartCount": restarts, "lastState": last,
        "state": {"running": {"startedAt": "2026-01-01T01:00:10Z"}}, "image": "registry.local/x:1",
        "imageID": format!("registry.local/x@sha256:{}", "ab".repeat(32)),
        "containerID": format!("containerd://{}", container_id(at, name, restarts))})
}

pub fn uid(at: usize) -> String {
    format!("{at:08x}-0e5b-4c6e-9f0b-2f1c9a7d5b11")
}

/// 64 hex digits whose first twelve differ between pods.
pub fn container_id(at: usize, name: &str, restart: usize) -> String {
    format!("{at:08x}{:02x}{restart:02x}{}", name.len(), "c".repeat(52))
}

pub fn resource(pairs: &[(&str, &str)]) -> Bytes {
    let mut edit = Appender::new(b"").expect("empty is valid");
    for (key, value) in pairs {
        edit.append(key, *value);
    }
    edit.finish().expect("unlimited")
}

/// A log record with its time.
pub fn record(made: UnixNanos) -> Bytes {
    let mut out = Vec::new();
    write::key(&mut out, 1, write::FIXED64);
    out.extend_from_slice(&made.0.to_le_bytes());
    out.into()
}

/// One request with a resource and a record for each; connection 7, accepted half a minute ago.
pub fn payload(resources: &[Bytes], made: UnixNanos) -> Payload {
    let now = UnixNanos::now();
    let accepted = now.saturating_sub(std::time::Duration::from_secs(30));
    let item = record(made);
    let group = |resource: &Bytes| Group {
        resource: Some(resource.clone()),
        scopes: vec![ScopeGroup { items: vec![item.clone()].into(), ..ScopeGroup::default() }],
        ..Group::default()
    };
    Payload {
        signal: Signal::Logs,
        envelope: Envelope { groups: resources.iter().map(group).collect(), dictionary: None },
        items: resources.len() as u64,
        origin: Arc::new(Origin::new(None, 7, accepted, now, Transport::Grpc)),
        ticket: Ticket::free(),
        share: Share::none(),
    }
}
