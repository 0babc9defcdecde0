//! What the hub says of itself: metrics, one place on the status board, one log line per change of state.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::core::report::stats::{Counter, Gauge, Stats};
use crate::core::report::status::{State, StatusBoard};
use crate::kube::hub::reads::rights::Rights;
use crate::kube::owners::FetchResult;
use crate::kube::watch::{Verb, WatchHealth};

pub(super) struct HubReport {
    pod_added: Arc<Counter>,
    pod_updated: Arc<Counter>,
    pod_deleted: Arc<Counter>,
    table_size: Arc<Gauge>,
    decode_errors: Arc<Counter>,
    relists: Arc<Counter>,
    clock_skew: Arc<Gauge>,
    requests: Vec<(Verb, &'static str, Arc<Counter>)>,
    objects: Vec<(&'static str, &'static str, Arc<Counter>)>,
    board: Arc<StatusBoard>,
    name: String,
    pub rights: Rights,
}

/// How requests end: with a head (`ok`), or one of the causes of failure.
const OUTCOMES: [&str; 8] = ["ok", "unreachable", "silent", "unauthorized", "forbidden", "busy", "expired", "failing"];

/// Kinds that the metric tells apart.
const KINDS: [&str; 9] =
    ["namespaces", "nodes", "replicasets", "deployments", "statefulsets", "daemonsets", "jobs", "cronjobs", "other"];

const FOUND: [&str; 4] = ["ok", "absent", "forbidden", "failed"];

impl HubReport {
    pub fn new(stats: &Stats, board: Arc<StatusBoard>, name: &str) -> HubReport {
        let labels = [("watch", name)];
        let counter = |metric: &str, help| stats.counter(&format!("otelcol_otelsvc_k8s_{metric}"), help, &labels);
        let mut requests = Vec::new();
        for verb in [Verb::Get, Verb::List, Verb::Watch] {
            for outcome in OUTCOMES {
                let labels = [("watch", name), ("verb", verb.name()), ("outcome", outcome)];
                let help = "Requests to the Kubernetes API server by outcome";
                requests.push((verb, outcome, stats.counter("otelcol_otelsvc_k8s_requests", help, &labels)));
            }
        }
        let mut objects = Vec::new();
        for kind in KINDS {
            for outcome in FOUND {
                let labels = [("watch", name), ("kind", kind), ("outcome", outcome)];
                let help = "Single reads of owners, namespaces and nodes by kind and outcome";
                objects.push((kind, outcome, stats.counter("podgate_k8s_object_reads", help, &labels)));
            }
        }
        HubReport {
            objects,
            pod_added: counter("pod_added", "Pods added to the table"),
            pod_updated: counter("pod_updated", "Pods updated in the table"),
            pod_deleted: counter("pod_deleted", "Pods deleted from the API server"),
            table_size: stats.gauge("otelcol_otelsvc_k8s_pod_table_size", "Living pods in the table", &labels),
            decode_errors: counter(
                "decode_errors",
                "Objects of the API server that could not be read and were skipped",
            ),
            relists: counter("relists", "Complete lists of pods received"),
            clock_skew: stats.gauge(
                "otelcol_otelsvc_k8s_clock_skew_seconds",
                "Clock of the API server minus our own",
                &labels,
            ),
            requests,
            rights: Rights::new(board.clone(), name),
            board,
            name: name.to_owned(),
        }
    }

    /// A reload has ended the watch: figures and state go with it. In a stop of the gateway they are told to the last.
    pub fn forget(&self, stats: &Stats) {
        if *self.board.readiness().borrow() {
            stats.forget("watch", &self.name);
            self.board.forget(&self.name);
        }
    }

    pub fn counted(&self, tally: PodChanges, size: usize) {
        self.pod_added.add(tally.added);
        self.pod_updated.add(tally.updated);
        self.pod_deleted.add(tally.deleted);
        self.table_size.set(i64::try_from(size).unwrap_or(i64::MAX));
    }

    pub fn undecodable(&self, objects: u64) {
        self.decode_errors.add(objects);
    }

    pub fn listed(&self) {
        self.relists.add(1);
    }

    pub fn server_date(&self, seconds: i64) {
        let ours = i64::try_from(crate::core::time::UnixNanos::now().0 / 1_000_000_000).unwrap_or(0);
        self.clock_skew.set(seconds - ours);
    }

    pub fn requested(&self, verb: Verb, outcome: &str) {
        let known = self.requests.iter().find(|(v, o, _)| *v == verb && *o == outcome);
        if let Some((_, _, counter)) = known {
            counter.add(1);
        }
    }

    /// A single read of an owner, a namespace or a node.
    pub fn object(&self, resource: &str, found: &FetchResult) {
        let kind = if KINDS.contains(&resource) { resource } else { "other" };
        let outcome = match found {
            FetchResult::Object(_) => "ok",
            FetchResult::Absent => "absent",
            FetchResult::Forbidden => "forbidden",
            FetchResult::Failed => "failed",
        };
        if let Some((.., counter)) = self.objects.iter().find(|(k, o, _)| *k == kind && *o == outcome) {
            counter.add(1);
        }
    }

    /// Puts the state on the board and logs it when it changed.
    pub fn health(&self, health: &WatchHealth) {
        let (state, message) = match health {
            WatchHealth::Starting => (State::Starting, "waiting for the first list of pods".to_owned()),
            WatchHealth::Fresh => (State::Ok, "pods are listed and followed".to_owned()),
            WatchHealth::Stale(cause) => (State::Degraded, format!("{cause}; serving what is known")),
        };
        if !self.board.set(&self.name, state, message.clone()) {
            return;
        }
        match health {
            WatchHealth::Starting => {}
            WatchHealth::Fresh => tracing::info!(watch = %self.name, "kubernetes watch is fresh"),
            WatchHealth::Stale(cause) => {
                tracing::warn!(watch = %self.name, cause = cause.label(), "kubernetes watch is stale: {message}");
            }
        }
    }

    /// What the node's log folder is: with how many containers, or why it cannot be read.
    pub fn logs(&self, root: &Path, containers: io::Result<usize>, ringing: bool) {
        let shown = root.display();
        let (state, message) = match containers {
            Ok(containers) => {
                let how = if ringing { "" } else { "; the kernel gives no watch, so it is read once a second" };
                (State::Ok, format!("{containers} containers in {shown} tell of their runs at once{how}"))
            }
            Err(fault) if fault.kind() == io::ErrorKind::NotFound => {
                let cure = "mount it read-only (manifests/components/node-logs) and first data waits no longer";
                (State::Ok, format!("{shown} has no folders containers and pods: {cure}"))
            }
            Err(fault) => {
                let cure = "let podgate's group read it (securityContext: {supplementalGroups: [0]})";
                (State::Degraded, format!("{shown} cannot be read: {fault}; {cure}"))
            }
        };
        let place = format!("{}/node_logs", self.name);
        if !self.board.set(&place, state, message.clone()) {
            return;
        }
        match state {
            State::Degraded => tracing::warn!(watch = %self.name, "{message}"),
            _ => tracing::info!(watch = %self.name, "{message}"),
        }
    }

    /// A state of the pods file.
    pub fn file(&self, outcome: Result<usize, &str>) {
        let (state, message) = match outcome {
            Ok(pods) => (State::Ok, format!("{pods} pods from a file")),
            Err(fault) => (State::Degraded, format!("pods_file: {fault}")),
        };
        if self.board.set(&self.name, state, message.clone()) {
            match state {
                State::Ok => tracing::info!(watch = %self.name, "{message}"),
                _ => tracing::warn!(watch = %self.name, "{message}"),
            }
        }
    }
}

/// How many pods were added, updated and deleted by one update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodChanges {
    pub added: u64,
    pub updated: u64,
    pub deleted: u64,
    /// A run that was shown for the first time: how long its status certainly took.
    pub delay: Option<Duration>,
}
