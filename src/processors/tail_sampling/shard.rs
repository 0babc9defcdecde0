//! The task that owns one shard: its queue, its clock, its part of the account. All decisions are in [`Engine`].

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::core::data::payload::Payload;
use crate::core::data::settlement::ItemEnd;
use crate::core::error::Reason;
use crate::core::stage::absences::Absences;
use crate::core::stage::tasks::Pulse;
use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::advice::report::SizingAdvice;
use crate::processors::tail_sampling::clock::SamplerClock;
use crate::processors::tail_sampling::durable::VerdictLog;
use crate::processors::tail_sampling::durable::verdicts::LoggedVerdict;
use crate::processors::tail_sampling::engine::looking::HeldSpan;
use crate::processors::tail_sampling::engine::{Bounds, Engine, Held};
use crate::processors::tail_sampling::held::account::{ByteAccount, Delivering};
use crate::processors::tail_sampling::held::admission::{AdmittedRequest, HeldGroup, SpanGroup};
use crate::processors::tail_sampling::journal::lookup::{MATCHES_MAX, WantedTrace};
use crate::processors::tail_sampling::live::LivePolicies;
use crate::processors::tail_sampling::release::delivery::Shipment;
use crate::processors::tail_sampling::release::gather::Parcel;
use crate::processors::tail_sampling::report::metrics::Metrics;
use crate::processors::tail_sampling::report::policy_counts::PolicyCounts;
use crate::processors::tail_sampling::shadow::report::LiveShadow;

/// One request's runs for one shard. Dropping the last message of a request gives its receive buffer back.
pub struct ShardMessage {
    pub request: Arc<ShardRequest>,
    pub runs: Vec<SpanGroup>,
    /// Reserved in the account until stored.
    pub cost: u64,
}

/// What the messages of one request share.
pub struct ShardRequest {
    /// The envelope with the ticket of its bytes.
    pub payload: Payload,
    pub groups: Vec<Arc<HeldGroup>>,
    /// For each item the next one of its run.
    pub links: Vec<u32>,
    /// That of the policies it was read for.
    pub version: u16,
    /// When it arrived, if that was in an earlier process.
    pub since: Option<UnixNanos>,
}

/// What a page asks of a shard. Its asker may have gone when the answer comes.
pub enum Question {
    /// Whether a trace is held here.
    Trace([u8; 16], oneshot::Sender<Option<HeldTrace>>),
    /// Traces that came last.
    Newest(oneshot::Sender<Vec<HeldTrace>>),
    /// Held traces with these digits in their id, from a place on, and where to go on.
    Part(WantedTrace, u32, oneshot::Sender<(Vec<[u8; 16]>, Option<u32>)>),
}

/// A held trace, and what is left of its wait.
#[derive(Clone, Debug)]
pub struct HeldTrace {
    pub trace_id: [u8; 16],
    pub held: Held,
    pub since: Duration,
    pub left: Duration,
    /// Empty where it is one of several.
    pub spans: Vec<HeldSpan>,
}

/// What comes through a shard's queue.
pub enum Arrival {
    Spans(ShardMessage),
    Question(Question),
    /// Of an earlier process.
    Verdicts(Vec<LoggedVerdict>),
    /// Requests of an earlier process follow, or have all come.
    Returning(bool),
    /// Nothing comes after this.
    Drain {
        deadline: Instant,
        /// Everything that came is read again where it is left.
        comes_again: bool,
    },
}

/// Messages filed and traces decided between two looks at everything else.
const MESSAGES_A_STEP: usize = 64;
const DECISIONS_A_STEP: usize = 2048;
const MEASURED_EVERY: Duration = Duration::from_secs(1);

/// What comes in waits no longer than this for what comes back.
const REPLAYED_FOR: Duration = Duration::from_secs(10);
/// A next stage that takes nothing for so long holds nobody up any more.
const HELD_UP_MAX: Duration = Duration::from_secs(1);

/// What an earlier process left, filed and decided by the time at which it had arrived, so that verdicts come out as if that
/// process had gone on: a span belongs to the decision of its trace if it arrived before that was due, however long after
/// that the restart was.
///
/// What comes in meanwhile waits behind it; the account of the sampler bounds it. A replay that is held up ends, and what is
/// left of it is filed as it comes.
pub struct ReplayedWindow {
    /// The time of the earlier process, as far as its requests have come back.
    now: Option<UnixNanos>,
    until: Instant,
    /// Of this process.
    live: Vec<ShardMessage>,
}

impl ReplayedWindow {
    fn begun() -> ReplayedWindow {
        ReplayedWindow { now: None, until: Instant::now() + REPLAYED_FOR, live: Vec::new() }
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }
}

pub struct Shard {
    pub core: Engine,
    pub live: Arc<LivePolicies>,
    /// Of the policies by which it decides.
    pub policy_counts: Arc<PolicyCounts>,
    pub shadow: Option<Arc<LiveShadow>>,
    /// Where verdicts stand before they are carried out.
    pub log: Option<VerdictLog>,
    pub clock: SamplerClock,
    pub account: Arc<ByteAccount>,
    pub metrics: Arc<Metrics>,
    pub shipments: mpsc::Sender<Shipment>,
    pub advice: Arc<SizingAdvice>,
    /// When what was measured is handed over next.
    pub measured_until: UnixNanos,
    /// What the account knows of this shard.
    pub settled_bytes: u64,
    pub settled_traces: u64,
    /// Time spent on what is due at present, over several steps.
    pub deciding: Duration,
    /// While requests of an earlier process come back.
    pub replay: Option<ReplayedWindow>,
    pub source: SourceWatch,
}

/// The way from the source to the shard. What waits at a source that is away comes when it is back: until then no trace is
/// due, and afterwards each has as much of its wait left as before. Where something comes by itself as well, nothing waits.
pub struct SourceWatch {
    absences: Arc<Absences>,
    /// Something came that nobody keeps for us.
    has_live: bool,
    is_away: bool,
    /// Absences that the traces have waited out.
    waited: Duration,
}

impl SourceWatch {
    pub fn new(absences: &Arc<Absences>) -> SourceWatch {
        let (_, waited) = absences.look(Instant::now());
        SourceWatch { absences: absences.clone(), has_live: false, is_away: false, waited }
    }

    /// Looks again: how much later traces are due, for what is over.
    fn look(&mut self) -> Option<Duration> {
        let (is_away, all) = self.absences.look(Instant::now());
        self.is_away = is_away && !self.has_live;
        let more = all.saturating_sub(self.waited);
        if self.has_live || is_away || more.is_zero() {
            return None;
        }
        self.waited = all;
        Some(more)
    }
}

impl Shard {
    /// Runs until drained, or until every sender is gone.
    pub async fn run(mut self, mut arrivals: mpsc::Receiver<Arrival>, pulse: Arc<Pulse>) {
        let mut batch = Vec::with_capacity(MESSAGES_A_STEP);
        let mut more_due = false;
        let shipments = self.shipments.clone();
        pulse.waits_for("spans, the next decision, or room behind it");
        loop {
            pulse.beat();
            self.step();
            let wake = self.wake(more_due);
            tokio::select! {
                biased;
                permit = shipments.reserve(), if self.core.has_parcels() => match permit {
                    Ok(permit) => if let Some(parcel) = self.core.take_parcel() {
                        permit.send(self.ship(parcel));
                    },
                    Err(_) => return,
                },
                taken = arrivals.recv_many(&mut batch, MESSAGES_A_STEP) => {
                    if taken == 0 {
                        return;
                    }
                }
                () = tokio::time::sleep_until(wake) => {}
            }
            self.renew();
            let mut drain_by = None;
            for arrival in batch.drain(..) {
                match arrival {
                    Arrival::Spans(message) if self.replay.is_some() => self.take_back(message, &pulse).await,
                    Arrival::Spans(message) => self.accept(message),
                    Arrival::Question(question) => self.tell(question),
                    Arrival::Verdicts(verdicts) => verdicts.iter().for_each(|verdict| self.core.remember(verdict)),
                    Arrival::Returning(true) => self.replay = Some(ReplayedWindow::begun()),
                    Arrival::Returning(false) => self.catch_up(&pulse).await,
                    Arrival::Drain { deadline, comes_again } => drain_by = Some((deadline, comes_again)),
                }
            }
            if self.replay.as_ref().is_some_and(ReplayedWindow::is_over) || drain_by.is_some() {
                self.catch_up(&pulse).await;
            }
            if let Some(drain_by) = drain_by {
                self.accept_rest(arrivals, drain_by.0).await;
                return self.drain(drain_by, &pulse).await;
            }
            more_due = self.decide_due();
            self.log_verdicts(&pulse, None).await;
        }
    }

    /// Returns when the verdicts since the last time are on disk, or cannot be for now; nothing of them is handed on before.
    async fn log_verdicts(&mut self, pulse: &Pulse, deadline: Option<Instant>) {
        let Some(log) = &mut self.log else { return };
        let waiting = self.core.take_to_log();
        if waiting.is_none() && log.is_clear() {
            return;
        }
        let waiting = waiting.unwrap_or_default();
        log.keep(&waiting.verdicts, self.clock.now(), pulse, deadline).await;
        waiting.carry_out();
    }

    /// Decides what is due, as long as its verdicts can be carried out; true when more is left to do at once.
    fn decide_due(&mut self) -> bool {
        let now = self.clock.now();
        if let Some(later) = self.source.look() {
            self.core.postpone(later, now);
        }
        if self.source.is_away || self.replay.is_some() || self.core.is_backed_up() || !self.core.is_due(now) {
            return false;
        }
        let started = Instant::now();
        let more_due = self.core.decide_due(now, DECISIONS_A_STEP);
        self.deciding += started.elapsed();
        if !more_due {
            self.metrics.decided_due(std::mem::take(&mut self.deciding));
        }
        more_due
    }

    /// Takes what was admitted before the drain was known and had its place in the queue already.
    async fn accept_rest(&mut self, mut arrivals: mpsc::Receiver<Arrival>, deadline: Instant) {
        arrivals.close();
        while let Ok(Some(arrival)) = tokio::time::timeout_at(deadline, arrivals.recv()).await {
            if let Arrival::Spans(message) = arrival {
                self.accept(message);
            }
        }
    }

    fn tell(&self, question: Question) {
        let now = self.clock.now();
        let waiting = |trace_id: [u8; 16], held: Held, spans| {
            let (since, left) = (now.since(held.first_seen), held.due.since(now));
            HeldTrace { trace_id, held, since, left, spans }
        };
        match question {
            Question::Trace(id, answer) => {
                let held = self.core.held(&id).map(|held| waiting(id, held, self.core.held_spans(&id)));
                let _ = answer.send(held);
            }
            Question::Part(wanted, from, answer) => {
                let _ = answer.send(self.core.held_in_stretch(|id| wanted.is(id), MATCHES_MAX + 1, from));
            }
            Question::Newest(answer) => {
                let newest = self.core.newest_held().into_iter();
                let _ = answer.send(newest.map(|(id, held)| waiting(id, held, Vec::new())).collect());
            }
        }
    }

    fn wake(&self, more_due: bool) -> Instant {
        let idle = Instant::now() + Pulse::INTERVAL;
        match self.core.next_due() {
            _ if self.core.is_backed_up() || self.replay.is_some() || self.source.is_away => idle,
            _ if more_due => Instant::now(),
            Some(due) => self.clock.instant_of(due).min(idle),
            None => idle,
        }
    }

    fn accept(&mut self, message: ShardMessage) {
        self.accept_at(message, self.clock.now());
    }

    fn accept_at(&mut self, message: ShardMessage, now: UnixNanos) {
        let ShardMessage { request, runs, cost } = message;
        let incoming = AdmittedRequest {
            envelope: &request.payload.envelope,
            groups: &request.groups,
            links: &request.links,
            version: request.version,
        };
        self.source.has_live |= request.since.is_none();
        match request.since {
            Some(since) => self.core.accept_since(incoming, &runs, (since, now)),
            None => self.core.accept(incoming, &runs, now),
        }
        self.settle();
        self.account.unreserve(cost);
        let excess = self.account.excess();
        if excess > 0 {
            self.core.relieve(excess, now);
            self.settle();
        }
    }

    /// Brings accounts and counts up to date.
    fn step(&mut self) {
        let now = self.clock.now();
        self.core.tidy(now);
        self.settle();
        self.hand_over();
        self.hand_over_sizes(now);
        self.core.journal.publish();
    }

    fn hand_over(&mut self) {
        self.metrics.take(&mut self.core.counts);
        self.policy_counts.take(&mut self.core.counts);
        if let (Some(shadow), Some(judge)) = (&self.shadow, &mut self.core.shadow) {
            shadow.take(&mut judge.found, &self.core.journal.ring().services());
        }
    }

    /// What was measured is summed up once a second: it is much more than the counts are.
    fn hand_over_sizes(&mut self, now: UnixNanos) {
        if now >= self.measured_until {
            self.measured_until = now.saturating_add(MEASURED_EVERY);
            self.advice.take(&mut self.core.sizes, &self.core.journal.ring().services(), now);
        }
    }

    /// Decides by the newest set of policies from now on.
    fn renew(&mut self) {
        let now = self.clock.now();
        if self.shadow.as_ref().and_then(|shadow| shadow.until).is_some_and(|until| until <= now) {
            self.live.end_shadow(now);
        }
        let live = self.live.current();
        if live.settings.version == self.core.version() {
            return;
        }
        let live = live.clone();
        self.hand_over();
        let bounds = Bounds::of(&live.settings, self.account.max());
        self.core.adopt(live.settings.clone(), live.meters.clone(), bounds, now);
        self.core.share_shadow(live.shadow.as_deref());
        (self.policy_counts, self.shadow) = (live.counts.clone(), live.shadow.clone());
    }

    fn settle(&mut self) {
        let (bytes, traces) = (self.core.footprint(), self.core.traces());
        self.account.settle(self.settled_bytes, bytes);
        self.account.settle_traces(self.settled_traces, traces);
        (self.settled_bytes, self.settled_traces) = (bytes, traces);
    }

    /// Moves the bytes of a parcel from the shard's part of the account to what is being delivered.
    fn ship(&mut self, parcel: Parcel) -> Shipment {
        self.settled_bytes = self.settled_bytes.saturating_sub(parcel.bytes);
        let delivering = Delivering::new(&self.account, parcel.bytes);
        Shipment { ticket: self.account.take_out(parcel.bytes), delivering, parcel }
    }

    /// Decides everything held on what is there and hands it on until the deadline; the rest is counted as lost. What comes
    /// again is left undecided: whoever reads it then sees its traces whole.
    async fn drain(mut self, (deadline, comes_again): (Instant, bool), pulse: &Pulse) {
        let shipments = self.shipments.clone();
        let mut left = !comes_again;
        while left || self.core.has_parcels() {
            pulse.beat();
            left = left && self.core.finish(self.clock.now(), DECISIONS_A_STEP);
            self.step();
            self.log_verdicts(pulse, Some(deadline)).await;
            let Some(parcel) = self.core.take_parcel() else { continue };
            let Ok(Ok(permit)) = tokio::time::timeout_at(deadline, shipments.reserve()).await else {
                self.core.return_parcel(parcel);
                break;
            };
            permit.send(self.ship(parcel));
        }
        self.abandon();
    }

    fn abandon(&mut self) {
        self.core.abandon_all();
        while let Some(parcel) = self.core.take_parcel() {
            self.metrics.delivery_lost.add(parcel.spans());
            parcel.end(ItemEnd::Dropped(Reason::SHUTDOWN, "the drain's deadline passed first"));
        }
        self.step();
        self.account.give_back(self.settled_bytes);
        self.account.settle_traces(self.settled_traces, 0);
    }
}

impl Shard {
    /// Files a request of the earlier process; one of this process waits.
    async fn take_back(&mut self, message: ShardMessage, pulse: &Pulse) {
        match message.request.since {
            Some(arrived) => self.file_by(message, arrived, pulse).await,
            None => match &mut self.replay {
                Some(replay) => replay.live.push(message),
                None => self.accept_at(message, self.clock.now()),
            },
        }
    }

    /// Ends the replay: files what came in meanwhile.
    async fn catch_up(&mut self, pulse: &Pulse) {
        let Some(replay) = &mut self.replay else { return };
        for message in std::mem::take(&mut replay.live) {
            let arrived = message.request.payload.origin.arrived_at;
            self.file_by(message, arrived, pulse).await;
        }
        self.replay = None;
    }

    /// Files a request after everything was decided that was due when it arrived.
    async fn file_by(&mut self, message: ShardMessage, arrived: UnixNanos, pulse: &Pulse) {
        let present = self.clock.now();
        let Some(replay) = self.replay.as_mut().filter(|replay| !replay.is_over()) else {
            return self.accept_at(message, present);
        };
        // Requests stand in the log in the order in which they were taken, which is nearly that of their arrival.
        let first = replay.now.is_none();
        let now = replay.now.unwrap_or(arrived).max(arrived).min(present);
        replay.now = Some(now);
        if first {
            self.core.begin_at(now);
        }
        while self.core.is_due(now) {
            self.core.decide_due(now, DECISIONS_A_STEP);
            self.log_verdicts(pulse, None).await;
            if !self.ship_all(pulse).await {
                break;
            }
        }
        self.accept_at(message, now);
    }

    /// Hands on what was kept; false when nobody takes it.
    async fn ship_all(&mut self, pulse: &Pulse) -> bool {
        let (shipments, until) = (self.shipments.clone(), Instant::now() + HELD_UP_MAX);
        while self.core.has_parcels() {
            pulse.beat();
            let Ok(Ok(permit)) = tokio::time::timeout_at(until, shipments.reserve()).await else {
                if let Some(replay) = &mut self.replay {
                    replay.until = Instant::now();
                }
                return false;
            };
            if let Some(parcel) = self.core.take_parcel() {
                permit.send(self.ship(parcel));
            }
        }
        true
    }
}
