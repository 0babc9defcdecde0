//! Waits that double: how long to wait after a number of failures in a row, and how chance spreads such a wait.
//!
//! Pure: the number of failures and the random number are arguments. What counts as a failure, when the count begins anew
//! and what a peer asks for stay with whoever waits.

use std::time::Duration;

/// The first wait, and the one that no doubling passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Doubling {
    pub first: Duration,
    pub longest: Duration,
}

/// No wait doubles more often: a first wait of a millisecond has passed a minute by then.
const DOUBLINGS_MAX: u32 = 16;

impl Doubling {
    /// The wait after this many failures before the present one.
    pub fn after(self, failures: u32) -> Duration {
        self.first.saturating_mul(1 << failures.min(DOUBLINGS_MAX)).min(self.longest)
    }
}

/// From half of a wait to one and a half of it; `random` is in 0..1.
pub fn around(wait: Duration, random: f64) -> Duration {
    wait.mul_f64(0.5 + random.clamp(0.0, 1.0))
}

/// From half of a wait to the whole of it; `random` is in 0..1.
pub fn within(wait: Duration, random: f64) -> Duration {
    wait.mul_f64(0.5 + random.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_stay_there() {
        let doubling = Doubling { first: Duration::from_millis(200), longest: Duration::from_secs(5) };
        let waits: Vec<u128> = (0..7).map(|failures| doubling.after(failures).as_millis()).collect();
        assert_eq!(waits, [200, 400, 800, 1_600, 3_200, 5_000, 5_000]);
        assert_eq!(doubling.after(u32::MAX), Duration::from_secs(5));
    }

    #[test]
    fn a_first_wait_above_the_longest_is_cut_to_it() {
        let doubling = Doubling { first: Duration::from_secs(9), longest: Duration::from_secs(5) };
        assert_eq!(doubling.after(0), Duration::from_secs(5));
    }

    #[test]
    fn chance_spreads_a_wait_within_its_bounds() {
        let second = Duration::from_secs(1);
        assert_eq!([0.0, 0.5, 1.0].map(|random| around(second, random).as_millis()), [500, 1_000, 1_500]);
        assert_eq!([0.0, 0.5, 1.0].map(|random| within(second, random).as_millis()), [500, 750, 1_000]);
    }
}
