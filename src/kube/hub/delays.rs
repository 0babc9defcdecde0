//! How long statuses of new runs take from the container's start to us: the largest of the last minutes.
//!
//! Nobody promises it. A kubelet under pressure, or throttled by its API server, is slower than the three seconds that are
//! usual, and then evidence must be older before every run that began until then counts as known. Pure: times are
//! arguments.

use std::time::Duration;

use tokio::time::Instant;

/// A delay counts for at least this long, and at most twice as long.
const PERIOD: Duration = Duration::from_secs(300);

#[derive(Debug, Default)]
pub struct Delays {
    /// Since when `current` collects.
    since: Option<Instant>,
    current: Duration,
    previous: Duration,
}

impl Delays {
    pub fn note(&mut self, delay: Duration, now: Instant) {
        self.turn(now);
        self.current = self.current.max(delay);
    }

    /// Zero while nothing was seen.
    pub fn largest(&mut self, now: Instant) -> Duration {
        self.turn(now);
        self.current.max(self.previous)
    }

    fn turn(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        let age = now.saturating_duration_since(since);
        if age < PERIOD {
            return;
        }
        self.previous = if age < 2 * PERIOD { self.current } else { Duration::ZERO };
        self.current = Duration::ZERO;
        self.since = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_delay_of_the_last_minutes_counts_and_is_forgotten_later() {
        let start = Instant::now();
        let (second, at) = (Duration::from_secs, |seconds| start + Duration::from_secs(seconds));
        let mut delays = Delays::default();
        assert_eq!(delays.largest(at(0)), Duration::ZERO);
        delays.note(second(7), at(1));
        delays.note(second(2), at(200));
        assert_eq!(delays.largest(at(299)), second(7));
        delays.note(second(4), at(301));
        assert_eq!(delays.largest(at(599)), second(7), "it counts for a whole period at least");
        assert_eq!(delays.largest(at(602)), second(4));
        assert_eq!(delays.largest(at(2_000)), Duration::ZERO);
    }
}
