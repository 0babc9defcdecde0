//! What stays and what goes, by one reload each.

use std::time::Duration;

use podgate::core::stage::tasks::Tasks;
use podgate::lab::api_double::{PodSpec, Sandbox};
use tokio::sync::watch;

use crate::config::{Ports, Running};
use crate::load::inode_of;
use crate::support::{Sink, eventually, post_spans, request, span};

fn yaml(ports: Ports, sink: &Sink, processors: &str, list: &str) -> String {
    let (Ports { grpc, http, .. }, address) = (ports, sink.address);
    format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{grpc}'}}, http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}
processors:
{processors}
exporters:
  otlp_grpc: {{endpoint: '{address}', tls: {{insecure: true}}, sending_queue: {{enabled: false}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], processors: [{list}], exporters: [otlp_grpc]}}}}
"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn held_traces_are_decided_by_the_new_policies() {
    let (sink, ports) = (Sink::start().await, Ports::free());
    let sampling =
        |policy: &str| format!("  tail_sampling: {{decision_wait: 2s, policies: [{{name: one, type: {policy}}}]}}");
    let errors = "status_code, status_code: {status_codes: [ERROR]}";
    let mut running = Running::start(&yaml(ports, &sink, &sampling(errors), "tail_sampling")).await;
    assert_eq!(post_spans(ports.http, &request(vec![], vec![span(1, 1, 1)])).await, 200);
    let difference =
        running.reload(&yaml(ports, &sink, &sampling("always_sample"), "tail_sampling")).await.expect("applied");
    assert_eq!((difference.changed, difference.kept), (vec!["processors::tail_sampling".to_owned()], 2));
    eventually("the trace is kept", || sink.spans().len() == 1).await;
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_configuration_changes_nothing() {
    let (sink, ports) = (Sink::start().await, Ports::free());
    let text = yaml(ports, &sink, "  batch: {timeout: 10ms}", "batch");
    let mut running = Running::start(&text).await;
    let difference = running.reload(&format!("# told again\n{text}")).await.expect("applied");
    assert!(difference.is_none() && difference.kept == 3, "{difference:?}");
    assert_eq!(post_spans(ports.http, &request(vec![], vec![span(1, 1, 1)])).await, 200);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_takes_its_figures_its_state_and_its_address_with_it() {
    let (sink, ports) = (Sink::start().await, Ports::free());
    let text = yaml(ports, &sink, "  batch: {timeout: 10ms}", "batch");
    let second =
        format!("receivers:\n  otlp/2: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{}'}}}}}}\n  otlp:", ports.second);
    let more = text.replace("receivers: {otlp:", &second).replace("}}}}\nprocessors", "}}}\nprocessors");
    let more = more.replace("receivers: [otlp]", "receivers: [otlp, otlp/2]");
    let mut running = Running::start(&more).await;
    let state = |running: &Running| running.gateway.host().status.all().contains_key("receivers::otlp/2");
    assert!(running.tells_of("receiver", "otlp/2") && running.tells_of("processor", "batch") && state(&running));
    running.reload(&text.replace("[batch]", "[]")).await.expect("applied");
    eventually("all is forgotten", || {
        !running.tells_of("receiver", "otlp/2") && !running.tells_of("processor", "batch") && !state(&running)
    })
    .await;
    assert!(running.tells_of("receiver", "otlp"));
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", ports.second)).await.is_err(), "its door is closed");
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_set_of_doors_takes_over_the_socket_of_one_that_stays() {
    let (sink, ports) = (Sink::start().await, Ports::free());
    let text = yaml(ports, &sink, "  batch: {timeout: 10ms}", "batch");
    let mut running = Running::start(&text).await;
    let inode = inode_of(ports.grpc);
    let moved = text.replace(&ports.http.to_string(), &ports.second.to_string());
    running.reload(&moved).await.expect("applied");
    assert_eq!(inode_of(ports.grpc), inode);
    assert_eq!(post_spans(ports.second, &request(vec![], vec![span(1, 1, 1)])).await, 200);
    assert_eq!(post_spans(ports.grpc, &request(vec![], vec![span(1, 2, 1)])).await, 200);
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_server_sees_no_new_list_unless_more_is_to_be_known_of_pods() {
    let (sink, ports) = (Sink::start().await, Ports::free());
    let sandbox = Sandbox::new(11);
    sandbox.add_pod(PodSpec::deployed("shop", "cart", &["app"]));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let (_stop, stopped) = watch::channel(false);
    let tasks = std::sync::Arc::new(Tasks::default());
    drop(tasks.spawn("sandbox", |pulse| sandbox.clone().serve(listener, stopped, pulse)));
    let text = |extract: &str, more: &str, list: &str| {
        let own = format!("podgate: {{api_server: '{url}', node_logs: 'off'}}");
        let processors =
            format!("  k8s_attributes: {{filter: {{node: {}}}, extract: {{{extract}}}, {own}}}\n{more}", PodSpec::NODE);
        yaml(ports, &sink, &processors, list)
    };
    let asked = || sandbox.requests().iter().filter(|seen| seen.target.starts_with("/api/v1/pods?")).count();
    let mut running = Running::start(&text("", "", "k8s_attributes")).await;
    eventually("it watches", || asked() >= 1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let before = asked();
    let sampling = "  tail_sampling: {decision_wait: 1s, policies: [{name: all, type: always_sample}]}";
    running.reload(&text("", sampling, "k8s_attributes, tail_sampling")).await.expect("applied");
    let fewer = "metadata: [k8s.pod.name]";
    running.reload(&text(fewer, sampling, "k8s_attributes, tail_sampling")).await.expect("applied");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(asked(), before, "one watch for all of them: {:?}", sandbox.requests().len());
    let label = "labels: [{tag_name: app, key: never-asked-for, from: pod}]";
    running.reload(&text(label, sampling, "k8s_attributes, tail_sampling")).await.expect("applied");
    eventually("another watch with the label", || asked() > before).await;
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waited_for_a_dead_next_hop_goes_to_the_one_that_cures_it() {
    let (sink, ports) = (Sink::start().await, Ports::free());
    let queued =
        |retry: &str| format!("sending_queue: {{queue_size: 100}}, retry_on_failure: {{initial_interval: {retry}}}");
    let good = yaml(ports, &sink, "", "").replace("processors:\n\n", "");
    let good = good.replace("sending_queue: {enabled: false}", &queued("200ms"));
    let dead = good.replace(&sink.address.to_string(), &format!("127.0.0.1:{}", ports.second));
    let mut running = Running::start(&dead).await;
    for number in 1..=30 {
        assert_eq!(post_spans(ports.http, &request(vec![], vec![span(1, number, 1)])).await, 200);
    }
    running.reload(&good).await.expect("applied");
    eventually("all that was accepted is delivered", || sink.spans().len() == 30).await;
    let sheet = &running.gateway.drain(Duration::from_secs(10)).await["traces"];
    assert_eq!((sheet.received, sheet.delivered, sheet.held), (30, 30, 0), "{sheet:?}");
}
