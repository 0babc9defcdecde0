//! What each document's verdict asks for: ended, sent again alone, set apart or given up. Part of the [`BulkSender`].

use std::time::Duration;

use tokio::time::Instant;

use crate::core::error::Reason;
use crate::exporters::elasticsearch::delivery::blocked::documents::BlockedDocument;
use crate::exporters::elasticsearch::delivery::bulk::batch::{Batch, OpenDocument, index_of, lines_of};
use crate::exporters::elasticsearch::delivery::bulk::concurrency::{TroubleKind, Waits};
use crate::exporters::elasticsearch::delivery::bulk::verdict::{DocumentAnswer, DocumentVerdict, judge, read};
use crate::exporters::elasticsearch::delivery::bulk_sender::{BulkSender, Way, lock};
use crate::exporters::elasticsearch::delivery::outcome::{LossCause, Manner};
use crate::net::client::http::HttpReply;

/// A closed index whose lot is full is asked again after this, then after twice as long.
const HELD_FIRST: Duration = Duration::from_secs(1);
const HELD_LONGEST: Duration = Duration::from_secs(30);

/// What an answer left open.
#[derive(Default)]
struct Open {
    /// May pass later, alone.
    again: Vec<(OpenDocument, LossCause)>,
    /// Their index is closed and the parking lot is full.
    without_room: Vec<(OpenDocument, LossCause)>,
}

impl BulkSender {
    pub(super) fn read_verdicts(&self, way: &mut Way<'_>, mut batch: Batch, reply: &HttpReply) {
        // Most documents are indexed; only the others are remembered, by position.
        let mut others: Vec<(usize, DocumentVerdict, DocumentAnswer<'_>)> = Vec::new();
        let read = read(&reply.body, batch.documents.len(), |at, said| {
            let repeats = batch.documents.get(at).is_some_and(|document| document.own_id || document.in_doubt);
            let verdict = judge(&said, repeats, &self.retry.document_statuses);
            if verdict != DocumentVerdict::Indexed {
                others.push((at, verdict, said));
            }
        });
        if let Err(unusable) = read {
            self.counts.requests_failed.add(1);
            let cause =
                LossCause { status: reply.status, ..LossCause::own(Reason::UNAVAILABLE, &unusable.to_string()) };
            self.fail(&cause, TroubleKind::Passing, None);
            batch.doubt();
            return self.later(way, batch, &cause);
        }
        self.counts.requests.add(1);
        self.progress.took();
        let all_closed =
            others.len() == batch.documents.len() && others.iter().all(|(_, verdict, _)| verdict.is_closed());
        if !all_closed {
            self.voice.works();
            lock(&self.ramp).works();
            self.turn.notify_waiters();
        }
        let (attempts, held) = (batch.attempts, batch.held);
        let mut open = Open::default();
        let mut others = others.into_iter().peekable();
        for (at, document) in batch.documents.into_iter().enumerate() {
            match others.next_if(|(other, ..)| *other == at) {
                None => {
                    self.counts.success.add(1);
                    way.outcome.deliver(document);
                }
                Some((_, verdict, said)) => self.end_or_repeat(way, document, (verdict, &said), &mut open),
            }
        }
        self.repeat(way, open.again, attempts);
        self.hold(way, open.without_room, (all_closed, attempts, held));
    }

    /// Does what a verdict other than `Indexed` asks for.
    fn end_or_repeat(
        &self,
        way: &mut Way<'_>,
        document: OpenDocument,
        (verdict, said): (DocumentVerdict, &DocumentAnswer<'_>),
        open: &mut Open,
    ) {
        let cause =
            |why| LossCause { status: said.status, kind: said.error.to_string(), reason: said.reason.to_string(), why };
        match verdict {
            DocumentVerdict::Indexed => way.outcome.deliver(document),
            DocumentVerdict::FailureStore => {
                self.counts.failure_store.add(1);
                way.outcome.deliver(document);
            }
            DocumentVerdict::Present => {
                self.counts.present.add(1);
                way.outcome.deliver(document);
            }
            DocumentVerdict::Later => {
                self.counts.refused(said.status);
                open.again.push((document, cause(Reason::UNAVAILABLE)));
            }
            DocumentVerdict::Blocked => {
                self.counts.refused(said.status);
                self.park(way, document, cause(Reason::BLOCKED), open);
            }
            DocumentVerdict::Never => {
                self.counts.refused(said.status);
                self.bury(way, document, &cause(Reason::PERMANENT));
            }
            DocumentVerdict::Conflict => {
                self.counts.refused(said.status);
                self.bury(way, document, &cause(Reason::CONFLICT));
            }
        }
    }

    /// Documents that may pass later, alone.
    fn repeat(&self, way: &mut Way<'_>, again: Vec<(OpenDocument, LossCause)>, attempts: u32) {
        if again.is_empty() {
            return;
        }
        lock(&self.ramp).crowded();
        if self.retry.max_retries.is_some_and(|most| attempts > most) {
            let exhausted = |(document, cause)| (document, LossCause { why: Reason::RETRIES_EXHAUSTED, ..cause });
            return way.given_up.extend(again.into_iter().map(exhausted));
        }
        let Waits { initial, longest } = self.retry.waits;
        let wait = initial.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(longest);
        let last = again.last().map(|(_, cause)| cause.clone());
        let documents = again.into_iter().map(|(document, _)| document).collect();
        let not_before = Some(Instant::now() + wait.mul_f64(0.5 + fastrand::f64()));
        way.work.push_back(Batch { documents, attempts, not_before, held: 0, last });
    }

    /// The parking lot has no room for these: they wait here, so that the queue and then the senders feel it, instead of
    /// being lost (issue 13, H4). Where only some indices are closed the rest flows, and the dead-letter file takes what
    /// it has room for; where all are, everybody waits.
    fn hold(
        &self,
        way: &mut Way<'_>,
        blocked: Vec<(OpenDocument, LossCause)>,
        (all_closed, attempts, held): (bool, u32, u32),
    ) {
        let Some((_, cause)) = blocked.last() else { return };
        if all_closed {
            self.fail(cause, TroubleKind::Standing, None);
        } else if self.dead_letter.as_ref().is_some_and(|file| !file.is_full()) {
            return blocked.into_iter().for_each(|(document, cause)| self.bury(way, document, &cause));
        }
        self.voice.holds(blocked.len() as u64, &cause.shown(self.show_reasons));
        let wait = HELD_FIRST.saturating_mul(1 << held.min(16)).min(HELD_LONGEST);
        let not_before = Some(Instant::now() + wait.mul_f64(0.5 + fastrand::f64()));
        let last = Some(cause.clone());
        let documents = blocked.into_iter().map(|(document, _)| document).collect();
        way.work.push_back(Batch { documents, attempts: attempts.saturating_sub(1), not_before, held: held + 1, last });
    }

    fn park(&self, way: &mut Way<'_>, mut document: OpenDocument, cause: LossCause, open: &mut Open) {
        if !matches!(way.manner, Manner::Queued | Manner::Parked) {
            way.outcome.blocked = true;
            return way.given_up.push((document, cause));
        }
        let lines = &way.lines[document.range.clone()];
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
        let parked = {
            let mut parked = self.parked();
            let result = match way.manner {
                Manner::Parked => Ok(parked.put(&index, waiting, Instant::now())),
                _ => parked.park(&index, waiting, Instant::now()),
            };
            self.counts.parked_bytes.set(i64::try_from(parked.bytes()).unwrap_or(i64::MAX));
            result
        };
        match parked {
            Ok(new) => {
                way.outcome.keep();
                if new {
                    self.voice.parks(&index, &cause.shown(self.show_reasons));
                    self.parked_more.notify_one();
                }
            }
            Err(waiting) => open.without_room.push((OpenDocument { share: waiting.share, ..document }, cause)),
        }
    }
}
