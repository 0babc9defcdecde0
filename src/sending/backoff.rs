//! How long to wait before the next attempt: exponential with jitter, throttle hints honoured, ended by the elapsed time.
//!
//! Pure: the clock and the random number are arguments. Same meaning of the keys as the Collector's `retry_on_failure`.

use std::time::Duration;

use tokio::time::Instant;

/// No hint of a peer is obeyed for longer than this at a time.
pub const THROTTLE_MAX: Duration = Duration::from_secs(300);

/// `retry_on_failure`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetrySettings {
    pub initial_interval: Duration,
    /// 0..=1: the wait is drawn from interval x (1 - factor) to interval x (1 + factor).
    pub randomization_factor: f64,
    pub multiplier: f64,
    pub max_interval: Duration,
    /// Zero retries for ever.
    pub max_elapsed_time: Duration,
}

impl Default for RetrySettings {
    fn default() -> RetrySettings {
        RetrySettings {
            initial_interval: Duration::from_secs(5),
            randomization_factor: 0.5,
            multiplier: 1.5,
            max_interval: Duration::from_secs(30),
            max_elapsed_time: Duration::from_secs(300),
        }
    }
}

/// The waits of one payload, from its first attempt on.
#[derive(Clone, Copy, Debug)]
pub struct RetryBackoff {
    settings: RetrySettings,
    started: Instant,
    interval: Duration,
}

impl RetryBackoff {
    pub fn new(settings: RetrySettings, now: Instant) -> RetryBackoff {
        RetryBackoff { settings, started: now, interval: settings.initial_interval }
    }

    /// When nothing is tried any more; `None` is never.
    pub fn ends_at(&self) -> Option<Instant> {
        let allowed = self.settings.max_elapsed_time;
        (!allowed.is_zero()).then(|| self.started + allowed)
    }

    /// The wait before the next attempt, or `None` when it would begin after the time allowed. `random` is in 0..1.
    /// Time a peer asks for beyond our own wait does not count: its hint alone must not cost the data.
    pub fn next(&mut self, now: Instant, throttle: Option<Duration>, random: f64) -> Option<Duration> {
        let jitter = 1.0 + self.settings.randomization_factor * (2.0 * random - 1.0);
        let drawn = self.interval.mul_f64(jitter.max(0.0));
        // A longest wait below the first one, or a shrinking multiplier, keeps the first.
        let longest = self.settings.max_interval.max(self.settings.initial_interval);
        self.interval = self.interval.mul_f64(self.settings.multiplier.max(1.0)).min(longest);
        let wait = drawn.max(throttle.unwrap_or_default().min(THROTTLE_MAX));
        let allowed = self.settings.max_elapsed_time;
        let elapsed = now.saturating_duration_since(self.started);
        (allowed.is_zero() || elapsed + drawn <= allowed).then_some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(value: f64) -> Duration {
        Duration::from_secs_f64(value)
    }

    #[tokio::test(start_paused = true)]
    async fn waits_grow_by_the_multiplier_up_to_the_longest() {
        let start = Instant::now();
        let mut backoff = RetryBackoff::new(RetrySettings::default(), start);
        let waits: Vec<_> = (0..6).map(|_| backoff.next(start, None, 0.5).unwrap()).collect();
        assert_eq!(waits, [5.0, 7.5, 11.25, 16.875, 25.3125, 30.0].map(seconds));
    }

    #[tokio::test(start_paused = true)]
    async fn jitter_spreads_the_wait_around_the_interval() {
        let start = Instant::now();
        let draw = |random| RetryBackoff::new(RetrySettings::default(), start).next(start, None, random).unwrap();
        assert_eq!((draw(0.0), draw(1.0)), (seconds(2.5), seconds(7.5)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_hint_lengthens_the_wait_and_never_shortens_it() {
        let start = Instant::now();
        let settings = RetrySettings { max_elapsed_time: Duration::ZERO, ..RetrySettings::default() };
        for (hint, wanted) in [(20.0, 20.0), (1.0, 5.0), (86_400.0, 300.0)] {
            let mut backoff = RetryBackoff::new(settings, start);
            assert_eq!(backoff.next(start, Some(seconds(hint)), 0.5), Some(seconds(wanted)), "{hint}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_when_the_next_attempt_would_come_too_late() {
        let start = Instant::now();
        let mut backoff = RetryBackoff::new(RetrySettings::default(), start);
        assert!(backoff.next(start + seconds(290.0), None, 0.5).is_some());
        assert_eq!(backoff.next(start + seconds(295.0), None, 0.5), None);
        let hinted = RetryBackoff::new(RetrySettings::default(), start).next(start, Some(THROTTLE_MAX), 0.5);
        assert_eq!(hinted, Some(THROTTLE_MAX), "a hint as long as the time allowed is obeyed, not given up at");
        let endless = RetrySettings { max_elapsed_time: Duration::ZERO, ..RetrySettings::default() };
        assert!(RetryBackoff::new(endless, start).next(start + seconds(1e6), None, 0.5).is_some());
    }
}
