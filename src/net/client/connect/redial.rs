//! When to dial again after a failed connection: exponential with jitter, so that a thousand nodes do not return at once.
//!
//! Pure: the clock and the random number are arguments. While it says no, requests fail at once with the last cause.

use std::time::Duration;

use tokio::time::Instant;

use crate::core::backoff::{Doubling, within};
use crate::net::client::failure::CallFailure;

const WAITS: Doubling = Doubling { first: Duration::from_millis(200), longest: Duration::from_secs(5) };

/// Failures in a row and the moment before which nobody dials.
#[derive(Debug, Default)]
pub struct Redial {
    failures: u32,
    closed_until: Option<(Instant, CallFailure)>,
}

impl Redial {
    /// The last cause while it is too early to dial again.
    pub fn too_early(&self, now: Instant) -> Option<CallFailure> {
        self.closed_until.as_ref().filter(|(until, _)| now < *until).map(|(_, cause)| cause.clone())
    }

    /// `random` is in 0..1: the wait is 50 to 100 % of 200 ms x 2^failures, at most 5 s.
    pub fn failed(&mut self, now: Instant, cause: CallFailure, random: f64) {
        let wait = within(WAITS.after(self.failures), random);
        self.failures = self.failures.saturating_add(1);
        self.closed_until = Some((now + wait, cause));
    }

    /// A peer answered on a connection.
    pub fn worked(&mut self) {
        *self = Redial::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_double_up_to_five_seconds_and_an_answer_resets_them() {
        let cause = CallFailure::Broken("x".to_owned());
        let mut redial = Redial::default();
        let start = Instant::now();
        assert_eq!(redial.too_early(start), None);
        for (millis, random) in [(200, 1.0), (400, 1.0), (400, 0.0), (1600, 1.0), (3200, 1.0), (5000, 1.0), (2500, 0.0)]
        {
            redial.failed(start, cause.clone(), random);
            assert_eq!(redial.too_early(start + Duration::from_millis(millis - 1)), Some(cause.clone()), "{millis}");
            assert_eq!(redial.too_early(start + Duration::from_millis(millis)), None, "{millis}");
        }
        redial.worked();
        redial.failed(start, cause, 1.0);
        assert_eq!(redial.too_early(start + WAITS.first), None);
    }
}
