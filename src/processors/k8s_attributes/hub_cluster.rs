//! The cluster as the hub watches it, and what the hub must keep for this configuration.

use std::path::PathBuf;
use std::sync::Arc;

use regex::Regex;
use tokio::sync::watch;
use tokio::time::Instant;

use super::cluster::{Cluster, Touch};
use super::config::{ApiAuth, Config, Field, FromObject, KeyRule, KeyWanted, NodeLogs};
use crate::core::time::UnixNanos;
use crate::kube::client;
use crate::kube::decode::{Keep, KeepKey};
use crate::kube::hub::{Freshness, Hub, WatchSpec};
use crate::kube::owners::Lookup;
use crate::kube::pod::Owner;
use crate::kube::table::Snapshot;
use crate::kube::watch::WatchHealth;
use crate::processors::k8s_attributes::pod::attributes::{
    APP_INSTANCE, APP_NAME, APP_VERSION, OPT_OUT, OTEL_ANNOTATION, POD_TEMPLATE_HASH,
};

/// Where a kubelet keeps the logs of its containers.
const NODE_LOGS: &str = "/var/log";

pub fn spec(config: &Config) -> WatchSpec {
    let selector = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    WatchSpec {
        auth: match (&config.own.api_server, &config.auth) {
            (Some(url), _) => client::Credentials::Url(url.clone()),
            (None, ApiAuth::ServiceAccount) => client::Credentials::ServiceAccount,
            (None, ApiAuth::KubeConfig { context }) => {
                client::Credentials::KubeConfig { context: context.clone(), file: None }
            }
            (None, ApiAuth::None) => client::Credentials::None,
        },
        node: config.filter.node.clone(),
        namespaces: config.filter.namespaces.clone(),
        label_selector: selector(&config.filter.label_selector),
        field_selector: selector(&config.filter.field_selector),
        keep: keep(config),
        grace: config.remembers_for(std::time::Duration::ZERO),
        pods_file: config.own.pods_file.as_ref().map(Into::into),
        node_logs: node_logs(config),
    }
}

/// Unless told otherwise, an agent of one node looks for the node's folder; pods of a file have none.
fn node_logs(config: &Config) -> Option<PathBuf> {
    match &config.own.node_logs {
        NodeLogs::At(path) => Some(path.into()),
        NodeLogs::Off => None,
        NodeLogs::Auto => {
            let agent = config.filter.node.is_some() && config.own.pods_file.is_none();
            agent.then(|| PathBuf::from(NODE_LOGS))
        }
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

    fn namespace(&self, name: &str) -> Lookup {
        Hub::namespace(self, name)
    }

    fn node(&self, name: &str) -> Lookup {
        Hub::node(self, name)
    }

    fn owner(&self, namespace: &str, owner: &Owner) -> Lookup {
        Hub::owner(self, owner, namespace)
    }

    fn refresh(&self, uid: &str, namespace: &str, name: &str) {
        Hub::refresh(self, uid, namespace, name);
    }

    fn touch(&self, now: UnixNanos) -> Touch {
        let Freshness { state, proof, doubt, lapsed, mute, delay, logs, .. } = self.freshness();
        let away = doubt.is_some() || !matches!(state, WatchHealth::Fresh | WatchHealth::Starting);
        Touch {
            now,
            at: Instant::now(),
            proved: proof.map_or(UnixNanos(0), |age| now.saturating_sub(age)),
            ceiling: now.saturating_sub(doubt.unwrap_or_default()),
            cut_off: mute || away,
            silent: away || lapsed,
            delay,
            logs: logs.map(|age| now.saturating_sub(age)),
        }
    }

    fn synced(&self) -> bool {
        Hub::synced(self)
    }

    fn changed(&self) -> watch::Receiver<u64> {
        Hub::changed(self)
    }

    fn generation(&self) -> u64 {
        Hub::generation(self)
    }
}
