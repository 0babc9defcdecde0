//! What the processor asks of the cluster, as a trait: the watched hub in production, a made-up cluster in tests.

use std::sync::Arc;

use tokio::sync::watch;

use crate::core::time::UnixNanos;
use crate::kube::decode::Related;
use crate::kube::pod::Owner;
use crate::kube::table::Snapshot;

/// Lookups never wait: what is not known yet is asked for behind the scenes and `None` for now.
pub trait Cluster: Send + Sync {
    fn snapshot(&self) -> Arc<Snapshot>;
    fn namespace(&self, name: &str) -> Option<Arc<Related>>;
    fn node(&self, name: &str) -> Option<Arc<Related>>;
    fn owner(&self, namespace: &str, owner: &Owner) -> Option<Arc<Related>>;
    /// Asks for one pod again, at most once at a time.
    fn refresh(&self, uid: &str, namespace: &str, name: &str);
    /// Everything the API server knew at this time is in the snapshot: `now` while the watch lives, else the time of the
    /// last contact.
    fn in_touch(&self, now: UnixNanos) -> UnixNanos;
    /// Everything that exists was listed at least once.
    fn synced(&self) -> bool;
    /// Counts up with every change of the snapshot.
    fn changed(&self) -> watch::Receiver<u64>;
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

    fn namespace(&self, _name: &str) -> Option<Arc<Related>> {
        None
    }

    fn node(&self, _name: &str) -> Option<Arc<Related>> {
        None
    }

    fn owner(&self, _namespace: &str, _owner: &Owner) -> Option<Arc<Related>> {
        None
    }

    fn refresh(&self, _uid: &str, _namespace: &str, _name: &str) {}

    fn in_touch(&self, now: UnixNanos) -> UnixNanos {
        now
    }

    fn synced(&self) -> bool {
        true
    }

    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}
