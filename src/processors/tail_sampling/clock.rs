//! The time of the sampler's own waits: what the wall clock showed at the start plus what tokio's clock, which tests can
//! pause, has counted. It never jumps, and so it is not the wall clock's: nothing but waits is measured by it.

use tokio::time::Instant;

use crate::core::time::UnixNanos;

/// Reads a clock that never goes back; given to cores that measure, so that they read none themselves.
pub type Stopwatch = fn() -> Instant;

#[derive(Clone, Copy, Debug)]
pub struct SamplerClock {
    started: Instant,
    wall: UnixNanos,
}

impl SamplerClock {
    pub fn start() -> SamplerClock {
        SamplerClock { started: Instant::now(), wall: UnixNanos::now() }
    }

    pub fn now(&self) -> UnixNanos {
        self.wall.saturating_add(self.started.elapsed())
    }

    /// The instant at which this clock shows `time`.
    pub fn instant_of(&self, time: UnixNanos) -> Instant {
        self.started + time.since(self.wall)
    }
}
