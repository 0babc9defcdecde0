//! The live view of the cluster: one per distinct watch, shared by all pipelines, read without locks.
//!
//! The async shell around pure parts: readers drive [`watch`](crate::kube::watch) against the API server, one feed owns
//! the [`Table`], one fetcher makes single GETs (refreshed pods, owners, namespaces, nodes). Whatever fails, the last
//! snapshot is served.
//! It must not know what a resource or an attribute is.

mod delays;
mod feed;
mod known_logs;
mod logs;
pub(in crate::kube) mod paths;
mod reachability;
mod reader;
mod reads;
mod report;
mod shared;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

use self::reads::pod_requests::PodRequests;
use self::report::HubReport;
use crate::core::lock::Locked;
use crate::core::outside::Outside;
use crate::core::report::stats::Stats;
use crate::core::stage::host::Host;
use crate::kube::client::Api;
use crate::kube::decode::Keep;
use crate::kube::hub::shared::{HubShared, Shelves, WantQueues};
use crate::kube::owners::{Lookup, WantedObject, Wants};
use crate::kube::pod::Owner;
use crate::kube::selection::Selection;
use crate::kube::table::{Snapshot, Table};
use crate::kube::watch::{Heard, WatchHealth};

pub use crate::kube::hub::shared::Freshness;
pub use crate::kube::watch_spec::WatchSpec;

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

pub struct Hub {
    host: HostParts,
    // Joined by further users until the start.
    spec: Mutex<WatchSpec>,
    shared: Arc<HubShared>,
    running: Mutex<Running>,
    stop: watch::Sender<bool>,
}

struct HostParts {
    tasks: Arc<crate::core::stage::tasks::Tasks>,
    outside: Outside,
    stats: Arc<Stats>,
    /// `k8s`, `k8s/2`, ...: prefix of task names and place on the status board.
    name: String,
}

#[derive(Default)]
struct Running {
    started: bool,
    ended: bool,
    /// Who asked for it and has not left.
    users: usize,
    tasks: Vec<JoinHandle<()>>,
    wants: Option<WantQueues>,
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
        let make = || Arc::new(Hub::new(host, &hubs, spec.clone()));
        let hub = host.shared(&key, make);
        if hub.join(&spec) {
            return hub;
        }
        // After a reload: it has ended, or runs and keeps less of its pods than is asked for now.
        let hub = make();
        host.replace(&key, hub.clone());
        hub.join(&spec);
        hub
    }

    /// One user more, unless what it wants to know cannot be had here any more.
    fn join(&self, spec: &WatchSpec) -> bool {
        let mut running = self.running.locked();
        let mut own = self.spec.locked();
        if running.ended || (running.started && !own.keep.holds(&spec.keep)) {
            return false;
        }
        running.users += 1;
        own.grace = own.grace.max(spec.grace);
        own.keep.join(spec.keep.clone());
        true
    }

    /// One user less; the last one ends it.
    pub async fn leave(&self, deadline: Instant) {
        let last = {
            let mut running = self.running.locked();
            running.users = running.users.saturating_sub(1);
            running.users == 0
        };
        if last {
            self.drain(deadline).await;
            self.shared.tell.forget(&self.host.stats);
        }
    }

    /// Deleted pods are found for at least this long. Counts until the start.
    pub fn remember_for(&self, grace: Duration) {
        let mut spec = self.spec.locked();
        spec.grace = spec.grace.max(grace);
    }

    /// For how long deleted pods are found.
    pub fn remembers(&self) -> Duration {
        self.spec.locked().grace
    }

    fn new(host: &Host, hubs: &AtomicU64, spec: WatchSpec) -> Hub {
        let count = hubs.fetch_add(1, Ordering::Relaxed);
        let name = if count == 0 { "k8s".to_owned() } else { format!("k8s/{}", count + 1) };
        let ((first, wanted), (again, wanted_again)) = (mpsc::channel(FIRST_MAX), mpsc::channel(WANTS_MAX));
        let wanted = WantQueues { first: wanted, again: wanted_again };
        let shared = Arc::new(HubShared {
            published: ArcSwap::new(Table::new(spec.grace).snapshot()),
            generation: watch::Sender::new(0),
            synced: watch::Sender::new(false),
            readers: Mutex::default(),
            wants: Wants { first, again },
            refreshes: Mutex::default(),
            contact: Mutex::default(),
            ways: PodRequests::default(),
            denied: Notify::new(),
            delays: Mutex::default(),
            logs: Mutex::default(),
            fixed: spec.pods_file.is_some(),
            shelves: Shelves::default(),
            tell: HubReport::new(&host.stats, host.status.clone(), &name),
        });
        crate::kube::hub::shared::read_staleness(&host.stats, &name, &shared);
        Hub {
            host: HostParts {
                tasks: host.tasks.clone(),
                outside: host.outside.clone(),
                stats: host.stats.clone(),
                name,
            },
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
        let mut running = self.running.locked();
        if std::mem::replace(&mut running.started, true) {
            return;
        }
        let Some(wanted) = running.wants.take() else { return };
        let spec = self.spec.locked().clone();
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
            let scope = paths::ObjectScope::new(&spec, namespace.map(String::as_str));
            let name = namespace.map_or("watch".to_owned(), |namespace| format!("watch/{namespace}"));
            let setup =
                reader::Setup { index, scope, api: api.clone(), keep: spec.keep.clone(), updates: updates.clone() };
            let task = self.spawn(&name, |pulse| reader::run(setup, self.shared.clone(), self.stopped(), pulse));
            running.tasks.push(task);
        }
        let fetcher = reads::fetcher::Fetcher::new(api, spec.keep.clone(), self.shared.clone(), updates);
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
            let mut running = self.running.locked();
            (running.started, running.ended) = (true, true);
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
        let mut refreshes = self.shared.refreshes.locked();
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
            refreshes.insert(uid, now + reads::fetcher::WAIT);
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
