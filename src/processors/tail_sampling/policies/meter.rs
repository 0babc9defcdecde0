//! The state of limiting policies: token buckets, and counters per second. Pure; time comes as an argument.

use std::sync::Mutex;

use crate::core::time::UnixNanos;

/// Place of a meter in [`RateMeters`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeterId(pub usize);

/// What a meter allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MeterPlan {
    /// Refills at `rate` a second up to `burst`; begins full.
    Bucket { rate: f64, burst: f64 },
    /// Counts anew in each second of the clock.
    PerSecond { allowed: u64 },
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Tokens left, or taken in the current second.
    tokens: f64,
    at: UnixNanos,
}

/// All meters of one sampler, shared by its shards: a limit is one limit, however many shards there are (issue 13, M4).
pub struct RateMeters {
    // Locked for a few instructions, and only by traces that reach a limiting policy.
    meters: Vec<(MeterPlan, Mutex<State>)>,
}

impl RateMeters {
    pub fn new(plans: &[MeterPlan], now: UnixNanos) -> RateMeters {
        let full = |plan: &MeterPlan| match plan {
            MeterPlan::Bucket { burst, .. } => *burst,
            MeterPlan::PerSecond { .. } => 0.0,
        };
        let meter = |plan: &MeterPlan| (*plan, Mutex::new(State { tokens: full(plan), at: now }));
        RateMeters { meters: plans.iter().map(meter).collect() }
    }

    pub fn len(&self) -> usize {
        self.meters.len()
    }

    pub fn is_empty(&self) -> bool {
        self.meters.is_empty()
    }

    /// What [`RateMeters::take`] would grant at once.
    pub fn room(&self, id: MeterId, now: UnixNanos) -> f64 {
        let (plan, state) = &self.meters[id.0];
        let state = *state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let now = now.max(state.at);
        match plan {
            MeterPlan::Bucket { rate, burst } => (state.tokens + now.since(state.at).as_secs_f64() * *rate).min(*burst),
            MeterPlan::PerSecond { allowed } if state.at.0 / 1_000_000_000 != now.0 / 1_000_000_000 => *allowed as f64,
            MeterPlan::PerSecond { allowed } => *allowed as f64 - state.tokens,
        }
    }

    /// Takes `amount` if all of it is there; takes nothing otherwise. Shards may be some milliseconds apart: a time before
    /// the latest one counts as the latest.
    pub fn take(&self, id: MeterId, amount: u64, now: UnixNanos) -> bool {
        let amount = amount as f64;
        let (plan, state) = &self.meters[id.0];
        let mut state = state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let now = now.max(state.at);
        let granted = match plan {
            MeterPlan::Bucket { rate, burst } => {
                state.tokens = (state.tokens + now.since(state.at).as_secs_f64() * *rate).min(*burst);
                let granted = amount <= state.tokens;
                if granted {
                    state.tokens -= amount;
                }
                granted
            }
            MeterPlan::PerSecond { allowed } => {
                if state.at.0 / 1_000_000_000 != now.0 / 1_000_000_000 {
                    state.tokens = 0.0;
                }
                let granted = state.tokens + amount <= *allowed as f64;
                if granted {
                    state.tokens += amount;
                }
                granted
            }
        };
        state.at = now;
        granted
    }
}

/// Adds a meter while policies are checked.
pub fn add(plans: &mut Vec<MeterPlan>, plan: MeterPlan) -> MeterId {
    plans.push(plan);
    MeterId(plans.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> UnixNanos {
        UnixNanos(millis * 1_000_000)
    }

    #[test]
    fn a_bucket_begins_full_refills_with_time_and_never_lets_more_than_its_burst_pass() {
        let meters = RateMeters::new(&[MeterPlan::Bucket { rate: 10.0, burst: 20.0 }], at(0));
        let id = MeterId(0);
        assert!(!meters.take(id, 21, at(0)));
        assert!(meters.take(id, 20, at(0)));
        assert!(!meters.take(id, 1, at(50)));
        assert!(meters.take(id, 1, at(100)));
        assert!(!meters.take(id, 21, at(1_000_000)));
        assert!(meters.take(id, 20, at(1_000_000)));
    }

    #[test]
    fn a_counter_starts_anew_with_each_second_of_the_clock() {
        let meters = RateMeters::new(&[MeterPlan::PerSecond { allowed: 5 }], at(0));
        let id = MeterId(0);
        assert!(meters.take(id, 5, at(10)));
        assert!(!meters.take(id, 1, at(999)));
        assert!(meters.take(id, 5, at(1000)));
        assert!(!meters.take(id, 1, at(999)), "a shard that is behind does not begin the second anew");
        assert!(!meters.take(id, 1, at(1001)));
    }
}
