//! What podgate says of itself: metrics in Prometheus form, logs, process figures, the balance.

pub mod balance;
pub mod cgroup;
pub mod limits;
pub mod logging;
pub mod process;
pub mod prometheus;
pub mod running_config;
pub mod state;
pub mod stdout;
pub mod waits;

use std::sync::Arc;

use tokio::time::Instant;

use crate::config::server::PageLock;
use crate::config::telemetry::{PrometheusReader, Telemetry};
use crate::core::error::StartError;
use crate::core::stage::component::{Component, Task};
use crate::core::stage::host::Host;
use crate::net::pages::listener::{PageListener, PagePlace};
use crate::net::pages::page::PageResponse;
use crate::net::pages::router::Pages;
use crate::telemetry::prometheus::Spelling;

/// The metrics listeners of `service::telemetry::metrics::readers`, each with its path for messages.
pub fn listeners(telemetry: &Telemetry, host: &Arc<Host>) -> Vec<(String, Arc<dyn Component>)> {
    let listener = |(at, reader): (usize, &PrometheusReader)| {
        let path = format!("service::telemetry::metrics::readers::{at}");
        let spelling = Spelling {
            without_type_suffix: reader.without_type_suffix,
            without_units: reader.without_units,
            resource: telemetry.resource.clone(),
        };
        let address = if reader.host.contains(':') && !reader.host.starts_with('[') {
            format!("[{}]:{}", reader.host, reader.port)
        } else {
            format!("{}:{}", reader.host, reader.port)
        };
        let component: Arc<dyn Component> = Arc::new(MetricsListener {
            path: path.clone(),
            address,
            lock: reader.lock(),
            implicit: reader.place.line == 0,
            spelling,
            host: host.clone(),
            // A reader has a number and no name.
            listener: PageListener::labelled("metrics"),
        });
        (path, component)
    };
    telemetry.metrics.iter().enumerate().map(listener).collect()
}

struct MetricsListener {
    path: String,
    address: String,
    lock: PageLock,
    /// Not written in the configuration: a port in use is then a warning, not a failure.
    implicit: bool,
    spelling: Spelling,
    host: Arc<Host>,
    listener: PageListener,
}

impl Component for MetricsListener {
    fn start(&self) -> Task<'_, Result<(), StartError>> {
        let (stats, spelling) = (self.host.stats.clone(), self.spelling.clone());
        let pages = Pages::new(|_| PageResponse::text(404, "metrics are at /metrics\n")).page("/metrics", move |_| {
            let text = prometheus::render(&stats, &spelling);
            PageResponse::full(200, "text/plain; version=0.0.4; charset=utf-8", text.into())
        });
        Box::pin(async move {
            let place = PagePlace { path: &self.path, endpoint: &self.address, lock: &self.lock };
            if !self.implicit {
                return self.listener.start(&self.host, place, pages).await;
            }
            if let Err(error) = self.listener.start_now(&self.host, place, pages).await {
                tracing::warn!(%error, "cannot serve the metrics page: name a reader with another port");
            }
            Ok(())
        })
    }

    fn drain(&self, deadline: Instant) -> Task<'_, ()> {
        Box::pin(self.listener.drain(deadline))
    }
}
