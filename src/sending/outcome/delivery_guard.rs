//! Who counts a delivery that dies: its share ends by itself when it drops, the exporter's counters do here.

use crate::core::data::payload::Signal;
use crate::core::error::Reason;
use crate::sending::Shared;
use crate::sending::outcome::tally::Tally;

/// Items in this exporter's hands. What is not settled when it drops was lost with its delivery.
pub struct DeliveryGuard<'a> {
    shared: &'a Shared,
    signal: Signal,
    open: u64,
}

impl<'a> DeliveryGuard<'a> {
    pub(in crate::sending) fn new(shared: &'a Shared, signal: Signal, items: u64) -> DeliveryGuard<'a> {
        DeliveryGuard { shared, signal, open: items }
    }

    /// Every item ends as the tally says.
    pub fn settle(mut self, tally: Tally) {
        let ended = tally.delivered + tally.lost_items();
        let back = if tally.again.is_some() { self.open.saturating_sub(ended) } else { 0 };
        self.shared.account.meters.of(self.signal).send_failed.add(back);
        self.open = 0;
        self.shared.account.settle(self.signal, tally);
    }

    /// The caller answers for the items again: nothing is counted but the failed attempt.
    pub fn give_back(mut self, tally: Tally) {
        drop(tally);
        self.shared.account.meters.of(self.signal).send_failed.add(std::mem::take(&mut self.open));
    }
}

impl Drop for DeliveryGuard<'_> {
    fn drop(&mut self) {
        let reason = if self.shared.delivery.gate().is_over() { Reason::SHUTDOWN } else { Reason::INTERNAL };
        if self.open > 0 {
            self.shared.account.lost(self.signal, reason, self.open);
        }
    }
}
