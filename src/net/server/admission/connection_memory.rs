//! What open connections hold of the memory budget, whether or not they send anything.
//!
//! A connection is charged what it costs while it says nothing; the window that h2 may fill before anyone polls is leased
//! when a request opens and given back with its last one. Windows promised to open connections shrink with their number,
//! and all together never take more than half of the budget: the rest is for what they send. It must not know sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::core::data::budget::{Budget, Ticket};
use crate::net::server::limits::Windows;

/// Windows larger than the smallest share this part of the budget.
const SHARE: u64 = 8;
/// All connections together never take more than this part: the rest is for what they send.
const CAP: u64 = 2;
/// Connections that wait at a time for the memory of one that makes room.
const NEWCOMERS_MAX: u64 = 16;
/// Connections without memory of their own that may be told so at the same time, each with the smallest buffers there are.
const SPARE_MAX: u64 = 256;

/// Shared by all listeners of a receiver.
#[derive(Debug, Default)]
pub struct Charges {
    held: AtomicU64,
    /// Windows and frames of all open connections, leased or not.
    promised: AtomicU64,
    spare: AtomicU64,
    newcomers: AtomicU64,
}

impl Charges {
    /// Bytes taken for all open connections.
    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    /// Flow control for one connection more. `open` counts it.
    pub fn windows(&self, budget: &Budget, open: usize) -> Windows {
        let share = budget.soft() / SHARE;
        Windows::of(share / (open.max(1) as u64), share.saturating_sub(self.promised.load(Ordering::Relaxed)))
    }

    /// Takes a connection's memory out of the budget; `None`: there is no room for it.
    pub fn take(self: &Arc<Charges>, budget: &Arc<Budget>, bytes: u64) -> Option<MemoryCharge> {
        let ticket = budget.take(bytes).ok()?;
        let cap = Charges::cap(budget);
        let fits = |held: u64| held.checked_add(bytes).filter(|held| *held <= cap);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(MemoryCharge { charges: self.clone(), bytes, _ticket: ticket })
    }

    fn cap(budget: &Budget) -> u64 {
        budget.soft() / CAP
    }

    /// Connections hold all that they may, so that there is no room for these bytes, however little else is held.
    pub fn is_full(&self, budget: &Budget, bytes: u64) -> bool {
        self.held().saturating_add(bytes) > Charges::cap(budget)
    }

    /// A turn to wait for the memory of other connections.
    pub fn newcomer(self: &Arc<Charges>) -> Option<Newcomer> {
        let one_more = |waiting: u64| Some(waiting + 1).filter(|waiting| *waiting <= NEWCOMERS_MAX);
        self.newcomers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Newcomer { charges: self.clone() })
    }

    /// Memory of an HTTP/2 connection: what it costs idle is taken, its window is leased when it is used.
    pub fn open(self: &Arc<Charges>, budget: &Arc<Budget>, windows: Windows) -> Option<ConnectionMemory> {
        let idle = self.take(budget, windows.idle())?;
        self.promised.fetch_add(windows.lease(), Ordering::Relaxed);
        Some(ConnectionMemory { budget: budget.clone(), lease: windows.lease(), idle })
    }

    /// A place for a connection that gets no memory and is only told so.
    pub fn spare(self: &Arc<Charges>) -> Option<Spare> {
        let one_more = |spare: u64| Some(spare + 1).filter(|spare| *spare <= SPARE_MAX);
        self.spare.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        Some(Spare { charges: self.clone() })
    }
}

/// The memory of one HTTP/2 connection.
#[derive(Debug)]
pub struct ConnectionMemory {
    budget: Arc<Budget>,
    lease: u64,
    idle: MemoryCharge,
}

impl ConnectionMemory {
    /// The window's memory, for as long as requests are open; `None`: there is no room for it now.
    pub fn lease(&self) -> Option<MemoryCharge> {
        self.idle.charges.take(&self.budget, self.lease)
    }
}

impl Drop for ConnectionMemory {
    fn drop(&mut self) {
        self.idle.charges.promised.fetch_sub(self.lease, Ordering::Relaxed);
    }
}

/// Memory of a connection; given back when dropped.
#[derive(Debug)]
pub struct MemoryCharge {
    charges: Arc<Charges>,
    bytes: u64,
    _ticket: Ticket,
}

impl Drop for MemoryCharge {
    fn drop(&mut self) {
        self.charges.held.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// A turn of [`Charges::newcomer`].
#[derive(Debug)]
pub struct Newcomer {
    charges: Arc<Charges>,
}

impl Drop for Newcomer {
    fn drop(&mut self) {
        self.charges.newcomers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A place of [`Charges::spare`].
#[derive(Debug)]
pub struct Spare {
    charges: Arc<Charges>,
}

impl Drop for Spare {
    fn drop(&mut self) {
        self.charges.spare.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Opens connections until one is refused, at most `count`, each with its lease when `busy`.
    fn open(
        budget: &Arc<Budget>,
        charges: &Arc<Charges>,
        count: usize,
        busy: bool,
    ) -> Vec<(ConnectionMemory, Option<MemoryCharge>)> {
        let opening = (1..=count).map_while(|open| {
            let account = charges.open(budget, charges.windows(budget, open))?;
            let lease = busy.then(|| account.lease());
            Some((account, lease.flatten()))
        });
        opening.collect()
    }

    #[test]
    fn busy_connections_that_come_one_by_one_stay_within_their_share() {
        const SMALLEST: u64 = (64 << 10) + (16 << 10);
        for mebibytes in [64, 256, 512, 1024, 4096] {
            let budget = Budget::new(mebibytes << 20, mebibytes << 20);
            let charges = Arc::new(Charges::default());
            for count in [1, 8, 40, 64] {
                let connections = open(&budget, &charges, count, true);
                let idle: u64 = connections.iter().map(|(account, _)| account.idle.bytes).sum();
                let (share, smallest) = (budget.soft() / SHARE, SMALLEST * connections.len() as u64);
                assert!(connections.iter().all(|(_, lease)| lease.is_some()), "{count} of {mebibytes} MiB");
                assert!(charges.held() <= share + smallest + idle, "{count} of {mebibytes} MiB: {}", charges.held());
                assert_eq!(charges.held(), budget.used());
            }
            assert_eq!((charges.held(), budget.used()), (0, 0), "given back");
            assert_eq!(charges.promised.load(Ordering::Relaxed), 0);
        }
    }

    /// What a pod of 256 MiB with the shipped limits (75 and 15 per cent) lets payloads have.
    fn shipped() -> Arc<Budget> {
        let process = (192u64 - 16) << 20;
        Budget::new(process / 8 * 7, (process - (38 << 20)) / 8 * 7)
    }

    #[test]
    fn a_thousand_idle_connections_fit_the_shipped_manifest_and_a_hundred_of_them_may_be_busy() {
        let (budget, charges) = (shipped(), Arc::new(Charges::default()));
        let connections = open(&budget, &charges, 1_000, false);
        assert_eq!(connections.len(), 1_000);
        assert!(budget.used() <= budget.soft() / 2, "{} of {}", budget.used(), budget.soft());
        let busy: Vec<_> = connections.iter().rev().take(100).map(|(account, _)| account.lease()).collect();
        assert!(busy.iter().all(Option::is_some));
        drop((busy, connections));
        assert_eq!((charges.held(), budget.used()), (0, 0));
    }

    #[test]
    fn no_number_of_connections_takes_the_memory_that_requests_live_on() {
        for busy in [false, true] {
            let budget = Budget::new(256 << 20, 256 << 20);
            let charges = Arc::new(Charges::default());
            let connections = open(&budget, &charges, 100_000, busy);
            assert!((500..5_000).contains(&connections.len()), "{}", connections.len());
            assert!(charges.held() <= 128 << 20);
            budget.take(120 << 20).expect("room for requests");
            drop(connections);
            assert_eq!(charges.held(), 0);
        }
    }

    #[test]
    fn a_full_budget_lets_no_connection_in_and_nothing_stays_charged() {
        let budget = Budget::new(64 << 20, 64 << 20);
        let charges = Arc::new(Charges::default());
        let _requests = budget.take(64 << 20).expect("room");
        assert!(charges.take(&budget, 1 << 20).is_none());
        assert!(charges.open(&budget, charges.windows(&budget, 1)).is_none());
        assert_eq!((charges.held(), charges.promised.load(Ordering::Relaxed)), (0, 0));
        let spare: Vec<_> = std::iter::from_fn(|| charges.spare()).collect();
        assert_eq!(spare.len(), 256);
        drop(spare);
        assert!(charges.spare().is_some());
    }
}
