//! The account of items: received + copied = delivered + sampled out + dropped + refused + held, for each signal.
//!
//! Received is counted once by the receiver, copies by fan-outs and connectors; each item then ends in exactly one place. `held` is a gauge that
//! queues and stores move; what is in flight in a call is held by the receiver. Every test asserts the equation.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::core::error::Reason;
use crate::core::payload::Signal;

#[derive(Debug, Default)]
struct Account {
    received: AtomicU64,
    copied: AtomicU64,
    delivered: AtomicU64,
    sampled_out: AtomicU64,
    refused: AtomicU64,
    held: AtomicI64,
    // A lock, because reasons are few and drops are rare; never held across an await.
    dropped: Mutex<BTreeMap<Reason, u64>>,
}

/// The account of every signal of one gateway.
#[derive(Debug, Default)]
pub struct Balance {
    accounts: [Account; 4],
}

/// One signal's account at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Sheet {
    pub received: u64,
    pub copied: u64,
    pub delivered: u64,
    pub sampled_out: u64,
    pub refused: u64,
    pub held: i64,
    pub dropped: BTreeMap<&'static str, u64>,
}

impl Balance {
    fn account(&self, signal: Signal) -> &Account {
        &self.accounts[signal.index()]
    }

    /// Items taken in by a receiver. They count as held until something ends them.
    pub fn received(&self, signal: Signal, items: u64) {
        let account = self.account(signal);
        account.held.fetch_add(items as i64, Ordering::Relaxed);
        account.received.fetch_add(items, Ordering::Relaxed);
    }

    pub fn copied(&self, signal: Signal, items: u64) {
        let account = self.account(signal);
        account.held.fetch_add(items as i64, Ordering::Relaxed);
        account.copied.fetch_add(items, Ordering::Relaxed);
    }

    pub fn delivered(&self, signal: Signal, items: u64) {
        let account = self.account(signal);
        account.delivered.fetch_add(items, Ordering::Relaxed);
        account.held.fetch_sub(items as i64, Ordering::Relaxed);
    }

    pub fn sampled_out(&self, signal: Signal, items: u64) {
        let account = self.account(signal);
        account.sampled_out.fetch_add(items, Ordering::Relaxed);
        account.held.fetch_sub(items as i64, Ordering::Relaxed);
    }

    /// Given back to the sender, retryably: the receiver's count.
    pub fn refused(&self, signal: Signal, items: u64) {
        let account = self.account(signal);
        account.refused.fetch_add(items, Ordering::Relaxed);
        account.held.fetch_sub(items as i64, Ordering::Relaxed);
    }

    pub fn dropped(&self, signal: Signal, reason: Reason, items: u64) {
        if items == 0 {
            return;
        }
        let account = self.account(signal);
        let mut dropped = account.dropped.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        *dropped.entry(reason).or_default() += items;
        account.held.fetch_sub(items as i64, Ordering::Relaxed);
    }

    pub fn sheet(&self, signal: Signal) -> Sheet {
        let account = self.account(signal);
        let dropped = account.dropped.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        Sheet {
            received: account.received.load(Ordering::Relaxed),
            copied: account.copied.load(Ordering::Relaxed),
            delivered: account.delivered.load(Ordering::Relaxed),
            sampled_out: account.sampled_out.load(Ordering::Relaxed),
            refused: account.refused.load(Ordering::Relaxed),
            held: account.held.load(Ordering::Relaxed),
            dropped: dropped.iter().map(|(reason, items)| (reason.0, *items)).collect(),
        }
    }
}

impl Sheet {
    pub fn dropped_total(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// True when every item received or copied is accounted for, `held` items being those in queues and stores.
    pub fn holds(&self, held: u64) -> bool {
        self.received + self.copied == self.delivered + self.sampled_out + self.refused + self.dropped_total() + held
    }
}
