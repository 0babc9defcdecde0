//! The state of limiting policies: token buckets, and counters per second. Pure; time comes as an argument.

use crate::core::time::UnixNanos;

/// Place of a meter in [`Meters`].
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

/// All meters of one shard.
pub struct Meters {
    meters: Vec<(MeterPlan, State)>,
}

impl Meters {
    pub fn new(plans: &[MeterPlan], now: UnixNanos) -> Meters {
        let full = |plan: &MeterPlan| match plan {
            MeterPlan::Bucket { burst, .. } => *burst,
            MeterPlan::PerSecond { .. } => 0.0,
        };
        Meters { meters: plans.iter().map(|plan| (*plan, State { tokens: full(plan), at: now })).collect() }
    }

    /// Takes `amount` if all of it is there; takes nothing otherwise.
    pub fn take(&mut self, id: MeterId, amount: u64, now: UnixNanos) -> bool {
        let amount = amount as f64;
        let (plan, state) = &mut self.meters[id.0];
        match plan {
            MeterPlan::Bucket { rate, burst } => {
                state.tokens = (state.tokens + now.since(state.at).as_secs_f64() * *rate).min(*burst);
                state.at = state.at.max(now);
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
                state.at = now;
                let granted = state.tokens + amount <= *allowed as f64;
                if granted {
                    state.tokens += amount;
                }
                granted
            }
        }
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
        let mut meters = Meters::new(&[MeterPlan::Bucket { rate: 10.0, burst: 20.0 }], at(0));
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
        let mut meters = Meters::new(&[MeterPlan::PerSecond { allowed: 5 }], at(0));
        let id = MeterId(0);
        assert!(meters.take(id, 5, at(10)));
        assert!(!meters.take(id, 1, at(999)));
        assert!(meters.take(id, 5, at(1000)));
    }
}
