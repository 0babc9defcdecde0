//! An API server that lives in this process: pods, their truth, and what a kubelet would have published of it.
//!
//! The demo and the tests watch it as they would watch a cluster: list in pages, watch with bookmarks and initial
//! events, single GETs, the field selector `spec.nodeName`. The truth is known at once ([`Sandbox::truth`]); statuses
//! are published later, as kubelets do, after a delay that can be set. Faults can be switched on. It is a double: what
//! it does is checked against recordings of a real API server, and it serves plain HTTP on loopback only.
//!
//! ```text
//! let sandbox = Sandbox::new(7);
//! let uid = sandbox.add_pod(PodSpec::deployed("shop", "cart", &["app", "proxy"]));
//! host.tasks.spawn("sandbox", |pulse| sandbox.clone().serve(listener, stop, pulse));
//! sandbox.restart_container("shop", "cart-...", "app");
//! ```

mod answer;
mod cluster;
mod fault;
mod objects;
mod played;
mod query;
mod sandbox;
mod spec;
mod stream;

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use self::cluster::{ContainerSpot, PlayedCluster, RestartKind};
use crate::core::lock::Locked;
use crate::core::stage::tasks::Pulse;
use crate::core::time::UnixNanos;
use crate::lab::api_double::sandbox::{Conduct, SeenRequest};
use crate::net::pages::page;
use crate::net::pages::page::PageFn;

pub use self::fault::ApiFault;
pub use crate::lab::api_double::sandbox::Sandbox;
pub use crate::lab::api_double::spec::{MadePod, PodSpec, TrueRun};

/// Requests that are remembered for tests.
const REQUESTS_MAX: usize = 1_000;

impl Sandbox {
    /// An empty cluster with one node. Ids, names and delays follow from the seed. Its clock is the wall clock of now,
    /// which goes on with tokio's.
    pub fn new(seed: u64) -> Arc<Sandbox> {
        let (started, started_at) = (Instant::now(), UnixNanos::now());
        Sandbox::by_clock(seed, move || started_at.saturating_add(started.elapsed()))
    }

    /// As [`Sandbox::new`], with the clock of its node.
    pub fn by_clock(seed: u64, clock: impl Fn() -> UnixNanos + Send + Sync + 'static) -> Arc<Sandbox> {
        let conduct =
            Conduct { fault: None, token: None, bookmark_every: Duration::from_secs(60), requests: Vec::new() };
        Arc::new(Sandbox {
            cluster: Mutex::new(PlayedCluster::new(fastrand::Rng::with_seed(seed))),
            conduct: Mutex::new(conduct),
            version: watch::Sender::new(0),
            scheduled: Notify::new(),
            streams: Mutex::default(),
            frozen: watch::Sender::new(false),
            clock: Box::new(clock),
        })
    }

    /// How long after the fact statuses are published, drawn per change; at once when never set.
    pub fn set_publish_delay(&self, delay: RangeInclusive<Duration>) {
        self.cluster().delay = delay;
    }

    /// Makes a pod whose containers run from now on.
    pub fn add_pod(&self, spec: PodSpec) -> MadePod {
        let made = self.cluster().add_pod(spec, self.clock());
        self.announce();
        made
    }

    /// Between the end of a run and the start of the next; half a second when never set.
    pub fn set_restart_gap(&self, gap: Duration) {
        self.cluster().restart_gap = gap;
    }

    /// Ends the container's run now and starts the next one after the gap. `None` when there is no such container or
    /// it is not running.
    pub fn restart_container(&self, namespace: &str, pod: &str, container: &str) -> Option<TrueRun> {
        self.restart(&ContainerSpot { namespace, pod, container }, RestartKind::Plain)
    }

    /// The same by way of CrashLoopBackOff: waiting with the dead id, then created, then running.
    pub fn crash_container(&self, namespace: &str, pod: &str, container: &str) -> Option<TrueRun> {
        self.restart(&ContainerSpot { namespace, pod, container }, RestartKind::CrashLoop)
    }

    fn restart(&self, spot: &ContainerSpot<'_>, how: RestartKind) -> Option<TrueRun> {
        let run = self.cluster().restart(spot, how, self.clock());
        self.announce();
        run
    }

    /// Deletes the object with its last state. Its containers end now.
    pub fn delete_pod(&self, namespace: &str, pod: &str) {
        self.cluster().delete(namespace, pod, self.clock());
        self.announce();
    }

    /// Every run of every container, also of deleted pods, in the order they began.
    pub fn truth(&self) -> Vec<TrueRun> {
        self.cluster().truth(self.clock())
    }

    /// The latest run of a container.
    pub fn latest_run(&self, pod_uid: &str, container: &str) -> Option<TrueRun> {
        self.cluster().latest_run(pod_uid, container)
    }

    /// The clock of the sandbox's node.
    pub fn now(&self) -> UnixNanos {
        self.clock().1
    }

    /// Versions before the present one can no longer be watched from; page tokens expire.
    pub fn compact(&self) {
        self.cluster().compact();
    }

    /// Starts a new history at version 1, as after the restore of an old backup.
    pub fn restore_older(&self) {
        self.cluster().restore_older();
        self.announce();
    }

    /// From now on requests meet this fault; open watches are cut.
    pub fn set_fault(&self, fault: Option<ApiFault>) {
        self.conduct().fault = fault;
        self.cut_watches();
    }

    /// A server that is stopped, or a network that swallows everything: from now on nothing is sent, and no connection
    /// ends. The truth goes on.
    pub fn freeze(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }

    async fn thawed(&self) {
        // The sender lives as long as the sandbox.
        let _ = self.frozen.subscribe().wait_for(|frozen| !*frozen).await;
    }

    /// Ends open watches in the middle, as a server that goes away.
    pub fn cut_watches(&self) {
        self.streams().abort_all();
    }

    /// Requests without this bearer token get 401.
    pub fn require_token(&self, token: Option<&str>) {
        self.conduct().token = token.map(str::to_owned);
    }

    /// The last 1,000 requests.
    pub fn requests(&self) -> Vec<SeenRequest> {
        self.conduct().requests.clone()
    }

    /// Answers requests and publishes statuses until the stop. Spawn it through `Tasks`.
    pub async fn serve(self: Arc<Sandbox>, listener: TcpListener, stop: watch::Receiver<bool>, pulse: Arc<Pulse>) {
        tokio::select! {
            () = page::serve(listener, self.pages(), stop) => {}
            () = self.publish(&pulse) => {}
        }
        self.cut_watches();
    }

    /// The answers alone, for whoever brings the connections.
    pub fn pages(self: &Arc<Sandbox>) -> PageFn {
        let sandbox = self.clone();
        Arc::new(move |request| {
            let sandbox = sandbox.clone();
            Box::pin(async move {
                let answer = answer::answer(&sandbox, request).await;
                sandbox.thawed().await;
                answer
            })
        })
    }

    /// Publishes what is due, for ever.
    pub async fn publish(&self, pulse: &Pulse) {
        loop {
            pulse.beat();
            self.cluster().publish_due(self.clock());
            self.wake_watches();
            let now = Instant::now();
            let idle = now + Pulse::INTERVAL / 2;
            let due = self.cluster().next_due().map_or(idle, |due| due.min(idle).max(now + Duration::from_millis(1)));
            tokio::select! {
                () = sleep_until(due) => {}
                () = self.scheduled.notified() => {}
            }
        }
    }

    fn announce(&self) {
        self.scheduled.notify_one();
        self.wake_watches();
    }

    fn wake_watches(&self) {
        let version = self.cluster().version();
        self.version.send_if_modified(|known| std::mem::replace(known, version) != version);
    }

    fn clock(&self) -> (Instant, UnixNanos) {
        (Instant::now(), (self.clock)())
    }

    fn cluster(&self) -> MutexGuard<'_, PlayedCluster> {
        self.cluster.locked()
    }

    fn conduct(&self) -> MutexGuard<'_, Conduct> {
        self.conduct.locked()
    }

    fn streams(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.streams.locked()
    }

    fn noted(&self, target: String) {
        let mut conduct = self.conduct();
        if conduct.requests.len() >= REQUESTS_MAX {
            conduct.requests.remove(0);
        }
        conduct.requests.push(SeenRequest { at: Instant::now(), target });
    }
}

#[cfg(test)]
mod tests;
