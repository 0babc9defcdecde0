//! How many requests may run at once, and from when: halved by trouble, one more after each success.
//!
//! Trouble is the exporter's, not a payload's: while the other side is away one request asks and the rest wait, and when
//! it comes back they do not all arrive at once. Pure: `now` and randomness are arguments.

use std::time::Duration;

use tokio::time::Instant;

use crate::core::backoff::{Doubling, around};

/// The kind of a trouble decides how long to stay away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TroubleKind {
    /// Overload or no answer.
    Passing,
    /// Somebody has to change credentials or addresses first.
    Standing,
}

/// Waits between attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waits {
    pub initial: Duration,
    pub longest: Duration,
}

/// While the other side does not answer it is asked at least this often, because everything waits for its return.
const AWAY_LONGEST: Duration = Duration::from_secs(5);
const STANDING_FIRST: Duration = Duration::from_secs(1);
const STANDING_LONGEST: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct RequestConcurrency {
    waits: Waits,
    most: usize,
    allowed: usize,
    running: usize,
    troubles: u32,
    closed_until: Option<Instant>,
}

/// May a request start?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Now,
    /// Not before this time.
    At(Instant),
    /// When another one has ended.
    AfterAnother,
}

impl RequestConcurrency {
    pub fn new(waits: Waits, most: usize) -> RequestConcurrency {
        let most = most.max(1);
        RequestConcurrency { waits, most, allowed: most, running: 0, troubles: 0, closed_until: None }
    }

    /// On `Turn::Now` the request counts as running until [`RequestConcurrency::ended`].
    pub fn begin(&mut self, now: Instant) -> Turn {
        if self.running >= self.allowed {
            return Turn::AfterAnother;
        }
        match self.closed_until {
            Some(until) if until > now => Turn::At(until),
            _ => {
                self.running += 1;
                Turn::Now
            }
        }
    }

    pub fn ended(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    pub fn works(&mut self) {
        self.troubles = 0;
        self.closed_until = None;
        self.allowed = (self.allowed + 1).min(self.most);
    }

    /// The other side took the request and is short of room: fewer at once, but no wait for everybody.
    pub fn crowded(&mut self) {
        self.allowed = (self.allowed / 2).max(1);
    }

    /// `after` is what the other side asked for, `random` in 0..1.
    pub fn fails(&mut self, trouble: TroubleKind, after: Option<Duration>, now: Instant, random: f64) {
        self.crowded();
        let (first, longest) = match trouble {
            TroubleKind::Passing => (self.waits.initial, self.waits.longest.min(AWAY_LONGEST.max(self.waits.initial))),
            TroubleKind::Standing => (STANDING_FIRST, STANDING_LONGEST),
        };
        let grown = Doubling { first, longest }.after(self.troubles);
        self.troubles = self.troubles.saturating_add(1);
        let wait = around(grown, random).max(after.unwrap_or_default().min(STANDING_LONGEST));
        let until = now + wait;
        if self.closed_until.is_none_or(|closed| closed < until) {
            self.closed_until = Some(until);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAITS: Waits = Waits { initial: Duration::from_millis(100), longest: Duration::from_secs(60) };

    fn begun(ramp: &mut RequestConcurrency, now: Instant) -> usize {
        (0..100).take_while(|_| ramp.begin(now) == Turn::Now).count()
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_lets_one_request_ask_and_recovery_admits_one_more_each_time() {
        let start = Instant::now();
        let mut ramp = RequestConcurrency::new(WAITS, 8);
        assert_eq!(begun(&mut ramp, start), 8);
        for _ in 0..8 {
            ramp.ended();
            ramp.fails(TroubleKind::Passing, None, start, 0.5);
        }
        let Turn::At(at) = ramp.begin(start) else { panic!("closed") };
        assert_eq!(at - start, Duration::from_secs(5), "asked at least every five seconds");
        assert_eq!(begun(&mut ramp, at), 1);
        assert_eq!(ramp.begin(at), Turn::AfterAnother);
        ramp.ended();
        ramp.works();
        assert_eq!(begun(&mut ramp, at), 2);
        ramp.ended();
        ramp.works();
        assert_eq!(begun(&mut ramp, at), 2, "one is still running, three may");
    }

    #[tokio::test(start_paused = true)]
    async fn waits_grow_with_jitter_and_honour_a_hint() {
        let start = Instant::now();
        let wait = |troubles, trouble, after, random| {
            let mut ramp = RequestConcurrency::new(WAITS, 1);
            (0..troubles).for_each(|_| ramp.fails(trouble, after, start, random));
            match ramp.begin(start) {
                Turn::At(at) => at - start,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(wait(1, TroubleKind::Passing, None, 0.5), Duration::from_millis(100));
        assert_eq!(wait(1, TroubleKind::Passing, None, 0.0), Duration::from_millis(50));
        assert_eq!(wait(3, TroubleKind::Passing, None, 0.5), Duration::from_millis(400));
        assert_eq!(wait(1, TroubleKind::Passing, Some(Duration::from_secs(20)), 0.5), Duration::from_secs(20));
        assert_eq!(wait(1, TroubleKind::Passing, Some(Duration::from_secs(9999)), 0.5), STANDING_LONGEST);
        assert_eq!(wait(1, TroubleKind::Standing, None, 0.5), Duration::from_secs(1));
        assert_eq!(wait(40, TroubleKind::Standing, None, 0.5), Duration::from_secs(60));
    }
}
