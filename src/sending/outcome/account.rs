//! The account of one exporter: settlement, counters and the last line's losses move together, so that they never disagree.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use crate::core::data::payload::Signal;
use crate::core::data::settlement::ItemEnd;
use crate::core::error::Reason;
use crate::core::lock::Locked;
use crate::sending::outcome::tally::{Lost, Tally};
use crate::sending::report::metrics::ExporterMetrics;

pub struct ExporterAccount {
    pub meters: ExporterMetrics,
    losses: Losses,
    /// Cut off, and in a log on disk.
    on_disk: AtomicU64,
}

impl ExporterAccount {
    pub fn new(meters: ExporterMetrics) -> ExporterAccount {
        ExporterAccount { meters, losses: Losses::default(), on_disk: AtomicU64::new(0) }
    }

    /// Every item of the tally ends, once.
    pub fn settle(&self, signal: Signal, tally: Tally) {
        if tally.delivered > 0 {
            self.meters.of(signal).sent.add(tally.delivered);
        }
        tally.delivered_share.end(ItemEnd::Delivered);
        for lost in tally.lost {
            let staying = lost.staying().min(lost.items);
            self.on_disk.fetch_add(staying, Ordering::Relaxed);
            let Lost { reason, words, items, share } = lost;
            self.lost(signal, reason, items - staying);
            share.end(ItemEnd::Dropped(reason, &words));
        }
    }

    /// Items lost whose share ends elsewhere.
    pub fn lost(&self, signal: Signal, reason: Reason, items: u64) {
        self.meters.of(signal).send_failed.add(items);
        self.losses.add(signal, reason, items);
    }

    /// The exporter's last line; says it once.
    pub fn say_losses(&self, path: &str, endpoint: &str) {
        let items = self.on_disk.swap(0, Ordering::Relaxed);
        if items > 0 {
            tracing::info!(exporter = path, endpoint, items, "stopped, what was not delivered is held on disk");
        }
        self.losses.say(path, endpoint);
    }
}

/// Items lost by signal and reason, for the last line.
#[derive(Debug, Default)]
struct Losses {
    // Written when items are lost, which is rare.
    lost: Mutex<BTreeMap<(Signal, Reason), u64>>,
}

impl Losses {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Signal, Reason), u64>> {
        self.lost.locked()
    }

    fn add(&self, signal: Signal, reason: Reason, items: u64) {
        if items > 0 {
            *self.lock().entry((signal, reason)).or_default() += items;
        }
    }

    /// `12 spans (shutdown), 3 log_records (permanent)`; empty when nothing was lost.
    fn text(&self) -> String {
        let lost = self.lock();
        let parts: Vec<String> = lost
            .iter()
            .map(|((signal, reason), items)| format!("{items} {} ({})", signal.items_name(), reason.0))
            .collect();
        parts.join(", ")
    }

    fn say(&self, path: &str, endpoint: &str) {
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
