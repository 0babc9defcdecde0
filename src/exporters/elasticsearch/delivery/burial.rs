//! Documents that nobody will take: to the dead-letter file, or counted under their reason. Part of the [`Carrier`].

use tokio::time::Instant;

use crate::core::error::Reason;
use crate::exporters::elasticsearch::delivery::carrier::{Carrier, Way, clipped, lock};
use crate::exporters::elasticsearch::delivery::load::Document;
use crate::exporters::elasticsearch::delivery::outcome::{Cause, Manner};

impl Carrier {
    pub(super) fn bury_all(&self, way: &mut Way<'_>, documents: Vec<Document>, cause: &Cause) {
        documents.into_iter().for_each(|document| self.bury(way, document, cause));
    }

    pub(super) fn bury(&self, way: &mut Way<'_>, document: Document, cause: &Cause) {
        let why = self.keep_or_drop(&way.lines[document.range.clone()], &document, cause);
        way.outcome.lose(document, why, cause);
    }

    /// Writes to the dead-letter file; gives the reason under which the items count.
    pub fn keep_or_drop(&self, lines: &[u8], document: &Document, cause: &Cause) -> Reason {
        self.log_failed(lines, cause);
        let kept = self.dead_letter.as_ref().map(|file| file.keep(&cause.grave(lines, document)));
        let shown = cause.shown(self.show_reasons);
        match kept {
            Some(Ok(())) => {
                self.counts.buried.add(1);
                self.voice.gives_up(1, &shown, true);
                Reason::DEAD_LETTER
            }
            Some(Err(unkept)) => {
                self.counts.dropped.add(1);
                self.voice.gives_up(1, &format!("{shown}; {unkept}"), false);
                cause.why
            }
            None => {
                self.counts.dropped.add(1);
                self.voice.gives_up(1, &shown, false);
                cause.why
            }
        }
    }

    /// `log_failed_docs_input`: the document itself, at most one each rate limit.
    fn log_failed(&self, lines: &[u8], cause: &Cause) {
        let now = Instant::now();
        if !self.telemetry.failed_documents {
            return;
        }
        let mut last = lock(&self.failed_logged);
        if last.is_none_or(|last| now - last >= self.telemetry.failed_documents_every) {
            *last = Some(now);
            tracing::debug!(exporter = %self.voice.path, cause = %cause.shown(true), input = %clipped(lines), "document failed");
        }
    }

    /// A sender that still waits gets back what was not delivered: what was is found to be there when it is sent again.
    /// Without such a sender it is buried.
    pub(super) fn end_given_up(&self, way: &mut Way<'_>) {
        let given_up = std::mem::take(&mut way.given_up);
        let Some((_, cause)) = given_up.last() else { return };
        if way.manner == Manner::SenderWaits {
            // The shares go back with the documents.
            way.outcome.again = Some(cause.refusal());
            return;
        }
        for (document, cause) in given_up {
            self.bury(way, document, &cause);
        }
    }
}
