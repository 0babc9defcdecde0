//! Fair shares of the memory budget: while memory is short, the sender that recently took most is refused first.
//!
//! Each tenant's admitted bytes are remembered and fade by half every two seconds. A tenant may exceed the average by a
//! factor that shrinks as the budget fills, so the modest are admitted and the heavy wait, all at the same level. Pure:
//! time and pressure are arguments. What a tenant is (pod, address, header) is decided by the caller.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::core::data::budget::Budget;
use crate::core::lock::Locked;

const HALF_LIFE: Duration = Duration::from_secs(2);
/// Below this share of the soft limit nobody is held back.
const EASE: f64 = 0.5;
/// A tenant may take `2^SLACK` times the average when pressure begins, and `2^-2` of it at full pressure. So the budget
/// settles where the heavy all get the same and the modest what they ask for, before it is full.
const SLACK: f64 = 6.0;
const SLACK_RANGE: f64 = 8.0;
/// A tenant with fewer bytes is never heavy, whatever the others do.
const MODEST_BYTES: f64 = 16.0 * 1024.0;
/// Tenants remembered; beyond this those that faded most are forgotten, an eighth at a time, so that a tenant more costs
/// little on average.
const TENANTS_MAX: usize = 4_096;

/// Whose bytes they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Tenant {
    /// A pod (`namespace/pod`), or the value of a header.
    Name(Arc<str>),
    Address(IpAddr),
    /// Everyone on a unix socket.
    Local,
}

/// The tenant has had more than its share while memory is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("memory is short: this sender recently used {taken} bytes; its fair share is {share}")]
pub struct OverShare {
    pub taken: u64,
    pub share: u64,
}

/// What was admitted recently. Invariant: `total` is about the sum of `tenants` at the time `since`.
#[derive(Debug, Default)]
struct Recent {
    tenants: HashMap<Tenant, Faded>,
    total: Faded,
    swept: Duration,
}

/// A sum that fades.
#[derive(Clone, Copy, Debug, Default)]
struct Faded {
    bytes: f64,
    since: Duration,
}

impl Faded {
    fn at(self, now: Duration) -> f64 {
        let elapsed = now.saturating_sub(self.since).as_secs_f64();
        self.bytes * 0.5f64.powf(elapsed / HALF_LIFE.as_secs_f64())
    }

    fn add(&mut self, bytes: f64, now: Duration) {
        *self = Faded { bytes: self.at(now) + bytes, since: now };
    }
}

#[derive(Debug, Default)]
pub struct Shares {
    // Locked twice per request for a lookup; never across an await.
    recent: Mutex<Recent>,
}

/// 0 while memory is ample, 1 at the soft limit.
pub fn pressure(budget: &Budget) -> f64 {
    let filled = budget.used() as f64 / budget.soft().max(1) as f64;
    ((filled - EASE) / (1.0 - EASE)).clamp(0.0, 1.0)
}

impl Shares {
    /// Lets `bytes` of the tenant in and remembers them, or says by how much it is over. `now` is any clock that only
    /// goes forward.
    pub fn admit(&self, tenant: &Tenant, bytes: u64, pressure: f64, now: Duration) -> Result<(), OverShare> {
        let mut recent = self.recent.locked();
        recent.sweep(now);
        let taken = recent.tenants.get(tenant).map_or(0.0, |faded| faded.at(now));
        if pressure > 0.0 && taken > MODEST_BYTES {
            let average = recent.total.at(now) / recent.tenants.len().max(1) as f64;
            let share = average * (SLACK - SLACK_RANGE * pressure).exp2();
            // A lone sender competes with nobody: the budget alone bounds it.
            if taken > share && recent.tenants.len() > 1 {
                return Err(OverShare { taken: taken as u64, share: share as u64 });
            }
        }
        recent.add(tenant, bytes, now);
        Ok(())
    }

    /// Remembers bytes that turned out to be more than was admitted.
    pub fn add(&self, tenant: &Tenant, bytes: u64, now: Duration) {
        let mut recent = self.recent.locked();
        recent.add(tenant, bytes, now);
    }
}

impl Recent {
    fn add(&mut self, tenant: &Tenant, bytes: u64, now: Duration) {
        self.total.add(bytes as f64, now);
        if let Some(faded) = self.tenants.get_mut(tenant) {
            faded.add(bytes as f64, now);
        } else {
            if self.tenants.len() >= TENANTS_MAX {
                self.forget(now);
            }
            self.tenants.insert(tenant.clone(), Faded { bytes: bytes as f64, since: now });
        }
    }

    /// Forgets the eighth of whom least is left, and what they still counted for.
    fn forget(&mut self, now: Duration) {
        let mut left: Vec<f64> = self.tenants.values().map(|faded| faded.at(now)).collect();
        let (_, bound, _) = left.select_nth_unstable_by(TENANTS_MAX / 8, f64::total_cmp);
        let bound = *bound;
        let mut forgotten = TENANTS_MAX / 8;
        let mut bytes = 0.0;
        self.tenants.retain(|_, faded| {
            let goes = forgotten > 0 && faded.at(now) <= bound;
            if goes {
                forgotten -= 1;
                bytes += faded.at(now);
            }
            !goes
        });
        self.total.add(-bytes, now);
    }

    /// Forgets tenants of whom next to nothing is left, once a second.
    fn sweep(&mut self, now: Duration) {
        if now.saturating_sub(self.swept) < Duration::from_secs(1) {
            return;
        }
        self.swept = now;
        self.tenants.retain(|_, faded| faded.at(now) >= 256.0);
        let left: f64 = self.tenants.values().map(|faded| faded.at(now)).sum();
        self.total = Faded { bytes: left, since: now };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(number: usize) -> Tenant {
        Tenant::Name(number.to_string().into())
    }

    /// Jain's index: 1 when all are equal.
    fn jain(shares: &[f64]) -> f64 {
        let sum: f64 = shares.iter().sum();
        sum * sum / (shares.len() as f64 * shares.iter().map(|share| share * share).sum::<f64>())
    }

    const REQUEST: u64 = 100 << 10;

    struct Outcome {
        admitted: Vec<f64>,
        refused: Vec<u64>,
    }

    /// Tenants offer requests of 100 KiB every 10 ms in random order; the pipeline works off `capacity` bytes a tick from
    /// a budget of 64 MiB.
    fn simulate(offers: &[usize], capacity: u64, seed: u64) -> Outcome {
        let budget = Budget::new(64 << 20, 64 << 20);
        let shares = Shares::default();
        let mut random = fastrand::Rng::with_seed(seed);
        let mut held = std::collections::VecDeque::new();
        let mut outcome = Outcome { admitted: vec![0.0; offers.len()], refused: vec![0; offers.len()] };
        for tick in 0..1_000u64 {
            let now = Duration::from_millis(10 * tick);
            // The first seconds tell nothing: nobody has a past yet.
            let settled = f64::from(u8::from(tick >= 500));
            let mut round: Vec<usize> =
                offers.iter().enumerate().flat_map(|(number, count)| std::iter::repeat_n(number, *count)).collect();
            random.shuffle(&mut round);
            for number in round {
                let fair = shares.admit(&tenant(number), REQUEST, pressure(&budget), now).is_ok();
                match budget.take(REQUEST).ok().filter(|_| fair) {
                    Some(ticket) => {
                        held.push_back(ticket);
                        outcome.admitted[number] += settled;
                    }
                    None => outcome.refused[number] += settled as u64,
                }
            }
            held.drain(..held.len().min((capacity / REQUEST) as usize));
        }
        outcome
    }

    #[test]
    fn in_a_tenfold_overload_by_one_of_a_hundred_the_modest_are_not_refused() {
        let mut offers = vec![1; 100];
        offers[0] = 500;
        let outcome = simulate(&offers, 120 * (100 << 10), 5);
        let refused: u64 = outcome.refused[1..].iter().sum();
        assert_eq!(refused, 0, "the modest were refused; the greedy {} times", outcome.refused[0]);
        let rate = outcome.admitted[0] / 500.0;
        assert!((15.0..=22.0).contains(&rate), "the greedy gets what the others leave, 21 a tick: {rate}");
    }

    #[test]
    fn when_all_want_more_than_there_is_they_get_nearly_the_same() {
        let mut offers: Vec<usize> = (0..100).map(|number| 2 + number % 5).collect();
        offers[0] = 200;
        let outcome = simulate(&offers, 100 * (100 << 10), 6);
        let index = jain(&outcome.admitted[1..]);
        assert!(index >= 0.95, "{index} {:?}", outcome.admitted);
        // Asking forty times as much gives at most four times as much.
        assert!(outcome.admitted[0] < 4.0 * outcome.admitted[1..].iter().sum::<f64>() / 99.0);
    }

    #[test]
    fn a_lone_sender_and_ample_memory_hold_nobody_back() {
        let shares = Shares::default();
        let (a, b) = (tenant(1), tenant(2));
        for step in 0..1_000 {
            let now = Duration::from_millis(step);
            assert!(shares.admit(&a, 1 << 20, 1.0, now).is_ok());
        }
        shares.admit(&b, 1000, 0.0, Duration::from_secs(1)).unwrap();
        assert!(shares.admit(&a, 1, 0.0, Duration::from_secs(1)).is_ok(), "ample memory");
        let over = shares.admit(&a, 1, 1.0, Duration::from_secs(1)).unwrap_err();
        assert!(over.taken > over.share);
        assert!(shares.admit(&a, 1, 1.0, Duration::from_secs(60)).is_ok(), "faded");
    }

    #[test]
    fn the_number_of_tenants_remembered_is_bounded_and_the_heavy_one_that_comes_last_is_limited() {
        let shares = Shares::default();
        let now = Duration::from_secs(2);
        for number in 0..10_000 {
            let _ = shares.admit(&tenant(number), 1000, 0.5, now);
            assert!(shares.recent.lock().unwrap().tenants.len() <= TENANTS_MAX);
        }
        let heavy = tenant(10_000);
        let mut admitted = 0;
        while shares.admit(&heavy, 64 << 10, 1.0, now).is_ok() {
            admitted += 1;
            assert!(admitted < 100, "never limited");
        }
        let recent = shares.recent.lock().unwrap();
        let sum: f64 = recent.tenants.values().map(|faded| faded.at(now)).sum();
        assert!((recent.total.at(now) - sum).abs() < 1.0, "the average counts whom it remembers");
    }
}
