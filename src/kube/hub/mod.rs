//! The live view of the cluster: one per distinct watch, shared by all pipelines, read without locks.
//!
//! The async shell around pure parts: readers drive [`watch`](crate::kube::watch) against the API server, one feed owns
//! the [`Table`], one fetcher makes single GETs (refreshed pods, owners, namespaces, nodes). Whatever fails, the last
//! snapshot is served.
//! It must not know what a resource or an attribute is.

mod delays;
mod feed;
mod fetch;
mod logs;
mod paths;
mod reachability;
mod reader;
mod related;
mod report;
mod rights;
mod single;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use crate::core::outside::Outside;
use crate::core::stage::host::Host;
use crate::core::time::UnixNanos;
use crate::kube::client::{Api, Credentials};
use crate::kube::decode::Keep;
use crate::kube::owners::{Lookup, Shelf, WantedObject, Wants};
use crate::kube::pod::Owner;
use crate::kube::selection::Selection;
use crate::kube::static_pods;
use crate::kube::table::{Snapshot, Table};
use crate::kube::watch::{Heard, WatchHealth};

use self::delays::Delays;
use self::logs::Watched;
use self::reachability::Reachability;
use self::report::HubReport;
use self::single::Ways;

/// Updates between readers and table.
const UPDATES_MAX: usize = 256;
/// Single GETs waiting to be made; what does not fit is asked for again by the next lookup.
const WANTS_MAX: usize = 256;
/// Objects that pods were announced with and that were never asked for.
const FIRST_MAX: usize = 8_192;
/// Pods whose refresh is remembered.
const REFRESHES_MAX: usize = 4_096;
/// A pod is not asked for more often.
const REFRESH_SPACING: Duration = Duration::from_secs(1);

/// What to watch, and how much of it to keep.
#[derive(Clone, Debug)]
pub struct WatchSpec {
    pub auth: Credentials,
    /// Only pods of this node (field selector `spec.nodeName`).
    pub node: Option<String>,
    /// One watch each; empty means the whole cluster.
    pub namespaces: Vec<String>,
    pub label_selector: Option<String>,
    pub field_selector: Option<String>,
    pub keep: Keep,
    /// How long deleted pods can still be found.
    pub grace: Duration,
    /// A PodList in YAML or JSON, in place of an API server.
    pub pods_file: Option<PathBuf>,
    /// The node's `/var/log`, whose names tell of runs before the API server does.
    pub node_logs: Option<PathBuf>,
}

/// How current the view is. Times are on our own clock; `age` never follows clock steps.
#[derive(Clone, Debug)]
pub struct Freshness {
    pub state: WatchHealth,
    pub last_event: Option<UnixNanos>,
    pub last_bookmark: Option<UnixNanos>,
    pub listed_at: Option<UnixNanos>,
    /// Since the last sign of life (event, bookmark or list) of the quietest watch; `None` before the first list.
    pub age: Option<Duration>,
    /// Since the request of a single read that the API server failed to answer: the stream may be silent for the same
    /// reason. `None` when nothing speaks against the stream.
    pub doubt: Option<Duration>,
    /// Since the last proof that what the store knew has reached the snapshot: an event, or a bookmark or list of another
    /// version than before, of the watch that had none for longest. `None` before the first list.
    pub proof: Option<Duration>,
    /// Single reads are forbidden, so nothing can be asked.
    pub mute: bool,
    /// How long statuses lately took from a container's start to us, as far as that is known for certain.
    pub delay: Duration,
    /// Since the time until which the node's log folder is known; `None` where it is not.
    pub logs: Option<Duration>,
}

pub struct Hub {
    host: HostParts,
    // Joined by further users until the start.
    spec: Mutex<WatchSpec>,
    shared: Arc<Shared>,
    running: Mutex<Running>,
    stop: watch::Sender<bool>,
}

struct HostParts {
    tasks: Arc<crate::core::stage::tasks::Tasks>,
    outside: Outside,
    /// `k8s`, `k8s/2`, ...: prefix of task names and place on the status board.
    name: String,
}

#[derive(Default)]
struct Running {
    started: bool,
    tasks: Vec<JoinHandle<()>>,
    wants: Option<Wanted>,
}

/// Both queues of single reads.
struct Wanted {
    first: mpsc::Receiver<WantedObject>,
    again: mpsc::Receiver<WantedObject>,
}

/// What tasks write and users read.
struct Shared {
    published: ArcSwap<Snapshot>,
    generation: watch::Sender<u64>,
    synced: watch::Sender<bool>,
    // One entry per reader, written at every chunk, read by status pages.
    readers: Mutex<Vec<(WatchHealth, Heard)>>,
    wants: Wants,
    // By pod uid: when it was last asked for. Locked on misses only.
    refreshes: Mutex<HashMap<Arc<str>, Instant>>,
    // Locked once per single read and per look at the freshness.
    contact: Mutex<Reachability>,
    // By which requests single pods may be read.
    ways: Ways,
    // Somebody was told that a right is missing.
    denied: Notify,
    // Locked once per new run and per look at the freshness.
    delays: Mutex<Delays>,
    // Locked once per change of the log folder and per look at the freshness.
    logs: Mutex<Watched>,
    /// Pods come from a file, which has nothing on its way.
    fixed: bool,
    shelves: Shelves,
    tell: HubReport,
}

#[derive(Default)]
struct Shelves {
    owners: Shelf,
    namespaces: Shelf,
    nodes: Shelf,
}

impl Shared {
    fn bump(&self) {
        self.generation.send_modify(|generation| *generation += 1);
    }

    fn readers(&self) -> MutexGuard<'_, Vec<(WatchHealth, Heard)>> {
        self.readers.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn contact(&self) -> MutexGuard<'_, Reachability> {
        self.contact.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// What the store knew then the quietest watch has told.
    fn alive(&self, now: Instant) -> Option<Instant> {
        self.readers().iter().map(|(_, heard)| heard.proof(now)).min().flatten()
    }

    /// When the quietest watch last told something of the store, however old.
    fn told(&self) -> Option<Instant> {
        self.readers().iter().map(|(_, heard)| heard.of_store()).min().flatten()
    }

    /// A run was learned of by the stream, so long after its start.
    fn run_learned(&self, after: Duration) {
        let now = Instant::now();
        let alive = self.alive(now);
        let contact = self.contact();
        // What an outage held back says nothing of kubelets.
        let held_back = now.checked_sub(after).is_none_or(|began| contact.was_away(began));
        if !held_back && contact.doubted_since(now, alive).is_none() {
            drop(contact);
            self.delays.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).note(after, now);
        }
    }

    fn logs(&self) -> MutexGuard<'_, Watched> {
        self.logs.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn delay(&self, now: Instant) -> Duration {
        self.delays.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).largest(now)
    }

    fn freshness(&self) -> Freshness {
        let now = Instant::now();
        let alive = self.alive(now);
        let wall = |at: Option<Instant>| at.map(|at| UnixNanos::now().saturating_sub(now.duration_since(at)));
        let (delay, logs) = (self.delay(now), self.logs().until(now));
        // One lock at a time: what a struct's fields borrow is held to its end.
        let contact = self.contact();
        let (doubted_since, mute) = (contact.doubted_since(now, alive), contact.is_mute());
        drop(contact);
        let readers = self.readers();
        let worst = readers.iter().max_by_key(|(_, heard)| heard.latest().map_or(Duration::MAX, |at| now - at));
        let heard = worst.map(|(_, heard)| *heard).unwrap_or_default();
        let unwell = readers.iter().map(|(health, _)| health).find(|health| **health != WatchHealth::Fresh);
        let state = match (readers.is_empty(), unwell) {
            (true, _) => WatchHealth::Starting,
            (false, unwell) => unwell.cloned().unwrap_or(WatchHealth::Fresh),
        };
        Freshness {
            state,
            last_event: wall(heard.event),
            last_bookmark: wall(heard.bookmark),
            listed_at: wall(heard.listed),
            age: heard.latest().map(|at| now.duration_since(at)),
            doubt: doubted_since.map(|since| now.duration_since(since)),
            proof: if self.fixed { Some(Duration::ZERO) } else { alive.map(|at| now.duration_since(at)) },
            mute,
            delay,
            logs: logs.map(|until| now.duration_since(until)),
        }
    }
}

impl Hub {
    /// The hub of this watch, made on first use. Users that differ only in what they keep share one and keep the union;
    /// the longer grace wins. Does no I/O.
    pub fn of(host: &Host, spec: WatchSpec) -> Arc<Hub> {
        let WatchSpec { auth, node, namespaces, label_selector, field_selector, pods_file, node_logs, .. } = &spec;
        let selection = (node, namespaces, label_selector, field_selector);
        let key = format!("kubernetes hub {auth:?} {selection:?} {pods_file:?} {node_logs:?}");
        // Asked for before: what `shared` makes must not ask it again.
        let hubs = host.shared("kubernetes hubs", || Arc::new(AtomicU64::new(0)));
        let hub = host.shared(&key, || Arc::new(Hub::new(host, &hubs, spec.clone())));
        let mut joined = hub.spec.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        joined.grace = joined.grace.max(spec.grace);
        joined.keep.join(spec.keep);
        drop(joined);
        hub
    }

    /// Deleted pods are found for at least this long. Counts until the start.
    pub fn remember_for(&self, grace: Duration) {
        let mut spec = self.spec.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        spec.grace = spec.grace.max(grace);
    }

    fn new(host: &Host, hubs: &AtomicU64, spec: WatchSpec) -> Hub {
        let count = hubs.fetch_add(1, Ordering::Relaxed);
        let name = if count == 0 { "k8s".to_owned() } else { format!("k8s/{}", count + 1) };
        let ((first, wanted), (again, wanted_again)) = (mpsc::channel(FIRST_MAX), mpsc::channel(WANTS_MAX));
        let wanted = Wanted { first: wanted, again: wanted_again };
        let shared = Arc::new(Shared {
            published: ArcSwap::new(Table::new(spec.grace).snapshot()),
            generation: watch::Sender::new(0),
            synced: watch::Sender::new(false),
            readers: Mutex::default(),
            wants: Wants { first, again },
            refreshes: Mutex::default(),
            contact: Mutex::default(),
            ways: Ways::default(),
            denied: Notify::new(),
            delays: Mutex::default(),
            logs: Mutex::default(),
            fixed: spec.pods_file.is_some(),
            shelves: Shelves::default(),
            tell: HubReport::new(&host.stats, host.status.clone(), &name),
        });
        report::read_staleness(&host.stats, &name, &shared);
        Hub {
            host: HostParts { tasks: host.tasks.clone(), outside: host.outside.clone(), name },
            spec: Mutex::new(spec),
            shared,
            running: Mutex::new(Running { wants: Some(wanted), ..Running::default() }),
            stop: watch::Sender::new(false),
        }
    }

    /// What is known now; a pointer load.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.published.load_full()
    }

    /// Spawns readers, feed and fetcher; further calls do nothing. Needs a tokio runtime.
    pub fn start(&self) {
        let mut running = self.running.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if std::mem::replace(&mut running.started, true) {
            return;
        }
        let Some(wanted) = running.wants.take() else { return };
        let spec = self.spec.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        let (updates, updated) = mpsc::channel(UPDATES_MAX);
        let scopes = if spec.namespaces.is_empty() { vec![None] } else { spec.namespaces.iter().map(Some).collect() };
        let readers = if spec.pods_file.is_some() { 1 } else { scopes.len() };
        *self.shared.readers() = vec![(WatchHealth::Starting, Heard::default()); readers];
        running.tasks.push(self.spawn("table", |pulse| {
            feed::run(self.shared.clone(), feed::Feed::new(spec.grace, readers, &spec), updated, self.stopped(), pulse)
        }));
        if let Some(root) = spec.node_logs.clone() {
            let (shared, updates) = (self.shared.clone(), updates.clone());
            running.tasks.push(self.spawn("logs", |pulse| logs::run(root, shared, updates, self.stopped(), pulse)));
        }
        if let Some(file) = spec.pods_file.clone() {
            let (selection, mut keep) = (Selection::of(&spec), spec.keep.clone());
            keep.join(Keep { labels: selection.keys().collect(), ..Keep::default() });
            let source = reader::File { file, keep, selection, updates };
            let task =
                self.spawn("pods_file", |pulse| reader::read_file(source, self.shared.clone(), self.stopped(), pulse));
            running.tasks.push(task);
            return;
        }
        let api = Arc::new(Api::within(&self.host.outside, spec.auth.clone()));
        for (index, namespace) in scopes.into_iter().enumerate() {
            let scope = paths::PodScope::new(&spec, namespace.map(String::as_str));
            let name = namespace.map_or("watch".to_owned(), |namespace| format!("watch/{namespace}"));
            let setup =
                reader::Setup { index, scope, api: api.clone(), keep: spec.keep.clone(), updates: updates.clone() };
            let task = self.spawn(&name, |pulse| reader::run(setup, self.shared.clone(), self.stopped(), pulse));
            running.tasks.push(task);
        }
        let fetcher = fetch::Fetcher::new(api, spec.keep.clone(), self.shared.clone(), updates);
        running.tasks.push(self.spawn("fetch", |pulse| fetcher.run(wanted, self.stopped(), pulse)));
    }

    fn spawn<F>(&self, name: &str, make: impl FnOnce(Arc<crate::core::stage::tasks::Pulse>) -> F) -> JoinHandle<()>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.host.tasks.spawn(&format!("{}/{name}", self.host.name), make)
    }

    fn stopped(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    /// Ends all tasks. Safe when called twice and without start; the last snapshot stays readable.
    pub async fn drain(&self, deadline: Instant) {
        self.stop.send_replace(true);
        let tasks = {
            let mut running = self.running.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            running.started = true;
            std::mem::take(&mut running.tasks)
        };
        for mut task in tasks {
            if timeout_at(deadline, &mut task).await.is_err() {
                task.abort();
            }
        }
    }

    /// Asks the API server for one pod. At most one request per pod is under way and one per second is made; the
    /// answer shows in the snapshot and in [`Hub::changed`].
    pub fn refresh(&self, uid: &str, namespace: &str, name: &str) {
        if name.is_empty() || namespace.is_empty() {
            return;
        }
        let now = Instant::now();
        let mut refreshes = self.shared.refreshes.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if refreshes.get(uid).is_some_and(|asked| now.duration_since(*asked) < REFRESH_SPACING) {
            return;
        }
        if refreshes.len() >= REFRESHES_MAX {
            refreshes.retain(|_, asked| now.duration_since(*asked) < REFRESH_SPACING);
        }
        if refreshes.len() >= REFRESHES_MAX {
            return;
        }
        let uid: Arc<str> = Arc::from(uid);
        let want = WantedObject::Pod { uid: uid.clone(), namespace: namespace.to_owned(), name: name.to_owned() };
        if self.shared.wants.again.try_send(want).is_ok() {
            // While the request is under way its time lies ahead, so that no second one is made.
            refreshes.insert(uid, now + fetch::WAIT);
        }
    }

    /// Namespace, uid and labels of an owner; what is pending is asked for, and [`Hub::changed`] tells when it is there.
    pub fn owner(&self, owner: &Owner, namespace: &str) -> Lookup {
        let want = || WantedObject::Owner { owner: owner.clone(), namespace: namespace.to_owned() };
        self.shared.shelves.owners.get(&owner.uid, &self.shared.wants, want)
    }

    pub fn namespace(&self, name: &str) -> Lookup {
        self.shared.shelves.namespaces.get(name, &self.shared.wants, || WantedObject::Namespace(name.to_owned()))
    }

    pub fn node(&self, name: &str) -> Lookup {
        self.shared.shelves.nodes.get(name, &self.shared.wants, || WantedObject::Node(name.to_owned()))
    }

    /// True once all pods were listed; it stays true when the view ages.
    pub fn synced(&self) -> bool {
        *self.shared.synced.borrow()
    }

    pub async fn wait_synced(&self, deadline: Instant) -> bool {
        let mut synced = self.shared.synced.subscribe();
        matches!(timeout_at(deadline, synced.wait_for(|synced| *synced)).await, Ok(Ok(_)))
    }

    pub fn freshness(&self) -> Freshness {
        self.shared.freshness()
    }

    /// The number to which [`Hub::changed`] has counted.
    pub fn generation(&self) -> u64 {
        *self.shared.generation.borrow()
    }

    /// Counts up whenever something a resource could be given has changed.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.shared.generation.subscribe()
    }
}

#[cfg(test)]
mod tests;
