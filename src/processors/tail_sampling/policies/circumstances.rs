//! What a vote depends on beside the trace itself: what the limits allow, and how chance falls.
//!
//! A decision asks the meters and the salted hash. An explanation repeats what was answered then, and a weight asks how the
//! vote would have been had chance fallen otherwise: the policies are the same, only their circumstances differ. Knows
//! neither traces nor the order of policies.

use std::cell::Cell;

use crate::core::time::UnixNanos;
use crate::otlp::consistency::threshold::HIGHEST;
use crate::processors::tail_sampling::policies::meter::{MeterId, RateMeters};
use crate::processors::tail_sampling::weights::tick::{LimitClaim, TickCuts};

/// What the limits answered while one trace was decided: two bits for each of the first 64 meters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimitAnswers {
    pub asked: u64,
    pub granted: u64,
}

impl LimitAnswers {
    /// Meters beyond these leave no trace here.
    pub const METERS_MAX: usize = 64;

    fn note(mut self, meter: MeterId, granted: bool) -> LimitAnswers {
        if meter.0 < LimitAnswers::METERS_MAX {
            self.asked |= 1 << meter.0;
            self.granted |= u64::from(granted) << meter.0;
        }
        self
    }

    /// `None` when the meter was not asked, or stands beyond [`LimitAnswers::METERS_MAX`].
    pub fn of(self, meter: MeterId) -> Option<bool> {
        let has = |bits: u64| meter.0 < LimitAnswers::METERS_MAX && bits >> meter.0 & 1 == 1;
        has(self.asked).then(|| has(self.granted))
    }
}

/// Who answers for the limits.
#[derive(Clone, Copy)]
pub enum Limits<'a> {
    /// The meters themselves, which a grant changes.
    Metered(&'a RateMeters),
    /// What they answered when the trace was decided; what was not asked then is not granted.
    Answered(LimitAnswers),
    /// The meters, asked by the traces of a tick in falling order of randomness.
    Together(&'a RateMeters, &'a TickCuts),
    /// Where a tick was cut, once all of its traces were decided.
    Cut(&'a TickCuts),
}

/// How chance falls.
#[derive(Clone, Copy)]
pub enum Chance<'a> {
    /// Each policy hashes the trace id with its own salt, as the Collector does.
    Salted,
    /// The hash of each salt is assumed: pairs of the salted state and the hash.
    Assumed(&'a [(u64, u64)]),
    /// All policies compare their thresholds with this randomness of the trace.
    Shared(u64),
}

impl Chance<'_> {
    /// The randomness that all policies share; the highest where they do not.
    fn randomness(self) -> u64 {
        match self {
            Chance::Shared(randomness) => randomness,
            Chance::Salted | Chance::Assumed(_) => HIGHEST,
        }
    }
}

pub struct Circumstances<'a> {
    limits: Limits<'a>,
    pub chance: Chance<'a>,
    now: UnixNanos,
    answers: Cell<LimitAnswers>,
}

impl<'a> Circumstances<'a> {
    pub fn new(limits: Limits<'a>, chance: Chance<'a>, now: UnixNanos) -> Circumstances<'a> {
        Circumstances { limits, chance, now, answers: Cell::default() }
    }

    /// Takes `amount` from a meter if all of it is there.
    pub fn take(&self, meter: MeterId, amount: u64) -> bool {
        let claim = LimitClaim { meter, amount, randomness: self.chance.randomness() };
        let granted = match self.limits {
            Limits::Metered(meters) => meters.take(meter, amount, self.now),
            Limits::Answered(answers) => answers.of(meter).unwrap_or(false),
            Limits::Together(meters, cuts) => cuts.take(meters, claim, self.now),
            Limits::Cut(cuts) => cuts.grants(claim),
        };
        self.answers.set(self.answers.get().note(meter, granted));
        granted
    }

    /// What the limits have answered so far.
    pub fn answers(&self) -> LimitAnswers {
        self.answers.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_meter_that_was_not_asked_is_told_from_one_that_refused() {
        let answers = LimitAnswers::default().note(MeterId(0), false).note(MeterId(63), true).note(MeterId(64), true);
        let told = [0, 1, 63, 64].map(|meter| answers.of(MeterId(meter)));
        assert_eq!(told, [Some(false), None, Some(true), None]);
    }

    #[test]
    fn what_is_recorded_is_answered_again_without_any_meter() {
        let first = LimitAnswers::default().note(MeterId(3), true).note(MeterId(4), false);
        let again = Circumstances::new(Limits::Answered(first), Chance::Salted, UnixNanos(0));
        assert!(again.take(MeterId(3), u64::MAX) && !again.take(MeterId(4), 1) && !again.take(MeterId(5), 1));
        assert_eq!(again.answers().of(MeterId(3)), Some(true));
    }
}
