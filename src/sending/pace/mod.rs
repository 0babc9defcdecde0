//! How many requests of one signal may be on the wire at once, and from when: `num_consumers` at most, fewer while the next
//! hop is slow or in trouble.
//!
//! Trouble is the next hop's and not a payload's. While it is away one request asks and the rest wait. When it is back, what
//! waited does not go out at once: one request more each STEP, drawn anew by each instance, and only while its answers come
//! about as fast as they usually do. Pure: `now` and randomness are arguments.

pub mod lanes;

use std::time::Duration;

use tokio::time::Instant;

use crate::core::backoff::{Doubling, around};

/// While the next hop does not answer it is asked about this often, because everything waits for its return; more often where
/// retries are.
const ASKED: Doubling = Doubling { first: Duration::from_millis(100), longest: Duration::from_secs(5) };
/// So many troubles without a success between them are an outage.
const OUTAGE_TROUBLES: u32 = 3;
/// After an outage one request more is allowed at most this often, half of it less or more.
const STEP: Duration = Duration::from_secs(2);
/// After an outage nothing is added while answers take this much longer than usual, and something is taken away beyond SLOW.
const QUICK: f64 = 1.5;
const SLOW: f64 = 3.0;
/// What is left of the number of requests when answers are late.
const LEFT: f64 = 0.8;
/// An answer that needs more than this part of the time it may take is late.
const LATE_PART: u32 = 4;
/// A request of this size counts twice as long as one without a body.
const UNIT_BYTES: f64 = 65_536.0;
/// The usual time follows the latest one by this part.
const FOLLOWS: f64 = 1.0 / 128.0;
/// Answers that tell what is usual at a next hop that was never met before its outage.
const FIRST_ANSWERS: u32 = 8;

/// May a request start?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaceTurn {
    Now,
    /// Not before this time.
    At(Instant),
    /// When another one has ended.
    AfterAnother,
}

#[derive(Debug)]
pub struct SendPace {
    most: f64,
    late: Duration,
    allowed: f64,
    running: usize,
    troubles: u32,
    /// Waits since the last success; those that failed together wait once.
    waits: u32,
    asked: Doubling,
    answers: u32,
    /// After an outage, until all may run again.
    recovering: bool,
    closed_until: Option<Instant>,
    next_step: Option<Instant>,
    less_since: Option<Instant>,
    /// Seconds that a request without a body usually takes.
    usual: Option<f64>,
}

impl SendPace {
    /// At most `most` at once; an attempt may take `timeout`, and retries wait for `retry_longest` at most.
    pub fn new(most: usize, timeout: Duration, retry_longest: Duration) -> SendPace {
        let longest = ASKED.longest.min(retry_longest);
        let most = u32::try_from(most.max(1)).map_or(f64::MAX, f64::from);
        SendPace {
            most,
            late: timeout / LATE_PART,
            allowed: most,
            running: 0,
            troubles: 0,
            waits: 0,
            asked: Doubling { longest, ..ASKED },
            answers: 0,
            recovering: false,
            closed_until: None,
            next_step: None,
            less_since: None,
            usual: None,
        }
    }

    /// How many may run at once now.
    pub fn allowed(&self) -> usize {
        self.allowed as usize
    }

    /// On `PaceTurn::Now` the request counts as running until [`SendPace::ended`].
    pub fn begin(&mut self, now: Instant) -> PaceTurn {
        if self.running >= self.allowed() {
            return PaceTurn::AfterAnother;
        }
        match self.closed_until {
            Some(until) if until > now => PaceTurn::At(until),
            _ => {
                self.begin_anyway();
                PaceTurn::Now
            }
        }
    }

    /// The same without asking: who drains has no time to lose.
    pub fn begin_anyway(&mut self) {
        self.running += 1;
    }

    pub fn ended(&mut self) {
        self.running = self.running.saturating_sub(1);
    }

    /// The next hop answered a request of `bytes` after `took`.
    pub fn works(&mut self, took: Duration, bytes: u64, now: Instant, random: f64) {
        let time = took.as_secs_f64() / (1.0 + bytes as f64 / UNIT_BYTES);
        (self.troubles, self.waits, self.closed_until) = (0, 0, None);
        if self.recovering && self.next_step.is_none() {
            self.next_step = Some(now + around(STEP, random));
        }
        let usual = self.usual.unwrap_or(time);
        let is_slow = self.recovering && time > SLOW * usual;
        if took > self.late || is_slow {
            self.less(took, now);
        } else if !self.recovering {
            self.allowed = (self.allowed + 1.0 / self.allowed).min(self.most);
        } else if time <= QUICK * usual && self.next_step.is_none_or(|at| at <= now) {
            self.allowed += 1.0;
            self.next_step = Some(now + around(STEP, random));
            self.recovering = self.allowed < self.most;
        }
        self.allowed = self.allowed.min(self.most);
        self.answers = self.answers.saturating_add(1);
        let follows = if self.answers <= FIRST_ANSWERS { 1.0 / f64::from(self.answers) } else { FOLLOWS };
        if !self.recovering || self.answers <= FIRST_ANSWERS {
            self.usual = Some(usual + (time - usual) * follows);
        }
    }

    /// Fewer, though not more often than answers come: those under way were sent before anybody knew.
    fn less(&mut self, took: Duration, now: Instant) {
        if self.less_since.is_none_or(|since| now.saturating_duration_since(since) >= took) {
            self.allowed = (self.allowed * LEFT).max(1.0);
            self.less_since = Some(now);
        }
    }

    /// The next hop gave no answer, or one that asks to come again later.
    pub fn fails(&mut self, now: Instant, random: f64) {
        self.troubles = self.troubles.saturating_add(1);
        if self.troubles >= OUTAGE_TROUBLES {
            (self.allowed, self.recovering, self.next_step) = (1.0, self.most > 1.0, None);
        } else {
            self.allowed = (self.allowed / 2.0).max(1.0);
        }
        if self.closed_until.is_none_or(|closed| closed <= now) {
            self.closed_until = Some(now + around(self.asked.after(self.waits), random));
            self.waits = self.waits.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests;
