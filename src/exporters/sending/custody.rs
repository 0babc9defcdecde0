//! Who answers for items on their way: a custody settles each exactly once, even when its delivery dies.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard};

use crate::core::error::Reason;
use crate::core::payload::Signal;
use crate::exporters::sending::Shared;
use crate::exporters::sending::deliver::Tally;

/// Items in this exporter's hands. What is not settled when it drops is counted as lost.
pub struct Custody<'a> {
    shared: &'a Shared,
    signal: Signal,
    open: u64,
}

impl<'a> Custody<'a> {
    pub fn new(shared: &'a Shared, signal: Signal, items: u64) -> Custody<'a> {
        Custody { shared, signal, open: items }
    }

    /// Counts what the tally says.
    pub fn settle(mut self, tally: &Tally) {
        let delivered = tally.delivered.min(self.open);
        self.open -= delivered;
        self.shared.host.balance.delivered(self.signal, delivered);
        self.shared.meters.of(self.signal).sent.add(delivered);
        for (reason, items) in &tally.lost {
            self.lose(*reason, *items);
        }
    }

    /// The caller answers for the items again: nothing is counted but the failed attempt.
    pub fn give_back(&mut self, items: u64) {
        let items = items.min(self.open);
        self.open -= items;
        self.shared.meters.of(self.signal).send_failed.add(items);
    }

    pub fn lose(&mut self, reason: Reason, items: u64) {
        let items = items.min(self.open);
        self.open -= items;
        self.shared.host.balance.dropped(self.signal, reason, items);
        self.shared.meters.of(self.signal).send_failed.add(items);
        self.shared.losses.add(self.signal, reason, items);
    }
}

impl Drop for Custody<'_> {
    fn drop(&mut self) {
        let reason = if self.shared.delivery.gate.is_over() { Reason::SHUTDOWN } else { Reason::INTERNAL };
        self.lose(reason, self.open);
    }
}

/// Items lost by signal and reason, for the last line.
#[derive(Debug, Default)]
pub struct Losses {
    // Written when items are lost, which is rare.
    lost: Mutex<BTreeMap<(Signal, Reason), u64>>,
}

impl Losses {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Signal, Reason), u64>> {
        self.lost.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn add(&self, signal: Signal, reason: Reason, items: u64) {
        if items > 0 {
            *self.lock().entry((signal, reason)).or_default() += items;
        }
    }

    /// `12 spans (shutdown), 3 log_records (permanent)`; empty when nothing was lost.
    pub fn text(&self) -> String {
        let lost = self.lock();
        let parts: Vec<String> = lost
            .iter()
            .map(|((signal, reason), items)| format!("{items} {} ({})", signal.items_name(), reason.0))
            .collect();
        parts.join(", ")
    }

    /// The exporter's last line; says it once.
    pub fn say(&self, path: &str, endpoint: &str) {
        let lost = self.text();
        if lost.is_empty() {
            tracing::debug!(exporter = path, endpoint, "stopped, nothing lost");
        } else {
            tracing::warn!(exporter = path, endpoint, lost, "stopped with losses");
        }
        self.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_names_every_lost_item_with_its_reason() {
        let losses = Losses::default();
        assert_eq!(losses.text(), "");
        losses.add(Signal::Traces, Reason::SHUTDOWN, 7);
        losses.add(Signal::Traces, Reason::SHUTDOWN, 5);
        losses.add(Signal::Logs, Reason::PERMANENT, 3);
        losses.add(Signal::Logs, Reason::TOO_LARGE, 0);
        assert_eq!(losses.text(), "12 spans (shutdown), 3 log_records (permanent)");
    }
}
