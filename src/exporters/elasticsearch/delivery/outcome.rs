//! What became of documents, in items and shares: what goes into the account, and why the last ones were lost.

use crate::core::error::{ConsumeError, Reason};
use crate::exporters::elasticsearch::delivery::bulk::batch::OpenDocument;
use crate::exporters::elasticsearch::delivery::bulk::loss::LossCause;
use crate::sending::outcome::tally::Tally;

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

    /// The document waits in the set of blocked documents, which ends it later.
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
