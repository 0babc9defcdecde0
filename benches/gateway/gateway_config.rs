//! The configurations under which podgate is measured, and the static pod table behind them.

use std::fmt::Write;

use podgate::lab::loadgen::generate::pod_uid;

/// The stages between receiver and exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stages {
    Passthrough,
    Enrichment,
    EnrichmentAndSampling,
}

/// YAML for `--config yaml:`; without queue, so that an acknowledgement is the sink's.
pub fn yaml(stages: Stages, port: u16, sink: &str, pods_file: &str) -> String {
    let processors = match stages {
        Stages::Passthrough => "[]",
        Stages::Enrichment => "[k8s_attributes]",
        Stages::EnrichmentAndSampling => "[memory_limiter, k8s_attributes, tail_sampling]",
    };
    let limiter = "  memory_limiter: {limit_mib: 6144}\n";
    let enrichment = format!(
        r#"  k8s_attributes:
    extract:
      metadata: [k8s.namespace.name, k8s.pod.name, k8s.pod.uid, k8s.pod.start_time, k8s.pod.ip, k8s.node.name,
                 k8s.deployment.name, k8s.container.name, container.id, container.image.name, container.image.tag]
    pod_association:
      - sources: [{{from: resource_attribute, name: k8s.pod.uid}}]
    podgate: {{pods_file: "{pods_file}"}}
"#
    );
    let sampling = r#"  tail_sampling:
    decision_wait: 10s
    num_traces: 2000000
    podgate: {max_bytes: 4GiB}
    policies:
      - {name: failed, type: status_code, status_code: {status_codes: [ERROR]}}
      - {name: slow, type: latency, latency: {threshold_ms: 1000}}
      - {name: rest, type: probabilistic, probabilistic: {sampling_percentage: 10}}
"#;
    // Only what is used: the rest would be declared in vain, and be said so.
    let declared = match stages {
        Stages::Passthrough => String::new(),
        Stages::Enrichment => format!("processors:\n{enrichment}"),
        Stages::EnrichmentAndSampling => format!("processors:\n{limiter}{enrichment}{sampling}"),
    };
    format!(
        r#"
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "127.0.0.1:{port}", max_recv_msg_size_mib: 16}}}}}}
{declared}exporters:
  otlp_grpc: {{endpoint: "{sink}", tls: {{insecure: true}}, compression: none, sending_queue: {{enabled: false}}}}
extensions:
  admin: {{endpoint: "127.0.0.1:0"}}
service:
  extensions: [admin]
  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}
  pipelines:
    traces: {{receivers: [otlp], processors: {processors}, exporters: [otlp_grpc]}}
"#
    )
}

/// A PodList as `kubectl get pods -o yaml` prints it; the load comes from the first of them.
pub fn pod_list(pods: usize) -> String {
    let mut list = "apiVersion: v1\nkind: List\nitems:\n".to_owned();
    for number in 0..pods {
        let uid = pod_uid(number);
        let (high, low) = (number / 250 + 1, number % 250 + 1);
        let _ = write!(
            list,
            r#"- apiVersion: v1
  kind: Pod
  metadata:
    name: service-{number}-7d9c5b6f48-x2x4z
    namespace: shop
    uid: {uid}
    creationTimestamp: "2026-11-21T10:00:00Z"
    labels: {{app: service-{number}, pod-template-hash: 7d9c5b6f48}}
    ownerReferences:
      - {{apiVersion: apps/v1, kind: ReplicaSet, name: service-{number}-7d9c5b6f48, uid: rs-{number}, controller: true}}
  spec:
    nodeName: node-1
    containers: [{{name: app, image: "registry.example/shop/app:1.4.2"}}]
  status:
    phase: Running
    podIP: 10.244.{high}.{low}
    podIPs: [{{ip: 10.244.{high}.{low}}}]
    startTime: "2026-11-21T10:00:00Z"
    containerStatuses:
      - name: app
        image: registry.example/shop/app:1.4.2
        imageID: registry.example/shop/app@sha256:{number:064x}
        containerID: containerd://{number:064x}
        restartCount: 0
        ready: true
        state: {{running: {{startedAt: "2026-11-21T10:00:01Z"}}}}
"#
        );
    }
    list
}
