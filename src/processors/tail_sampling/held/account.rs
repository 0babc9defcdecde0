//! The byte account of one sampler: what its shards hold, what waits in their queues, and when to refuse.
//!
//! Shards settle what they really hold after each step; admission reserves before it queues; parcels count until the next
//! stage has taken them. The account is mirrored in the process-wide budget by a ticket of its own, from which released
//! payloads get theirs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use crate::core::data::budget::{Budget, Ticket};

/// Pressure begins here, in percent of the account.
const PRESSURE_PERCENT: u64 = 80;

pub struct ByteAccount {
    max: u64,
    held: AtomicU64,
    /// Admitted and not yet stored: charged to the payloads' own tickets.
    queued: AtomicU64,
    /// On the way to the next stage: charged to the payloads' own tickets as well.
    delivering: AtomicU64,
    /// Held bytes that the budget had no room for; paid first when bytes are given back.
    owed: AtomicU64,
    ticket: Ticket,
    traces: AtomicU64,
    room: Notify,
}

impl ByteAccount {
    pub fn new(max: u64, budget: &Arc<Budget>) -> Arc<ByteAccount> {
        // Not asked for: under pressure there would be none, and what is held would be on no account.
        let ticket = budget.overdraw(0);
        Arc::new(ByteAccount {
            max,
            held: AtomicU64::new(0),
            queued: AtomicU64::new(0),
            delivering: AtomicU64::new(0),
            owed: AtomicU64::new(0),
            ticket,
            traces: AtomicU64::new(0),
            room: Notify::new(),
        })
    }

    pub fn max(&self) -> u64 {
        self.max
    }

    pub fn held(&self) -> u64 {
        self.held.load(Ordering::Relaxed)
    }

    pub fn queued(&self) -> u64 {
        self.queued.load(Ordering::Relaxed)
    }

    /// Bytes of parcels that the next stage has not taken yet.
    pub fn delivering(&self) -> u64 {
        self.delivering.load(Ordering::Relaxed)
    }

    fn used(&self) -> u64 {
        self.held().saturating_add(self.delivering())
    }

    /// Undecided traces of all shards.
    pub fn traces(&self) -> u64 {
        self.traces.load(Ordering::Relaxed)
    }

    /// True while no message of any size would fit.
    pub fn is_full(&self) -> bool {
        self.used().saturating_add(self.queued()) >= self.max
    }

    /// Room for a message before it is queued; false when the account is full.
    pub fn reserve(&self, bytes: u64) -> bool {
        let before = self.queued.fetch_add(bytes, Ordering::Relaxed);
        let fits = self.used().saturating_add(before).saturating_add(bytes) <= self.max;
        if !fits {
            self.queued.fetch_sub(bytes, Ordering::Relaxed);
        }
        fits
    }

    /// A queued message was stored, or its sender gave up.
    pub fn unreserve(&self, bytes: u64) {
        self.queued.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub fn charge(&self, bytes: u64) {
        self.held.fetch_add(bytes, Ordering::Relaxed);
        if self.ticket.grow(bytes).is_err() {
            self.owed.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    pub fn give_back(&self, bytes: u64) {
        drop(self.take_out(bytes));
        self.room.notify_waiters();
    }

    /// Moves bytes out of the account into a ticket for a payload that now holds them.
    pub fn take_out(&self, bytes: u64) -> Ticket {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        let mut paid = 0;
        let settle = |owed: u64| {
            paid = owed.min(bytes);
            Some(owed - paid)
        };
        let _ = self.owed.fetch_update(Ordering::Relaxed, Ordering::Relaxed, settle);
        self.ticket.split(bytes - paid)
    }

    /// Brings the account from what a shard held before to what it holds now.
    pub fn settle(&self, before: u64, now: u64) {
        match now.checked_sub(before) {
            Some(more) if more > 0 => self.charge(more),
            Some(_) => {}
            None => self.give_back(before - now),
        }
    }

    pub fn settle_traces(&self, before: u64, now: u64) {
        self.traces.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
        if now < before {
            self.room.notify_waiters();
        }
    }

    /// Bytes above the mark at which traces are decided early.
    pub fn excess(&self) -> u64 {
        self.used().saturating_sub(self.max / 100 * PRESSURE_PERCENT)
    }

    /// Completes when something is given back after this call, awaited or not.
    pub fn room(&self) -> Notified<'_> {
        self.room.notified()
    }
}

/// Bytes of a parcel, which count against the maximum until the next stage has taken it or it is lost.
pub struct Delivering {
    account: Arc<ByteAccount>,
    bytes: u64,
}

impl Delivering {
    pub fn new(account: &Arc<ByteAccount>, bytes: u64) -> Delivering {
        account.delivering.fetch_add(bytes, Ordering::Relaxed);
        Delivering { account: account.clone(), bytes }
    }

    /// Moves up to `bytes` into a part of its own.
    pub fn split(&mut self, bytes: u64) -> Delivering {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Delivering { account: self.account.clone(), bytes }
    }
}

impl Drop for Delivering {
    fn drop(&mut self) {
        self.account.delivering.fetch_sub(self.bytes, Ordering::Relaxed);
        self.account.room.notify_waiters();
    }
}

/// Bytes charged as long as this lives.
pub struct HeldBytes {
    account: Arc<ByteAccount>,
    bytes: u64,
}

impl HeldBytes {
    pub fn new(account: &Arc<ByteAccount>, bytes: u64) -> HeldBytes {
        account.charge(bytes);
        HeldBytes { account: account.clone(), bytes }
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.account.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_queued_held_and_delivered_shares_one_maximum() {
        let budget = Budget::new(1000, 1000);
        let account = ByteAccount::new(100, &budget);
        assert!(account.reserve(60) && !account.reserve(41));
        account.charge(60);
        account.unreserve(60);
        assert_eq!((account.held(), budget.used()), (60, 60));
        let delivering = Delivering::new(&account, 50);
        let ticket = account.take_out(50);
        assert_eq!((account.held(), account.delivering(), budget.used()), (10, 50, 60));
        assert!(!account.reserve(41) && account.reserve(40) && account.is_full());
        drop(delivering);
        assert!(account.reserve(50), "taken by the next stage, it is no longer ours");
        assert_eq!(budget.used(), 60, "but still in the budget, as long as the payload lives");
        drop(ticket);
        assert_eq!(budget.used(), 10);
    }

    #[test]
    fn a_split_parcel_counts_once() {
        let account = ByteAccount::new(100, &Budget::unlimited());
        let mut whole = Delivering::new(&account, 50);
        let part = whole.split(20);
        assert_eq!(account.delivering(), 50);
        drop(whole);
        assert_eq!(account.delivering(), 20);
        drop(part);
        assert_eq!(account.delivering(), 0);
    }

    #[test]
    fn bytes_that_the_budget_had_no_room_for_are_paid_back_first() {
        let budget = Budget::new(100, 100);
        let account = ByteAccount::new(1000, &budget);
        account.charge(80);
        account.charge(80);
        assert_eq!((account.held(), budget.used()), (160, 80));
        drop(account.take_out(100));
        assert_eq!((account.held(), budget.used()), (60, 60));
        account.give_back(60);
        assert_eq!((account.held(), budget.used()), (0, 0));
    }

    #[test]
    fn pressure_begins_at_four_fifths() {
        let account = ByteAccount::new(1000, &Budget::unlimited());
        account.charge(700);
        assert_eq!(account.excess(), 0);
        let _delivering = Delivering::new(&account, 200);
        assert_eq!(account.excess(), 100);
    }
}
