//! The cluster as the hub watches it, and what the hub must keep for this configuration.

use std::sync::Arc;

use regex::Regex;
use tokio::sync::watch;

use super::cluster::Cluster;
use super::config::{Auth, Config, Field, FromObject, KeyRule, KeyWanted};
use super::pod_attributes::{APP_INSTANCE, APP_NAME, APP_VERSION, OPT_OUT, OTEL_ANNOTATION, POD_TEMPLATE_HASH};
use crate::core::time::UnixNanos;
use crate::kube::client;
use crate::kube::decode::{Keep, KeepKey, Related};
use crate::kube::hub::{Hub, WatchSpec};
use crate::kube::pod::Owner;
use crate::kube::table::Snapshot;
use crate::kube::watch::Health;

pub fn spec(config: &Config) -> WatchSpec {
    let selector = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    WatchSpec {
        auth: match (&config.own.api_server, &config.auth) {
            (Some(url), _) => client::Auth::Url(url.clone()),
            (None, Auth::ServiceAccount) => client::Auth::ServiceAccount,
            (None, Auth::KubeConfig { context }) => client::Auth::KubeConfig { context: context.clone(), file: None },
            (None, Auth::None) => client::Auth::None,
        },
        node: config.filter.node.clone(),
        namespaces: config.filter.namespaces.clone(),
        label_selector: selector(&config.filter.label_selector),
        field_selector: selector(&config.filter.field_selector),
        keep: keep(config),
        grace: config.grace,
        pods_file: config.own.pods_file.as_ref().map(Into::into),
    }
}

/// Only what some attribute needs is stored.
fn keep(config: &Config) -> Keep {
    let extract = &config.extract;
    let mut keep = Keep {
        labels: keys(&extract.labels, true),
        annotations: keys(&extract.annotations, true),
        related_labels: keys(&extract.labels, false),
        related_annotations: keys(&extract.annotations, false),
    };
    keep.annotations.push(KeepKey::Exact(OPT_OUT.to_owned()));
    if extract.otel_annotations {
        let prefix = Regex::new(&format!("^{}", regex::escape(OTEL_ANNOTATION)));
        keep.annotations.extend(prefix.ok().map(KeepKey::Pattern));
    }
    let mut labels = Vec::new();
    if extract.has(Field::DeploymentName) || extract.has(Field::ServiceName) {
        labels.push(POD_TEMPLATE_HASH);
    }
    if extract.has(Field::ServiceName) {
        labels.extend([APP_NAME, APP_INSTANCE]);
    }
    if extract.has(Field::ServiceVersion) {
        labels.push(APP_VERSION);
    }
    keep.labels.extend(labels.into_iter().map(|label| KeepKey::Exact(label.to_owned())));
    keep
}

fn keys(rules: &[KeyRule], of_pods: bool) -> Vec<KeepKey> {
    let wanted = rules.iter().filter(|rule| (rule.from == FromObject::Pod) == of_pods);
    let keys = wanted.map(|rule| match &rule.wanted {
        KeyWanted::Exact(key) => KeepKey::Exact(key.clone()),
        KeyWanted::Pattern(pattern) => KeepKey::Pattern(pattern.clone()),
    });
    keys.collect()
}

impl Cluster for Hub {
    fn snapshot(&self) -> Arc<Snapshot> {
        Hub::snapshot(self)
    }

    fn namespace(&self, name: &str) -> Option<Arc<Related>> {
        Hub::namespace(self, name)
    }

    fn node(&self, name: &str) -> Option<Arc<Related>> {
        Hub::node(self, name)
    }

    fn owner(&self, namespace: &str, owner: &Owner) -> Option<Arc<Related>> {
        Hub::owner(self, owner, namespace)
    }

    fn refresh(&self, uid: &str, namespace: &str, name: &str) {
        Hub::refresh(self, uid, namespace, name);
    }

    fn in_touch(&self, now: UnixNanos) -> UnixNanos {
        let freshness = self.freshness();
        match (freshness.state, freshness.age) {
            (Health::Fresh, _) => now.saturating_sub(freshness.doubt.unwrap_or_default()),
            (_, Some(age)) => now.saturating_sub(age),
            (_, None) => UnixNanos(0),
        }
    }

    fn synced(&self) -> bool {
        Hub::synced(self)
    }

    fn changed(&self) -> watch::Receiver<u64> {
        Hub::changed(self)
    }
}
