//! A gateway with its plan, and configurations that differ in every way a reload may meet.

use std::path::PathBuf;

use podgate::cli::sources::{ConfigArgs, check_with};
use podgate::config::show::diagnose::render;
use podgate::core::stage::factory::Environment;
use podgate::gateway::Gateway;
use podgate::pipeline::identity::Difference;
use podgate::pipeline::plan::Plan;

use crate::support::{self, Sink, free_port};

pub fn plan(text: &str) -> Result<Plan, String> {
    let args = ConfigArgs { config: vec![format!("yaml:{text}")], ..ConfigArgs::default() };
    let checked = check_with(&args, Environment::of(|_| None));
    checked.plan.ok_or_else(|| render(&checked.findings, &checked.sources, false))
}

pub struct Running {
    pub gateway: Gateway,
    pub plan: Plan,
}

impl Running {
    pub async fn start(text: &str) -> Running {
        let plan = plan(text).unwrap_or_else(|why| panic!("the configuration is sound:\n{why}"));
        let gateway = Gateway::start(&plan).await.unwrap_or_else(|error| panic!("the gateway starts: {error}"));
        Running { gateway, plan }
    }

    pub async fn reload(&mut self, text: &str) -> Result<Difference, String> {
        let to = plan(text)?;
        let difference = self.gateway.reload(&self.plan, &to).await.map_err(|error| error.to_string())?;
        self.plan = to;
        Ok(difference)
    }

    /// Of this name, all labels together.
    pub fn counted(&self, name: &str) -> u64 {
        self.gateway.host().stats.total(name)
    }

    pub fn decisions(&self) -> u64 {
        self.counted("otelcol_processor_tail_sampling_global_count_traces_sampled")
    }

    /// Whether the metrics tell of who carries this label.
    pub fn tells_of(&self, key: &str, value: &str) -> bool {
        let carries = |labels: &[(&'static str, String)]| labels.iter().any(|(label, of)| *label == key && of == value);
        self.gateway.host().stats.all().iter().any(|series| carries(&series.labels))
    }

    pub async fn drain(self) {
        support::drain(self.gateway).await;
    }
}

#[derive(Clone, Copy)]
pub struct Ports {
    pub grpc: u16,
    pub http: u16,
    pub second: u16,
}

impl Ports {
    pub fn free() -> Ports {
        Ports { grpc: free_port(), http: free_port(), second: free_port() }
    }

    pub fn doors(&self) -> [u16; 2] {
        [self.grpc, self.http]
    }
}

/// Policy, exporter, receiver and pipeline differ by the number, each in its own rhythm. All policies keep everything.
pub struct Variant {
    pub number: usize,
    /// Of a log on disk.
    pub folder: Option<PathBuf>,
}

impl Variant {
    pub fn yaml(&self, ports: &Ports, sinks: &[Sink; 2]) -> String {
        let Variant { number, folder } = self;
        let Ports { grpc, http, second } = ports;
        let policies = [
            "{name: all, type: always_sample}",
            "{name: errors, type: status_code, status_code: {status_codes: [ERROR]}}, {name: all, type: always_sample}",
            "{name: any, type: span_count, span_count: {min_spans: 1}}",
        ][number % 3];
        let wait = 400 + 50 * (number % 7);
        let list =
            ["tail_sampling", "attributes, tail_sampling", "tail_sampling, batch", "attributes, tail_sampling, batch"]
                [number % 4];
        let address = sinks[number % 2].address;
        let queue = match folder {
            Some(_) => "storage: file_storage, queue_size: 5000",
            None if number % 4 == 3 => "queue_size: 5000",
            None => "enabled: false",
        };
        let (extension, extensions) = match folder {
            Some(folder) => (
                format!("extensions: {{file_storage: {{directory: '{}', create_directory: true}}}}", folder.display()),
                "file_storage",
            ),
            None => (String::new(), ""),
        };
        let limit = 4 + number % 5;
        let (more, receivers) = match number % 5 {
            2 => (format!("  otlp/2: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{second}'}}}}}}"), "otlp, otlp/2"),
            _ => (String::new(), "otlp"),
        };
        let (connector, end, last) = match number % 6 {
            // Behind a connector a sampler finds no log, and one with another log is another sampler.
            4 if folder.is_none() => (
                "connectors: {forward: }",
                "forward",
                "    traces/2: {receivers: [forward], processors: [], exporters: [otlp_grpc]}",
            ),
            _ => ("", "otlp_grpc", ""),
        };
        format!(
            "receivers:
  otlp:
    protocols:
      grpc: {{endpoint: '127.0.0.1:{grpc}', max_recv_msg_size_mib: {limit}}}
      http: {{endpoint: '127.0.0.1:{http}'}}
{more}
processors:
  attributes: {{actions: [{{key: seen, value: 1, action: insert}}]}}
  batch: {{timeout: 20ms}}
  tail_sampling: {{decision_wait: {wait}ms, policies: [{policies}]}}
{connector}
exporters:
  otlp_grpc:
    endpoint: '{address}'
    tls: {{insecure: true}}
    retry_on_failure: {{initial_interval: 50ms, max_interval: 200ms}}
    sending_queue: {{{queue}}}
{extension}
service:
  extensions: [{extensions}]
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [{receivers}], processors: [{list}], exporters: [{end}]}}
{last}
"
        )
    }
}
