//! Notices steps of the wall clock: for a while after one, times from before and after cannot be compared.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::bindings::Clock;
use crate::core::time::UnixNanos;

/// A difference between wall and monotonic clock that slewing does not make between two requests.
const STEP: Duration = Duration::from_millis(250);

pub struct Steady {
    /// Tests follow the paused clock: wall time is this at the start and goes on with tokio's.
    #[cfg(test)]
    pub follow_from: Option<UnixNanos>,
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
    /// What a step backwards made happen twice.
    doubled: Option<(UnixNanos, UnixNanos)>,
}

impl Steady {
    pub fn new(settle: Duration) -> Steady {
        Steady {
            #[cfg(test)]
            follow_from: None,
            settle,
            started: Instant::now(),
            state: Mutex::default(),
        }
    }

    /// Since the processor was built.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// The wall clock.
    pub fn wall(&self) -> UnixNanos {
        #[cfg(test)]
        if let Some(from) = self.follow_from {
            return from.saturating_add(self.started.elapsed());
        }
        UnixNanos::now()
    }

    /// Unsteady for the settle time after a step; the doubled times of the last step backwards stay known.
    pub fn look(&self, wall: UnixNanos) -> Clock {
        let monotonic = Instant::now();
        let since_start = monotonic.saturating_duration_since(self.started).as_nanos();
        let offset = i128::from(wall.0) - i128::try_from(since_start).unwrap_or(i128::MAX);
        let mut state = self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let before = state.offset.replace(offset);
        if let Some(before) = before.filter(|before| before.abs_diff(offset) > STEP.as_nanos()) {
            state.stepped_at = Some(monotonic);
            let back = u64::try_from(before - offset).unwrap_or(0);
            if back > 0 {
                let until = UnixNanos(wall.0.saturating_add(back)).saturating_add(STEP);
                state.doubled = Some((wall.saturating_sub(self.settle), until));
            }
        }
        let unsteady = state.stepped_at.is_some_and(|at| monotonic.saturating_duration_since(at) < self.settle);
        Clock { unsteady, doubled: state.doubled }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_step_of_the_clock_makes_it_unsteady_for_the_settle_time() {
        let steady = Steady::new(Duration::from_secs(3));
        let unsteady = |seconds| steady.look(UnixNanos::from_secs(seconds)).unsteady;
        assert!(!unsteady(1_000));
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(!unsteady(1_010), "ten seconds passed on both clocks");
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(unsteady(1_041), "thirty seconds ahead");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(unsteady(1_043));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!unsteady(1_044));
    }

    #[tokio::test(start_paused = true)]
    async fn times_that_a_step_backwards_made_come_twice_stay_known() {
        let steady = Steady::new(Duration::from_secs(3));
        steady.look(UnixNanos::from_secs(1_000));
        tokio::time::advance(Duration::from_secs(1)).await;
        let (from, to) = steady.look(UnixNanos::from_secs(971)).doubled.expect("set back by thirty seconds");
        assert!(from <= UnixNanos::from_secs(971) && to >= UnixNanos::from_secs(1_001));
    }
}
