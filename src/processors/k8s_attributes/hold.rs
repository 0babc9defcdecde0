//! The waiting room: resources of runs that are not known yet, bounded in time and bytes.
//!
//! Each waits inside its sender's request, so nothing is owned here but the room. Any change of the cluster and the
//! moment at which the evidence is old enough end the wait; after the configured hold it ends without an answer.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::stage::{Around, EnrichStage, WaitingGroup};
use crate::core::data::payload::Payload;
use crate::core::error::ConsumeError;
use crate::core::time::UnixNanos;
use crate::processors::k8s_attributes::times::moment::ArrivalMoment;

/// Bytes that may wait at once.
const HOLD_BYTES_MAX: u64 = 16 << 20;
/// After the evidence is old enough, so that the answer does not come a moment too early.
const MARGIN: Duration = Duration::from_millis(20);
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
        self.taken.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
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

    /// Ends all waits now.
    pub fn drain(&self) {
        self.draining.send_replace(true);
    }

    /// No room: what would wait goes on as it is.
    pub fn refuse(
        &self,
        stage: &EnrichStage,
        payload: &mut Payload,
        waiting: &[WaitingGroup],
    ) -> Result<(), ConsumeError> {
        let around = Around { signal: payload.signal, origin: &payload.origin, ticket: &payload.ticket };
        let no_room = !self.limit.is_zero() && !*self.draining.borrow();
        let moment = ArrivalMoment { again: true, give_up: true, no_room, ..stage.moment() };
        for waiting in waiting {
            if let Some(group) = payload.envelope.groups.get_mut(waiting.group) {
                stage.enrich_group(group, &around, &moment)?;
            }
        }
        Ok(())
    }

    /// Waits until every group is enriched or out of time; the groups keep their order. An error means that there is no
    /// memory for an enriched group.
    pub async fn settle(
        &self,
        stage: &EnrichStage,
        mut payload: Payload,
        waiting: &[WaitingGroup],
    ) -> Result<Payload, ConsumeError> {
        stage.enricher.counters.held.add(waiting.len() as u64);
        let mut open: Vec<(usize, UnixNanos)> =
            waiting.iter().enumerate().map(|(at, waiting)| (at, waiting.retry_at)).collect();
        let deadline = Instant::now() + self.limit + ANSWER;
        let mut changed = stage.enricher.cluster.changed();
        let mut draining = self.draining.subscribe();
        while !open.is_empty() {
            let (now, _) = stage.steady.look();
            let next = open.iter().map(|(_, at)| at.since(now)).min().unwrap_or_default();
            let wake = (Instant::now() + next.max(MARGIN)).min(deadline);
            let ended = tokio::select! {
                _ = draining.wait_for(|draining| *draining) => true,
                // A cluster that is gone sends nothing more: then only time helps.
                Ok(()) = changed.changed() => false,
                () = sleep_until(wake) => Instant::now() >= deadline,
            };
            let moment = ArrivalMoment { again: true, give_up: ended, ..stage.moment() };
            let around = Around { signal: payload.signal, origin: &payload.origin, ticket: &payload.ticket };
            let mut refused = None;
            open.retain_mut(|(at, retry_at)| {
                let Some(group) = payload.envelope.groups.get_mut(*at) else { return false };
                match stage.enrich_group(group, &around, &moment) {
                    Ok(Some(again)) => {
                        *retry_at = again;
                        !ended
                    }
                    Ok(None) => false,
                    Err(why) => {
                        refused = Some(why);
                        false
                    }
                }
            });
            if let Some(why) = refused {
                return Err(why);
            }
        }
        Ok(payload)
    }
}
