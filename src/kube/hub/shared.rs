//! What the tasks of a hub write and its users read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use crate::core::lock::Locked;
use crate::core::report::stats::{Metric, Stats};
use crate::kube::hub::delays::Delays;
use crate::kube::hub::known_logs::Watched;
use crate::kube::hub::reachability::Reachability;
use crate::kube::hub::reads::pod_requests::PodRequests;
use crate::kube::hub::report::HubReport;
use crate::kube::owners::{Shelf, WantedObject, Wants};
use crate::kube::table::Snapshot;
use crate::kube::watch::{Heard, WatchHealth};

/// How current the view is. Ages are measured on the monotonic clock, so that they never follow clock steps.
#[derive(Clone, Debug)]
pub struct Freshness {
    pub state: WatchHealth,
    /// Since the last sign of life (event, bookmark or list) of the quietest watch; `None` before the first list.
    pub age: Option<Duration>,
    /// Since the request of a single read that the API server failed to answer: the stream may be silent for the same
    /// reason. `None` when nothing speaks against the stream.
    pub doubt: Option<Duration>,
    /// Since the last proof that what the store knew has reached the snapshot: an event, or a bookmark or list of another
    /// version than before, of the watch that had none for longest. `None` before the first list.
    pub proof: Option<Duration>,
    /// No stream is followed by some watch, or one is again and has not told yet what was missed.
    pub lapsed: bool,
    /// Single reads are forbidden, so nothing can be asked.
    pub mute: bool,
    /// How long statuses lately took from a container's start to us, as far as that is known for certain.
    pub delay: Duration,
    /// Since the time until which the node's log folder is known; `None` where it is not.
    pub logs: Option<Duration>,
}

/// Both queues of single reads.
pub struct WantQueues {
    pub(super) first: mpsc::Receiver<WantedObject>,
    pub(super) again: mpsc::Receiver<WantedObject>,
}

/// What tasks write and users read.
pub struct HubShared {
    pub(super) published: ArcSwap<Snapshot>,
    pub(super) generation: watch::Sender<u64>,
    pub(super) synced: watch::Sender<bool>,
    // One entry per reader, written at every chunk, read by status pages.
    pub(super) readers: Mutex<Vec<(WatchHealth, Heard)>>,
    pub(super) wants: Wants,
    // By pod uid: when it was last asked for. Locked on misses only.
    pub(super) refreshes: Mutex<HashMap<Arc<str>, Instant>>,
    // Locked once per single read and per look at the freshness.
    pub(super) contact: Mutex<Reachability>,
    // By which requests single pods may be read.
    pub(super) ways: PodRequests,
    // Somebody was told that a right is missing.
    pub(super) denied: Notify,
    // Locked once per new run and per look at the freshness.
    pub(super) delays: Mutex<Delays>,
    // Locked once per change of the log folder and per look at the freshness.
    pub(super) logs: Mutex<Watched>,
    /// Pods come from a file, which has nothing on its way.
    pub(super) fixed: bool,
    pub(super) shelves: Shelves,
    pub(super) tell: HubReport,
}

#[derive(Default)]
pub struct Shelves {
    pub(super) owners: Shelf,
    pub(super) namespaces: Shelf,
    pub(super) nodes: Shelf,
}

impl HubShared {
    pub(super) fn bump(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }

    pub(super) fn readers(&self) -> MutexGuard<'_, Vec<(WatchHealth, Heard)>> {
        self.readers.locked()
    }

    pub(super) fn contact(&self) -> MutexGuard<'_, Reachability> {
        self.contact.locked()
    }

    /// What the store knew then the quietest watch has told.
    pub(super) fn alive(&self, now: Instant) -> Option<Instant> {
        self.readers().iter().map(|(_, heard)| heard.proof(now)).min().flatten()
    }

    /// When the quietest watch last told something of the store, however old.
    pub(super) fn told(&self) -> Option<Instant> {
        self.readers().iter().map(|(_, heard)| heard.of_store()).min().flatten()
    }

    /// The stream told of a run, this time after its start.
    pub(super) fn run_learned(&self, after: Duration) {
        let now = Instant::now();
        let alive = self.alive(now);
        let contact = self.contact();
        // What an outage held back says nothing of kubelets.
        let held_back = now.checked_sub(after).is_none_or(|began| contact.was_away(began));
        if !held_back && contact.doubted_since(now, alive).is_none() {
            drop(contact);
            self.delays.locked().note(after, now);
        }
    }

    pub(super) fn logs(&self) -> MutexGuard<'_, Watched> {
        self.logs.locked()
    }

    fn delay(&self, now: Instant) -> Duration {
        self.delays.locked().largest(now)
    }

    pub(super) fn freshness(&self) -> Freshness {
        let now = Instant::now();
        let alive = self.alive(now);
        let (delay, logs) = (self.delay(now), self.logs().until(now));
        // One lock at a time: what a struct's fields borrow is held to its end.
        let contact = self.contact();
        let (doubted_since, mute) = (contact.doubted_since(now, alive), contact.is_mute());
        drop(contact);
        let readers = self.readers();
        let worst = readers.iter().max_by_key(|(_, heard)| heard.latest().map_or(Duration::MAX, |at| now - at));
        let heard = worst.map(|(_, heard)| *heard).unwrap_or_default();
        let unwell = readers.iter().map(|(health, _)| health).find(|health| **health != WatchHealth::Fresh);
        let lapsed = readers.iter().any(|(_, heard)| heard.lapsed(now));
        let state = match (readers.is_empty(), unwell) {
            (true, _) => WatchHealth::Starting,
            (false, unwell) => unwell.cloned().unwrap_or(WatchHealth::Fresh),
        };
        Freshness {
            state,
            age: heard.latest().map(|at| now.duration_since(at)),
            doubt: doubted_since.map(|since| now.duration_since(since)),
            proof: if self.fixed { Some(Duration::ZERO) } else { alive.map(|at| now.duration_since(at)) },
            lapsed,
            mute,
            delay,
            logs: logs.map(|until| now.duration_since(until)),
        }
    }
}

/// Computed when scraped: seconds since the last sign of life, -1 before the first list; how long statuses take.
pub fn read_staleness(stats: &Stats, name: &str, shared: &Arc<HubShared>) {
    let shared = Arc::downgrade(shared);
    let of_delay = shared.clone();
    let delay = move || of_delay.upgrade().map_or(0.0, |shared| shared.delay(Instant::now()).as_secs_f64());
    stats.read(
        "podgate_k8s_status_delay_seconds",
        "Longest time from a container's start to its status of the last five to ten minutes, less the second that is not told",
        &[("watch", name)],
        Metric::ReadGauge(Arc::new(delay)),
    );
    let read = move || {
        let age = shared.upgrade().and_then(|shared| shared.freshness().age);
        age.map_or(-1.0, |age| age.as_secs_f64())
    };
    stats.read(
        "otelcol_otelsvc_k8s_staleness_seconds",
        "Seconds since the last event, bookmark or list; -1 before the first list",
        &[("watch", name)],
        Metric::ReadGauge(Arc::new(read)),
    );
}
