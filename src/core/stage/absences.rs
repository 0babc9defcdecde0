//! Sources that are away for a while: what they hold comes when they are back, so who waits for more of it waits longer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::core::lock::Locked;

/// How long sources were away, those that were away together counted once.
#[derive(Debug, Default)]
pub struct Absences {
    // Locked for a few instructions.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    away: usize,
    since: Option<Instant>,
    past: Duration,
}

/// A source is away as long as this lives.
#[derive(Debug)]
pub struct AwaySource(Arc<Absences>);

impl Absences {
    pub fn begin(self: &Arc<Self>, now: Instant) -> AwaySource {
        let mut state = self.state.locked();
        state.away += 1;
        state.since.get_or_insert(now);
        drop(state);
        AwaySource(self.clone())
    }

    /// Whether one is away now, and how long any was in all until `now`.
    pub fn look(&self, now: Instant) -> (bool, Duration) {
        let state = self.state.locked();
        let present = state.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        (state.since.is_some(), state.past + present)
    }
}

impl Drop for AwaySource {
    fn drop(&mut self) {
        let mut state = self.0.state.locked();
        state.away -= 1;
        if state.away == 0
            && let Some(since) = state.since.take()
        {
            state.past += since.elapsed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn sources_that_are_away_together_count_once() {
        let (absences, second) = (Arc::new(Absences::default()), Duration::from_secs(1));
        assert_eq!(absences.look(Instant::now()), (false, Duration::ZERO));
        let one = absences.begin(Instant::now());
        tokio::time::advance(second).await;
        let other = absences.begin(Instant::now());
        tokio::time::advance(second).await;
        drop(one);
        assert_eq!(absences.look(Instant::now()), (true, 2 * second));
        tokio::time::advance(second).await;
        drop(other);
        tokio::time::advance(second).await;
        assert_eq!(absences.look(Instant::now()), (false, 3 * second));
        let _again = absences.begin(Instant::now());
        tokio::time::advance(second).await;
        assert_eq!(absences.look(Instant::now()), (true, 4 * second));
    }
}
