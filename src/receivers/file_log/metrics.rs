//! What the receiver counts, under the Collector's names where it has them.

use std::sync::Arc;

use crate::core::report::stats::{Counter, Gauge, Stats};
use crate::receivers::file_log::follow::tail::TailCounts;

pub struct FileLogMetrics {
    pub files: Arc<Gauge>,
    lines: Arc<Counter>,
    bytes: Arc<Counter>,
    operator_failures: Arc<Counter>,
    dropped: Arc<Counter>,
    cut: Arc<Counter>,
    unheld: Arc<Counter>,
    unopened: Arc<Counter>,
    pub unread_files: Arc<Gauge>,
    duplicates: Arc<Counter>,
    truncated: Arc<Counter>,
}

impl FileLogMetrics {
    /// `receiver` is the component id.
    pub fn new(stats: &Stats, receiver: &str) -> FileLogMetrics {
        let own = &[("receiver", receiver)];
        FileLogMetrics {
            files: stats.gauge("otelcol_fileconsumer_open_files", "Files that are followed.", own),
            lines: stats.counter("podgate_file_log_lines", "Lines read of files.", own),
            bytes: stats.counter("podgate_file_log_bytes", "Bytes read of files, as lines.", own),
            operator_failures: stats.counter(
                "podgate_file_log_operator_failures",
                "Lines on which an operator failed.",
                own,
            ),
            dropped: stats.counter("podgate_file_log_dropped", "Lines that operators dropped, as configured.", own),
            unheld: stats.counter(
                "podgate_file_log_unheld",
                "Entries that went on in parts, because no memory was left to hold them.",
                own,
            ),
            unopened: stats.counter("podgate_file_log_unopened", "Files that went before they were opened.", own),
            unread_files: stats.gauge(
                "podgate_file_log_unread_files",
                "Files that fit the patterns and are not read, because they cannot be opened or are too many.",
                own,
            ),
            duplicates: stats.counter(
                "podgate_audit_duplicates",
                "Audit events that were left out, because the same event was delivered before.",
                own,
            ),
            truncated: stats.counter(
                "podgate_audit_truncated",
                "Audit events that the API server had cut to fit its limits.",
                own,
            ),
            cut: stats.counter("podgate_file_log_cut", "Files that were cut, and are read from their beginning.", own),
        }
    }

    pub fn add(&self, counts: &TailCounts) {
        self.lines.add(counts.lines);
        self.bytes.add(counts.bytes);
        self.operator_failures.add(counts.failed);
        self.dropped.add(counts.dropped);
        self.cut.add(counts.cut);
        self.unheld.add(counts.unheld);
        self.unopened.add(counts.unopened);
        self.duplicates.add(counts.duplicates);
        self.truncated.add(counts.truncated);
    }
}
