//! A cluster in this process with a host beside it, and the hub that watches it.

use std::sync::Arc;
use std::time::Duration;

use podgate::core::data::budget::Budget;
use podgate::core::report::stats::Metric;
use podgate::core::stage::host::Host;
use podgate::kube::client::Credentials;
use podgate::kube::decode::{Keep, KeepKey};
use podgate::kube::hub::{Hub, WatchSpec};
use podgate::lab::api_double::{MadePod, PodSpec, Sandbox};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// Longer than any of these tests needs on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(40);

pub struct World {
    pub sandbox: Arc<Sandbox>,
    pub host: Arc<Host>,
    pub url: String,
    _stop: watch::Sender<bool>,
}

impl World {
    pub async fn new(seed: u64) -> World {
        let host = Host::new(Budget::unlimited());
        let sandbox = Sandbox::new(seed);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let (stop, stopped) = watch::channel(false);
        drop(host.tasks.spawn("sandbox", |pulse| sandbox.clone().serve(listener, stopped, pulse)));
        World { sandbox, host, url, _stop: stop }
    }

    pub fn spec(&self) -> WatchSpec {
        WatchSpec {
            auth: Credentials::Url(self.url.clone()),
            node: Some(PodSpec::NODE.to_owned()),
            namespaces: Vec::new(),
            label_selector: None,
            field_selector: None,
            keep: Keep { labels: vec![KeepKey::All], related_labels: vec![KeepKey::All], ..Keep::default() },
            grace: Duration::from_secs(120),
            pods_file: None,
            node_logs: None,
        }
    }

    pub fn hub(&self) -> Arc<Hub> {
        let hub = Hub::of(&self.host, self.spec());
        hub.start();
        hub
    }

    pub async fn synced(&self) -> Arc<Hub> {
        let hub = self.hub();
        assert!(hub.wait_synced(Instant::now() + PATIENCE).await, "not synced: {:?}", hub.freshness());
        hub
    }

    pub fn metric(&self, name: &str, outcome: Option<&str>) -> u64 {
        let matching = self.host.stats.all().into_iter().filter(|series| series.name == name);
        let matching = matching.filter(|series| {
            outcome.is_none_or(|outcome| series.labels.iter().any(|(key, value)| *key == "outcome" && value == outcome))
        });
        let value = |metric: &Metric| match metric {
            Metric::Counter(counter) => counter.get(),
            Metric::Gauge(gauge) => u64::try_from(gauge.get()).expect("not negative"),
            _ => 0,
        };
        matching.map(|series| value(&series.metric)).sum()
    }
}

/// Waits until the view is as wanted; looks again at every change.
pub async fn until(hub: &Hub, what: &str, wanted: impl Fn(&Hub) -> bool) {
    let mut changed = hub.changed();
    let waited = timeout(PATIENCE, async {
        while !wanted(hub) {
            let _ = timeout(Duration::from_millis(50), changed.changed()).await;
        }
    });
    assert!(waited.await.is_ok(), "never happened: {what}; {:?}", hub.freshness());
}

pub fn knows(hub: &Hub, pod: &MadePod) -> bool {
    hub.snapshot().by_uid(&pod.uid).is_some_and(|entry| entry.removed_at.is_none())
}
