//! The Collector's metrics of this exporter (its documentation.md), by documents and requests; items are the account's.

use std::sync::Arc;

use crate::core::report::stats::{Counter, Gauge, Stats};

pub struct BulkMetrics {
    pub received: Arc<Counter>,
    pub retried: Arc<Counter>,
    pub success: Arc<Counter>,
    pub failure_store: Arc<Counter>,
    /// There already: an earlier attempt was indexed.
    pub present: Arc<Counter>,
    pub failed_client: Arc<Counter>,
    pub failed_server: Arc<Counter>,
    pub too_many: Arc<Counter>,
    pub buried: Arc<Counter>,
    pub dropped: Arc<Counter>,
    /// Values written as text, because no index can store them as what they are.
    pub as_text: Arc<Counter>,
    pub flushed_bytes: Arc<Counter>,
    pub flushed_uncompressed: Arc<Counter>,
    pub requests: Arc<Counter>,
    pub requests_failed: Arc<Counter>,
    pub parked_bytes: Arc<Gauge>,
}

impl BulkMetrics {
    pub fn new(stats: &Stats, exporter: &str) -> BulkMetrics {
        let labels = [("exporter", exporter)];
        let processed = |outcome: &str| {
            let help = "Documents by Elasticsearch's answer; a repeated document counts each time.";
            stats.counter("otelcol_elasticsearch_docs_processed", help, &[("exporter", exporter), ("outcome", outcome)])
        };
        let requests = |outcome: &str| {
            let help = "Bulk requests sent, by outcome.";
            stats.counter(
                "otelcol_elasticsearch_bulk_requests_count",
                help,
                &[("exporter", exporter), ("outcome", outcome)],
            )
        };
        let plain = |name: &str, help| stats.counter(name, help, &labels);
        BulkMetrics {
            received: plain("otelcol_elasticsearch_docs_received", "Documents made of the items received."),
            retried: plain("otelcol_elasticsearch_docs_retried", "Documents sent again."),
            success: processed("success"),
            failure_store: processed("failure_store"),
            present: processed("present"),
            failed_client: processed("failed_client"),
            failed_server: processed("failed_server"),
            too_many: processed("too_many"),
            buried: plain("podgate_elasticsearch_docs_dead_lettered", "Documents written to the dead-letter file."),
            dropped: plain("podgate_elasticsearch_docs_dropped", "Documents given up and kept nowhere."),
            as_text: plain(
                "podgate_elasticsearch_values_as_text",
                "Times out of range and values nested too deep for an index, written as text instead.",
            ),
            flushed_bytes: plain("otelcol_elasticsearch_flushed_bytes", "Bytes of bulk requests as sent."),
            flushed_uncompressed: plain(
                "otelcol_elasticsearch_flushed_uncompressed_bytes",
                "Bytes of bulk requests before compression.",
            ),
            requests: requests("success"),
            requests_failed: requests("failed"),
            parked_bytes: stats.gauge(
                "podgate_elasticsearch_parked_bytes",
                "Bytes of documents that wait for their index to open.",
                &labels,
            ),
        }
    }

    /// Documents refused, by whose fault it is.
    pub fn refused(&self, status: u16) {
        match status {
            429 => self.too_many.add(1),
            500..=599 => self.failed_server.add(1),
            _ => self.failed_client.add(1),
        }
    }
}
