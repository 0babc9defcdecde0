//! Many nodes in one process: podgate's own watch and client, once per node, against whatever API server KUBECONFIG names.
//!
//! `node_watches COUNT` watches the pods of node-0, node-1, ... each over its own connection. Every fifth of a second a
//! line of JSON tells how many watches are fresh and what they know, until it is ended. Exists so that the cost of a
//! fleet to the API server can be measured on one machine.

use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use podgate::core::data::budget::Budget;
use podgate::core::report::stats::Metric;
use podgate::core::stage::host::Host;
use podgate::kube::client::Credentials;
use podgate::kube::decode::{Keep, KeepKey};
use podgate::kube::hub::{Hub, WatchSpec};
use podgate::kube::watch::WatchHealth;
use tokio::time::{Instant, interval};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const REPORT_SPACING: Duration = Duration::from_millis(200);

#[tokio::main]
async fn main() -> ExitCode {
    let count = std::env::args().nth(1).and_then(|count| count.parse::<u32>().ok());
    let Some(count) = count else { return ExitCode::FAILURE };
    let host = Host::new(Budget::unlimited());
    let started = Instant::now();
    let hubs: Vec<Arc<Hub>> = (0..count).map(|number| Hub::of(&host, spec(format!("node-{number}")))).collect();
    for hub in &hubs {
        hub.start();
    }
    let mut reports = interval(REPORT_SPACING);
    let mut synced_after = None;
    loop {
        tokio::select! {
            synced = all_synced(&hubs), if synced_after.is_none() => synced_after = Some(synced.duration_since(started)),
            _ = reports.tick() => {}
        }
        if report(&host, &hubs, synced_after).is_err() {
            return ExitCode::SUCCESS;
        }
    }
}

/// What the field's configuration keeps: pod labels and annotations by name, owners by label.
fn spec(node: String) -> WatchSpec {
    let labels = ["app.kubernetes.io/name", "app.kubernetes.io/version", "pod-template-hash"];
    let labels = labels.map(|label| KeepKey::Exact(label.to_owned())).into();
    WatchSpec {
        auth: Credentials::KubeConfig { context: None, file: None },
        node: Some(node),
        namespaces: Vec::new(),
        label_selector: None,
        field_selector: None,
        keep: Keep { labels, ..Keep::default() },
        grace: Duration::from_secs(120),
        pods_file: None,
        node_logs: None,
    }
}

async fn all_synced(hubs: &[Arc<Hub>]) -> Instant {
    for hub in hubs {
        // An hour stands for ever: the reader of the lines has its own deadline.
        hub.wait_synced(Instant::now() + Duration::from_secs(3_600)).await;
    }
    Instant::now()
}

fn report(host: &Host, hubs: &[Arc<Hub>], synced_after: Option<Duration>) -> std::io::Result<()> {
    let (mut pods, mut requests, mut lists, mut events) = (0, 0, 0, 0);
    for series in host.stats.all() {
        let value = match &series.metric {
            Metric::Counter(counter) => counter.get(),
            Metric::Gauge(gauge) => u64::try_from(gauge.get()).unwrap_or(0),
            _ => 0,
        };
        match &*series.name {
            "otelcol_otelsvc_k8s_pod_table_size" => pods += value,
            "otelcol_otelsvc_k8s_requests" => requests += value,
            "otelcol_otelsvc_k8s_relists" => lists += value,
            "otelcol_otelsvc_k8s_pod_added" | "otelcol_otelsvc_k8s_pod_updated" | "otelcol_otelsvc_k8s_pod_deleted" => {
                events += value
            }
            _ => {}
        }
    }
    let fresh = hubs.iter().filter(|hub| hub.freshness().state == WatchHealth::Fresh).count();
    let synced = hubs.iter().filter(|hub| hub.synced()).count();
    let after = synced_after.map_or("null".to_owned(), |after| format!("{:.3}", after.as_secs_f64()));
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{{\"watches\":{},\"synced\":{synced},\"fresh\":{fresh},\"pods\":{pods},\"requests\":{requests},\
         \"lists\":{lists},\"changes\":{events},\"synced_after\":{after}}}",
        hubs.len()
    )?;
    out.flush()
}
