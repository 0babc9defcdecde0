//! Does the next hop still move? What a drain asks before it gives one up.
//!
//! A next hop moves while it takes requests, and while a request on the wire is younger than the exporter's `timeout`: an
//! answer may still come. One that let a request run through its whole timeout hangs, and what is sent to it after that
//! buys no more time, until it takes something.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use crate::core::lock::Locked;

#[derive(Debug)]
pub struct Progress {
    timeout: Duration,
    taken: AtomicU64,
    // Locked for a few instructions.
    wire: Mutex<Wire>,
}

#[derive(Debug, Default)]
struct Wire {
    in_flight: usize,
    /// When the latest of them began.
    youngest: Option<Instant>,
    hangs: bool,
}

/// A request on the wire.
pub struct OnTheWire<'p> {
    progress: &'p Progress,
    began: Instant,
}

impl Progress {
    /// `timeout` bounds each attempt.
    pub fn new(timeout: Duration) -> Progress {
        Progress { timeout, taken: AtomicU64::new(0), wire: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Wire> {
        self.wire.locked()
    }

    /// An attempt begins; it ends when what is returned is dropped.
    pub fn attempt(&self, now: Instant) -> OnTheWire<'_> {
        let mut wire = self.lock();
        wire.in_flight += 1;
        wire.youngest = Some(now);
        OnTheWire { progress: self, began: now }
    }

    /// The next hop took a request.
    pub fn took(&self) {
        self.taken.fetch_add(1, Ordering::Relaxed);
        self.lock().hangs = false;
    }

    /// Requests taken so far.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::Relaxed)
    }

    /// Until when a request on the wire may still be answered; `None` when there is none, or none that is worth waiting for.
    pub fn answer_due(&self) -> Option<Instant> {
        let wire = self.lock();
        if wire.in_flight == 0 || wire.hangs { None } else { wire.youngest.map(|began| began + self.timeout) }
    }
}

impl Drop for OnTheWire<'_> {
    fn drop(&mut self) {
        let mut wire = self.progress.lock();
        wire.in_flight = wire.in_flight.saturating_sub(1);
        wire.hangs |= self.began.elapsed() >= self.progress.timeout;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_attempt_may_be_answered_until_its_timeout_and_only_while_the_next_hop_does_not_hang() {
        let progress = Progress::new(Duration::from_secs(10));
        assert_eq!(progress.answer_due(), None);
        let start = Instant::now();
        let first = progress.attempt(start);
        assert_eq!(progress.answer_due(), Some(start + Duration::from_secs(10)));
        drop(first);
        assert_eq!(progress.answer_due(), None, "refused at once: nothing to wait for");
        let second = progress.attempt(start);
        tokio::time::sleep(Duration::from_secs(10)).await;
        drop(second);
        let _third = progress.attempt(Instant::now());
        assert_eq!(progress.answer_due(), None, "the one before ran through its whole timeout");
        progress.took();
        assert!(progress.answer_due().is_some());
    }
}
