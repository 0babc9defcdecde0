//! From one payload to its end: attempts with backoff, parts of a size the peer takes, the faulty message found alone.
//!
//! Nothing is counted here: a [`Tally`] says what became of each item, and whoever asked for the delivery settles it once.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::core::data::budget::Budget;
use crate::core::data::payload::{Payload, Signal};
use crate::core::data::settlement::Share;
use crate::core::error::{ConsumeError, Reason, StartError};
use crate::core::limits::REQUEST_BYTES_MAX;
use crate::core::lock::Locked;
use crate::core::report::stats::Counter;
use crate::core::stage::component::Task;
use crate::core::stage::durable::Remember;
use crate::core::stage::host::Host;
use crate::otlp::envelope::encoded_len;
use crate::otlp::regroup::portion::{halve, part};
use crate::sending::backoff::{RetryBackoff, RetrySettings, THROTTLE_MAX};
use crate::sending::gate::{ClosingGate, Over};
use crate::sending::isolation::{Isolation, SearchAllowance, SearchStep};
use crate::sending::outcome::account::ExporterAccount;
use crate::sending::outcome::answer::AnswerFault;
use crate::sending::outcome::end::{RequestEnd, finish, take};
use crate::sending::outcome::heir::Heir;
use crate::sending::outcome::message_owners::Owners;
use crate::sending::outcome::tally::Tally;
use crate::sending::pace::lanes::{NoTurn, Paces};
use crate::sending::progress::Progress;
use crate::sending::report::condition::Trouble;
use crate::sending::report::log::HopLog;
use crate::sending::send_memory::Workroom;

/// Attempts of one payload that only a peer's known habit justifies.
const OFF_SPEC_ATTEMPTS_MAX: u32 = 5;
/// After a search without success no other begins for HOPELESS, or until the peer takes something.
const HOPELESS: Duration = Duration::from_secs(60);
const HOPELESS_MESSAGES_MIN: usize = 32;
/// A sender that waits is told to come again later: most give up after ten seconds, and would send what we still hold.
const SENDER_HOLD_MAX: Duration = Duration::from_secs(3);
/// A request this small is not refused for its size; servers' smallest usual limit is 1 MiB.
const SIZE_FLOOR_BYTES: u64 = 256 << 10;

/// Brings payloads to their end: what [`Sending`](crate::sending::Sending) puts a queue in front of. Most exporters use
/// [`ExporterDelivery`] over a [`RequestTransport`]; one whose next hop answers for each document brings its own.
pub trait Deliver: Send + Sync + 'static {
    /// Ends with every item in the tally, or kept by whoever ends it later.
    fn deliver(&self, whole: Payload) -> Pin<Box<dyn Future<Output = Tally> + Send + '_>>;

    /// Begins what runs beside deliveries.
    fn start(&self, _: &Host, _: Arc<ExporterAccount>) -> Task<'_, Result<(), StartError>> {
        Box::pin(async { Ok(()) })
    }

    /// What was queued and will never be delivered: nothing may be sent any more, but what can be kept elsewhere may be.
    fn end(&self, whole: Payload) -> Tally {
        let mut tally = Tally::default();
        let error = ConsumeError::refused(Reason::SHUTDOWN, "the exporter stopped before it was sent");
        tally.lose(whole.items, whole.share, error);
        tally
    }

    /// After the last delivery: ends what is still held and closes connections.
    fn drain(&self, deadline: Instant) -> Task<'_, ()>;

    /// Whether the next hop still moves, for the drain.
    fn progress(&self) -> &Progress;

    fn gate(&self) -> &ClosingGate;

    /// Who gets what it kept beside records in the log of its queue; `None` where it keeps nothing.
    fn remember(&self) -> Option<Arc<dyn Remember>> {
        None
    }

    /// Where it keeps for a successor what the drain cuts off; `None` where that ends.
    fn heir(&self) -> Option<Arc<Heir>> {
        None
    }

    /// The component's path, for logs.
    fn path(&self) -> &str;

    /// For logs: the endpoint.
    fn destination(&self) -> &str;
}

/// Sends one request, once. The part of an exporter that knows a protocol.
pub trait RequestTransport: Send + Sync + 'static {
    /// Ends by `deadline` at the latest.
    fn send<'a>(
        &'a self,
        payload: &'a Payload,
        deadline: Instant,
    ) -> Pin<Box<dyn Future<Output = SendAnswer> + Send + 'a>>;

    /// Whether a request of this signal can leave at once.
    fn is_ready(&self, _: Signal) -> bool {
        true
    }

    /// Waits, until the deadline at most, for whatever a request needs before any of it leaves.
    fn ready(&self, _: Signal, _: Instant) -> Task<'_, ()> {
        Box::pin(async {})
    }

    /// Memory that one attempt takes beside the payload, in bytes, at most.
    fn working_bytes(&self, payload: &Payload) -> u64;

    /// For logs: the endpoint.
    fn destination(&self) -> &str;

    /// Closes connections.
    fn close(&self) -> Task<'_, ()>;
}

/// The next hop's answer to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendAnswer {
    /// `rejected` items were named as not taken; they must not be sent again (OTLP, "Partial Success").
    Taken {
        rejected: u64,
        message: String,
    },
    Later {
        after: Option<Duration>,
        off_spec: bool,
        trouble: Trouble,
    },
    Never {
        fault: AnswerFault,
        trouble: Trouble,
    },
}

/// How one exporter's attempts are made.
pub struct AttemptSettings {
    pub transport: Box<dyn RequestTransport>,
    /// `None` tries once.
    pub retry: Option<RetrySettings>,
    /// Of one attempt.
    pub timeout: Duration,
    /// The largest request we may send at all.
    pub request_bytes_max: u64,
    pub off_spec_retries: Arc<Counter>,
    /// How many attempts run at once.
    pub paces: Paces,
    /// Whoever sent the payload waits for its end: there is no queue.
    pub sender_waits: bool,
    /// A queue has answered for the payload: whether its sender still waits means nothing any more.
    pub stored: bool,
}

/// What deliveries of one exporter share.
pub struct ExporterDelivery {
    settings: AttemptSettings,
    gate: ClosingGate,
    heir: Arc<Heir>,
    work: Workroom,
    /// Larger requests are cut where they can be, and else tried: learnt downwards from the peer's refusals.
    cut_above: AtomicU64,
    progress: Progress,
    // All are locked for a few instructions and never across an await.
    log: HopLog,
    allowance: Mutex<SearchAllowance>,
    hold: Mutex<Option<Instant>>,
    /// A search that found every message at fault: until then another one is not worth its requests.
    hopeless_until: Mutex<Option<Instant>>,
}

impl ExporterDelivery {
    /// `log` tells of the next hop; what attempts need beside the payload comes out of `budget`.
    pub fn new(settings: AttemptSettings, log: HopLog, budget: Arc<Budget>) -> ExporterDelivery {
        let request_bytes_max = settings.request_bytes_max.min(REQUEST_BYTES_MAX);
        ExporterDelivery {
            gate: ClosingGate::default(),
            heir: Arc::default(),
            work: Workroom::new(budget),
            cut_above: AtomicU64::new(u64::MAX),
            progress: Progress::new(settings.timeout),
            log,
            allowance: Mutex::new(SearchAllowance::new(Instant::now())),
            hold: Mutex::default(),
            hopeless_until: Mutex::default(),
            settings: AttemptSettings { request_bytes_max, ..settings },
        }
    }

    /// Sends the payload, in parts where it must, until every item has its end.
    async fn deliver_all(&self, whole: Payload) -> Tally {
        let mut tally = Tally::default();
        if whole.envelope.messages() == 0 && whole.envelope.dictionary.is_none() {
            // Nothing to send: empty envelopes are not forwarded.
            tally.answered = true;
            return tally;
        }
        let started = Instant::now();
        let mut work = vec![whole];
        while let Some(mut payload) = work.pop() {
            let bytes = encoded_len(&payload.envelope) as u64;
            let worth_cutting = bytes > self.cut_above.load(Ordering::Relaxed) && can_be_cut(&payload);
            if worth_cutting || bytes > self.settings.request_bytes_max {
                self.smaller(payload, &mut work, &mut tally);
                continue;
            }
            match self.send_until_final(&payload, started).await {
                RequestEnd::Never { fault: AnswerFault::Message, trouble }
                    if can_be_cut(&payload) && !self.is_hopeless() =>
                {
                    self.isolate(&mut payload, started, trouble, &mut tally).await;
                }
                RequestEnd::Never { fault: AnswerFault::Size, .. } if self.learn(&payload) => {
                    self.smaller(payload, &mut work, &mut tally);
                }
                RequestEnd::Over if self.settings.stored && self.heir.is_named() => drop(self.heir.keep(payload)),
                end => take(&mut tally, payload.items, payload.share, end),
            }
        }
        self.say_losses(&tally);
        tally
    }

    /// Halves go back to work; one message too large for the peer is lost.
    fn smaller(&self, payload: Payload, work: &mut Vec<Payload>, tally: &mut Tally) {
        let payload = match halve(payload) {
            (first, Some(second)) => return work.extend([second, first]), // granted: one more of the halves under way
            (whole, None) => whole,
        };
        let (limit, endpoint) = (self.settings.request_bytes_max, self.settings.transport.destination());
        let message = format!("one message is larger than the {limit} bytes that may be sent to {endpoint}");
        tally.lose(payload.items, payload.share, ConsumeError::rejected(Reason::TOO_LARGE, message));
    }

    /// After a refusal for size: true when smaller parts are worth a try.
    fn learn(&self, payload: &Payload) -> bool {
        let bytes = encoded_len(&payload.envelope) as u64;
        if bytes <= SIZE_FLOOR_BYTES || !can_be_cut(payload) {
            return false;
        }
        // A little above the half, so that halves, which repeat resource and scope, are tried before they are cut again.
        self.cut_above.fetch_min((bytes / 16 * 9).max(SIZE_FLOOR_BYTES), Ordering::Relaxed);
        true
    }

    /// Finds the message a permanent error is about, sending the others on the way.
    async fn isolate(&self, payload: &mut Payload, started: Instant, trouble: Trouble, tally: &mut Tally) {
        let messages = payload.envelope.messages();
        let mut search = Isolation::new(messages);
        // Without memory for the search all of it ends as its next hop said.
        let Ok(mut owners) = Owners::of(payload) else {
            let share = std::mem::take(&mut payload.share);
            return take(tally, payload.items, share, RequestEnd::Never { fault: AnswerFault::Message, trouble });
        };
        let taken_before = self.progress.taken();
        loop {
            let ranges = match search.step() {
                // Another search has shown meanwhile that nothing passes.
                SearchStep::Send(_) if self.is_hopeless() => {
                    let end = RequestEnd::Never { fault: AnswerFault::Message, trouble };
                    return finish(payload, &mut owners, &search.abandon(), end, tally);
                }
                SearchStep::Send(ranges) => ranges,
                SearchStep::Done(lost) => {
                    // A small batch proves little, and one answer to anybody proves the contrary.
                    if messages >= HOPELESS_MESSAGES_MIN && self.progress.taken() == taken_before {
                        *self.hopeless_until.locked() = Some(Instant::now() + HOPELESS);
                    }
                    let end = RequestEnd::Never { fault: AnswerFault::Message, trouble };
                    return finish(payload, &mut owners, &lost, end, tally);
                }
            };
            let mut tried = part(payload, &ranges);
            tried.share = owners.take(&ranges, tried.items);
            let end = match self.allowed().await {
                Ok(()) => self.send_until_final(&tried, started).await,
                Err(Over) => RequestEnd::Over,
            };
            match end {
                RequestEnd::Taken { .. } => {
                    take(tally, tried.items, tried.share, end);
                    search.answered(true);
                }
                RequestEnd::Never { fault: AnswerFault::Message | AnswerFault::Size, .. } => {
                    owners.put_back(&ranges, tried.share);
                    search.answered(false);
                }
                // The peer went away or changed its mind about us: what is open ends as this part does.
                end => {
                    owners.put_back(&ranges, tried.share);
                    return finish(payload, &mut owners, &search.abandon(), end, tally);
                }
            }
        }
    }

    fn is_hopeless(&self) -> bool {
        self.hopeless_until.locked().is_some_and(|until| Instant::now() < until)
    }

    /// Waits for a request of the allowance.
    async fn allowed(&self) -> Result<(), Over> {
        loop {
            let now = Instant::now();
            let Err(free_at) = self.allowance.locked().take(now) else { return Ok(()) };
            self.gate.pause(free_at - now).await?;
        }
    }

    /// The attempts of one request.
    async fn send_until_final(&self, payload: &Payload, started: Instant) -> RequestEnd {
        let mut backoff = self.settings.retry.map(|retry| RetryBackoff::new(retry, started));
        let mut off_spec_attempts = 0;
        loop {
            let held = self.held_for();
            if self.settings.sender_waits && held > SENDER_HOLD_MAX {
                return RequestEnd::GaveUp { reason: Reason::UNAVAILABLE, after: Some(held), trouble: throttled(held) };
            }
            if !held.is_zero()
                && let Err(end) = self.pause(held, &payload.share).await
            {
                return end;
            }
            let until = backoff.as_ref().and_then(RetryBackoff::ends_at);
            let answer = match self.attempt(payload, until).await {
                Ok(answer) => answer,
                Err(end) => return end,
            };
            let (after, off_spec, trouble) = match answer {
                SendAnswer::Taken { rejected, message } => {
                    self.say_works();
                    return RequestEnd::Taken { rejected: rejected.min(payload.items), message };
                }
                SendAnswer::Never { fault, trouble } => {
                    if fault == AnswerFault::Request {
                        self.say_fails(&trouble);
                    }
                    return RequestEnd::Never { fault, trouble };
                }
                SendAnswer::Later { after, off_spec, trouble } => (after, off_spec, trouble),
            };
            self.say_fails(&trouble);
            self.hold_for(after);
            if off_spec {
                off_spec_attempts += 1;
                if off_spec_attempts >= OFF_SPEC_ATTEMPTS_MAX {
                    return RequestEnd::Never { fault: AnswerFault::Request, trouble };
                }
                self.settings.off_spec_retries.add(1);
            }
            let too_long = self.settings.sender_waits && after.is_some_and(|after| after > SENDER_HOLD_MAX);
            let Some(backoff) = backoff.as_mut().filter(|_| !too_long) else {
                return RequestEnd::GaveUp { reason: Reason::UNAVAILABLE, after, trouble };
            };
            let Some(wait) = backoff.next(Instant::now(), after, fastrand::f64()) else {
                return RequestEnd::GaveUp { reason: Reason::RETRIES_EXHAUSTED, after, trouble };
            };
            if let Err(end) = self.pause(wait, &payload.share).await {
                return end;
            }
        }
    }

    /// Sends once, for somebody who waits; begins by `until` or not at all. What is on the wire runs to its end.
    async fn attempt(&self, payload: &Payload, until: Option<Instant>) -> Result<SendAnswer, RequestEnd> {
        if !self.settings.stored && payload.share.is_abandoned() {
            return Err(RequestEnd::Abandoned);
        }
        let turn = tokio::select! {
            biased;
            turn = self.settings.paces.enter(payload.signal, &self.gate, until) => turn.map_err(no_turn)?,
            () = payload.share.abandoned(), if !self.settings.stored => return Err(RequestEnd::Abandoned),
        };
        let _room = tokio::select! {
            biased;
            room = self.work.enter(self.settings.transport.working_bytes(payload)) => room,
            () = self.gate.over() => return Err(RequestEnd::Over),
            () = payload.share.abandoned(), if !self.settings.stored => return Err(RequestEnd::Abandoned),
        };
        let began = Instant::now();
        // Of what waits for a connection nothing is on the wire yet: it goes with its caller.
        if self.settings.sender_waits && !self.settings.transport.is_ready(payload.signal) {
            tokio::select! {
                biased;
                () = self.settings.transport.ready(payload.signal, began + self.settings.timeout) => {}
                () = self.gate.over() => return Err(RequestEnd::Over),
                () = payload.share.abandoned() => return Err(RequestEnd::Abandoned),
            }
            if payload.share.is_abandoned() {
                return Err(RequestEnd::Abandoned);
            }
        }
        let _wire = self.progress.attempt(began);
        let answer = tokio::select! {
            biased;
            answer = self.settings.transport.send(payload, began + self.settings.timeout) => answer,
            () = self.gate.over() => return Err(RequestEnd::Over),
        };
        match &answer {
            SendAnswer::Later { .. } => turn.failed(),
            _ => turn.answered(began.elapsed(), encoded_len(&payload.envelope) as u64),
        }
        Ok(answer)
    }

    /// Between two attempts: no longer than the exporter lives, and only as long as somebody waits for the answer.
    async fn pause(&self, wait: Duration, share: &Share) -> Result<(), RequestEnd> {
        tokio::select! {
            biased;
            paused = self.gate.pause(wait) => paused.map_err(|Over| RequestEnd::Over),
            () = share.abandoned(), if !self.settings.stored => Err(RequestEnd::Abandoned),
        }
    }

    /// A throttle hint is meant for the whole exporter, not for the payload that met it.
    fn hold_for(&self, after: Option<Duration>) {
        let Some(after) = after.filter(|after| !after.is_zero()) else { return };
        let until = Instant::now() + after.min(THROTTLE_MAX);
        let mut hold = self.hold.locked();
        if hold.is_none_or(|held| held < until) {
            *hold = Some(until);
        }
    }

    /// How long nothing may be sent yet.
    fn held_for(&self) -> Duration {
        self.hold.locked().map_or(Duration::ZERO, |until| until.saturating_duration_since(Instant::now()))
    }

    fn say_works(&self) {
        self.progress.took();
        *self.hopeless_until.locked() = None;
        self.log.works(self.settings.transport.destination());
    }

    fn say_fails(&self, trouble: &Trouble) {
        self.log.fails(self.settings.transport.destination(), trouble);
    }

    fn say_losses(&self, tally: &Tally) {
        let items = tally.lost_for_good();
        let Some(error) = tally.error.as_ref().filter(|_| items > 0) else { return };
        let Some(unsaid) = self.log.unsaid_drops(items) else { return };
        let endpoint = self.settings.transport.destination();
        tracing::warn!(exporter = %self.log.path, endpoint, items, %error, suppressed = unsaid, "items were not delivered");
    }
}

impl Deliver for ExporterDelivery {
    fn deliver(&self, whole: Payload) -> Pin<Box<dyn Future<Output = Tally> + Send + '_>> {
        Box::pin(self.deliver_all(whole))
    }

    fn drain(&self, _: Instant) -> Task<'_, ()> {
        self.settings.transport.close()
    }

    fn progress(&self) -> &Progress {
        &self.progress
    }

    fn gate(&self) -> &ClosingGate {
        &self.gate
    }

    fn heir(&self) -> Option<Arc<Heir>> {
        Some(self.heir.clone())
    }

    fn path(&self) -> &str {
        &self.log.path
    }

    fn destination(&self) -> &str {
        self.settings.transport.destination()
    }
}

fn no_turn(why: NoTurn) -> RequestEnd {
    let message = "the next hop did not recover within the time allowed".to_owned();
    let trouble = Trouble { code: "waited".to_owned(), message, cure: None };
    match why {
        NoTurn::Over => RequestEnd::Over,
        NoTurn::TooLate => RequestEnd::GaveUp { reason: Reason::RETRIES_EXHAUSTED, after: None, trouble },
    }
}

fn throttled(held: Duration) -> Trouble {
    let message = format!("the next hop asked podgate to wait another {} s", held.as_secs() + 1);
    Trouble { code: "throttled".to_owned(), message, cure: None }
}

fn can_be_cut(payload: &Payload) -> bool {
    payload.signal != Signal::Profiles && payload.envelope.messages() > 1
}
