//! The waiting room: resources of runs that are not known yet, bounded in time and bytes.
//!
//! Each waits inside its sender's request, so nothing is owned here but the room. Any change of the cluster and the
//! moment at which the evidence is old enough end the wait; after the configured hold it ends without an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::enrich::Moment;
use super::stage::{Stage, Waiting};
use crate::core::payload::Payload;
use crate::core::time::UnixNanos;

/// Bytes that may wait at once.
const HOLD_BYTES_MAX: u64 = 16 << 20;
/// After the evidence is old enough, so that the answer does not come a moment too early.
const MARGIN: Duration = Duration::from_millis(20);

pub struct Hold {
    used: AtomicU64,
    /// How long a resource may wait.
    limit: Duration,
    draining: watch::Sender<bool>,
}

/// Room taken; dropping it gives it back.
pub struct Room {
    hold: Arc<Hold>,
    bytes: u64,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.hold.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Hold {
    pub fn new(limit: Duration) -> Arc<Hold> {
        Arc::new(Hold { used: AtomicU64::new(0), limit, draining: watch::Sender::new(false) })
    }

    /// `None` when too much waits already, or when nothing may wait.
    pub fn admit(self: &Arc<Hold>, bytes: u64) -> Option<Room> {
        if self.limit.is_zero() || *self.draining.borrow() {
            return None;
        }
        let used = self.used.fetch_add(bytes, Ordering::Relaxed);
        let room = Room { hold: self.clone(), bytes };
        (used.saturating_add(bytes) <= HOLD_BYTES_MAX).then_some(room)
    }

    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Ends all waits now.
    pub fn drain(&self) {
        self.draining.send_replace(true);
    }

    /// No room: what would wait goes on as it is.
    pub fn refuse(&self, stage: &Stage, payload: &mut Payload, waiting: &[Waiting]) {
        let moment = Moment { again: true, give_up: true, ..stage.moment() };
        for waiting in waiting {
            if let Some(group) = payload.envelope.groups.get_mut(waiting.group) {
                stage.enrich_group(group, payload.signal, &payload.origin, &moment);
            }
        }
    }

    /// Waits until every group is enriched or out of time; the groups keep their order.
    pub async fn settle(&self, stage: &Stage, mut payload: Payload, waiting: &[Waiting]) -> Payload {
        stage.enricher.counters.held.add(waiting.len() as u64);
        let mut open: Vec<(usize, UnixNanos)> =
            waiting.iter().enumerate().map(|(at, waiting)| (at, waiting.retry_at)).collect();
        let deadline = Instant::now() + self.limit + MARGIN;
        let mut changed = stage.enricher.cluster.changed();
        let mut draining = self.draining.subscribe();
        while !open.is_empty() {
            let now = stage.steady.wall();
            let next = open.iter().map(|(_, at)| at.since(now)).min().unwrap_or_default();
            let wake = (Instant::now() + next.max(MARGIN)).min(deadline);
            let ended = tokio::select! {
                _ = draining.wait_for(|draining| *draining) => true,
                // A cluster that is gone sends nothing more: then only time helps.
                Ok(()) = changed.changed() => false,
                () = sleep_until(wake) => Instant::now() >= deadline,
            };
            let moment = Moment { again: true, give_up: ended, ..stage.moment() };
            open.retain_mut(|(at, retry_at)| {
                let Some(group) = payload.envelope.groups.get_mut(*at) else { return false };
                match stage.enrich_group(group, payload.signal, &payload.origin, &moment) {
                    Some(again) => {
                        *retry_at = again;
                        !ended
                    }
                    None => false,
                }
            });
        }
        payload
    }
}
