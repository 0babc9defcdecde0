//! Who answers for items on their way: a custody settles each exactly once, even when its delivery dies.

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
        let kept = tally.kept.min(self.open);
        self.open -= kept;
        let delivered = tally.delivered.min(self.open);
        self.open -= delivered;
        self.shared.account.delivered(self.signal, delivered);
        for (reason, items) in &tally.lost {
            self.lose(*reason, *items);
        }
    }

    /// The caller answers for the items again: nothing is counted but the failed attempt.
    pub fn give_back(&mut self, items: u64) {
        let items = items.min(self.open);
        self.open -= items;
        self.shared.account.meters.of(self.signal).send_failed.add(items);
    }

    pub fn lose(&mut self, reason: Reason, items: u64) {
        let items = items.min(self.open);
        self.open -= items;
        self.shared.account.lost(self.signal, reason, items);
    }
}

impl Drop for Custody<'_> {
    fn drop(&mut self) {
        let reason = if self.shared.delivery.gate().is_over() { Reason::SHUTDOWN } else { Reason::INTERNAL };
        self.lose(reason, self.open);
    }
}
