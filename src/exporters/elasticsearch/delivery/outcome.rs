//! What became of documents, in items and shares: what goes into the account, and why the last ones were lost.

use crate::core::error::{ConsumeError, Reason};
use crate::exporters::elasticsearch::delivery::bulk::batch::OpenDocument;
use crate::exporters::elasticsearch::delivery::dead_letter::file::Grave;
use crate::sending::outcome::tally::Tally;

/// Who waits for the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// The sender has its answer: documents may wait here.
    Queued,
    /// Another attempt of what waits in the parking lot, which has room for it.
    Parked,
    /// What cannot be delivered now is the sender's again.
    SenderWaits,
    /// A replay: nothing is parked, what is not taken is buried again.
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

    pub fn grave<'a>(&'a self, lines: &'a [u8], document: &OpenDocument) -> Grave<'a> {
        Grave {
            lines,
            signal: document.signal,
            items: document.items,
            // Whoever sends it again may find it there.
            own_id: document.own_id || document.in_doubt,
            status: self.status,
            kind: &self.kind,
            reason: &self.reason,
        }
    }

    pub fn refusal(&self) -> ConsumeError {
        ConsumeError::refused(self.why, format!("{} {}: {}", self.status, self.kind, self.reason))
    }
}

/// Ends of documents, by the items and shares that end with them.
#[derive(Debug, Default)]
pub struct BulkOutcome {
    /// By signal.
    pub tallies: [Tally; 4],
    pub buried: usize,
    /// Of those, how many stand in the dead-letter file.
    pub kept_on_disk: u64,
    /// Why the last document was lost.
    pub error: Option<ConsumeError>,
    /// What was neither delivered nor lost is the sender's again, for this reason.
    pub again: Option<ConsumeError>,
    /// An index was closed to us.
    pub blocked: bool,
    documents_delivered: u64,
    documents_kept: u64,
}

impl BulkOutcome {
    pub fn deliver(&mut self, document: OpenDocument) {
        self.documents_delivered += 1;
        self.tallies[document.signal.index()].deliver(u64::from(document.items), document.share);
    }

    /// The document waits in the parking lot, which ends it later.
    pub fn keep(&mut self) {
        self.blocked = true;
        self.documents_kept += 1;
    }

    pub fn lose(&mut self, document: OpenDocument, why: Reason, cause: &LossCause) {
        self.buried += 1;
        self.kept_on_disk += u64::from(why == Reason::DEAD_LETTER);
        let error = ConsumeError::rejected(why, format!("{} {}: {}", cause.status, cause.kind, cause.reason));
        let tally = &mut self.tallies[document.signal.index()];
        tally.lose(u64::from(document.items), document.share, error.clone());
        self.error = Some(error);
    }

    /// Elasticsearch took something.
    pub fn taken_any(&self) -> bool {
        self.documents_delivered > 0
    }

    pub fn documents_delivered(&self) -> u64 {
        self.documents_delivered
    }

    /// Something ended or was kept, so that the whole cannot be given back.
    pub fn is_settled(&self) -> bool {
        self.documents_delivered > 0 || self.documents_kept > 0 || self.buried > 0
    }
}
