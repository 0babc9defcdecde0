//! From documents to their end: requests of a size the cluster takes, verdicts by position, and what each verdict asks for.
//!
//! Only what is still open is sent again: documents taken stay taken. A document ends exactly once, in the outcome, in the
//! set of blocked documents or in the dead-letter file.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::core::data::budget::Budget;
use crate::core::error::Reason;
use crate::core::lock::Locked;
use crate::core::stage::host::Host;
use crate::exporters::elasticsearch::delivery::blocked::documents::BlockedDocuments;
use crate::exporters::elasticsearch::delivery::bulk::batch::{Batch, OpenDocument};
use crate::exporters::elasticsearch::delivery::bulk::concurrency::{RequestConcurrency, TroubleKind, Turn};
use crate::exporters::elasticsearch::delivery::bulk::loss::{Caller, LossCause};
use crate::exporters::elasticsearch::delivery::bulk::post;
use crate::exporters::elasticsearch::delivery::bulk::post::Post;
use crate::exporters::elasticsearch::delivery::bulk::progress::{BatchSearch, BulkProgress};
use crate::exporters::elasticsearch::delivery::bulk::verdict::{BulkClass, class, request_error};
use crate::exporters::elasticsearch::delivery::dead_letter::file::DeadLetter;
use crate::exporters::elasticsearch::delivery::outcome::BulkOutcome;
use crate::exporters::elasticsearch::delivery::report::cure;
use crate::exporters::elasticsearch::delivery::report::log::DeliveryLog;
use crate::exporters::elasticsearch::delivery::report::metrics::BulkMetrics;
use crate::exporters::elasticsearch::delivery::settings::{DebugLogging, DeliverySettings, RetryRule};
use crate::net::client::failure::CallFailure;
use crate::net::client::http::HttpAnswer;
use crate::sending::gate::{ClosingGate, Over};
use crate::sending::isolation::SearchAllowance;
use crate::sending::progress::Progress;
use crate::sending::report::condition::Trouble;

/// After a search without success no other begins for HOPELESS.
const HOPELESS: Duration = Duration::from_secs(60);
/// Elasticsearch's default for `http.max_content_length` is 100 MiB, of the body as inflated.
const DOCUMENT_BYTES_MAX: usize = 99 << 20;
/// Attempts that ended in a broken connection before a smaller request is tried.
const SUSPECT_SIZE_AFTER: u32 = 3;
/// A request this small is not refused for its size.
const SIZE_FLOOR_BYTES: usize = 64 << 10;

pub struct BulkSender {
    pub post: Post,
    /// Pays for what answers say of documents.
    budget: Arc<Budget>,
    pub retry: RetryRule,
    pub gate: ClosingGate,
    pub log: DeliveryLog,
    pub counts: BulkMetrics,
    pub dead_letter: Option<DeadLetter>,
    /// Reasons quote documents; they are logged only where `include_source_on_error: true` allows it.
    pub show_reasons: bool,
    pub telemetry: DebugLogging,
    /// Largest body to begin with, and what refusals for size taught.
    pub bulk_bytes: AtomicUsize,
    /// Requests that were taken, and those on the wire.
    pub progress: Progress,
    /// Somebody waits for something to be set apart.
    pub blocked_more: Notify,
    pub(super) turn: Notify,
    // All are locked for a few instructions and never across an await.
    blocked: Mutex<BlockedDocuments>,
    pub(super) ramp: Mutex<RequestConcurrency>,
    allowance: Mutex<SearchAllowance>,
    hopeless_until: Mutex<Option<Instant>>,
    pub(super) failed_logged: Mutex<Option<Instant>>,
}

/// Why no request may be made.
enum Stop {
    Over,
    Patience,
}

/// Bytes of a body that stand in the log at most.
const LOGGED_BYTES_MAX: usize = 16 << 10;

pub(super) fn clipped(body: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(&body[..body.len().min(LOGGED_BYTES_MAX)])
}

/// One running request; ends its turn when dropped.
struct Running<'a>(&'a BulkSender);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.ramp.locked().ended();
        self.0.turn.notify_waiters();
    }
}

impl BulkSender {
    /// The part that talks to Elasticsearch, without queue and mapping: what a replay needs. `id` and `path` are the
    /// component's.
    pub fn new(settings: &DeliverySettings, id: &str, path: &str, host: &Host) -> BulkSender {
        let post = Post::new(&settings.post, host);
        let log = DeliveryLog::new(path.to_owned(), post.destination().to_owned(), &host.status);
        BulkSender {
            ramp: Mutex::new(RequestConcurrency::new(settings.retry.waits, settings.requests_at_once)),
            progress: Progress::new(post.timeout()),
            post,
            budget: host.budget.clone(),
            retry: settings.retry.clone(),
            gate: ClosingGate::default(),
            log,
            counts: BulkMetrics::new(&host.stats, id),
            dead_letter: settings.dead_letter.clone().map(|settings| DeadLetter::new(settings, id.to_owned())),
            show_reasons: settings.show_reasons,
            telemetry: settings.telemetry,
            bulk_bytes: AtomicUsize::new(settings.bulk_bytes),
            blocked_more: Notify::new(),
            turn: Notify::new(),
            blocked: Mutex::new(BlockedDocuments::new(settings.parked_bytes)),
            allowance: Mutex::new(SearchAllowance::new(Instant::now())),
            hopeless_until: Mutex::default(),
            failed_logged: Mutex::default(),
        }
    }

    pub fn blocked(&self) -> MutexGuard<'_, BlockedDocuments> {
        self.blocked.locked()
    }

    /// Brings documents to their end. `patience` bounds the time spent on what may pass later.
    pub async fn deliver(
        &self,
        lines: &Bytes,
        documents: Vec<OpenDocument>,
        caller: Caller,
        patience: Option<Duration>,
    ) -> BulkOutcome {
        let give_up_at = patience.map(|patience| Instant::now() + patience);
        let bulk_bytes = self.bulk_bytes.load(Ordering::Relaxed);
        let mut progress = BulkProgress::new((lines, documents), caller, give_up_at, bulk_bytes).paid_by(&self.budget);
        while let Some(batch) = progress.take_next() {
            self.attempt(&mut progress, batch).await;
        }
        self.end_given_up(&mut progress);
        progress.outcome
    }

    async fn attempt(&self, progress: &mut BulkProgress<'_>, mut batch: Batch) {
        if batch.documents.len() == 1 && batch.bytes() > DOCUMENT_BYTES_MAX {
            let cause = LossCause::own(Reason::TOO_LARGE, "one document is larger than Elasticsearch accepts");
            return self.bury_all(progress, batch.documents, &cause);
        }
        let running = match self.begin(batch.not_before, progress.give_up_at).await {
            Ok(running) => running,
            Err(stop) => {
                let cause = match stop {
                    Stop::Over => progress.cut_off(&batch),
                    Stop::Patience => batch.last.take().unwrap_or_else(|| {
                        LossCause::own(Reason::UNAVAILABLE, "Elasticsearch did not accept it in time")
                    }),
                };
                return progress.give_up(batch.documents, &cause);
            }
        };
        if progress.is_abandoned(&batch) {
            let cause = LossCause::own(Reason::ABANDONED, "the sender no longer waits for the answer");
            return progress.give_up(batch.documents, &cause);
        }
        if batch.attempts > 0 {
            self.counts.retried.add(batch.documents.len() as u64);
        }
        batch.attempts += 1;
        self.counts.flushed_uncompressed.add(batch.bytes() as u64);
        if self.telemetry.request_body {
            let body = batch.parts(progress.lines).concat();
            tracing::debug!(exporter = self.log.path(), body = %clipped(&body), "bulk request");
        }
        let wire = self.progress.attempt(Instant::now());
        let posted = tokio::select! {
            biased;
            posted = self.post.bulk(batch.parts(progress.lines), batch.documents.len()) => posted,
            () = self.gate.over() => {
                // It was on its way.
                batch.doubt();
                let cause = progress.cut_off(&batch);
                return progress.give_up(batch.documents, &cause);
            }
        };
        drop((running, wire));
        self.counts.flushed_bytes.add(posted.sent_bytes);
        self.read_answer(progress, batch, posted.answer).await;
    }

    async fn read_answer(&self, progress: &mut BulkProgress<'_>, batch: Batch, answer: HttpAnswer) {
        let reply = match answer {
            Ok(reply) => reply,
            Err(failure) => return self.unanswered(progress, batch, &failure),
        };
        if self.telemetry.response_body {
            tracing::debug!(exporter = self.log.path(), status = reply.status, body = %clipped(&reply.body), "bulk answer");
        }
        let class = class(reply.status, &self.retry.statuses);
        if class == BulkClass::Answered {
            return self.read_verdicts(progress, batch, &reply);
        }
        self.counts.requests_failed.add(1);
        let (kind, reason) = request_error(&reply.body);
        let cause = LossCause { status: reply.status, kind, reason, why: Reason::PERMANENT };
        match class {
            BulkClass::Answered => {}
            BulkClass::Later => {
                self.fail(&cause, TroubleKind::Passing, reply.retry_after);
                progress.again(batch, &LossCause { why: Reason::UNAVAILABLE, ..cause }, self.retry.max_retries);
            }
            BulkClass::GiveUp => {
                self.fail(&cause, TroubleKind::Passing, reply.retry_after);
                progress.give_up(batch.documents, &LossCause { why: Reason::UNAVAILABLE, ..cause });
            }
            BulkClass::Hold => {
                self.fail(&cause, TroubleKind::Standing, reply.retry_after);
                progress.work.push_front(Batch { not_before: None, ..batch });
            }
            BulkClass::TooLarge => self.smaller(progress, batch, &LossCause { why: Reason::TOO_LARGE, ..cause }),
            BulkClass::Faulty => self.search(progress, batch, &cause).await,
        }
    }

    /// Whether the documents were indexed is unknown, unless no connection came up.
    fn unanswered(&self, progress: &mut BulkProgress<'_>, mut batch: Batch, failure: &CallFailure) {
        if !post::is_unseen(failure) {
            batch.doubt();
        }
        let trouble = cure::no_answer(failure);
        let Trouble { code: kind, message: reason, .. } = trouble.clone();
        let cause = LossCause { status: 0, kind, reason, why: Reason::UNAVAILABLE };
        self.counts.requests_failed.add(1);
        self.log.fails(&trouble);
        // A server may close the connection over a body that is too large, before its 413 is read.
        let perhaps_too_large = match failure {
            // The answer to fewer documents is shorter.
            CallFailure::AnswerTooLarge { .. } | CallFailure::AnswerWithoutRoom { .. } => true,
            CallFailure::Broken(_) => batch.attempts > SUSPECT_SIZE_AFTER && batch.bytes() > SIZE_FLOOR_BYTES,
            _ => false,
        };
        self.ramp.locked().fails(TroubleKind::Passing, None, Instant::now(), fastrand::f64());
        if perhaps_too_large && batch.documents.len() > 1 {
            return self.halve(progress, batch, &cause);
        }
        progress.again(batch, &cause, self.retry.max_retries);
    }

    /// Error texts of whole requests speak of credentials and nodes, not of documents.
    pub(super) fn fail(&self, cause: &LossCause, trouble: TroubleKind, after: Option<Duration>) {
        self.log.fails(&cure::status(cause.status, &cause.kind, &cause.reason));
        self.ramp.locked().fails(trouble, after, Instant::now(), fastrand::f64());
    }

    fn smaller(&self, progress: &mut BulkProgress<'_>, batch: Batch, cause: &LossCause) {
        let bytes = batch.bytes();
        self.bulk_bytes.fetch_min((bytes / 16 * 9).max(SIZE_FLOOR_BYTES), Ordering::Relaxed);
        self.halve(progress, batch, cause);
    }

    fn halve(&self, progress: &mut BulkProgress<'_>, batch: Batch, cause: &LossCause) {
        if let Err(single) = progress.halve(batch) {
            self.bury_all(progress, single, cause);
        }
    }

    /// One line makes the whole request fail: halves until it stands alone, within bounds.
    async fn search(&self, progress: &mut BulkProgress<'_>, batch: Batch, cause: &LossCause) {
        let hopeless = self.hopeless_until.locked().is_some_and(|until| Instant::now() < until);
        let batch = match progress.search(batch, hopeless) {
            BatchSearch::Halve(batch) => batch,
            BatchSearch::Lose(documents, in_vain) => {
                if in_vain {
                    *self.hopeless_until.locked() = Some(Instant::now() + HOPELESS);
                }
                return self.bury_all(progress, documents, cause);
            }
        };
        loop {
            let now = Instant::now();
            let Err(free_at) = self.allowance.locked().take(now) else { break };
            if let Err(Over) = self.gate.pause(free_at - now).await {
                return progress.give_up(batch.documents, &LossCause::own(Reason::SHUTDOWN, "shutting down"));
            }
        }
        self.halve(progress, batch, cause);
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
            let wait = match self.ramp.locked().begin(now) {
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
