//! What each document's verdict asks for: ended, sent again alone, set apart or given up. Part of the [`BulkSender`].

use std::time::Duration;

use tokio::time::Instant;

use crate::core::backoff::{Doubling, around};
use crate::core::error::Reason;
use crate::core::lock::Locked;
use crate::exporters::elasticsearch::delivery::blocked::documents::BlockedDocument;
use crate::exporters::elasticsearch::delivery::bulk::batch::{Batch, OpenDocument, index_of, lines_of};
use crate::exporters::elasticsearch::delivery::bulk::concurrency::{TroubleKind, Waits};
use crate::exporters::elasticsearch::delivery::bulk::loss::{Caller, LossCause};
use crate::exporters::elasticsearch::delivery::bulk::progress::BulkProgress;
use crate::exporters::elasticsearch::delivery::bulk::verdict::{
    DocumentAnswer, DocumentVerdict, Unusable, judge, read,
};
use crate::exporters::elasticsearch::delivery::bulk_sender::BulkSender;
use crate::net::client::http::HttpReply;

/// A closed index whose lot is full is asked again after this, then after twice as long.
const HELD: Doubling = Doubling { first: Duration::from_secs(1), longest: Duration::from_secs(30) };

/// What an answer left open.
#[derive(Default)]
struct Open {
    /// May pass later, alone.
    again: Vec<(OpenDocument, LossCause)>,
    /// Their index is closed and the set of blocked documents is full.
    without_room: Vec<(OpenDocument, LossCause)>,
}

impl BulkSender {
    pub(super) fn read_verdicts(&self, progress: &mut BulkProgress<'_>, batch: Batch, reply: &HttpReply) {
        // Most documents are indexed; only the others are remembered, by position.
        let read = read(&reply.body, batch.documents.len(), |at, said| {
            let repeats = batch.documents.get(at).is_some_and(|document| document.own_id || document.in_doubt);
            let verdict = judge(&said, repeats, &self.retry.document_statuses);
            (verdict != DocumentVerdict::Indexed).then_some((verdict, said))
        });
        let others = match read {
            Ok(others) => others,
            Err(unusable) => return self.answer_unusable(progress, batch, reply.status, &unusable),
        };
        let texts: usize = others.iter().map(|(_, (_, said))| 2 * (said.error.len() + said.reason.len())).sum();
        progress.pay_for(others.len(), texts);
        self.counts.requests.add(1);
        self.progress.took();
        let all_closed =
            others.len() == batch.documents.len() && others.iter().all(|(_, (verdict, _))| verdict.is_closed());
        if !all_closed {
            self.log.works();
            self.ramp.locked().works();
            self.turn.notify_waiters();
        }
        let (attempts, held) = (batch.attempts, batch.held);
        let mut open = Open::default();
        let mut others = others.into_iter().peekable();
        for (at, document) in batch.documents.into_iter().enumerate() {
            match others.next_if(|(other, ..)| *other == at) {
                None => {
                    self.counts.success.add(1);
                    progress.outcome.deliver(document);
                }
                Some((_, (verdict, said))) => self.end_or_repeat(progress, document, (verdict, &said), &mut open),
            }
        }
        self.repeat(progress, open.again, attempts);
        self.hold(progress, open.without_room, (all_closed, attempts, held));
    }

    /// Whether its documents were indexed is unknown.
    fn answer_unusable(&self, progress: &mut BulkProgress<'_>, mut batch: Batch, status: u16, why: &Unusable) {
        self.counts.requests_failed.add(1);
        let cause = LossCause { status, ..LossCause::own(Reason::UNAVAILABLE, &why.to_string()) };
        self.fail(&cause, TroubleKind::Passing, None);
        batch.doubt();
        progress.again(batch, &cause, self.retry.max_retries);
    }

    /// Does what a verdict other than `Indexed` asks for.
    fn end_or_repeat(
        &self,
        progress: &mut BulkProgress<'_>,
        document: OpenDocument,
        (verdict, said): (DocumentVerdict, &DocumentAnswer<'_>),
        open: &mut Open,
    ) {
        let cause =
            |why| LossCause { status: said.status, kind: said.error.to_string(), reason: said.reason.to_string(), why };
        match verdict {
            DocumentVerdict::Indexed => progress.outcome.deliver(document),
            DocumentVerdict::FailureStore => {
                self.counts.failure_store.add(1);
                progress.outcome.deliver(document);
            }
            DocumentVerdict::Present => {
                self.counts.present.add(1);
                progress.outcome.deliver(document);
            }
            DocumentVerdict::Later => {
                self.counts.refused(said.status);
                open.again.push((document, cause(Reason::UNAVAILABLE)));
            }
            DocumentVerdict::Blocked => {
                self.counts.refused(said.status);
                self.set_apart(progress, document, cause(Reason::BLOCKED), open);
            }
            DocumentVerdict::Never => {
                self.counts.refused(said.status);
                self.bury(progress, document, &cause(Reason::PERMANENT));
            }
            DocumentVerdict::Conflict => {
                self.counts.refused(said.status);
                self.bury(progress, document, &cause(Reason::CONFLICT));
            }
        }
    }

    /// Documents that may pass later, alone.
    fn repeat(&self, progress: &mut BulkProgress<'_>, again: Vec<(OpenDocument, LossCause)>, attempts: u32) {
        if again.is_empty() {
            return;
        }
        self.ramp.locked().crowded();
        if self.retry.max_retries.is_some_and(|most| attempts > most) {
            let exhausted = |(document, cause)| (document, LossCause { why: Reason::RETRIES_EXHAUSTED, ..cause });
            return progress.given_up.extend(again.into_iter().map(exhausted));
        }
        let Waits { initial, longest } = self.retry.waits;
        let wait = Doubling { first: initial, longest }.after(attempts.saturating_sub(1));
        let last = again.last().map(|(_, cause)| cause.clone());
        let documents = again.into_iter().map(|(document, _)| document).collect();
        let not_before = Some(Instant::now() + around(wait, fastrand::f64()));
        progress.work.push_back(Batch { documents, attempts, not_before, held: 0, last });
    }

    /// The set of blocked documents has no room for these: they wait here, so that the queue and then the senders feel it, instead of
    /// being lost (issue 13, H4). Where only some indices are closed the rest flows, and the dead-letter file takes what
    /// it has room for; where all are, everybody waits.
    fn hold(
        &self,
        progress: &mut BulkProgress<'_>,
        blocked: Vec<(OpenDocument, LossCause)>,
        (all_closed, attempts, held): (bool, u32, u32),
    ) {
        let Some((_, cause)) = blocked.last() else { return };
        if all_closed {
            self.fail(cause, TroubleKind::Standing, None);
        } else if self.dead_letter.as_ref().is_some_and(|file| !file.is_full()) {
            return blocked.into_iter().for_each(|(document, cause)| self.bury(progress, document, &cause));
        }
        self.log.holds(blocked.len() as u64, &cause.shown(self.show_reasons));
        let wait = HELD.after(held);
        let not_before = Some(Instant::now() + around(wait, fastrand::f64()));
        let last = Some(cause.clone());
        let documents = blocked.into_iter().map(|(document, _)| document).collect();
        progress.work.push_back(Batch {
            documents,
            attempts: attempts.saturating_sub(1),
            not_before,
            held: held + 1,
            last,
        });
    }

    fn set_apart(
        &self,
        progress: &mut BulkProgress<'_>,
        mut document: OpenDocument,
        cause: LossCause,
        open: &mut Open,
    ) {
        if !matches!(progress.caller, Caller::Queued | Caller::BlockedTask) {
            progress.outcome.blocked = true;
            return progress.given_up.push((document, cause));
        }
        let lines = &progress.lines[document.range.clone()];
        let index = index_of(lines_of(lines).0);
        let waiting = BlockedDocument {
            lines: lines.into(),
            items: document.items,
            own_id: document.own_id,
            in_doubt: document.in_doubt,
            signal: document.signal,
            cause: (cause.status, cause.kind.clone(), cause.reason.clone()),
            share: std::mem::take(&mut document.share),
        };
        let kept = {
            let mut blocked = self.blocked();
            let result = match progress.caller {
                Caller::BlockedTask => Ok(blocked.put(&index, waiting, Instant::now())),
                _ => blocked.put_if_it_fits(&index, waiting, Instant::now()),
            };
            self.counts.parked_bytes.set(i64::try_from(blocked.bytes()).unwrap_or(i64::MAX));
            result
        };
        match kept {
            Ok(new) => {
                progress.outcome.keep();
                if new {
                    self.log.blocks(&index, &cause.shown(self.show_reasons));
                    self.blocked_more.notify_one();
                }
            }
            Err(waiting) => open.without_room.push((OpenDocument { share: waiting.share, ..document }, cause)),
        }
    }
}
