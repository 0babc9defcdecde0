//! The stage: admits requests into the shards' queues, refuses when the account is full, and owns the tasks.
//!
//! A request is accepted as a whole or refused as a whole: room is reserved and a place in every queue concerned is held
//! before anything is sent. Ok means stored in memory, or on disk where the gateway has a log.

use std::any::Any;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::RandomState;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::core::data::payload::{Payload, Signal};
use crate::core::data::settlement::{ItemEnd, Loan, Share};
use crate::core::error::{ConsumeError, Reason, StartError};
use crate::core::lock::Locked;
use crate::core::offload::Aside;
use crate::core::report::stats::Flow;
use crate::core::stage::component::{Component, Task};
use crate::core::stage::consumer::{Consumed, Consumer, Next};
use crate::core::stage::durable::Remember;
use crate::core::stage::factory::StageContext;
use crate::core::stage::host::Host;
use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::advice::report::SizingAdvice;
use crate::processors::tail_sampling::clock::{SamplerClock, Stopwatch};
use crate::processors::tail_sampling::config::{Overflow, SamplingPlan, SamplingSettings};
use crate::processors::tail_sampling::durable::verdicts::{LoggedVerdict, decode};
use crate::processors::tail_sampling::durable::{SamplerLog, VerdictLog};
use crate::processors::tail_sampling::engine::{Bounds, Engine};
use crate::processors::tail_sampling::held::account::ByteAccount;
use crate::processors::tail_sampling::held::admission::{Admission, Admitted, HeldGroup, SpanGroup};
use crate::processors::tail_sampling::held::ids::shard_of;
use crate::processors::tail_sampling::journal::ring::{DecisionJournal, JournalRing};
use crate::processors::tail_sampling::live::LivePolicies;
use crate::processors::tail_sampling::release::delivery::{Shipment, TraceDelivery};
use crate::processors::tail_sampling::report::metrics::{CountedAccount, Metrics, ProcessorAccounts};
use crate::processors::tail_sampling::report::page;
use crate::processors::tail_sampling::report::page::SamplerPage;
use crate::processors::tail_sampling::shard::{Arrival, Shard, ShardMessage, ShardRequest, SourceWatch};

/// Requests that wait in one shard's queue; the account bounds their bytes.
const QUEUE_MESSAGES: usize = 128;
/// The longest a sender waits for a place in a queue.
const QUEUE_WAIT_MAX: Duration = Duration::from_secs(5);
/// Parcels between a shard and its delivery.
const QUEUE_SHIPMENTS: usize = 2;
/// The longest a sender is kept waiting for room; its own deadline is usually shorter.
const BLOCK_MAX: Duration = Duration::from_secs(30);
/// Time that delivery has left within the drain's deadline after the shards are empty.
const LAST_DELIVERIES: Duration = Duration::from_millis(500);

/// One shard and its delivery, as start takes them.
type Parts = (Shard, mpsc::Receiver<Arrival>, TraceDelivery, mpsc::Receiver<Shipment>);

pub struct Sampler {
    live: Arc<LivePolicies>,
    clock: SamplerClock,
    journals: Vec<Arc<JournalRing>>,
    /// Where what is held stands on disk as well.
    log: Option<SamplerLog>,
    host: Arc<Host>,
    path: String,
    pipeline: String,
    account: Arc<ByteAccount>,
    /// While this is held, the account is part of the processor's gauges.
    _counted: Arc<CountedAccount>,
    metrics: Arc<Metrics>,
    flow: Flow,
    arrivals: Vec<mpsc::Sender<Arrival>>,
    draining: AtomicBool,
    /// Something came that nobody sends again.
    has_live: AtomicBool,
    deadline: watch::Sender<Option<Instant>>,
    // Taken once by start and once by drain; never held across an await.
    unstarted: Mutex<Option<Vec<Parts>>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Sampler {
    pub fn new(settings: &SamplingSettings, cx: StageContext, next: Next) -> Arc<Sampler> {
        let (host, processor) = (cx.build.host.clone(), cx.build.id.to_string());
        let account = ByteAccount::new(settings.max_bytes.unwrap_or(host.budget.hard() / 2), &host.budget);
        let metrics = Metrics::new(&host.stats, &processor);
        let accounts = host.shared::<ProcessorAccounts>(&format!("tail_sampling/accounts {processor}"), Arc::default);
        Metrics::watch(&host.stats, &processor, &accounts);
        let (deadline, clock) = (watch::Sender::new(None), SamplerClock::start());
        let live = LivePolicies::new(settings, &host.stats, &processor, clock.now());
        let (first, advice) = (live.current().clone(), Arc::new(SizingAdvice::since(clock.now())));
        let taker = format!("{}/{}", cx.build.path, cx.pipeline);
        let log = SamplerLog::of(&host.logs, &cx.exporters, &taker, settings.decision_wait);
        for cut in settings.caches_cut(host.budget.hard()) {
            tracing::warn!(component = %cx.build.path, key = cut.key, "{}", cut.message);
        }
        let (mut arrivals, mut shards, mut journals) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..settings.shards {
            let (queue, queued) = mpsc::channel(QUEUE_MESSAGES);
            let (shipments, shipped) = mpsc::channel(QUEUE_SHIPMENTS);
            let journal = journal(settings, &host);
            journals.push(journal.clone());
            let bounds = Bounds::of(settings, account.max());
            let time = (clock.now(), Instant::now as Stopwatch);
            let mut core = Engine::new(settings.clone(), first.meters.clone(), bounds, RandomState::default(), time);
            core.remember_within(host.budget.hard(), || host.budget.overdraw(0));
            log.iter().for_each(|_| core.log_verdicts());
            core.share_shadow(first.shadow.as_deref());
            let mut shard = Shard {
                core,
                live: live.clone(),
                policy_counts: first.counts.clone(),
                shadow: first.shadow.clone(),
                log: log.clone().map(VerdictLog::new),
                clock,
                account: account.clone(),
                metrics: metrics.clone(),
                shipments,
                advice: advice.clone(),
                measured_until: clock.now(),
                settled_bytes: 0,
                settled_traces: 0,
                deciding: Duration::ZERO,
                replay: None,
                source: SourceWatch::new(&host.absences),
            };
            shard.core.journal = DecisionJournal::new(journal);
            let delivery =
                TraceDelivery { next: next.clone(), metrics: metrics.clone(), deadline: deadline.subscribe() };
            arrivals.push(queue);
            shards.push((shard, queued, delivery, shipped));
        }
        let sampler = Arc::new(Sampler {
            log,
            live,
            clock,
            journals,
            flow: Flow::of(&host.stats, &processor, Signal::Traces),
            path: cx.build.path,
            pipeline: cx.pipeline,
            host,
            _counted: accounts.add(&account),
            account,
            metrics,
            arrivals,
            draining: AtomicBool::new(false),
            has_live: AtomicBool::new(false),
            deadline,
            unstarted: Mutex::new(Some(shards)),
            tasks: Mutex::default(),
        });
        sampler.enter(processor, advice);
        sampler
    }

    /// Shows itself to the pages, and to the log as the one that takes what a restart finds.
    fn enter(self: &Arc<Sampler>, processor: String, advice: Arc<SizingAdvice>) {
        page::show(&self.host, self.page(processor, advice));
        let back = Arc::new(Recovering(Arc::downgrade(self)));
        self.log.iter().for_each(|log| log.register(&self.host.logs, &back));
    }

    /// What the admin pages see of it.
    fn page(&self, processor: String, advice: Arc<SizingAdvice>) -> SamplerPage {
        SamplerPage {
            processor,
            pipeline: self.pipeline.clone(),
            account: self.account.clone(),
            metrics: self.metrics.clone(),
            live: self.live.clone(),
            advice,
            clock: self.clock,
            journals: self.journals.clone(),
            shards: self.arrivals.iter().map(mpsc::Sender::downgrade).collect(),
        }
    }

    /// Verdicts of an earlier process, to the shards that own the traces.
    pub async fn remember(&self, verdicts: Vec<LoggedVerdict>) {
        let mut parts: Vec<Vec<LoggedVerdict>> = self.arrivals.iter().map(|_| Vec::new()).collect();
        let shards = parts.len();
        verdicts.into_iter().for_each(|verdict| parts[shard_of(&verdict.trace_id, shards)].push(verdict));
        for (queue, part) in self.arrivals.iter().zip(parts).filter(|(_, part)| !part.is_empty()) {
            // A shard that is gone decides nothing.
            _ = queue.send(Arrival::Verdicts(part)).await;
        }
    }

    /// Goes on with other settings, where it can; false where nothing changed.
    fn adopt(&self, settings: &SamplingSettings) -> bool {
        let old = self.live.current().clone();
        // What is remembered on disk was promised for the wait there was.
        let outlives = self.log.as_ref().is_some_and(|log| !log.covers(settings.decision_wait));
        if outlives || !can_become(&old.settings, settings) || self.draining.load(Ordering::Acquire) {
            return false;
        }
        let bytes = settings.journal_bytes(self.host.budget.hard());
        self.journals.iter().for_each(|journal| journal.resize(bytes));
        let version = self.live.configure(settings, self.clock.now());
        tracing::info!(component = %self.path, version, "another set of policies decides");
        true
    }

    async fn admit(&self, payload: Payload) -> Result<(), ConsumeError> {
        self.flow.incoming.add(payload.items);
        let bytes = payload.ticket.bytes();
        if self.draining.load(Ordering::Acquire) {
            return Err(ConsumeError::refused(Reason::SHUTDOWN, "shutting down"));
        }
        let live = self.live.current().clone();
        let settings = &live.settings;
        if settings.overflow == Overflow::Refuse && self.account.is_full() {
            // Before the walk: refusing must be cheap when it is needed most.
            self.metrics.refused.add(payload.items);
            return Err(self.full());
        }
        let (leaves, account, shards) = (settings.leaves.clone(), self.account.clone(), settings.shards);
        let seed = fastrand::u64(..);
        let read = move || {
            let admitted = Admission { leaves: &leaves, account: &account, shards, seed }.read(&payload);
            (payload, admitted)
        };
        let (mut payload, admitted) = Aside::shared().run(bytes, read).await;
        let admitted = admitted.map_err(|why| {
            self.metrics.refused.add(payload.items);
            ConsumeError::refused(Reason::MEMORY, format!("no memory to read spans into: {why}"))
        })?;
        let version = settings.version;
        let room =
            self.reserve(settings, admitted.cost).await.inspect_err(|_| self.metrics.refused.add(payload.items))?;
        let places = self.places(&admitted).await?;
        let (loan, share, since) = self.log_it(&mut payload, &admitted.groups).await?;
        // From here on nothing can fail: the request is taken, and the shards give back what was reserved.
        room.keep();
        self.count(&admitted, payload.items);
        own(&admitted, share);
        loan.into_iter().for_each(Loan::accept);
        let request =
            Arc::new(ShardRequest { payload, groups: admitted.groups, links: admitted.links, version, since });
        for (place, runs) in places.into_iter().zip(admitted.runs.into_iter().filter(|runs| !runs.is_empty())) {
            let cost = runs.iter().map(SpanGroup::cost).sum();
            place.send(Arrival::Spans(ShardMessage { request: request.clone(), runs, cost }));
        }
        Ok(())
    }

    /// Returns when the request is on disk, where the sampler has a log: its share, and when it arrived if it is one of an
    /// earlier process. Which spans a verdict ends is not told apart, so positions are forgotten.
    async fn log_it(
        &self,
        payload: &mut Payload,
        groups: &[Arc<HeldGroup>],
    ) -> Result<(Option<Loan>, Share, Option<UnixNanos>), ConsumeError> {
        let mut share = std::mem::take(&mut payload.share);
        if !share.comes_again() {
            self.has_live.store(true, Ordering::Relaxed);
        }
        if share.is_logged() {
            share.forget_positions();
            return Ok((None, share, Some(payload.origin.arrived_at)));
        }
        let Some(log) = self.log.as_ref().filter(|_| share.items() > 0) else { return Ok((None, share, None)) };
        payload.share = share;
        let record = log.append(payload, groups).await.inspect_err(|_| self.metrics.refused.add(payload.items))?;
        let (loan, share) = std::mem::take(&mut payload.share).log(record, false);
        Ok((Some(loan), share, None))
    }

    /// Reserves room, waiting for it only where the configuration says so.
    async fn reserve(&self, settings: &SamplingSettings, bytes: u64) -> Result<Reserved<'_>, ConsumeError> {
        let give_up = Instant::now() + BLOCK_MAX;
        loop {
            let room = self.account.room();
            let is_full = || settings.num_traces.is_some_and(|most| self.account.traces() >= most);
            let blocked = settings.overflow == Overflow::Block && is_full();
            if !blocked && self.account.reserve(bytes) {
                return Ok(Reserved { account: &self.account, bytes });
            }
            if settings.overflow == Overflow::Refuse || bytes > self.account.max() {
                return Err(self.full());
            }
            tokio::time::timeout_at(give_up, room).await.map_err(|_| self.full())?;
        }
    }

    fn full(&self) -> ConsumeError {
        let (held, max) = (self.account.held(), self.account.max());
        ConsumeError::refused(Reason::MEMORY, format!("tail sampling holds {held} of {max} bytes"))
    }

    /// A place in the queue of every shard that gets something, in the order of shards.
    async fn places(&self, admitted: &Admitted) -> Result<Vec<mpsc::Permit<'_, Arrival>>, ConsumeError> {
        let mut places = Vec::with_capacity(self.arrivals.len());
        for (queue, _) in self.arrivals.iter().zip(&admitted.runs).filter(|(_, runs)| !runs.is_empty()) {
            let place = tokio::time::timeout(QUEUE_WAIT_MAX, queue.reserve()).await;
            let full = || ConsumeError::refused(Reason::QUEUE_FULL, "the sampling shard is too slow");
            let gone = |_| ConsumeError::refused(Reason::SHUTDOWN, "shutting down");
            places.push(place.map_err(|_| full())?.map_err(gone)?);
        }
        Ok(places)
    }

    fn count(&self, admitted: &Admitted, items: u64) {
        self.flow.outgoing.add(items - admitted.malformed.min(items));
        self.metrics.evaluation_errors.add(admitted.failures);
    }

    fn take_unstarted(&self) -> Vec<Parts> {
        self.unstarted.locked().take().unwrap_or_default()
    }

    fn tasks(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.tasks.locked()
    }

    fn spawn(&self) {
        for (at, (shard, arrivals, delivery, shipments)) in self.take_unstarted().into_iter().enumerate() {
            let name = format!("{}/{}/shard {at}", self.path, self.pipeline);
            let task = self.host.tasks.spawn(&name, |pulse| shard.run(arrivals, pulse));
            self.tasks().push(task);
            let name = format!("{}/{}/delivery {at}", self.path, self.pipeline);
            let task = self.host.tasks.spawn(&name, |pulse| delivery.run(shipments, pulse));
            self.tasks().push(task);
        }
    }

    async fn finish(&self, deadline: Instant) {
        self.draining.store(true, Ordering::Release);
        // Without start, or a second time, there is nothing to end.
        drop(self.take_unstarted());
        let tasks = std::mem::take(&mut *self.tasks());
        let until = deadline.checked_sub(LAST_DELIVERIES).unwrap_or(deadline);
        self.deadline.send_replace(Some(until));
        for queue in &self.arrivals {
            let drain =
                queue.send(Arrival::Drain { deadline: until, comes_again: !self.has_live.load(Ordering::Relaxed) });
            // A shard that is gone, or whose queue does not move, cannot be told.
            let _ = tokio::time::timeout_at(until, drain).await;
        }
        for mut task in tasks {
            if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
                task.abort();
            }
        }
    }
}

/// Each group answers for its spans from now on; those that cannot be read end here.
fn own(admitted: &Admitted, mut share: Share) {
    for (group, (spans, malformed)) in admitted.groups.iter().zip(&admitted.spans) {
        let mut own = share.split(*spans);
        let unreadable = ItemEnd::Dropped(Reason::MALFORMED, "not sampled: the span or its resource cannot be read");
        own.split(*malformed).end(unreadable);
        group.own(own);
    }
}

/// Room reserved for a request until its shards have it.
struct Reserved<'a> {
    account: &'a ByteAccount,
    bytes: u64,
}

impl Reserved<'_> {
    /// The shards give it back from now on.
    fn keep(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.account.unreserve(self.bytes);
    }
}

impl Consumer for Sampler {
    fn consume(&self, payload: Payload) -> Consumed<'_> {
        Box::pin(self.admit(payload))
    }
}

/// The sampler as what an earlier process left meets it.
struct Recovering(Weak<Sampler>);

impl Consumer for Recovering {
    fn consume(&self, payload: Payload) -> Consumed<'_> {
        Box::pin(async move {
            match self.0.upgrade() {
                Some(sampler) => sampler.consume(payload).await,
                None => Err(ConsumeError::refused(Reason::SHUTDOWN, "shutting down")),
            }
        })
    }
}

impl Remember for Recovering {
    fn remember(&self, body: Bytes) -> Task<'_, ()> {
        Box::pin(async move {
            if let Some(sampler) = self.0.upgrade() {
                sampler.remember(decode(&body)).await;
            }
        })
    }

    fn returning(&self, more: bool) -> Task<'_, ()> {
        Box::pin(async move {
            let Some(sampler) = self.0.upgrade() else { return };
            for queue in &sampler.arrivals {
                // A shard that is gone decides nothing.
                _ = queue.send(Arrival::Returning(more)).await;
            }
        })
    }
}

impl Component for Sampler {
    fn start(&self) -> Task<'_, Result<(), StartError>> {
        self.spawn();
        Box::pin(std::future::ready(Ok(())))
    }

    fn drain(&self, deadline: Instant) -> Task<'_, ()> {
        Box::pin(self.finish(deadline))
    }

    /// Policies, waits, weights, the journal's bytes and what stands at shutdown may change under held traces. Shards, caches,
    /// the strategy and the store's bytes may not.
    fn reconfigure(&self, plan: &dyn Any) -> bool {
        plan.downcast_ref::<SamplingPlan>().is_some_and(|plan| self.adopt(&plan.0))
    }
}

/// Whether a sampler with settings `old` can go on with `new`.
fn can_become(old: &SamplingSettings, new: &SamplingSettings) -> bool {
    let fixed = |settings: &SamplingSettings| {
        let SamplingSettings { shards, kept_remembered, dropped_remembered, max_bytes, asks_for_runs, .. } = *settings;
        (settings.strategy, shards, kept_remembered, dropped_remembered, max_bytes, asks_for_runs)
    };
    fixed(old) == fixed(new)
}

/// The journal of one shard, which claims its memory as it grows.
fn journal(settings: &SamplingSettings, host: &Host) -> Arc<JournalRing> {
    JournalRing::new(settings.journal_bytes(host.budget.hard()), || host.budget.overdraw(0))
}
