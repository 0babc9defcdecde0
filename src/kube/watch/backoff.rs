//! When the next request may go: never within a second of the last one, later after failures, spread by chance.

use std::ops::RangeInclusive;
use std::time::Duration;

use tokio::time::Instant;

use crate::core::backoff::Doubling;

/// Failures never delay longer than this.
const DELAY_MAX: Duration = Duration::from_secs(30);
const DELAYS: Doubling = Doubling { first: SPACING, longest: DELAY_MAX };
/// What a server asks for is honoured up to this, so that data is fresh again within a minute of its healing.
const HOLD_OFF_MAX: Duration = Duration::from_secs(45);

#[derive(Debug)]
pub struct WatchBackoff {
    random: fastrand::Rng,
    failures: u32,
    last_request: Option<Instant>,
    held_until: Option<Instant>,
}

impl WatchBackoff {
    pub fn new(random: fastrand::Rng) -> WatchBackoff {
        WatchBackoff { random, failures: 0, last_request: None, held_until: None }
    }

    pub fn requested(&mut self, now: Instant) {
        self.last_request = Some(now);
        self.held_until = None;
    }

    /// The server named a time to come back (Retry-After).
    pub fn hold_off(&mut self, now: Instant, by: Option<Duration>) {
        self.held_until = by.map(|by| now + by.min(HOLD_OFF_MAX));
    }

    pub fn failures(&self) -> u32 {
        self.failures
    }

    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// The first moment at which spacing and the server allow a request.
    pub fn earliest(&self, now: Instant) -> Instant {
        let spaced = self.last_request.map_or(now, |last| last + SPACING);
        spaced.max(now).max(self.held_until.unwrap_or(now))
    }

    /// Counts a failure; the delay doubles from 1 s and counts from the request, so that time spent waiting for an
    /// answer is not waited for again.
    pub fn failed(&mut self, now: Instant) -> Instant {
        self.failures = self.failures.saturating_add(1);
        let doubled = DELAYS.after(self.failures - 1);
        let delay = doubled / 2 + self.jitter(doubled / 2);
        let since = self.last_request.unwrap_or(now);
        (since + delay).max(self.earliest(now))
    }

    /// A random time from zero to `most`.
    pub fn jitter(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.random.f64())
    }

    pub fn pick(&mut self, range: RangeInclusive<u32>) -> u32 {
        self.random.u32(range)
    }
}

/// Between two requests of one watch, whatever the server does.
pub const SPACING: Duration = Duration::from_secs(1);
