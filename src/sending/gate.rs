//! The end of an exporter's life as its deliveries see it: not yet, by a deadline, over.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};

/// While draining nobody waits longer than this between attempts: what recovers now is still delivered.
const DRAIN_WAIT_MAX: Duration = Duration::from_secs(1);

/// Set once by drain, watched by every delivery.
#[derive(Debug)]
pub struct ClosingGate {
    deadline: watch::Sender<Option<Instant>>,
}

impl Default for ClosingGate {
    fn default() -> ClosingGate {
        ClosingGate { deadline: watch::Sender::new(None) }
    }
}

/// The drain deadline came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over;

impl ClosingGate {
    pub fn close_at(&self, deadline: Instant) {
        self.deadline.send_replace(Some(deadline));
    }

    pub fn is_closing(&self) -> bool {
        self.deadline.borrow().is_some()
    }

    pub fn is_over(&self) -> bool {
        self.deadline.borrow().is_some_and(|deadline| deadline <= Instant::now())
    }

    /// Ends when the deadline has passed; never before one is set.
    pub async fn over(&self) {
        let mut watched = self.deadline.subscribe();
        loop {
            let Some(deadline) = *watched.borrow_and_update() else {
                if watched.changed().await.is_err() {
                    return;
                }
                continue;
            };
            tokio::select! {
                () = sleep_until(deadline) => return,
                changed = watched.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Ends when draining begins.
    async fn closing(&self) {
        let mut watched = self.deadline.subscribe();
        let _ = watched.wait_for(Option::is_some).await;
    }

    /// Waits, but no longer than the exporter lives, and only briefly once it drains.
    pub async fn pause(&self, wait: Duration) -> Result<(), Over> {
        let brief = async {
            self.closing().await;
            sleep(wait.min(DRAIN_WAIT_MAX)).await;
        };
        tokio::select! {
            biased;
            () = self.over() => Err(Over),
            () = sleep(wait) => Ok(()),
            () = brief => Ok(()),
        }
    }
}
