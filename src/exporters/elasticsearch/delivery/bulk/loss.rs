//! Why a document is lost, and what its sender hears.

use crate::core::error::{ConsumeError, Reason};

/// Who waits for the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    /// The sender has its answer: documents may wait here.
    Queued,
    /// Another attempt of what waits in the set of blocked documents, which has room for it.
    BlockedTask,
    /// What cannot be delivered now is the sender's again.
    SenderWaits,
    /// A replay: nothing is set apart, what is not taken is buried again.
    Replay,
}

/// Why a document was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LossCause {
    /// Of the document, else of the request; 0 without an answer.
    pub status: u16,
    pub kind: String,
    pub reason: String,
    /// Under which its items count when they are kept nowhere.
    pub why: Reason,
}

impl LossCause {
    /// A cause of our own.
    pub fn own(why: Reason, reason: &str) -> LossCause {
        LossCause { status: 0, kind: why.0.to_owned(), reason: reason.to_owned(), why }
    }

    /// For logs; reasons of Elasticsearch quote documents.
    pub fn shown(&self, reasons: bool) -> String {
        let reason = if reasons || self.status == 0 { format!(": {}", self.reason) } else { String::new() };
        format!("{} {}{reason}", self.status, self.kind)
    }

    pub fn refusal(&self) -> ConsumeError {
        ConsumeError::refused(self.why, format!("{} {}: {}", self.status, self.kind, self.reason))
    }
}
