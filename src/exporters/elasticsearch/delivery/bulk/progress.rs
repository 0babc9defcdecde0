//! The documents of one call on their way, and what is decided of them: what goes next, what is cut in two, what is given up.
//!
//! Pure: no clock, no network and no chance. A document is in one place only: open in a batch, given up, or in the outcome.
//! How requests are made, and what their answers mean, is the business of the sender of bulk requests.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;

use crate::core::data::budget::{Budget, Ticket};
use crate::core::error::Reason;
use crate::exporters::elasticsearch::delivery::bulk::batch::{Batch, OpenDocument, cut};
use crate::exporters::elasticsearch::delivery::bulk::loss::{Caller, LossCause};
use crate::exporters::elasticsearch::delivery::bulk::verdict::{DocumentAnswer, KIND_BYTES_MAX, REASON_BYTES_MAX};
use crate::exporters::elasticsearch::delivery::outcome::BulkOutcome;

/// Requests spent on finding lines that make whole requests fail, for one payload.
const SEARCH_REQUESTS_MAX: u32 = 64;
/// A search that has lost HOPELESS_DOCUMENTS_MIN documents and delivered none has no success.
const HOPELESS_DOCUMENTS_MIN: usize = 32;

/// A document beside its cause, and the answer that both were read from.
const CAUSE_FRAME_BYTES: u64 = (size_of::<(OpenDocument, LossCause)>() + size_of::<DocumentAnswer<'_>>()) as u64;
/// Texts are there twice while an answer is read: as unescaped and in the cause.
const CAUSE_BYTES_MAX: u64 = CAUSE_FRAME_BYTES + 2 * (KIND_BYTES_MAX + REASON_BYTES_MAX) as u64;

/// See the module.
#[derive(Debug)]
pub struct BulkProgress<'a> {
    pub lines: &'a Bytes,
    pub caller: Caller,
    /// No attempt begins later.
    pub give_up_at: Option<Instant>,
    pub outcome: BulkOutcome,
    pub work: VecDeque<Batch>,
    /// Ended without a final word; what becomes of them depends on who waits.
    pub given_up: Vec<(OpenDocument, LossCause)>,
    searches_left: u32,
    /// Of the causes that documents were given, and what they take at most.
    causes: (Ticket, u64),
}

/// What a request that fails as a whole, for one of its lines, asks for.
#[derive(Debug)]
pub enum BatchSearch {
    /// Its halves, once the allowance has a request left.
    Halve(Batch),
    /// Nothing more is spent on these: they are lost. The flag says that the whole search had no success.
    Lose(Vec<OpenDocument>, bool),
}

impl<'a> BulkProgress<'a> {
    /// All documents open, in batches of at most `bytes`.
    pub fn new(
        (lines, documents): (&'a Bytes, Vec<OpenDocument>),
        caller: Caller,
        give_up_at: Option<Instant>,
        bytes: usize,
    ) -> BulkProgress<'a> {
        let causes_max = documents.len() as u64 * CAUSE_BYTES_MAX;
        BulkProgress {
            causes: (Ticket::free(), causes_max),
            lines,
            caller,
            give_up_at,
            outcome: BulkOutcome::default(),
            work: cut(documents, bytes).into(),
            given_up: Vec::new(),
            searches_left: SEARCH_REQUESTS_MAX,
        }
    }

    /// The causes of documents are paid for by `budget`.
    pub fn paid_by(mut self, budget: &Arc<Budget>) -> BulkProgress<'a> {
        self.causes.0 = budget.overdraw(0);
        self
    }

    /// Documents were given causes of so many bytes of text together. They are read already, so they are paid for in any
    /// case, until the last document has its end: a document has one cause at a time.
    pub fn pay_for(&self, causes: usize, text_bytes: usize) {
        let (ticket, max) = &self.causes;
        let bytes = causes as u64 * CAUSE_FRAME_BYTES + text_bytes as u64;
        ticket.grow_anyway(bytes.min(max.saturating_sub(ticket.bytes())));
    }

    pub fn take_next(&mut self) -> Option<Batch> {
        self.work.pop_front()
    }

    /// Why the exporter's end cut a batch off.
    pub fn cut_off(&self, batch: &Batch) -> LossCause {
        if batch.held > 0 || self.caller == Caller::BlockedTask {
            return LossCause::own(Reason::BLOCKED, "its index accepted no writes until the end");
        }
        LossCause::own(Reason::SHUTDOWN, "shutting down")
    }

    /// True when nobody waits any more: what is sent now would be sent again by whoever repeats it.
    pub fn is_abandoned(&self, batch: &Batch) -> bool {
        self.caller == Caller::SenderWaits && batch.is_abandoned()
    }

    pub fn give_up(&mut self, documents: Vec<OpenDocument>, cause: &LossCause) {
        self.given_up.extend(documents.into_iter().map(|document| (document, cause.clone())));
    }

    /// The same documents again, unless their attempts are used up; `max_retries` of `None` repeats for ever.
    pub fn again(&mut self, mut batch: Batch, cause: &LossCause, max_retries: Option<u32>) {
        if max_retries.is_some_and(|most| batch.attempts > most) {
            let cause = LossCause { why: Reason::RETRIES_EXHAUSTED, ..cause.clone() };
            return self.give_up(batch.documents, &cause);
        }
        // The concurrency makes everybody wait; this batch needs no wait of its own.
        batch.not_before = None;
        batch.last = Some(cause.clone());
        self.work.push_front(batch);
    }

    /// Two requests in place of one. A single document cannot be cut: it is given back.
    pub fn halve(&mut self, batch: Batch) -> Result<(), Vec<OpenDocument>> {
        if batch.documents.len() < 2 {
            return Err(batch.documents);
        }
        if let Some((first, second)) = batch.halve() {
            self.work.push_front(second);
            self.work.push_front(first);
        }
        Ok(())
    }

    /// One line makes the whole request fail: halves until it stands alone, within bounds. `hopeless` forbids it.
    pub fn search(&mut self, batch: Batch, hopeless: bool) -> BatchSearch {
        if batch.documents.len() < 2 || self.searches_left == 0 || hopeless {
            let in_vain = self.searches_left < SEARCH_REQUESTS_MAX && !self.outcome.taken_any();
            return BatchSearch::Lose(batch.documents, in_vain && self.outcome.buried >= HOPELESS_DOCUMENTS_MIN);
        }
        self.searches_left -= 1;
        BatchSearch::Halve(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::data::payload::Signal;
    use crate::core::data::settlement::Share;

    fn documents(count: usize) -> Vec<OpenDocument> {
        let document = |at: usize| OpenDocument {
            range: at * 10..at * 10 + 10,
            items: 1,
            own_id: false,
            signal: Signal::Logs,
            in_doubt: false,
            share: Share::default(),
        };
        (0..count).map(document).collect()
    }

    fn progress(lines: &Bytes, count: usize, caller: Caller) -> BulkProgress<'_> {
        BulkProgress::new((lines, documents(count)), caller, None, 1_000)
    }

    fn sizes(progress: &BulkProgress<'_>) -> Vec<usize> {
        progress.work.iter().map(|batch| batch.documents.len()).collect()
    }

    fn cause() -> LossCause {
        LossCause::own(Reason::UNAVAILABLE, "busy")
    }

    #[test]
    fn a_batch_is_repeated_until_its_retries_are_used_up() {
        let lines = Bytes::new();
        let mut progress = progress(&lines, 3, Caller::Queued);
        for attempts in 1..=3 {
            let batch = progress.take_next().expect("the batch came back");
            progress.again(Batch { attempts, ..batch }, &cause(), Some(2));
        }
        assert!(progress.take_next().is_none());
        let whys: Vec<Reason> = progress.given_up.iter().map(|(_, cause)| cause.why).collect();
        assert_eq!(whys, [Reason::RETRIES_EXHAUSTED; 3]);
    }

    #[test]
    fn without_a_bound_a_batch_is_repeated_for_ever_and_keeps_why() {
        let lines = Bytes::new();
        let mut progress = progress(&lines, 2, Caller::Queued);
        for _ in 0..1_000 {
            let batch = progress.take_next().expect("the batch came back");
            progress.again(Batch { attempts: u32::MAX, ..batch }, &cause(), None);
        }
        assert_eq!(progress.take_next().and_then(|batch| batch.last), Some(cause()));
    }

    #[test]
    fn halves_come_before_everything_else_and_in_their_order() {
        let lines = Bytes::new();
        let mut progress = progress(&lines, 5, Caller::Queued);
        progress.work.push_back(Batch::new(documents(9)));
        let whole = progress.take_next().expect("a batch");
        assert!(progress.halve(whole).is_ok());
        assert_eq!(sizes(&progress), [3, 2, 9]);
        let single = Batch::new(documents(1));
        assert_eq!(progress.halve(single).map_err(|document| document.len()), Err(1));
    }

    #[test]
    fn a_search_spends_a_bounded_number_of_requests() {
        let lines = Bytes::new();
        let mut progress = progress(&lines, 2, Caller::Queued);
        let halved = |progress: &mut BulkProgress<'_>| {
            matches!(progress.search(Batch::new(documents(2)), false), BatchSearch::Halve(_))
        };
        assert_eq!((0..1_000).filter(|_| halved(&mut progress)).count(), SEARCH_REQUESTS_MAX as usize);
        assert!(
            matches!(progress.search(Batch::new(documents(2)), false), BatchSearch::Lose(lost, false) if lost.len() == 2)
        );
    }

    #[test]
    fn a_search_that_only_lost_documents_is_in_vain() {
        let lines = Bytes::new();
        let mut progress = progress(&lines, 2, Caller::Queued);
        assert!(matches!(progress.search(Batch::new(documents(2)), false), BatchSearch::Halve(_)));
        for document in documents(HOPELESS_DOCUMENTS_MIN) {
            progress.outcome.lose(document, Reason::PERMANENT, &cause());
        }
        assert!(matches!(progress.search(Batch::new(documents(1)), false), BatchSearch::Lose(_, true)));
        progress.outcome.deliver(documents(1).remove(0));
        assert!(matches!(progress.search(Batch::new(documents(1)), false), BatchSearch::Lose(_, false)));
    }

    #[test]
    fn what_the_end_cuts_off_was_blocked_or_was_shut_down() {
        let lines = Bytes::new();
        let held = Batch { held: 1, ..Batch::new(documents(1)) };
        let why = |caller, batch: &Batch| progress(&lines, 0, caller).cut_off(batch).why;
        assert_eq!(why(Caller::Queued, &Batch::new(documents(1))), Reason::SHUTDOWN);
        assert_eq!(why(Caller::Queued, &held), Reason::BLOCKED);
        assert_eq!(why(Caller::BlockedTask, &Batch::new(documents(1))), Reason::BLOCKED);
    }
}
