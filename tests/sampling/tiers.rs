//! The recorded policy sets behind two tiers: two agents with `load_balancing`, three gateways that sample, all on loopback.
//!
//! Every set is a pipeline of its own in each gateway, so that one run of the corpus shows them all.

use std::collections::BTreeMap;
use std::fmt::Write;

use fastrand::Rng;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use podgate::gateway::Gateway;
use serde_json::Value as Json;

use crate::summaries::{decidable, divided, seed};
use crate::support::{Sink, attribute_of, drain, eventually, free_ports, post_spans, sheet, start};
use crate::verdicts::{corpus, differs, sets, trace_ids};

const AGENTS: usize = 2;
const GATEWAYS: usize = 3;
/// In place of the recorded second: requests come over real sockets, and a slow machine must not tear what was one.
const WAIT: &str = "3s";

fn agent(http: u16, gateways: &[u16]) -> String {
    let members: Vec<String> = gateways.iter().map(|port| format!("'127.0.0.1:{port}'")).collect();
    format!(
        "receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}
exporters:
  load_balancing:
    protocol: {{otlp: {{tls: {{insecure: true}}}}}}
    resolver: {{static: {{hostnames: [{}]}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [load_balancing]}}}}
",
        members.join(", ")
    )
}

/// What a set keeps says so on its resources.
fn gateway(grpc: u16, sets: &[(String, Json)], sink: &Sink) -> String {
    let (mut processors, mut pipelines) = (String::new(), String::new());
    for (name, config) in sets {
        let _ = writeln!(processors, "  tail_sampling/{name}: {config}");
        let _ = writeln!(
            processors,
            "  resource/{name}: {{attributes: [{{key: kept.by, value: {name}, action: upsert}}]}}"
        );
        let processors = format!("[tail_sampling/{name}, resource/{name}]");
        let _ = writeln!(
            pipelines,
            "    traces/{name}: {{receivers: [otlp], processors: {processors}, exporters: [otlp]}}"
        );
    }
    format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{grpc}'}}}}}}}}
processors:
{processors}exporters: {{otlp: {{endpoint: '{}', tls: {{insecure: true}}}}}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
{pipelines}",
        sink.address
    )
}

/// Each span goes to one of the agents by chance.
async fn send(agents: &[u16], request: &ExportTraceServiceRequest, rng: &mut Rng) {
    for (port, part) in agents.iter().zip(divided(request, agents.len(), rng)) {
        assert_eq!(post_spans(*port, &part).await, 200);
    }
}

/// By set: the spans that were kept of each trace.
fn kept(sink: &Sink) -> BTreeMap<String, BTreeMap<u64, u64>> {
    let ids = trace_ids();
    let mut kept: BTreeMap<String, BTreeMap<u64, u64>> = BTreeMap::new();
    for (resource, span) in sink.spans() {
        let id: [u8; 16] = span.trace_id.try_into().unwrap_or_default();
        let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let at = ids.iter().position(|known| *known == id).expect("a trace of the corpus") as u64;
        let set = attribute_of(&resource, "kept.by").expect("the gateway names it").to_owned();
        *kept.entry(set).or_default().entry(at).or_default() += 1;
    }
    kept
}

fn has_nothing(gateways: &[Gateway]) -> bool {
    gateways.iter().all(|gateway| sheet(gateway).held == 0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_agents_and_several_gateways_every_recorded_policy_set_gives_the_verdicts_of_one_node() {
    let seed = seed();
    println!("PODGATE_SEED={seed}");
    let mut rng = Rng::with_seed(seed);
    let mut sets_here: Vec<(String, Json)> = decidable().filter(|(name, _)| name != "span_ingest_drop").collect();
    sets_here.iter_mut().for_each(|(_, config)| config["decision_wait"] = WAIT.into());
    let sink = Sink::start().await;
    let ports = free_ports::<{ AGENTS + GATEWAYS }>();
    let (agent_ports, gateway_ports) = ports.split_at(AGENTS);
    let (mut gateways, mut agents) = (Vec::new(), Vec::new());
    for port in gateway_ports {
        gateways.push(start(&gateway(*port, &sets_here, &sink)).await);
    }
    for port in agent_ports {
        agents.push(start(&agent(*port, gateway_ports)).await);
    }
    for phase in [0, 1] {
        for request in corpus(phase) {
            send(agent_ports, &request, &mut rng).await;
        }
        eventually("the agents have handed all on", || has_nothing(&agents)).await;
        eventually("every trace is decided", || has_nothing(&gateways)).await;
    }
    for gateway in agents.into_iter().chain(gateways) {
        drain(gateway).await;
    }
    let (kept, recorded) = (kept(&sink), sets());
    let none = BTreeMap::new();
    let wrong = sets_here.iter().filter_map(|(name, _)| {
        let expected = recorded[name]["kept"].as_array().expect("a set with verdicts");
        differs(name, expected, kept.get(name).unwrap_or(&none))
    });
    let wrong: Vec<String> = wrong.collect();
    assert!(wrong.is_empty(), "PODGATE_SEED={seed}\n{}", wrong.join("\n"));
    assert_eq!(sets_here.len(), 50);
}
