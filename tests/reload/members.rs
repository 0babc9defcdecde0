//! A reload that changes the members of `load_balancing` and what it routes by, under load and with a member that is away.

use std::time::Duration;

use crate::config::{Ports, Running};
use crate::load::{Load, number};
use crate::support::{Sink, eventually, free_port, sheet};

/// A balancer over these members, by this key.
fn yaml(ports: Ports, members: &[String], key: &str) -> String {
    let Ports { grpc, http, .. } = ports;
    let members: Vec<String> = members.iter().map(|member| format!("'{member}'")).collect();
    format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{grpc}'}}, http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}
exporters:
  load_balancing:
    routing_key: {key}
    retry_on_failure: {{initial_interval: 50ms, max_interval: 200ms}}
    protocol: {{otlp: {{tls: {{insecure: true}}}}}}
    resolver: {{static: {{hostnames: [{}]}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [load_balancing]}}}}
",
        members.join(", ")
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn other_members_and_other_keys_lose_and_double_nothing_not_even_what_waits_for_a_member_that_is_away() {
    let (sinks, ports) = ([Sink::start().await, Sink::start().await, Sink::start().await], Ports::free());
    let [one, two, three] = sinks.each_ref().map(|sink| sink.address.to_string());
    let away = format!("127.0.0.1:{}", free_port());
    let lists = [
        (vec![one.clone(), away.clone()], "traceID"),
        (vec![one.clone(), two.clone()], "traceID"),
        (vec![away, two.clone(), three.clone()], "traceID"),
        (vec![two.clone(), three.clone()], "service"),
        (vec![three], "traceID"),
        (vec![one, two], "traceID"),
    ];
    let mut running = Running::start(&yaml(ports, &lists[0].0, lists[0].1)).await;
    let load = Load::start(ports);
    for (members, key) in &lists[1..] {
        tokio::time::sleep(Duration::from_millis(400)).await;
        running.reload(&yaml(ports, members, key)).await.expect("applied");
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let sent = load.end().await;
    eventually("every span has an end", || sheet(&running.gateway).held == 0).await;
    let sheet = sheet(&running.gateway);
    running.drain().await;
    let each = sinks.each_ref().map(|sink| sink.spans().len());
    let spans = sinks.iter().flat_map(|sink| sink.spans());
    let mut arrived: Vec<u64> = spans.map(|(_, span)| number(&span)).collect();
    let mut accepted = sent.accepted;
    arrived.sort_unstable();
    accepted.sort_unstable();
    eprintln!("{} spans, {each:?} at the members, {} retries of senders, {sheet:?}", accepted.len(), sent.retries);
    assert!(accepted.len() > 1_000 && each.iter().all(|spans| *spans > 0), "there was load for every member");
    // What a sender repeats because its request was refused as a whole may come twice.
    arrived.dedup();
    assert!(arrived == accepted, "each accepted span arrives: {} of {}", arrived.len(), accepted.len());
    let twice = each.iter().sum::<usize>() - arrived.len();
    assert!(twice == 0 || sent.retries > 0, "{twice} spans came twice, and no sender repeated anything");
}
