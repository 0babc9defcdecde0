//! A panic while a new configuration is built is a reload that failed: what runs goes on.

use std::sync::Arc;

use podgate::core::stage::component::ComponentId;
use podgate::core::stage::factory::{BuildContext, Exporter, ExporterPlan};

use crate::config::{Running, plan};

struct Bursting;

impl ExporterPlan for Bursting {
    fn build(&self, _: BuildContext) -> Arc<dyn Exporter> {
        panic!("a bug in an exporter")
    }
}

#[tokio::test]
async fn a_panic_while_a_reload_is_built_leaves_the_gateway_running() {
    let text = |verbosity: &str| {
        format!(
            "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:0'}}}}}}}}\nexporters: {{debug: {{verbosity: {verbosity}}}}}\n\
             service: {{telemetry: {{metrics: {{level: none}}}}, pipelines: {{traces: {{receivers: [otlp], exporters: [debug]}}}}}}\n"
        )
    };
    let mut running = Running::start(&text("basic")).await;
    let mut to = plan(&text("normal")).expect("sound");
    let id = ComponentId::parse("bursting").expect("an id");
    to.exporters.insert(id, Box::new(Bursting));
    let error = running.gateway.reload(&running.plan, &to).await.expect_err("it cannot be built");
    assert!(error.to_string().contains("a panic in podgate"), "{error}");
    let difference = running.reload(&text("normal")).await.expect("the next one is applied");
    assert_eq!(difference.changed, ["exporters::debug"]);
    running.drain().await;
}

/// 25,000 headers are more than a map of headers holds, which panics beyond 24,576.
#[test]
fn more_headers_than_a_map_of_them_holds_are_a_finding() {
    let headers: String = (0..25_000).map(|at| format!("h{at}: v, ")).collect();
    let text = |receiver: &str, exporter: &str| {
        format!(
            "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:0'}}, http: {{endpoint: '127.0.0.1:0'{receiver}}}}}}}}}\n\
             exporters: {{otlp_http: {{endpoint: 'http://127.0.0.1:1'{exporter}}}}}\n\
             service: {{pipelines: {{traces: {{receivers: [otlp], exporters: [otlp_http]}}}}}}\n"
        )
    };
    let (response, request) = (format!(", response_headers: {{{headers}}}"), format!(", headers: {{{headers}}}"));
    assert!(plan(&text("", "")).is_ok());
    for faulty in [text(&response, ""), text("", &request)] {
        let found = plan(&faulty).err().unwrap_or_default();
        assert!(found.contains("25000 headers") && found.contains("at most 1000 headers"), "{:.2000}", found);
    }
}
