//! From documents to their end: requests of a size the cluster takes, verdicts by position, and what each verdict asks for.
//!
//! Only what is still open is sent again: documents taken stay taken. A document ends exactly once, in the outcome, in the
//! parking lot or in the dead-letter file.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::core::error::Reason;
use crate::exporters::elasticsearch::delivery::counts::Counts;
use crate::exporters::elasticsearch::delivery::cure;
use crate::exporters::elasticsearch::delivery::dead_letter::DeadLetter;
use crate::exporters::elasticsearch::delivery::load::{Batch, Document, cut, index_of, lines_of};
use crate::exporters::elasticsearch::delivery::outcome::{Cause, Manner, Outcome};
use crate::exporters::elasticsearch::delivery::parked::{Parked, Waiting};
use crate::exporters::elasticsearch::delivery::post::Post;
use crate::exporters::elasticsearch::delivery::ramp::{Ramp, Trouble, Turn, Waits};
use crate::exporters::elasticsearch::delivery::verdict::{
    Class, Said, Statuses, Verdict, class, judge, read, request_error,
};
use crate::exporters::elasticsearch::delivery::voice::Voice;
use crate::exporters::sending::gate::{Gate, Over};
use crate::exporters::sending::isolation::Allowance;
use crate::net::client::http::{HttpAnswer, HttpReply};

/// What the keys under `retry` say.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryRule {
    /// `None` repeats until the document is taken or refused for good.
    pub max_retries: Option<u32>,
    pub waits: Waits,
    pub statuses: Statuses,
    pub document_statuses: Statuses,
}

/// What the keys under `telemetry` say: what of the traffic stands in the debug log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Telemetry {
    pub request_body: bool,
    pub response_body: bool,
    pub failed_documents: bool,
    pub failed_documents_every: Duration,
}

/// Requests spent on finding lines that make whole requests fail, for one payload.
const SEARCH_REQUESTS_MAX: u32 = 64;
/// After a search in vain no other begins for this long.
const HOPELESS: Duration = Duration::from_secs(60);
const HOPELESS_DOCUMENTS_MIN: usize = 32;
/// Elasticsearch's default for `http.max_content_length` is 100 MiB, of the body as inflated.
const DOCUMENT_BYTES_MAX: usize = 99 << 20;
/// A request this small is not refused for its size.
const SIZE_FLOOR_BYTES: usize = 64 << 10;

pub struct Carrier {
    pub post: Post,
    pub retry: RetryRule,
    pub gate: Gate,
    pub voice: Voice,
    pub counts: Counts,
    pub dead_letter: Option<DeadLetter>,
    /// Reasons quote documents; they are logged only where `include_source_on_error: true` allows it.
    pub show_reasons: bool,
    pub telemetry: Telemetry,
    /// Largest body to begin with, and what refusals for size taught.
    pub bulk_bytes: AtomicUsize,
    /// Requests that were taken.
    pub taken: AtomicU64,
    /// Somebody waits for something to be parked.
    pub parked_more: Notify,
    turn: Notify,
    // All are locked for a few instructions and never across an await.
    parked: Mutex<Parked>,
    ramp: Mutex<Ramp>,
    allowance: Mutex<Allowance>,
    hopeless_until: Mutex<Option<Instant>>,
    failed_logged: Mutex<Option<Instant>>,
}

/// What a carrier is made of; see the fields of [`Carrier`].
pub struct CarrierParts {
    pub post: Post,
    pub retry: RetryRule,
    pub voice: Voice,
    pub counts: Counts,
    pub dead_letter: Option<DeadLetter>,
    pub show_reasons: bool,
    pub telemetry: Telemetry,
    pub bulk_bytes: usize,
    pub parked_bytes: usize,
    pub requests_at_once: usize,
}

/// The documents of one call on their way.
struct Way<'a> {
    lines: &'a Bytes,
    manner: Manner,
    give_up_at: Option<Instant>,
    searches_left: u32,
    outcome: Outcome,
    work: VecDeque<Batch>,
    /// Ended without a final word; what becomes of them depends on who waits.
    given_up: Vec<(Document, Cause)>,
}

/// Why no request may be made.
enum Stop {
    Over,
    Patience,
}

/// Bytes of a body that stand in the log at most.
const LOGGED_BYTES_MAX: usize = 16 << 10;

fn clipped(body: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(&body[..body.len().min(LOGGED_BYTES_MAX)])
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// One running request; ends its turn when dropped.
struct Running<'a>(&'a Carrier);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        lock(&self.0.ramp).ended();
        self.0.turn.notify_waiters();
    }
}

impl Carrier {
    pub fn new(parts: CarrierParts) -> Carrier {
        Carrier {
            ramp: Mutex::new(Ramp::new(parts.retry.waits, parts.requests_at_once)),
            post: parts.post,
            retry: parts.retry,
            gate: Gate::default(),
            voice: parts.voice,
            counts: parts.counts,
            dead_letter: parts.dead_letter,
            show_reasons: parts.show_reasons,
            telemetry: parts.telemetry,
            bulk_bytes: AtomicUsize::new(parts.bulk_bytes),
            taken: AtomicU64::new(0),
            parked_more: Notify::new(),
            turn: Notify::new(),
            parked: Mutex::new(Parked::new(parts.parked_bytes)),
            allowance: Mutex::new(Allowance::new(Instant::now())),
            hopeless_until: Mutex::default(),
            failed_logged: Mutex::default(),
        }
    }

    pub fn parked(&self) -> MutexGuard<'_, Parked> {
        lock(&self.parked)
    }

    /// Brings documents to their end. `patience` bounds the time spent on what may pass later.
    pub async fn carry(
        &self,
        lines: &Bytes,
        documents: Vec<Document>,
        manner: Manner,
        patience: Option<Duration>,
    ) -> Outcome {
        let work = cut(documents, self.bulk_bytes.load(Ordering::Relaxed)).into();
        let mut way = Way {
            lines,
            manner,
            give_up_at: patience.map(|patience| Instant::now() + patience),
            searches_left: SEARCH_REQUESTS_MAX,
            outcome: Outcome::default(),
            work,
            given_up: Vec::new(),
        };
        while let Some(batch) = way.work.pop_front() {
            self.attempt(&mut way, batch).await;
        }
        self.end_given_up(&mut way);
        way.outcome
    }

    async fn attempt(&self, way: &mut Way<'_>, mut batch: Batch) {
        if batch.documents.len() == 1 && batch.bytes() > DOCUMENT_BYTES_MAX {
            let cause = Cause::own(Reason::TOO_LARGE, "one document is larger than Elasticsearch takes");
            return self.bury_all(way, batch.documents, &cause);
        }
        let running = match self.begin(batch.not_before, way.give_up_at).await {
            Ok(running) => running,
            Err(stop) => {
                let cause = match stop {
                    Stop::Over => Cause::own(Reason::SHUTDOWN, "shutting down"),
                    Stop::Patience => Cause::own(Reason::UNAVAILABLE, "Elasticsearch did not take it in time"),
                };
                return way.give_up(batch.documents, &cause);
            }
        };
        if batch.attempts > 0 {
            self.counts.retried.add(batch.documents.len() as u64);
        }
        batch.attempts += 1;
        self.counts.flushed_uncompressed.add(batch.bytes() as u64);
        if self.telemetry.request_body {
            let body = batch.parts(way.lines).concat();
            tracing::debug!(exporter = %self.voice.path, body = %clipped(&body), "bulk request");
        }
        let posted = tokio::select! {
            biased;
            posted = self.post.bulk(batch.parts(way.lines), batch.documents.len()) => posted,
            () = self.gate.over() => {
                return way.give_up(batch.documents, &Cause::own(Reason::SHUTDOWN, "shutting down"));
            }
        };
        drop(running);
        self.counts.flushed_bytes.add(posted.sent_bytes);
        self.understand(way, batch, posted.answer).await;
    }

    async fn understand(&self, way: &mut Way<'_>, batch: Batch, answer: HttpAnswer) {
        let reply = match answer {
            Ok(reply) => reply,
            Err(failure) => {
                let trouble = cure::no_answer(&failure);
                let cause = Cause {
                    status: 0,
                    kind: trouble.code.clone(),
                    reason: trouble.message.clone(),
                    why: Reason::UNAVAILABLE,
                };
                self.counts.requests_failed.add(1);
                self.voice.fails(&trouble);
                lock(&self.ramp).fails(Trouble::Passing, None, Instant::now(), fastrand::f64());
                return self.later(way, batch, &cause);
            }
        };
        if self.telemetry.response_body {
            tracing::debug!(exporter = %self.voice.path, status = reply.status, body = %clipped(&reply.body), "bulk answer");
        }
        let class = class(reply.status, &self.retry.statuses);
        if class == Class::Answered {
            return self.read_verdicts(way, batch, &reply);
        }
        self.counts.requests_failed.add(1);
        let (kind, reason) = request_error(&reply.body);
        let cause = Cause { status: reply.status, kind, reason, why: Reason::PERMANENT };
        match class {
            Class::Answered => {}
            Class::Later => {
                self.fail(&cause, Trouble::Passing, reply.retry_after);
                self.later(way, batch, &Cause { why: Reason::UNAVAILABLE, ..cause });
            }
            Class::GiveUp => {
                self.fail(&cause, Trouble::Passing, reply.retry_after);
                way.give_up(batch.documents, &Cause { why: Reason::UNAVAILABLE, ..cause });
            }
            Class::Hold => {
                self.fail(&cause, Trouble::Standing, reply.retry_after);
                way.work.push_front(Batch { not_before: None, ..batch });
            }
            Class::TooLarge => self.smaller(way, batch, &Cause { why: Reason::TOO_LARGE, ..cause }),
            Class::Faulty => self.search(way, batch, &cause).await,
        }
    }

    fn fail(&self, cause: &Cause, trouble: Trouble, after: Option<Duration>) {
        let shown = if self.show_reasons { cause.reason.as_str() } else { "" };
        self.voice.fails(&cure::status(cause.status, &cause.kind, shown));
        lock(&self.ramp).fails(trouble, after, Instant::now(), fastrand::f64());
    }

    /// The same documents again, unless their attempts are used up.
    fn later(&self, way: &mut Way<'_>, mut batch: Batch, cause: &Cause) {
        if self.retry.max_retries.is_some_and(|most| batch.attempts > most) {
            return way.give_up(batch.documents, &Cause { why: Reason::RETRIES_EXHAUSTED, ..cause.clone() });
        }
        // The ramp makes everybody wait; this batch needs no wait of its own.
        batch.not_before = None;
        way.work.push_front(batch);
    }

    fn smaller(&self, way: &mut Way<'_>, batch: Batch, cause: &Cause) {
        let bytes = batch.bytes();
        self.bulk_bytes.fetch_min((bytes / 16 * 9).max(SIZE_FLOOR_BYTES), Ordering::Relaxed);
        self.halve(way, batch, cause);
    }

    fn halve(&self, way: &mut Way<'_>, batch: Batch, cause: &Cause) {
        if batch.documents.len() < 2 {
            return self.bury_all(way, batch.documents, cause);
        }
        if let Some((first, second)) = batch.halve() {
            way.work.push_front(second);
            way.work.push_front(first);
        }
    }

    /// One line makes the whole request fail: halves until it stands alone, within bounds.
    async fn search(&self, way: &mut Way<'_>, batch: Batch, cause: &Cause) {
        let hopeless = lock(&self.hopeless_until).is_some_and(|until| Instant::now() < until);
        if batch.documents.len() < 2 || way.searches_left == 0 || hopeless {
            let in_vain = way.searches_left < SEARCH_REQUESTS_MAX && !way.outcome.taken_any();
            if in_vain && way.outcome.buried >= HOPELESS_DOCUMENTS_MIN {
                *lock(&self.hopeless_until) = Some(Instant::now() + HOPELESS);
            }
            return self.bury_all(way, batch.documents, cause);
        }
        way.searches_left -= 1;
        loop {
            let now = Instant::now();
            let Err(free_at) = lock(&self.allowance).take(now) else { break };
            if let Err(Over) = self.gate.pause(free_at - now).await {
                return way.give_up(batch.documents, &Cause::own(Reason::SHUTDOWN, "shutting down"));
            }
        }
        self.halve(way, batch, cause);
    }

    fn read_verdicts(&self, way: &mut Way<'_>, batch: Batch, reply: &HttpReply) {
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
            self.fail(&cause, Trouble::Passing, None);
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
                Some((_, verdict, said)) => self.end_or_repeat(way, document, verdict, &said, &mut again),
            }
        }
        self.repeat(way, again, attempts);
    }

    /// Does what a verdict other than `Indexed` asks for.
    fn end_or_repeat(
        &self,
        way: &mut Way<'_>,
        document: Document,
        verdict: Verdict,
        said: &Said<'_>,
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

    fn bury_all(&self, way: &mut Way<'_>, documents: Vec<Document>, cause: &Cause) {
        documents.iter().for_each(|document| self.bury(way, document, cause));
    }

    fn bury(&self, way: &mut Way<'_>, document: &Document, cause: &Cause) {
        let why = self.keep_or_drop(&way.lines[document.range.clone()], document, cause);
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

    /// A sender that still waits gets everything back when nothing of it was settled; else what is left is buried.
    fn end_given_up(&self, way: &mut Way<'_>) {
        let given_up = std::mem::take(&mut way.given_up);
        let Some((_, cause)) = given_up.last() else { return };
        if way.manner == Manner::SenderWaits && !way.outcome.is_settled() {
            way.outcome.error = Some(cause.refusal());
            return;
        }
        for (document, cause) in &given_up {
            self.bury(way, document, cause);
        }
    }

    /// Waits for a turn.
    async fn begin(&self, not_before: Option<Instant>, give_up_at: Option<Instant>) -> Result<Running<'_>, Stop> {
        if let Some(wait) = not_before.and_then(|at| at.checked_duration_since(Instant::now())) {
            self.gate.pause(wait).await.map_err(|Over| Stop::Over)?;
        }
        loop {
            let now = Instant::now();
            if give_up_at.is_some_and(|at| at <= now) {
                return Err(Stop::Patience);
            }
            let turn = self.turn.notified();
            tokio::pin!(turn);
            turn.as_mut().enable();
            let wait = match lock(&self.ramp).begin(now) {
                Turn::Now => return Ok(Running(self)),
                Turn::At(at) => at - now,
                Turn::AfterAnother => Duration::from_secs(60),
            };
            let wait = give_up_at.map_or(wait, |at| wait.min(at - now));
            tokio::select! {
                () = turn => {}
                paused = self.gate.pause(wait) => paused.map_err(|Over| Stop::Over)?,
            }
        }
    }
}

impl Way<'_> {
    fn give_up(&mut self, documents: Vec<Document>, cause: &Cause) {
        self.given_up.extend(documents.into_iter().map(|document| (document, cause.clone())));
    }
}
