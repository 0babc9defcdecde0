//! What a reload of twenty components costs: printed, not asserted.

use tokio::time::Instant;

use crate::config::{Ports, Running};
use crate::support::free_port;

const COMPONENTS: usize = 20;

fn yaml(ports: &Ports, (health, admin): (u16, u16), wait: u64) -> String {
    let Ports { grpc, http, second } = ports;
    format!(
        "receivers:
  otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{grpc}'}}, http: {{endpoint: '127.0.0.1:{http}'}}}}}}
  otlp/2: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{second}', max_recv_msg_size_mib: {wait}}}}}}}
processors:
  memory_limiter: {{limit_mib: 400}}
  batch: {{timeout: {wait}ms}}
  batch/2: {{timeout: {wait}ms}}
  attributes: {{actions: [{{key: a, value: {wait}, action: insert}}]}}
  attributes/2: {{actions: [{{key: b, value: {wait}, action: insert}}]}}
  resource: {{attributes: [{{key: c, value: x{wait}, action: insert}}]}}
  filter: {{traces: {{span: ['attributes[\"drop\"] == {wait}']}}}}
  transform: {{trace_statements: ['set(span.attributes[\"d\"], {wait})']}}
  probabilistic_sampler: {{sampling_percentage: {wait}}}
  tail_sampling: {{decision_wait: {wait}s, policies: [{{name: all, type: always_sample}}, {{name: slow, type: latency, latency: {{threshold_ms: 500}}}}]}}
exporters:
  otlp_grpc: {{endpoint: '127.0.0.1:1', tls: {{insecure: true}}, timeout: {wait}s}}
  otlp_grpc/2: {{endpoint: '127.0.0.1:1', tls: {{insecure: true}}, timeout: {wait}s}}
  otlp_http: {{endpoint: 'http://127.0.0.1:1', timeout: {wait}s}}
  debug: {{sampling_initial: {wait}}}
  nop:
connectors:
  forward:
extensions:
  health_check: {{endpoint: '127.0.0.1:{health}'}}
  admin: {{endpoint: '127.0.0.1:{admin}'}}
service:
  extensions: [health_check, admin]
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], processors: [memory_limiter, resource, filter, transform, attributes, tail_sampling, batch], exporters: [forward, debug]}}
    traces/out: {{receivers: [forward, otlp/2], processors: [attributes/2, probabilistic_sampler, batch/2], exporters: [otlp_grpc, otlp_grpc/2]}}
    logs: {{receivers: [otlp], processors: [memory_limiter, batch], exporters: [otlp_http]}}
    metrics: {{receivers: [otlp], exporters: [nop]}}
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_components_are_read_checked_and_exchanged() {
    let (ports, pages) = (Ports::free(), (free_port(), free_port()));
    let text = |wait| yaml(&ports, pages, wait);
    let mut running = Running::start(&text(20)).await;
    for (what, text, changed) in [
        ("nothing", text(20), 0),
        ("one policy", text(20).replace("threshold_ms: 500", "threshold_ms: 400"), 1),
        ("fourteen components", text(21), 14),
    ] {
        let begun = Instant::now();
        let difference = running.reload(&text).await.expect("applied");
        let took = begun.elapsed();
        assert_eq!((difference.changed.len(), difference.kept), (changed, COMPONENTS - changed), "{difference:?}");
        eprintln!("{COMPONENTS} components, {what} changed: read, checked and applied in {took:?}");
    }
    running.drain().await;
}
