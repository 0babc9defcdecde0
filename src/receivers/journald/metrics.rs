//! What the receiver counts.

use std::sync::Arc;

use crate::core::report::stats::{Counter, Stats};

pub struct JournalMetrics {
    pub entries: Arc<Counter>,
    pub bytes: Arc<Counter>,
    pub left_out: Arc<Counter>,
    pub restarts: Arc<Counter>,
}

impl JournalMetrics {
    /// `receiver` is the component id.
    pub fn new(stats: &Stats, receiver: &str) -> JournalMetrics {
        let own = &[("receiver", receiver)];
        JournalMetrics {
            entries: stats.counter("podgate_journald_entries", "Entries read of the journal.", own),
            bytes: stats.counter("podgate_journald_bytes", "Bytes read from journalctl.", own),
            left_out: stats.counter(
                "podgate_journald_left_out",
                "Values of entries that were left out, because they are longer than what is kept of one.",
                own,
            ),
            restarts: stats.counter("podgate_journald_restarts", "Times that journalctl was started again.", own),
        }
    }
}
