//! The waiting room: resources of runs that are not known yet, bounded in time and bytes.
//!
//! Each waits inside its sender's request, so nothing is owned here but the room. Any change of the cluster and the
//! moment at which the evidence is old enough end the wait; after the configured hold it ends without an answer.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;

use crate::core::lock::Locked;
use crate::core::time::UnixNanos;

/// Bytes that may wait at once.
const HOLD_BYTES_MAX: u64 = 16 << 20;
/// After the evidence is old enough, so that the answer does not come a moment too early.
pub const MARGIN: Duration = Duration::from_millis(20);
/// A read of the pod that is made when the evidence is old enough may take this long, and one of the second before may
/// stand in its way.
const ANSWER: Duration = Duration::from_millis(1_250);

pub struct Hold {
    // Locked once when data begins to wait and once when it ends.
    taken: Mutex<Taken>,
    /// How long a resource may wait.
    limit: Duration,
    draining: watch::Sender<bool>,
}

/// Who waits: the address of the peer. What has none (requests that were merged) shares one part.
type Sender = Option<IpAddr>;

/// Bytes that wait. Bounded: as many senders as requests wait.
#[derive(Default)]
struct Taken {
    all: u64,
    by_sender: HashMap<Sender, u64>,
}

impl Taken {
    /// A sender may take half of what the others leave: one alone half of the room, n busy ones an n+1st part each, so
    /// that there is always room for one more.
    fn take(&mut self, sender: Sender, bytes: u64) -> bool {
        let own = self.by_sender.get(&sender).copied().unwrap_or(0);
        let left = HOLD_BYTES_MAX.saturating_sub(self.all - own);
        if own.saturating_add(bytes) > left / 2 {
            return false;
        }
        self.all += bytes;
        self.by_sender.insert(sender, own + bytes);
        true
    }

    fn give_back(&mut self, sender: Sender, bytes: u64) {
        self.all = self.all.saturating_sub(bytes);
        let left = self.by_sender.get(&sender).copied().unwrap_or(0).saturating_sub(bytes);
        if left == 0 {
            self.by_sender.remove(&sender);
        } else {
            self.by_sender.insert(sender, left);
        }
    }
}

/// Room taken; dropping it gives it back.
pub struct HoldRoom {
    hold: Arc<Hold>,
    sender: Sender,
    bytes: u64,
}

impl Drop for HoldRoom {
    fn drop(&mut self) {
        self.hold.taken().give_back(self.sender, self.bytes);
    }
}

impl Hold {
    pub fn new(limit: Duration) -> Arc<Hold> {
        Arc::new(Hold { taken: Mutex::default(), limit, draining: watch::Sender::new(false) })
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.locked()
    }

    /// Whether what is to be asked again then may wait so long. What lacks but the answer to a read may wait for it also
    /// where nothing else may.
    pub fn may_wait(&self, retry_at: UnixNanos, now: UnixNanos) -> bool {
        !self.limit.is_zero() || retry_at.since(now) < ANSWER
    }

    /// `None` when too much waits already, of this sender or of all.
    pub fn admit(self: &Arc<Hold>, sender: Option<SocketAddr>, bytes: u64) -> Option<HoldRoom> {
        if *self.draining.borrow() {
            return None;
        }
        let sender = sender.map(|peer| peer.ip().to_canonical());
        self.taken().take(sender, bytes).then(|| HoldRoom { hold: self.clone(), sender, bytes })
    }

    pub fn used(&self) -> u64 {
        self.taken().all
    }

    /// Waiting is meant, and goes on elsewhere.
    pub fn has_none_left(&self) -> bool {
        !self.limit.is_zero() && !*self.draining.borrow()
    }

    /// How long a payload may wait.
    pub fn longest(&self) -> Duration {
        self.limit + ANSWER
    }

    /// Becomes true when all waits end.
    pub fn ends(&self) -> watch::Receiver<bool> {
        self.draining.subscribe()
    }

    /// Ends all waits now.
    pub fn drain(&self) {
        self.draining.send_replace(true);
    }
}
