//! What the processor asks of the cluster, as a trait: the watched hub in production, a made-up cluster in tests.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::core::time::UnixNanos;
use crate::kube::owners::Lookup;
use crate::kube::pod::Owner;
use crate::kube::table::Snapshot;

/// Lookups never wait: what is not known yet is asked for behind the scenes and pending for now.
pub trait Cluster: Send + Sync {
    fn snapshot(&self) -> Arc<Snapshot>;
    fn namespace(&self, name: &str) -> Lookup;
    fn node(&self, name: &str) -> Lookup;
    fn owner(&self, namespace: &str, owner: &Owner) -> Lookup;
    /// Asks for one pod again, at most once at a time.
    fn refresh(&self, uid: &str, namespace: &str, name: &str);
    /// How far the snapshot can be believed at this moment.
    fn touch(&self, now: UnixNanos) -> Touch;
    /// Everything that exists was listed at least once.
    fn synced(&self) -> bool;
    /// Counts up with every change of the snapshot, and with every object that was asked for.
    fn changed(&self) -> watch::Receiver<u64>;
    /// The number to which that has counted.
    fn generation(&self) -> u64;
}

/// How far what is shown can be believed. Silence proves nothing: only what came does.
#[derive(Clone, Copy, Debug)]
pub struct Touch {
    /// One moment on both clocks.
    pub now: UnixNanos,
    pub at: Instant,
    /// Everything that the API server knew at this time is in the snapshot, as the last event, bookmark or list proves.
    pub proved: UnixNanos,
    /// What was learned later may still lack what an outage held back.
    pub ceiling: UnixNanos,
    /// The API server does not answer, or does not let us ask.
    pub cut_off: bool,
    /// The API server does not answer, or no stream of its events is followed: what it knows may be other than what is shown.
    pub silent: bool,
    /// How long statuses lately took.
    pub delay: Duration,
    /// The node's log folder is known until this time.
    pub logs: Option<UnixNanos>,
}

impl Touch {
    /// All of it is true now.
    pub fn full(now: UnixNanos) -> Touch {
        Touch {
            now,
            at: Instant::now(),
            proved: now,
            ceiling: now,
            cut_off: false,
            silent: false,
            delay: Duration::ZERO,
            logs: None,
        }
    }

    /// What the API server knew of one pod at this time is in the snapshot: by what the watch proves, or by a read of the
    /// pod that was asked at `read`.
    pub fn of(&self, read: Option<Instant>) -> UnixNanos {
        let read = read.map(|read| self.now.saturating_sub(self.at.saturating_duration_since(read)));
        self.proved.max(read.unwrap_or(UnixNanos(0))).min(self.ceiling).min(self.now)
    }
}

/// The cluster of `passthrough` and `auth_type: none` without a pods file: nothing is ever known.
pub struct Nothing {
    snapshot: Arc<Snapshot>,
    changed: watch::Sender<u64>,
}

impl Default for Nothing {
    fn default() -> Nothing {
        Nothing { snapshot: Arc::default(), changed: watch::Sender::new(0) }
    }
}

impl Cluster for Nothing {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.clone()
    }

    fn namespace(&self, _name: &str) -> Lookup {
        Lookup::Unknown
    }

    fn node(&self, _name: &str) -> Lookup {
        Lookup::Unknown
    }

    fn owner(&self, _namespace: &str, _owner: &Owner) -> Lookup {
        Lookup::Unknown
    }

    fn refresh(&self, _uid: &str, _namespace: &str, _name: &str) {}

    fn touch(&self, now: UnixNanos) -> Touch {
        Touch::full(now)
    }

    fn synced(&self) -> bool {
        true
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    fn generation(&self) -> u64 {
        0
    }
}
