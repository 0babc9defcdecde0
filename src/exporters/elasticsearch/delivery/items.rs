//! What each document's verdict asks for: ended, sent again alone, parked or buried. Part of the [`Carrier`].

use std::sync::atomic::Ordering;

use tokio::time::Instant;

use crate::core::error::Reason;
use crate::exporters::elasticsearch::delivery::carrier::{Carrier, Way, lock};
use crate::exporters::elasticsearch::delivery::load::{Batch, Document, index_of, lines_of};
use crate::exporters::elasticsearch::delivery::outcome::{Cause, Manner};
use crate::exporters::elasticsearch::delivery::parked::Waiting;
use crate::exporters::elasticsearch::delivery::ramp::{Kind, Waits};
use crate::exporters::elasticsearch::delivery::verdict::{Said, Verdict, judge, read};
use crate::net::client::http::HttpReply;

impl Carrier {
    pub(super) fn read_verdicts(&self, way: &mut Way<'_>, batch: Batch, reply: &HttpReply) {
        // Most documents are indexed; only the others are remembered, by position.
        let mut others: Vec<(usize, Verdict, Said<'_>)> = Vec::new();
        let read = read(&reply.body, batch.documents.len(), |at, said| {
            let own_id = batch.documents.get(at).is_some_and(|document| document.own_id);
            let verdict = judge(&said, own_id, &self.retry.document_statuses);
            if verdict != Verdict::Indexed {
                others.push((at, verdict, said));
            }
        });
        if let Err(unusable) = read {
            self.counts.requests_failed.add(1);
            let cause = Cause { status: reply.status, ..Cause::own(Reason::UNAVAILABLE, &unusable.to_string()) };
            self.fail(&cause, Kind::Passing, None);
            return self.later(way, batch, &cause);
        }
        self.counts.requests.add(1);
        self.taken.fetch_add(1, Ordering::Relaxed);
        self.voice.works();
        lock(&self.ramp).works();
        self.turn.notify_waiters();
        let attempts = batch.attempts;
        let mut again = Vec::new();
        let mut others = others.into_iter().peekable();
        for (at, document) in batch.documents.into_iter().enumerate() {
            match others.next_if(|(other, ..)| *other == at) {
                None => {
                    self.counts.success.add(1);
                    way.outcome.deliver(&document);
                }
                Some((_, verdict, said)) => self.end_or_repeat(way, document, (verdict, &said), &mut again),
            }
        }
        self.repeat(way, again, attempts);
    }

    /// Does what a verdict other than `Indexed` asks for.
    fn end_or_repeat(
        &self,
        way: &mut Way<'_>,
        document: Document,
        (verdict, said): (Verdict, &Said<'_>),
        again: &mut Vec<(Document, Cause)>,
    ) {
        let cause =
            |why| Cause { status: said.status, kind: said.error.to_string(), reason: said.reason.to_string(), why };
        match verdict {
            Verdict::Indexed => way.outcome.deliver(&document),
            Verdict::FailureStore => {
                self.counts.failure_store.add(1);
                way.outcome.deliver(&document);
            }
            Verdict::Present => {
                self.counts.present.add(1);
                way.outcome.deliver(&document);
            }
            Verdict::Later => {
                self.counts.refused(said.status);
                again.push((document, cause(Reason::UNAVAILABLE)));
            }
            Verdict::Blocked => {
                self.counts.refused(said.status);
                self.park(way, document, cause(Reason::BLOCKED));
            }
            Verdict::Never => {
                self.counts.refused(said.status);
                self.bury(way, &document, &cause(Reason::PERMANENT));
            }
            Verdict::Conflict => {
                self.counts.refused(said.status);
                self.bury(way, &document, &cause(Reason::CONFLICT));
            }
        }
    }

    /// Documents that may pass later, alone.
    fn repeat(&self, way: &mut Way<'_>, again: Vec<(Document, Cause)>, attempts: u32) {
        if again.is_empty() {
            return;
        }
        lock(&self.ramp).crowded();
        if self.retry.max_retries.is_some_and(|most| attempts > most) {
            let exhausted = |(document, cause)| (document, Cause { why: Reason::RETRIES_EXHAUSTED, ..cause });
            return way.given_up.extend(again.into_iter().map(exhausted));
        }
        let Waits { initial, longest } = self.retry.waits;
        let wait = initial.saturating_mul(1 << attempts.saturating_sub(1).min(16)).min(longest);
        let documents = again.into_iter().map(|(document, _)| document).collect();
        let not_before = Some(Instant::now() + wait.mul_f64(0.5 + fastrand::f64()));
        way.work.push_back(Batch { documents, attempts, not_before });
    }

    fn park(&self, way: &mut Way<'_>, document: Document, cause: Cause) {
        if way.manner != Manner::Queued {
            way.outcome.blocked = true;
            return way.given_up.push((document, cause));
        }
        let lines = &way.lines[document.range.clone()];
        let index = index_of(lines_of(lines).0);
        let waiting = Waiting {
            lines: lines.into(),
            items: document.items,
            own_id: document.own_id,
            signal: document.signal,
            cause: (cause.status, cause.kind.clone(), cause.reason.clone()),
        };
        let parked = {
            let mut parked = self.parked();
            let result = parked.park(&index, waiting, Instant::now());
            self.counts.parked_bytes.set(i64::try_from(parked.bytes()).unwrap_or(i64::MAX));
            result
        };
        match parked {
            Ok(new) => {
                way.outcome.keep(&document);
                if new {
                    self.voice.parks(&index, &cause.shown(self.show_reasons));
                    self.parked_more.notify_one();
                }
            }
            Err(_) => self.bury(way, &document, &cause),
        }
    }
}
