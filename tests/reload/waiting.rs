//! What waits in a sampler for the API server's word, while a reload makes another watch.

use std::sync::Arc;
use std::time::Duration;

use podgate::core::stage::tasks::Tasks;
use podgate::lab::api_double::{PodSpec, Sandbox};
use tokio::sync::watch;

use crate::config::{Ports, Running};
use crate::support::{Sink, attribute, attribute_of, eventually, post_spans, request, span};

/// Traces that are held by the sampler of now.
const HELD: u64 = 20;

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_the_proof_of_its_run_gets_it_from_the_watch_that_a_reload_replaces() {
    let (sink, ports, sandbox) = (Sink::start().await, Ports::free(), Sandbox::new(12));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let (_stop, stopped) = watch::channel(false);
    let tasks = Arc::new(Tasks::default());
    drop(tasks.spawn("sandbox", |pulse| sandbox.clone().serve(listener, stopped, pulse)));
    let text = |extract: &str| {
        format!(
            "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{}'}}}}}}}}
processors:
  k8s_attributes: {{filter: {{node: {}}}, extract: {{{extract}}}, podgate: {{api_server: '{url}', node_logs: 'off'}}}}
  tail_sampling: {{decision_wait: 3s, policies: [{{name: all, type: always_sample}}]}}
exporters: {{otlp_grpc: {{endpoint: '{}', tls: {{insecure: true}}, sending_queue: {{enabled: false}}}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], processors: [k8s_attributes, tail_sampling], exporters: [otlp_grpc]}}}}
",
            ports.grpc,
            PodSpec::NODE,
            sink.address
        )
    };
    let mut running = Running::start(&text("")).await;
    let pod = sandbox.add_pod(PodSpec::deployed("shop", "cart", &["app"]));
    let resource = || vec![attribute("k8s.pod.uid", &pod.uid), attribute("k8s.container.name", "app")];
    for trace in 1..=HELD {
        assert_eq!(post_spans(ports.grpc, &request(resource(), vec![span(trace.into(), trace, 1)])).await, 200);
    }
    running.reload(&text("labels: [{tag_name: app, key: never-asked-for, from: pod}]")).await.expect("applied");
    let watches = |running: &Running| {
        let all = running.gateway.host().tasks.all();
        all.into_iter().map(|task| task.name).filter(|name| name.ends_with("/table")).collect::<Vec<_>>()
    };
    tokio::time::sleep(Duration::from_millis(500)).await;
    let meanwhile = watches(&running);
    eventually("all are decided", || sink.spans().len() as u64 == HELD).await;
    let run = sandbox.latest_run(&pod.uid, "app").expect("it runs");
    for (resource, span) in sink.spans() {
        assert_eq!(attribute_of(&resource, "container.id"), Some(&*run.id), "{}", span.name);
    }
    assert_eq!(meanwhile, ["k8s/2/table", "k8s/table"], "the old watch stays");
    eventually("nobody asks the old watch any more", || watches(&running) == ["k8s/2/table"]).await;
    running.drain().await;
}
