//! What a running gateway says of itself as a whole: `/v1/status` and `/v1/stats`, which `podgate status`, `top` and `doctor` read.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::core::build_info;
use crate::core::report::routes::Page;
use crate::core::report::stats::{Metric, Series};
use crate::core::stage::host::Host;
use crate::core::time::UnixNanos;
use crate::net::server::listen::BoundAddresses;
use crate::telemetry::process;

/// Adds the two pages.
pub fn register(host: &Arc<Host>) {
    let (started, of_status) = (UnixNanos::now(), Arc::downgrade(host));
    let status = move |_: &_| match of_status.upgrade() {
        Some(host) => Page::ok(status(&host, started, UnixNanos::now())),
        None => Page::error(503, "the gateway has ended"),
    };
    host.routes.add("/v1/status", "version, age, memory, listeners and the state of every component", Arc::new(status));
    let stats = host.stats.clone();
    let page = move |_: &_| Page::ok(stats.all().iter().filter_map(row).collect());
    host.routes.add("/v1/stats", "every counter and gauge of the metrics page, as JSON", Arc::new(page));
}

/// Where everybody listens, to go back to with [`listen_at`].
pub fn listeners(host: &Host) -> BTreeMap<String, SocketAddr> {
    host.shared(BoundAddresses::KEY, || Arc::new(BoundAddresses::default())).all()
}

/// These listeners and no others.
pub fn listen_at(addresses: &BTreeMap<String, SocketAddr>, host: &Host) {
    let bound = host.shared(BoundAddresses::KEY, || Arc::new(BoundAddresses::default()));
    bound.all().keys().for_each(|path| bound.forget(path));
    addresses.iter().for_each(|(path, address)| bound.set(path, *address));
}

/// Nobody listens below this path any more.
pub fn forget_listeners(path: &str, host: &Host) {
    host.shared(BoundAddresses::KEY, || Arc::new(BoundAddresses::default())).forget(path);
}

fn status(host: &Host, started: UnixNanos, now: UnixNanos) -> Value {
    let components = host.status.all();
    let listeners = listeners(host);
    let budget = &host.budget;
    json!({
        "version": build_info::VERSION,
        "commit": build_info::COMMIT,
        "state": components.get("service").map(|report| report.state),
        "started_at": started.timestamp().to_string(),
        "uptime_seconds": now.since(started).as_secs(),
        "cpu_seconds": process::cpu_seconds(),
        "rss_bytes": process::rss_bytes(),
        "budget": {
            "used_bytes": budget.used(),
            "soft_bytes": budget.soft(),
            "hard_bytes": budget.hard(),
            "refused": budget.refused(),
        },
        "listeners": listeners,
        "components": components,
    })
}

/// A series with one number; histograms have many and are left to the metrics page.
fn row(series: &Series) -> Option<Value> {
    let value = match &series.metric {
        Metric::Counter(counter) => counter.get() as f64,
        Metric::Gauge(gauge) => gauge.get() as f64,
        Metric::ReadCounter(read) | Metric::ReadGauge(read) => read(),
        Metric::Histogram(_) => return None,
    };
    let labels: serde_json::Map<String, Value> =
        series.labels.iter().map(|(key, value)| ((*key).to_owned(), value.clone().into())).collect();
    Some(json!({ "name": series.name, "labels": labels, "value": value }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::data::budget::Budget;
    use crate::core::report::routes::PageQuery;
    use crate::core::report::status::State;

    #[test]
    fn the_pages_tell_state_budget_and_every_counter() {
        let host = Host::new(Budget::new(100, 80));
        register(&host);
        host.status.set("service", State::Ok, "");
        host.status.set("exporters::otlp_grpc", State::Degraded, "nobody listens");
        host.stats.counter("made", "Made here.", &[("by", "the test")]).add(3);
        let page = |path: &str| host.routes.find(path).map(|answer| answer(&PageQuery::new()).body).unwrap_or_default();
        let status = page("/v1/status");
        assert_eq!((&status["state"], &status["budget"]["hard_bytes"]), (&json!("ok"), &json!(100)));
        assert_eq!(status["components"]["exporters::otlp_grpc"]["message"], "nobody listens");
        let made = json!({"name": "made", "labels": {"by": "the test"}, "value": 3.0});
        assert!(page("/v1/stats").as_array().is_some_and(|rows| rows.contains(&made)));
    }
}
