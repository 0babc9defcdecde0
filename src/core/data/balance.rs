//! The account of items: received + copied = delivered + sampled out + dropped + refused + on disk + held, for each signal.
//!
//! Received is counted once by the receiver, copies by fan-outs; each item then ends in exactly one place. Only
//! [`settlement`](crate::core::data::settlement) moves the account, so whoever ends an item ends a share of it. `held` is a gauge of what has no
//! end yet. Every test asserts the equation.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use tokio::sync::Notify;

use crate::core::data::payload::Signal;
use crate::core::data::settlement::ItemEnd;
use crate::core::error::Reason;
use crate::core::lock::Locked;

#[derive(Debug, Default)]
struct Account {
    received: AtomicU64,
    copied: AtomicU64,
    delivered: AtomicU64,
    sampled_out: AtomicU64,
    refused: AtomicU64,
    /// Read back may come a moment before the end as parked.
    on_disk: AtomicI64,
    held: AtomicI64,
    // A lock, because reasons are few and drops are rare; never held across an await.
    dropped: Mutex<BTreeMap<Reason, u64>>,
}

/// The account of every signal of one gateway.
#[derive(Debug, Default)]
pub struct Balance {
    accounts: [Account; 4],
    /// The last held item of a signal has ended.
    emptied: Notify,
    over: AtomicBool,
}

/// One signal's account at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Sheet {
    pub received: u64,
    pub copied: u64,
    pub delivered: u64,
    pub sampled_out: u64,
    pub refused: u64,
    /// In a log on disk alone: for want of room in memory, until there is some, or cut off by a stop, until the next start.
    pub on_disk: u64,
    pub held: i64,
    pub dropped: BTreeMap<&'static str, u64>,
}

impl Balance {
    fn account(&self, signal: Signal) -> &Account {
        &self.accounts[signal.index()]
    }

    /// Items taken in by a receiver. They count as held until something ends them.
    pub(crate) fn received(&self, signal: Signal, items: u64) {
        let account = self.account(signal);
        account.held.fetch_add(items as i64, Ordering::Relaxed);
        account.received.fetch_add(items, Ordering::Relaxed);
    }

    /// Items that had ended as on disk are held again.
    pub(crate) fn read_back(&self, signal: Signal, items: u64) {
        let account = self.account(signal);
        account.held.fetch_add(items as i64, Ordering::Relaxed);
        account.on_disk.fetch_sub(items as i64, Ordering::Relaxed);
    }

    pub(crate) fn copied(&self, signal: Signal, items: u64) {
        let account = self.account(signal);
        account.held.fetch_add(items as i64, Ordering::Relaxed);
        account.copied.fetch_add(items, Ordering::Relaxed);
    }

    /// Items end, each once: only a settlement calls this.
    pub(crate) fn end(&self, signal: Signal, items: u64, end: ItemEnd<'_>) {
        let account = self.account(signal);
        match end {
            ItemEnd::Delivered => drop(account.delivered.fetch_add(items, Ordering::Relaxed)),
            ItemEnd::SampledOut => drop(account.sampled_out.fetch_add(items, Ordering::Relaxed)),
            ItemEnd::Refused => drop(account.refused.fetch_add(items, Ordering::Relaxed)),
            ItemEnd::OnDisk | ItemEnd::Parked => {
                account.on_disk.fetch_add(items as i64, Ordering::Relaxed);
            }
            ItemEnd::Dropped(reason, _) => {
                let mut dropped = account.dropped.locked();
                *dropped.entry(reason).or_default() += items;
            }
        }
        if account.held.fetch_sub(items as i64, Ordering::AcqRel) == items as i64 {
            self.emptied.notify_waiters();
        }
    }

    /// From now on what is dropped without an end was cut off by the end of the process and is no bug.
    pub fn close(&self) {
        self.over.store(true, Ordering::Release);
    }

    pub(crate) fn reason_of_orphans(&self) -> Reason {
        if self.over.load(Ordering::Acquire) { Reason::SHUTDOWN } else { Reason::INTERNAL }
    }

    fn is_empty(&self) -> bool {
        self.accounts.iter().all(|account| account.held.load(Ordering::Acquire) <= 0)
    }

    /// Completes when nothing is held of any signal.
    pub async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            // Registered before the look, so that an end in between is not missed.
            emptied.as_mut().enable();
            if self.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    /// Every signal's account by its name.
    pub fn sheets(&self) -> BTreeMap<&'static str, Sheet> {
        Signal::ALL.into_iter().map(|signal| (signal.name(), self.sheet(signal))).collect()
    }

    pub fn sheet(&self, signal: Signal) -> Sheet {
        let account = self.account(signal);
        let dropped = account.dropped.locked();
        Sheet {
            received: account.received.load(Ordering::Relaxed),
            copied: account.copied.load(Ordering::Relaxed),
            delivered: account.delivered.load(Ordering::Relaxed),
            sampled_out: account.sampled_out.load(Ordering::Relaxed),
            refused: account.refused.load(Ordering::Relaxed),
            on_disk: u64::try_from(account.on_disk.load(Ordering::Relaxed)).unwrap_or(0),
            held: account.held.load(Ordering::Relaxed),
            dropped: dropped.iter().map(|(reason, items)| (reason.0, *items)).collect(),
        }
    }
}

impl Sheet {
    pub fn dropped_total(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// Items that a stop cost: what was dropped because of it, and what is still held when the process ends.
    pub fn lost_at_stop(&self) -> u64 {
        self.dropped.get(Reason::SHUTDOWN.0).copied().unwrap_or(0) + u64::try_from(self.held).unwrap_or(0)
    }

    /// True when every item received or copied is accounted for, `held` items being those in queues and stores.
    pub fn holds(&self, held: u64) -> bool {
        let ended = self.delivered + self.sampled_out + self.refused + self.on_disk + self.dropped_total();
        self.received + self.copied == ended + held
    }
}
