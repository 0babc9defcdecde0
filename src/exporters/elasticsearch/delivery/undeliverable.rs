//! Documents that nobody will take: to the dead-letter file, or counted under their reason. Part of the [`BulkSender`].

use tokio::time::Instant;

use crate::core::error::Reason;
use crate::core::lock::Locked;
use crate::exporters::elasticsearch::delivery::bulk::batch::OpenDocument;
use crate::exporters::elasticsearch::delivery::bulk::loss::{Caller, LossCause};
use crate::exporters::elasticsearch::delivery::bulk::progress::BulkProgress;
use crate::exporters::elasticsearch::delivery::bulk_sender::{BulkSender, clipped};
use crate::exporters::elasticsearch::delivery::dead_letter::file::Grave;

impl BulkSender {
    pub(super) fn bury_all(&self, progress: &mut BulkProgress<'_>, documents: Vec<OpenDocument>, cause: &LossCause) {
        documents.into_iter().for_each(|document| self.bury(progress, document, cause));
    }

    pub(super) fn bury(&self, progress: &mut BulkProgress<'_>, document: OpenDocument, cause: &LossCause) {
        let why = self.keep_or_drop(&progress.lines[document.range.clone()], &document, cause);
        progress.outcome.lose(document, why, cause);
    }

    /// Writes to the dead-letter file; gives the reason under which the items count.
    pub fn keep_or_drop(&self, lines: &[u8], document: &OpenDocument, cause: &LossCause) -> Reason {
        self.log_failed(lines, cause);
        let kept = self.dead_letter.as_ref().map(|file| file.keep(&Grave::of(cause, lines, document)));
        let shown = cause.shown(self.show_reasons);
        match kept {
            Some(Ok(())) => {
                self.counts.buried.add(1);
                self.log.gives_up(1, &shown, true);
                Reason::DEAD_LETTER
            }
            Some(Err(unkept)) => {
                self.counts.dropped.add(1);
                self.log.gives_up(1, &format!("{shown}; {unkept}"), false);
                cause.why
            }
            None => {
                self.counts.dropped.add(1);
                self.log.gives_up(1, &shown, false);
                cause.why
            }
        }
    }

    /// `log_failed_docs_input`: the document itself, at most one each rate limit.
    fn log_failed(&self, lines: &[u8], cause: &LossCause) {
        let now = Instant::now();
        if !self.telemetry.failed_documents {
            return;
        }
        let mut last = self.failed_logged.locked();
        if last.is_none_or(|last| now - last >= self.telemetry.failed_documents_every) {
            *last = Some(now);
            tracing::debug!(exporter = self.log.path(), cause = %cause.shown(true), input = %clipped(lines), "document failed");
        }
    }

    /// A sender that still waits gets back what was not delivered: what was is found to be there when it is sent again.
    /// Without such a sender it is buried.
    pub(super) fn end_given_up(&self, progress: &mut BulkProgress<'_>) {
        let given_up = std::mem::take(&mut progress.given_up);
        let Some((_, cause)) = given_up.last() else { return };
        if progress.caller == Caller::SenderWaits {
            // The shares go back with the documents.
            progress.outcome.again = Some(cause.refusal());
            return;
        }
        for (document, cause) in given_up {
            self.bury(progress, document, &cause);
        }
    }
}
