//! The wall clock of the simulated node: it follows the paused clock and steps when it is told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use podgate::core::time::{StandIn, UnixNanos};
use tokio::time::Instant;

/// 2026-11-29T12:00:00Z.
const START: UnixNanos = UnixNanos(1_795_953_600_000_000_000);

#[derive(Clone)]
pub struct Clock {
    started: Instant,
    /// Nanoseconds that steps have added up to.
    stepped: Arc<AtomicI64>,
}

impl Clock {
    pub fn start() -> Clock {
        Clock { started: Instant::now(), stepped: Arc::default() }
    }

    pub fn now(&self) -> UnixNanos {
        let even = START.saturating_add(self.started.elapsed());
        UnixNanos(even.0.saturating_add_signed(self.stepped.load(Ordering::Relaxed)))
    }

    pub fn step(&self, milliseconds: i64) {
        self.stepped.fetch_add(milliseconds * 1_000_000, Ordering::Relaxed);
    }

    pub fn reader(&self) -> impl Fn() -> UnixNanos + Send + Sync + 'static {
        let clock = self.clone();
        move || clock.now()
    }

    /// The clock of everything in this thread until it is dropped.
    pub fn stand_in(&self) -> StandIn {
        StandIn::of(self.reader())
    }
}
