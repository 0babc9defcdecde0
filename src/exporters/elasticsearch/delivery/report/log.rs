//! What log and status page say about the cluster: one line when its state changes, none per document.

use std::sync::{Arc, Mutex, MutexGuard};

use tokio::time::Instant;

use crate::core::lock::Locked;
use crate::core::report::status::{State, StatusBoard};
use crate::sending::report::condition::{ConditionLine, HopCondition, Trouble};

pub struct DeliveryLog {
    pub path: String,
    destination: String,
    board: Arc<StatusBoard>,
    // Locked for a few instructions.
    condition: Mutex<HopCondition>,
}

impl DeliveryLog {
    pub fn new(path: String, destination: String, board: Arc<StatusBoard>) -> DeliveryLog {
        DeliveryLog { path, destination, board, condition: Mutex::default() }
    }

    fn condition(&self) -> MutexGuard<'_, HopCondition> {
        self.condition.locked()
    }

    pub fn works(&self) {
        let Some(line) = self.condition().works(Instant::now()) else { return };
        self.board.set(&self.path, State::Ok, "");
        if let ConditionLine::Recovered { after, failures } = line {
            tracing::info!(exporter = %self.path, endpoint = %self.destination, ?after, failures, "Elasticsearch is accepting data again");
        }
    }

    pub fn fails(&self, trouble: &Trouble) {
        if self.condition().fails(trouble, Instant::now()).is_none() {
            return;
        }
        let (endpoint, Trouble { code, message, cure }) = (&self.destination, trouble);
        let cure = cure.as_deref().unwrap_or_default();
        self.board.set(&self.path, State::Degraded, format!("{endpoint}: {code}: {message}; {cure}"));
        tracing::warn!(exporter = %self.path, %endpoint, code, cause = message, cure, "Elasticsearch is not accepting data");
    }

    /// Documents were given up, at most one line a minute. `kept`: they stand in the dead-letter file.
    pub fn gives_up(&self, documents: u64, cause: &str, kept: bool) {
        let Some(unsaid) = self.condition().drops(documents, Instant::now()) else { return };
        let text = if kept { "documents were dead-lettered" } else { "documents were not delivered" };
        tracing::warn!(exporter = %self.path, endpoint = %self.destination, documents, cause, suppressed = unsaid, "{text}");
    }

    /// An index is closed to us.
    pub fn blocks(&self, index: &str, cause: &str) {
        tracing::warn!(
            exporter = %self.path,
            index,
            cause,
            "documents wait until their index takes them: check its blocks, the disk's flood stage and the privileges"
        );
    }

    /// The set of blocked documents is full: documents wait in their requests, and the queue behind them fills. At most a line a minute.
    pub fn holds(&self, documents: u64, cause: &str) {
        let Some(unsaid) = self.condition().drops(documents, Instant::now()) else { return };
        tracing::warn!(
            exporter = %self.path,
            endpoint = %self.destination,
            documents,
            cause,
            suppressed = unsaid,
            "closed indices have more documents waiting than parked_bytes allows: everything waits behind them until they open; \
             free disk space or lift the block, raise parked_bytes, or name a dead_letter file"
        );
    }

    pub fn unblocks(&self, index: &str) {
        tracing::info!(exporter = %self.path, index, "the index is accepting documents again");
    }
}
