//! Who takes what a retired exporter could not deliver by its old settings: after a reload its successor, and nobody in a
//! stop. A reload is often the cure of a next hop that takes nothing, and what waited for it is not lost by the cure.

use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::core::data::payload::Payload;
use crate::core::data::settlement::ItemEnd;
use crate::core::lock::Locked;
use crate::core::stage::consumer::Next;

/// Between two tries at a successor that has no room.
const AGAIN_AFTER: Duration = Duration::from_millis(100);

#[derive(Default)]
pub struct Heir {
    next: OnceLock<Next>,
    // Locked for a few instructions. As many as waited in the queue, whose places they leave.
    left: Mutex<Vec<Payload>>,
}

impl Heir {
    /// Once, before the drain.
    pub fn name(&self, next: Next) {
        let _ = self.next.set(next);
    }

    /// Keeps the payload for the successor; gives it back where there is none.
    pub fn keep(&self, payload: Payload) -> Option<Payload> {
        if self.next.get().is_none() {
            return Some(payload);
        }
        self.left.locked().push(payload); // granted: what was queued
        None
    }

    pub fn is_named(&self) -> bool {
        self.next.get().is_some()
    }

    /// Hands on what was kept; the number of its items. What is refused until the deadline is given up.
    pub async fn pass_on(&self, deadline: Instant) -> u64 {
        let left = std::mem::take(&mut *self.left.locked());
        let Some(next) = self.next.get() else { return 0 };
        let mut passed = 0;
        for mut payload in left {
            let mut share = std::mem::take(&mut payload.share);
            loop {
                // Lent, because what is refused is tried again.
                let (loan, mut lent) = share.lend(1);
                let attempt = Payload { share: lent.pop().unwrap_or_default(), ..payload.copy() };
                let Err(error) = next.consume(attempt).await else {
                    passed += payload.items;
                    loan.accept();
                    break;
                };
                share = loan.take_back(0, error.reason());
                if !error.is_retryable() || Instant::now() >= deadline {
                    share.end(ItemEnd::Dropped(error.reason(), "the exporter's successor did not take it"));
                    break;
                }
                sleep(AGAIN_AFTER).await;
            }
        }
        passed
    }
}
