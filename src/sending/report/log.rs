//! The log lines and the status of one next hop: one line when its state changes, none per payload.

use std::sync::{Arc, Mutex};

use tokio::time::Instant;

use crate::core::lock::Locked;
use crate::core::report::status::{State, StatusBoard, StatusTeller};
use crate::sending::report::condition::{ConditionLine, HopCondition, Trouble};

/// What an exporter says of the next hop that it sends to.
pub struct HopLog {
    /// The component's path.
    pub path: String,
    /// The subject of the lines: "next hop", "Elasticsearch".
    peer: &'static str,
    status: StatusTeller,
    // Locked for a few instructions.
    condition: Mutex<HopCondition>,
}

impl HopLog {
    pub fn new(path: String, peer: &'static str, board: &Arc<StatusBoard>) -> HopLog {
        HopLog { status: board.teller(&path), path, peer, condition: Mutex::default() }
    }

    /// The next hop at `endpoint` took a request.
    pub fn works(&self, endpoint: &str) {
        let Some(line) = self.condition.locked().works(Instant::now()) else { return };
        self.status.tell(State::Ok, "");
        if let ConditionLine::Recovered { after, failures } = line {
            tracing::info!(exporter = %self.path, endpoint, ?after, failures, "{} is accepting data again", self.peer);
        }
    }

    /// The next hop at `endpoint` did not take a request.
    pub fn fails(&self, endpoint: &str, trouble: &Trouble) {
        if self.condition.locked().fails(trouble, Instant::now()).is_none() {
            return;
        }
        let Trouble { code, message, cure } = trouble;
        let cure = cure.as_deref().unwrap_or_default();
        self.status.tell(State::Degraded, format!("{endpoint}: {code}: {message}; {cure}"));
        tracing::warn!(exporter = %self.path, endpoint, code, cause = message, cure, "{} is not accepting data", self.peer);
    }

    /// `items` were given up. How many were not told of since the last line, when it is time for another: once a minute.
    pub fn unsaid_drops(&self, items: u64) -> Option<u64> {
        self.condition.locked().drops(items, Instant::now())
    }
}
