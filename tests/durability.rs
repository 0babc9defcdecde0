//! What was acknowledged is delivered, whatever ends the process: the real binary with a log on disk, senders whose ids say
//! who sent what, and a next hop that counts what comes. An obligation begins with the acknowledgement and not before.
//!
//! `make test` kills a few times; `make test-durability` kills often (`PODGATE_KILLS=60 PODGATE_KILL_SEED=3` for others).

#![allow(clippy::print_stderr)] // what a run showed is its report

#[path = "durability/balanced.rs"]
mod balanced;
#[path = "durability/cost.rs"]
mod cost;
#[path = "durability/elastic/mod.rs"]
mod elastic;
#[path = "durability/faults.rs"]
mod faults;
#[path = "durability/formats/mod.rs"]
mod formats;
#[path = "durability/hop.rs"]
mod hop;
#[path = "durability/elastic/indexed.rs"]
mod indexed;
#[path = "durability/keys.rs"]
mod keys;
#[path = "durability/kills.rs"]
mod kills;
#[path = "durability/oracle/mod.rs"]
mod oracle;
#[path = "durability/outage.rs"]
mod outage;
#[path = "durability/parked.rs"]
mod parked;
#[path = "support/process.rs"]
#[allow(dead_code)]
mod process;
#[path = "durability/producer.rs"]
mod producer;
#[path = "durability/quarantine.rs"]
mod quarantine;
#[path = "durability/elastic/series.rs"]
mod series;
#[path = "durability/stops.rs"]
mod stops;

use std::path::Path;

/// A gateway with a log in `folder`: `processors` are entries of the section, `list` names them.
pub fn config(ports: Ports, hop: u16, folder: &Path, (processors, list): (&str, &str)) -> String {
    let Ports { http, grpc, probes } = ports;
    format!(
        "yaml:
receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:{http}'}}, grpc: {{endpoint: '127.0.0.1:{grpc}'}}}}}}}}
processors: {{{processors}}}
exporters:
  otlp_grpc:
    endpoint: '127.0.0.1:{hop}'
    tls: {{insecure: true}}
    retry_on_failure: {{initial_interval: 100ms, max_interval: 500ms}}
    sending_queue: {{storage: file_storage, queue_size: 5000}}
extensions:
  file_storage: {{directory: '{}', create_directory: true, podgate: {{max_bytes: 1GiB}}}}
  health_check: {{endpoint: '127.0.0.1:{probes}'}}
  admin: {{endpoint: '127.0.0.1:0'}}
service:
  extensions: [file_storage, health_check, admin]
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], processors: [{list}], exporters: [otlp_grpc]}}
",
        folder.display()
    )
}

/// Where a gateway listens.
#[derive(Clone, Copy)]
pub struct Ports {
    pub http: u16,
    pub grpc: u16,
    pub probes: u16,
}

impl Ports {
    pub fn free() -> Ports {
        let [http, grpc, probes] = [(); 3].map(|()| process::free_port());
        Ports { http, grpc, probes }
    }
}
