//! What open connections hold of the memory budget, whether or not they send anything.
//!
//! h2 buffers up to its window before anyone polls, so a connection is charged its window when it is accepted. Together
//! they stay within a share of the budget: later connections get what earlier ones left, down to a smallest window, and
//! where even that would take the memory that requests live on, the connection is closed. It must not know sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::core::budget::{Budget, Ticket};
use crate::net::limits::Windows;

/// Windows larger than the smallest share this part of the budget.
const SHARE: u64 = 8;
/// All connections together never take more than this part: the rest is for what they send.
const CAP: u64 = 2;

/// Shared by all listeners of a receiver.
#[derive(Debug, Default)]
pub struct Charges {
    held: AtomicU64,
}

impl Charges {
    /// Bytes of all open connections.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Flow control for one connection more. `open` counts it.
    pub fn windows(&self, budget: &Budget, open: usize) -> Windows {
        let share = budget.soft() / SHARE;
        Windows::of(share / (open.max(1) as u64), share.saturating_sub(self.held()))
    }

    /// Takes a connection's memory out of the budget; `None`: there is no room for it.
    pub fn take(self: &Arc<Charges>, budget: &Arc<Budget>, bytes: u64) -> Option<Charge> {
        let ticket = budget.take(bytes).ok()?;
        let cap = budget.soft() / CAP;
        let fits = |held: u64| held.checked_add(bytes).filter(|held| *held <= cap);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(Charge { charges: self.clone(), bytes, _ticket: ticket })
    }
}

/// The memory of one connection; given back when dropped.
#[derive(Debug)]
pub struct Charge {
    charges: Arc<Charges>,
    bytes: u64,
    _ticket: Ticket,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.charges.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Opens connections until one is refused, at most `count`.
    fn open(budget: &Arc<Budget>, charges: &Arc<Charges>, count: usize) -> Vec<(Windows, Charge)> {
        let opening = (1..=count).map_while(|open| {
            let windows = charges.windows(budget, open);
            Some((windows, charges.take(budget, windows.charge())?))
        });
        opening.collect()
    }

    #[test]
    fn connections_that_come_one_by_one_stay_within_their_share() {
        const SMALLEST: u64 = (256 << 10) + (16 << 10);
        for mebibytes in [64, 256, 512, 1024, 4096] {
            let budget = Budget::new(mebibytes << 20, mebibytes << 20);
            let charges = Arc::new(Charges::default());
            for count in [1, 8, 40, 64] {
                let connections = open(&budget, &charges, count);
                let (share, smallest) = (budget.soft() / SHARE, SMALLEST * connections.len() as u64);
                assert!(charges.held() <= share + smallest, "{count} of {mebibytes} MiB: {}", charges.held());
                assert_eq!(charges.held(), budget.used());
            }
            assert_eq!((charges.held(), budget.used()), (0, 0), "given back");
        }
    }

    #[test]
    fn no_number_of_connections_takes_the_memory_that_requests_live_on() {
        let budget = Budget::new(256 << 20, 256 << 20);
        let charges = Arc::new(Charges::default());
        let connections = open(&budget, &charges, 10_000);
        assert!((300..500).contains(&connections.len()), "{}", connections.len());
        assert!(charges.held() <= 128 << 20);
        budget.take(120 << 20).expect("room for requests");
        drop(connections);
        assert_eq!(charges.held(), 0);
    }

    #[test]
    fn a_full_budget_lets_no_connection_in_and_nothing_stays_charged() {
        let budget = Budget::new(64 << 20, 64 << 20);
        let charges = Arc::new(Charges::default());
        let _requests = budget.take(64 << 20).expect("room");
        assert!(charges.take(&budget, 1 << 20).is_none());
        assert_eq!(charges.held(), 0);
    }
}
