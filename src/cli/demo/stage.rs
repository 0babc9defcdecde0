//! The set: the API double, the gateway under its YAML, the receiving end, all in this process over real sockets.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::cli::reload::page::Shown;
use crate::cli::sources::{self, ConfigArgs};
use crate::core::stage::tasks::Tasks;
use crate::gateway::Gateway;
use crate::lab::api_double::{PodSpec, Sandbox};
use crate::lab::demo::traffic::Doors;
use crate::net::pages::page;
use crate::net::pages::page::PageFn;

/// Listeners with their usual ports where these are free, so that an application's defaults find the demo.
const GRPC_PORT: u16 = 4317;
const HTTP_PORT: u16 = 4318;
const ADMIN_PORT: u16 = 13134;

/// What runs beside the gateway; stopped after it, because its drain still asks and delivers.
pub struct DemoSurroundings {
    pub api: String,
    pub end: String,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl DemoSurroundings {
    pub async fn start(sandbox: &Arc<Sandbox>, end: PageFn) -> std::io::Result<DemoSurroundings> {
        let own = Arc::new(Tasks::default());
        let (stop, stopped) = watch::channel(false);
        let (api, api_url) = listen().await?;
        let (receiving, end_url) = listen().await?;
        let serve = sandbox.clone();
        let api_stopped = stopped.clone();
        let tasks = vec![
            own.spawn("api", |pulse| serve.serve(api, api_stopped, pulse)),
            own.spawn_idle("end", page::serve(receiving, end, stopped)),
        ];
        Ok(DemoSurroundings { api: api_url, end: end_url, stop, tasks })
    }

    pub async fn stop(self) {
        let _ = self.stop.send(true);
        for task in self.tasks {
            let _ = task.await;
        }
    }
}

async fn listen() -> std::io::Result<(TcpListener, String)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    Ok((listener, url))
}

/// The usual port when it is free at this moment, else one that is.
async fn door(usual: u16) -> std::io::Result<String> {
    for port in [usual, 0] {
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
            return Ok(listener.local_addr()?.to_string());
        }
    }
    Err(std::io::Error::other("no port of 127.0.0.1 is free"))
}

/// How often a port that was free may have been taken by somebody else, such as another demo, before it is listened on.
const STARTS_MAX: usize = 3;

/// Starts the gateway from YAML, by the same way as `run`. The error is for a person.
pub async fn gateway(around: &DemoSurroundings) -> Result<(Gateway, Doors, String), String> {
    let mut last = String::new();
    for _ in 0..STARTS_MAX {
        match start(around).await {
            Err(why) => last = why,
            started => return started,
        }
    }
    Err(last)
}

async fn start(around: &DemoSurroundings) -> Result<(Gateway, Doors, String), String> {
    let said = |error: std::io::Error| error.to_string();
    let doors = Doors { grpc: door(GRPC_PORT).await.map_err(said)?, http: door(HTTP_PORT).await.map_err(said)? };
    let admin = door(ADMIN_PORT).await.map_err(said)?;
    let config = ConfigArgs { config: vec![format!("yaml:{}", yaml(&doors, &admin, around))], ..ConfigArgs::default() };
    let checked = sources::check(&config);
    checked.report();
    let plan = checked.plan.as_ref().ok_or("the demo's own configuration was refused; this is a bug")?;
    let gateway = Gateway::start(plan).await.map_err(|error| error.to_string())?;
    Shown::register(&config, plan, &checked, gateway.host());
    let doors = Doors { grpc: doors.grpc, http: format!("http://{}", doors.http) };
    Ok((gateway, doors, admin))
}

/// The pipeline that manifests/ ships, with the overlay for sampling; a shorter wait, because people watch.
fn yaml(doors: &Doors, admin: &str, around: &DemoSurroundings) -> String {
    let (grpc, http, api, end, node) = (&doors.grpc, &doors.http, &around.api, &around.end, PodSpec::NODE);
    format!(
        r#"
extensions:
  admin: {{endpoint: "{admin}"}}
receivers:
  otlp: {{protocols: {{grpc: {{endpoint: "{grpc}"}}, http: {{endpoint: "{http}"}}}}}}
processors:
  memory_limiter: {{limit_mib: 256, spike_limit_mib: 32}}
  k8s_attributes:
    filter: {{node: {node}}}
    extract:
      metadata: [k8s.namespace.name, k8s.pod.name, k8s.pod.uid, k8s.pod.ip, k8s.pod.start_time, k8s.node.name,
                 k8s.deployment.name, k8s.container.name, container.id, container.image.name, container.image.tag]
    pod_association:
      - sources: [{{from: resource_attribute, name: k8s.pod.uid}}]
      - sources: [{{from: resource_attribute, name: k8s.pod.ip}}]
      - sources: [{{from: connection}}]
    podgate: {{api_server: "{api}"}}
  tail_sampling:
    decision_wait: 5s
    policies:
      - {{name: failed, type: status_code, status_code: {{status_codes: [ERROR]}}}}
      - {{name: slow, type: latency, latency: {{threshold_ms: 1000}}}}
      - {{name: some-of-the-rest, type: probabilistic, probabilistic: {{sampling_percentage: 10}}}}
      - name: yours
        type: string_attribute
        string_attribute: {{key: telemetry.sdk.name, values: [".+"], enabled_regex_matching: true}}
exporters:
  otlp_http: {{endpoint: "{end}", compression: none}}
  nop:
service:
  extensions: [admin]
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces:
      receivers: [otlp]
      processors: [memory_limiter, k8s_attributes, tail_sampling]
      exporters: [otlp_http]
    metrics: {{receivers: [otlp], processors: [memory_limiter, k8s_attributes], exporters: [nop]}}
    logs: {{receivers: [otlp], processors: [memory_limiter, k8s_attributes], exporters: [nop]}}
"#
    )
}
