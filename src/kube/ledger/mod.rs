//! The ledger of a pod: the runs of each of its containers with the intervals in which they lived.
//!
//! Exists because an API server shows the current run and one predecessor, while telemetry of older runs still comes
//! and the status of the newest is up to seconds late. Runs are keyed by container id and carried from event to event;
//! the restart number is only an attribute of them, because a kubelet may lower it. Pure: events and times go in.
//! Invariant: the runs of a container are in the order in which they began, at most [`RUNS_MAX`], no id twice.

mod observe;
mod resolve;
#[cfg(test)]
mod tests;
mod witness;

use std::sync::Arc;
use std::time::Duration;

pub use resolve::{Absence, Confidence, Resolution, RunQuery};

use crate::core::time::UnixNanos;
use crate::kube::node_logs::ContainerLogs;
use crate::kube::pod::{ContainerKind, Pod};

/// The status of a new run arrives at most this much after its start (kubelet relist 1 s, status write, watch):
/// reference behaviour is 1 to 3 s. The promise "never wrong" holds up to it.
pub const FRESHNESS: Duration = Duration::from_secs(3);

/// Runs kept per container: one open and eight before it.
pub const RUNS_MAX: usize = 9;

/// Containers whose runs are kept per pod; a pod with more has been made to hurt.
const CONTAINERS_MAX: usize = 256;

/// A time known to lie in `[lo, hi]`. The API server truncates to whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeBounds {
    pub lo: UnixNanos,
    pub hi: UnixNanos,
}

impl TimeBounds {
    /// The second that begins at `start`.
    pub fn second(start: UnixNanos) -> TimeBounds {
        TimeBounds { lo: start, hi: start.saturating_add(Duration::from_secs(1)) }
    }

    const UNKNOWN: TimeBounds = TimeBounds { lo: UnixNanos(0), hi: UnixNanos(u64::MAX) };

    pub fn is_known(self) -> bool {
        self.hi != TimeBounds::UNKNOWN.hi
    }

    /// The narrower of two that lie within each other, and otherwise what covers both.
    fn both(self, other: TimeBounds) -> TimeBounds {
        let within = |inner: TimeBounds, outer: TimeBounds| outer.lo <= inner.lo && inner.hi <= outer.hi;
        if within(self, other) {
            self
        } else if within(other, self) {
            other
        } else {
            self.union(other)
        }
    }

    /// The smallest moment that covers both.
    fn union(self, other: TimeBounds) -> TimeBounds {
        TimeBounds { lo: self.lo.min(other.lo), hi: self.hi.max(other.hi) }
    }
}

/// One run of a container.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Bare container id, never empty.
    pub id: Arc<str>,
    /// The restart number as last reported.
    pub restart: i64,
    /// The image as the spec named it when this run was first seen as the current one, and the id the runtime gave it
    /// (`status.imageID`). Empty for a predecessor that was never seen as current. The spec's image can change while a
    /// run goes on.
    pub image: Arc<str>,
    pub image_id: Arc<str>,
    pub start: TimeBounds,
    /// `None` while it runs, as far as is known.
    pub end: Option<TimeBounds>,
    /// The end was reported, not inferred from a successor.
    pub end_reported: bool,
    pub reason: Arc<str>,
    pub exit_code: i64,
    /// Runs that nobody saw may lie between this one and the one before it.
    pub gap_before: bool,
    /// When the first event that named it was applied.
    pub learned_at: UnixNanos,
}

impl Run {
    /// The node's log folder told of its start: a status tells whole seconds.
    fn is_logged(&self) -> bool {
        self.start.hi.since(self.start.lo) < Duration::from_secs(1)
    }
}

/// The runs of one container, oldest first.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerLedger {
    pub name: Arc<str>,
    pub kind: ContainerKind,
    pub runs: Vec<Run>,
    /// Why the container waits; empty when it does not.
    pub waiting: Arc<str>,
    /// The node's log folder shows this container, and no newer run than the newest here.
    pub logged: bool,
}

impl ContainerLedger {
    /// The ledger of a container of which no status has been seen.
    pub fn unreported(name: &Arc<str>, kind: ContainerKind) -> ContainerLedger {
        ContainerLedger { name: name.clone(), kind, runs: Vec::new(), waiting: Arc::default(), logged: false }
    }

    pub fn run(&self, id: &str) -> Option<&Run> {
        self.runs.iter().find(|run| *run.id == *id)
    }

    pub fn newest(&self) -> Option<&Run> {
        self.runs.last()
    }
}

/// When the pod was last looked at, and now.
#[derive(Clone, Copy, Debug)]
pub struct LastLook {
    pub previous: UnixNanos,
    pub now: UnixNanos,
}

/// The runs of all containers of one pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodLedger {
    containers: Vec<ContainerLedger>,
}

impl PodLedger {
    /// Takes in what an event says of the pod's containers. A repeated or late event changes nothing that is known
    /// better.
    pub fn observe(&mut self, pod: &Pod, look: LastLook) {
        for status in &pod.statuses {
            let spec = pod.containers.iter().find(|container| container.name == status.name);
            let kind = spec.map_or(ContainerKind::Regular, |container| container.kind);
            let image = spec.map(|container| container.image.clone()).unwrap_or_default();
            if let Some(ledger) = self.container_mut(&status.name, kind) {
                ledger.observe(status, image, look);
                ledger.runs.shrink_to_fit();
            }
        }
        self.containers.shrink_to_fit();
    }

    /// Takes in what the node's log folder shows of a container; nothing when it shows it no longer.
    pub fn witness(&mut self, pod: &Pod, name: &Arc<str>, logs: &ContainerLogs, look: LastLook) {
        let Some(spec) = pod.containers.iter().find(|container| container.name == *name) else { return };
        if let Some(ledger) = self.container_mut(name, spec.kind) {
            ledger.witness(logs, &spec.image, look);
        }
    }

    /// Takes the log folder's word back from containers that it does not show.
    pub fn keep_logged(&mut self, shown: impl Fn(&str) -> bool) {
        for ledger in &mut self.containers {
            ledger.logged &= shown(&ledger.name);
        }
    }

    fn container_mut(&mut self, name: &Arc<str>, kind: ContainerKind) -> Option<&mut ContainerLedger> {
        let index = match self.containers.iter().position(|ledger| ledger.name == *name) {
            Some(index) => index,
            None if self.containers.len() >= CONTAINERS_MAX => return None,
            None => {
                self.containers.push(ContainerLedger::unreported(name, kind));
                self.containers.len() - 1
            }
        };
        self.containers.get_mut(index)
    }

    /// The runs of the container of this name.
    pub fn container(&self, name: &str) -> Option<&ContainerLedger> {
        self.containers.iter().find(|ledger| *ledger.name == *name)
    }

    pub fn containers(&self) -> &[ContainerLedger] {
        &self.containers
    }

    /// The container with a run of this id; a shortened id counts when it fits one run only.
    pub fn by_id(&self, id: &str) -> Option<(&ContainerLedger, &Run)> {
        let mut fitting = self
            .containers
            .iter()
            .flat_map(|ledger| ledger.runs.iter().filter(|run| run.id.starts_with(id)).map(move |run| (ledger, run)));
        let first = fitting.next()?;
        if fitting.next().is_some() { None } else { Some(first) }
    }

    /// Ids of all runs of all containers.
    pub fn ids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.containers.iter().flat_map(|ledger| ledger.runs.iter()).map(|run| &run.id)
    }

    pub fn knows(&self, id: &str) -> bool {
        self.ids().any(|known| **known == *id)
    }

    /// When the earliest run that goes on and was learned of `now` began, at the latest (starts are whole seconds).
    pub fn learned(&self, now: UnixNanos) -> Option<UnixNanos> {
        let runs = self.containers.iter().filter_map(ContainerLedger::newest);
        let learned = runs.filter(|run| run.learned_at == now && run.end.is_none() && run.start.is_known());
        learned.map(|run| run.start.hi).min()
    }

    /// A run goes on, as far as statuses tell.
    pub fn is_running(&self) -> bool {
        self.containers.iter().any(|ledger| ledger.runs.iter().any(|run| run.end.is_none()))
    }

    /// When the last run ended; `None` while one is open or when no end was reported.
    pub fn last_end(&self) -> Option<TimeBounds> {
        let runs = || self.containers.iter().flat_map(|ledger| ledger.runs.iter());
        if self.is_running() {
            return None;
        }
        runs().filter(|run| run.end_reported).filter_map(|run| run.end).max_by_key(|end| end.hi)
    }
}
