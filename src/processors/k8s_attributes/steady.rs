//! Notices steps of the wall clock: for a while after one, times from before and after cannot be compared.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::core::time::UnixNanos;

/// A difference between wall and monotonic clock that slewing does not make between two requests.
const STEP: Duration = Duration::from_millis(250);

pub struct Steady {
    /// How long the clock must have run evenly.
    settle: Duration,
    started: Instant,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Wall clock minus monotonic clock, in nanoseconds.
    offset: Option<i128>,
    stepped_at: Option<Instant>,
}

impl Steady {
    pub fn new(settle: Duration) -> Steady {
        Steady { settle, started: Instant::now(), state: Mutex::default() }
    }

    /// True for the settle time after a step.
    pub fn is_unsteady(&self, wall: UnixNanos) -> bool {
        let monotonic = Instant::now();
        let since_start = monotonic.saturating_duration_since(self.started).as_nanos();
        let offset = i128::from(wall.0) - i128::try_from(since_start).unwrap_or(i128::MAX);
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let before = state.offset.replace(offset);
        if before.is_some_and(|before| before.abs_diff(offset) > STEP.as_nanos()) {
            state.stepped_at = Some(monotonic);
        }
        state.stepped_at.is_some_and(|at| monotonic.saturating_duration_since(at) < self.settle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_step_of_the_clock_makes_it_unsteady_for_the_settle_time() {
        let steady = Steady::new(Duration::from_secs(3));
        assert!(!steady.is_unsteady(UnixNanos::from_secs(1_000)));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(!steady.is_unsteady(UnixNanos::from_secs(1_010)), "ten seconds passed on both clocks");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(steady.is_unsteady(UnixNanos::from_secs(1_041)), "thirty seconds ahead");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(steady.is_unsteady(UnixNanos::from_secs(1_043)));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!steady.is_unsteady(UnixNanos::from_secs(1_044)));
    }
}
