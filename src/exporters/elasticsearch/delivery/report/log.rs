//! What log and status page say about the cluster: one line when its state changes, none per document.

use std::sync::Arc;

use crate::core::report::status::StatusBoard;
use crate::sending::report::condition::Trouble;
use crate::sending::report::log::HopLog;

pub struct DeliveryLog {
    hop: HopLog,
    destination: String,
}

impl DeliveryLog {
    pub fn new(path: String, destination: String, board: &Arc<StatusBoard>) -> DeliveryLog {
        DeliveryLog { hop: HopLog::new(path, "Elasticsearch", board), destination }
    }

    pub fn path(&self) -> &str {
        &self.hop.path
    }

    pub fn works(&self) {
        self.hop.works(&self.destination);
    }

    pub fn fails(&self, trouble: &Trouble) {
        self.hop.fails(&self.destination, trouble);
    }

    /// Documents were given up, at most one line a minute. `kept`: they stand in the dead-letter file.
    pub fn gives_up(&self, documents: u64, cause: &str, kept: bool) {
        let Some(unsaid) = self.hop.unsaid_drops(documents) else { return };
        let text = if kept { "documents were dead-lettered" } else { "documents were not delivered" };
        tracing::warn!(exporter = %self.hop.path, endpoint = %self.destination, documents, cause, suppressed = unsaid, "{text}");
    }

    /// An index is closed to us.
    pub fn blocks(&self, index: &str, cause: &str) {
        tracing::warn!(
            exporter = %self.hop.path,
            index,
            cause,
            "documents wait until their index takes them: check its blocks, the disk's flood stage and the privileges"
        );
    }

    /// The set of blocked documents is full: documents wait in their requests, and the queue behind them fills. At most a line a minute.
    pub fn holds(&self, documents: u64, cause: &str) {
        let Some(unsaid) = self.hop.unsaid_drops(documents) else { return };
        tracing::warn!(
            exporter = %self.hop.path,
            endpoint = %self.destination,
            documents,
            cause,
            suppressed = unsaid,
            "closed indices have more documents waiting than parked_bytes allows: everything waits behind them until they open; \
             free disk space or lift the block, raise parked_bytes, or name a dead_letter file"
        );
    }

    pub fn unblocks(&self, index: &str) {
        tracing::info!(exporter = %self.hop.path, index, "the index is accepting documents again");
    }
}
