//! The state of limiting policies: token buckets, and counters per second. Pure; time comes as an argument.

use std::sync::{Arc, Mutex};

use crate::core::lock::Locked;
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

impl MeterPlan {
    fn counts_as(&self, other: &MeterPlan) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    /// Tokens left, or taken in the current second.
    tokens: f64,
    at: UnixNanos,
}

impl State {
    fn begun(plan: &MeterPlan, now: UnixNanos) -> State {
        let tokens = match plan {
            MeterPlan::Bucket { burst, .. } => *burst,
            MeterPlan::PerSecond { .. } => 0.0,
        };
        State { tokens, at: now }
    }
}

/// All meters of one sampler, shared by its shards: a limit is one limit, however many shards there are (issue 13, M4).
pub struct RateMeters {
    // Locked for a few instructions, and only by traces that reach a limiting policy.
    meters: Vec<(MeterPlan, Arc<Mutex<State>>)>,
}

impl RateMeters {
    pub fn new(plans: &[MeterPlan], now: UnixNanos) -> RateMeters {
        let meter = |plan: &MeterPlan| (*plan, Arc::new(Mutex::new(State::begun(plan, now))));
        RateMeters { meters: plans.iter().map(meter).collect() }
    }

    /// As these were at their beginning.
    pub fn begun(&self, now: UnixNanos) -> RateMeters {
        let meter = |(plan, _): &(MeterPlan, _)| (*plan, Arc::new(Mutex::new(State::begun(plan, now))));
        RateMeters { meters: self.meters.iter().map(meter).collect() }
    }

    /// The meters of another set of policies. One that had this name before, and counts in the same way, goes on from where
    /// it stands, and both sets take from it as long as both are used. Names stand in the order of the meters.
    pub fn renewed(&self, before: &[String], plans: &[MeterPlan], names: &[String], now: UnixNanos) -> RateMeters {
        let mut used = vec![false; before.len()];
        let meter = |(plan, name): (&MeterPlan, &String)| {
            let same = |at: &usize| !used[*at] && before[*at] == *name && self.meters[*at].0.counts_as(plan);
            let Some(at) = (0..before.len().min(self.meters.len())).find(same) else {
                return (*plan, Arc::new(Mutex::new(State::begun(plan, now))));
            };
            used[at] = true;
            (*plan, self.meters[at].1.clone())
        };
        RateMeters { meters: plans.iter().zip(names).map(meter).collect() }
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
        let state = *state.locked();
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
        let mut state = state.locked();
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
    fn a_limit_of_the_same_name_goes_on_where_it_stands_whatever_its_place_and_its_rate() {
        let bucket = |burst: f64| MeterPlan::Bucket { rate: 1.0, burst };
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let before = names(&["a", "b", "c"]);
        let old = RateMeters::new(&[bucket(10.0), bucket(10.0), MeterPlan::PerSecond { allowed: 5 }], at(0));
        assert!(old.take(MeterId(1), 8, at(0)) && old.take(MeterId(2), 5, at(0)));
        let after = names(&["b", "c", "new", "a"]);
        let plans =
            [bucket(100.0), MeterPlan::PerSecond { allowed: 7 }, bucket(3.0), MeterPlan::PerSecond { allowed: 1 }];
        let new = old.renewed(&before, &plans, &after, at(0));
        assert!(!new.take(MeterId(0), 3, at(0)) && new.take(MeterId(0), 2, at(0)), "two were left");
        assert!(!old.take(MeterId(1), 1, at(0)), "it is one limit as long as both sets are used");
        assert!(new.take(MeterId(1), 2, at(0)) && !new.take(MeterId(1), 1, at(0)), "five of seven were taken");
        assert!(new.take(MeterId(2), 3, at(0)), "what is new begins full");
        assert!(new.take(MeterId(3), 1, at(0)), "what counts otherwise begins anew");
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
