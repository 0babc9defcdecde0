//! Applications of the reference deployment: they tell their pod's uid, a container name from a label and a restart count
//! of 0 for ever, and nothing that names the process. Each item carries the truth under another name.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use podgate::core::time::UnixNanos;
use podgate::lab::api_double::MadePod;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::apm_server::seen::{ITEM, MADE_BY, Signal};

/// What an SDK gives an export, all attempts together.
const EXPORT_TIMEOUT: Duration = Duration::from_secs(10);

type Acknowledged = Arc<Mutex<BTreeSet<(Signal, String)>>>;

/// One process: one run of one container, over one connection of its own.
#[derive(Clone)]
pub struct App {
    resource: Resource,
    run: String,
    channel: Channel,
    acknowledged: Acknowledged,
    /// What it said so far, by the names of its items.
    said: Arc<std::sync::atomic::AtomicU64>,
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

impl App {
    pub fn new(pod: &MadePod, label: &str, run: &str, address: SocketAddr, acknowledged: Acknowledged) -> App {
        let attributes = vec![
            text("service.name", "checkout"),
            text("k8s.pod.uid", &pod.uid),
            text("k8s.container.name", label),
            text("k8s.container.restart_count", "0"),
        ];
        let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address").timeout(EXPORT_TIMEOUT);
        let endpoint = endpoint.local_address(pod.ip.parse().ok());
        App {
            resource: Resource { attributes, ..Resource::default() },
            run: run.to_owned(),
            channel: endpoint.connect_lazy(),
            acknowledged,
            said: Arc::default(),
        }
    }

    fn name(&self, signal: Signal) -> (String, Vec<KeyValue>) {
        let number = self.said.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("{}-{signal:?}-{number}", &self.run[..12]);
        let attributes = vec![text(ITEM, &name), text(MADE_BY, &self.run)];
        (name, attributes)
    }

    /// A span, a data point, and two log records, one of them an event. Without an event name a record is a line that its
    /// file has too.
    pub async fn say(&self, made: UnixNanos) {
        tokio::join!(self.trace(made.0), self.measure(made.0), self.log(made.0));
    }

    async fn trace(&self, at: u64) {
        let (name, attributes) = self.name(Signal::Traces);
        let span = Span {
            trace_id: fastrand::u128(1..).to_be_bytes().to_vec(),
            span_id: fastrand::u64(1..).to_be_bytes().to_vec(),
            name: "GET /cart".to_owned(),
            start_time_unix_nano: at - 1_000_000,
            end_time_unix_nano: at,
            attributes,
            ..Span::default()
        };
        let group = ResourceSpans {
            resource: Some(self.resource.clone()),
            scope_spans: vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        };
        let request = ExportTraceServiceRequest { resource_spans: vec![group] };
        let send = async || TraceServiceClient::new(self.channel.clone()).export(request.clone()).await.map(drop);
        self.until_taken(Signal::Traces, name, send).await;
    }

    async fn measure(&self, at: u64) {
        let (name, attributes) = self.name(Signal::Metrics);
        let value = Some(number_data_point::Value::AsInt(1));
        let point = NumberDataPoint { time_unix_nano: at, attributes, value, ..NumberDataPoint::default() };
        let gauge = Some(metric::Data::Gauge(Gauge { data_points: vec![point] }));
        let metric = Metric { name: "queue.length".to_owned(), data: gauge, ..Metric::default() };
        let group = ResourceMetrics {
            resource: Some(self.resource.clone()),
            scope_metrics: vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }],
            ..ResourceMetrics::default()
        };
        let request = ExportMetricsServiceRequest { resource_metrics: vec![group] };
        let send = async || MetricsServiceClient::new(self.channel.clone()).export(request.clone()).await.map(drop);
        self.until_taken(Signal::Metrics, name, send).await;
    }

    async fn log(&self, at: u64) {
        let (name, attributes) = self.name(Signal::Logs);
        let body = Some(AnyValue { value: Some(any_value::Value::StringValue("work done".to_owned())) });
        let line = LogRecord { time_unix_nano: at, body, ..LogRecord::default() };
        let event = LogRecord { event_name: "cart.emptied".to_owned(), attributes, ..line.clone() };
        let group = ResourceLogs {
            resource: Some(self.resource.clone()),
            scope_logs: vec![ScopeLogs { log_records: vec![line, event], ..ScopeLogs::default() }],
            ..ResourceLogs::default()
        };
        let request = ExportLogsServiceRequest { resource_logs: vec![group] };
        let send = async || LogsServiceClient::new(self.channel.clone()).export(request.clone()).await.map(drop);
        self.until_taken(Signal::Logs, name, send).await;
    }

    /// As SDKs do: what may be tried again is, within the time of an export; then it is the application's own loss.
    async fn until_taken(&self, signal: Signal, name: String, send: impl AsyncFn() -> Result<(), tonic::Status>) {
        let tries = async {
            loop {
                match send().await {
                    Ok(()) => return true,
                    Err(status) if matches!(status.code(), Code::Unavailable | Code::ResourceExhausted) => {
                        tokio::time::sleep(Duration::from_millis(300)).await;
                    }
                    Err(_) => return false,
                }
            }
        };
        if tokio::time::timeout(EXPORT_TIMEOUT, tries).await.unwrap_or(false) {
            self.acknowledged.lock().expect("not poisoned").insert((signal, name));
        }
    }
}
