//! The sending half of every exporter: queue, batching, consumers, retries, timeout, and the account of what became of items.
//!
//! An exporter brings a [`RequestTransport`] that sends one request once; everything around it is here, so that exporters differ in
//! their protocol only. With a queue the sender hears success when the payload is queued in memory, or on disk where the
//! queue has a `storage`; without one (or with `wait_for_result`) it hears the next hop's answer. Must not know any protocol.
//!
//! ```yaml
//! sending_queue: {enabled: true, num_consumers: 10, queue_size: 1000, sizer: requests}
//! retry_on_failure: {enabled: true, initial_interval: 5s, max_interval: 30s, max_elapsed_time: 300s}
//! timeout: 5s
//! ```

pub mod backoff;
pub mod client;
pub mod config;
pub mod deliver;
pub mod gate;
pub mod isolation;
pub mod logged;
pub mod outcome;
mod owner;
pub mod pace;
pub mod progress;
pub mod queue;
pub mod report;
pub mod send_memory;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::core::data::payload::{Payload, Signal};
use crate::core::error::{ConsumeError, Reason, StartError};
use crate::core::lock::Locked;
use crate::core::stage::component::{Component, ComponentId, Task};
use crate::core::stage::consumer::{Consumed, Consumer, Next};
use crate::core::stage::durable::DurableLog;
use crate::core::stage::factory::BuildContext;
use crate::core::stage::host::Host;
use crate::sending::config::{QueueSettings, SendingSettings};
use crate::sending::deliver::{AttemptSettings, Deliver, ExporterDelivery, RequestTransport};
use crate::sending::logged::room::RoomFor;
use crate::sending::outcome::account::ExporterAccount;
use crate::sending::outcome::delivery_guard::DeliveryGuard;
use crate::sending::outcome::heir::Heir;
use crate::sending::pace::lanes::Paces;
use crate::sending::queue::{Full, Queue, Waiter};
use crate::sending::report::log::HopLog;
use crate::sending::report::metrics::{ExporterMetrics, InFlight};

/// With `block_on_overflow` a sender waits this long for room; most give up on us after ten seconds.
const BLOCK_MAX: Duration = Duration::from_secs(10);
/// What callers wait for ends within this of a drain's beginning, so that it is accounted for although they may be gone.
const UNQUEUED_GRACE: Duration = Duration::from_secs(3);
/// After the drain deadline deliveries only have to notice it.
const DRAIN_GRACE: Duration = Duration::from_secs(1);

/// An exporter around a transport.
pub struct Sending {
    shared: Arc<Shared>,
    // Taken by drain; locked at start and drain only.
    owner: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    delivery: Box<dyn Deliver>,
    queue: Option<Arc<QueueSettings>>,
    /// Where what is queued stands on disk as well.
    log: Option<Arc<dyn DurableLog>>,
    /// Where what is left goes after a reload.
    heir: Arc<Heir>,
    lanes: [Lane; 4],
    account: Arc<ExporterAccount>,
    host: Arc<Host>,
    /// Wakes the owner task: something was pushed or draining began.
    wake: Notify,
    /// Wakes senders that wait for room.
    room: Notify,
    /// Whose callers wait. The gauge of what is on the wire is shared with a successor after a reload.
    calls: AtomicUsize,
    /// Wakes the drain: a call whose caller waited has ended.
    call_ended: Notify,
}

/// A call whose caller waits; ended also when the caller stops waiting and drops it.
struct Call<'s> {
    shared: &'s Shared,
    in_flight: Option<InFlight>,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.in_flight = None;
        self.shared.calls.fetch_sub(1, Ordering::Relaxed);
        self.shared.call_ended.notify_waiters();
    }
}

/// One signal's queue and the deliveries under way: a stuck signal does not hold up the others.
struct Lane {
    signal: Signal,
    // Locked to push and take, never across an await.
    queue: Mutex<Queue>,
    busy: AtomicUsize,
    /// Memory that payloads under way held when they were queued.
    bytes: AtomicU64,
}

impl Lane {
    fn on_the_way(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.locked()
    }
}

impl Sending {
    /// Builds without I/O.
    pub fn new(cx: BuildContext, settings: SendingSettings, transport: Box<dyn RequestTransport>) -> Sending {
        let log = HopLog::new(cx.path, "next hop", &cx.host.status);
        let attempts = AttemptSettings {
            transport,
            retry: settings.retry,
            timeout: settings.timeout,
            request_bytes_max: settings.request_bytes_max,
            paces: Paces::new(
                settings
                    .queue
                    .as_ref()
                    .map(|queue| queue.num_consumers)
                    .zip(settings.retry.map(|retry| retry.max_interval)),
                settings.timeout,
                &cx.host.stats,
                &cx.id.to_string(),
            ),
            off_spec_retries: report::metrics::off_spec_retries(&cx.host.stats, &cx.id.to_string()),
            sender_waits: settings.queue.is_none(),
            stored: settings.queue.as_ref().is_some_and(|queue| !queue.wait_for_result),
        };
        let delivery = ExporterDelivery::new(attempts, log, cx.host.budget.clone());
        Sending::over(&cx.id, cx.host, settings.queue, Box::new(delivery))
    }

    /// A queue in front of an exporter's own way to deliver. Builds without I/O.
    pub fn over(
        id: &ComponentId,
        host: Arc<Host>,
        queue: Option<QueueSettings>,
        delivery: Box<dyn Deliver>,
    ) -> Sending {
        let capacity = queue.as_ref().map(|queue| queue.queue_size);
        let meters = ExporterMetrics::new(host.stats.clone(), &id.to_string(), capacity);
        let account = Arc::new(ExporterAccount::new(meters));
        let lanes = Signal::ALL.map(|signal| {
            let queue = queue.as_ref().map_or_else(
                || Queue::new(0, queue::Sizer::Requests, None),
                |queue| Queue::new(queue.queue_size, queue.sizer, queue.batch.clone()),
            );
            Lane { signal, queue: Mutex::new(queue), busy: AtomicUsize::new(0), bytes: AtomicU64::new(0) }
        });
        let storage = queue.as_ref().and_then(|queue| queue.storage.as_deref());
        let log = storage.and_then(|storage| host.logs.used_by(delivery.path(), storage));
        let shared = Shared {
            heir: delivery.heir().unwrap_or_default(),
            delivery,
            queue: queue.map(Arc::new),
            log,
            lanes,
            account,
            host,
            wake: Notify::new(),
            room: Notify::new(),
            calls: AtomicUsize::new(0),
            call_ended: Notify::new(),
        };
        Sending { shared: Arc::new(shared), owner: Mutex::default() }
    }

    /// Memory of what waits and of what is on its way, of one signal.
    pub fn held(&self, signal: Signal) -> u64 {
        let lane = self.shared.lane(signal);
        lane.lock().bytes() + lane.on_the_way()
    }

    /// Whether its queue has places for the payload, as the one asks who would put it there.
    pub fn has_places(&self, payload: &Payload, whose: RoomFor) -> bool {
        let queue = self.shared.lane(payload.signal).lock();
        queue.has_room_for(payload, whose.part_of(queue.capacity()))
    }

    fn owner(&self) -> MutexGuard<'_, Option<JoinHandle<()>>> {
        self.owner.locked()
    }
}

impl Shared {
    fn lane(&self, signal: Signal) -> &Lane {
        &self.lanes[signal.index()]
    }

    /// Sends while the caller waits; what failed as a whole goes back to the caller uncounted.
    async fn send_now(&self, payload: Payload) -> Result<(), ConsumeError> {
        let (signal, items) = (payload.signal, payload.items);
        let meters = self.account.meters.of(signal);
        self.calls.fetch_add(1, Ordering::Relaxed);
        let call = Call { shared: self, in_flight: Some(InFlight::new(&meters.in_flight)) };
        let guard = DeliveryGuard::new(self, signal, items);
        let mut tally = self.delivery.deliver(payload).await;
        if !tally.answered
            && let Some(error) = tally.error.take()
        {
            guard.give_back(tally);
            return Err(error);
        }
        let again = tally.again.clone();
        guard.settle(tally);
        drop(call);
        again.map_or(Ok(()), Err)
    }

    async fn enqueue(&self, payload: Payload, settings: &QueueSettings) -> Result<(), ConsumeError> {
        let (signal, items) = (payload.signal, payload.items);
        let (waiter, result) = settings.wait_for_result.then(oneshot::channel).unzip();
        let pushed = if settings.block_on_overflow {
            self.push_when_room(payload, waiter).await
        } else {
            self.push(payload, waiter).map_err(|_| ())
        };
        if pushed.is_err() {
            self.account.meters.of(signal).enqueue_failed.add(items);
            let message =
                if self.delivery.gate().is_closing() { "the exporter is stopping" } else { "sending queue is full" };
            return Err(ConsumeError::refused(Reason::QUEUE_FULL, message));
        }
        match result {
            None => Ok(()),
            // The sender is dropped only by a delivery that died; its items came back here.
            Some(result) => result.await.unwrap_or_else(|_| Err(died())),
        }
    }

    fn push(&self, payload: Payload, waiter: Option<Waiter>) -> Result<(), Full> {
        let lane = self.lane(payload.signal);
        let meters = self.account.meters.of(payload.signal);
        let mut queue = lane.lock();
        queue.push(payload, waiter, Instant::now())?;
        meters.queue_size.set(i64::try_from(queue.used()).unwrap_or(i64::MAX));
        drop(queue);
        self.wake.notify_one();
        Ok(())
    }

    async fn push_when_room(&self, payload: Payload, waiter: Option<Waiter>) -> Result<(), ()> {
        let give_up_at = Instant::now() + BLOCK_MAX;
        let mut held = (payload, waiter);
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // Registered before the attempt, so that room made in between is not missed.
            room.as_mut().enable();
            held = match self.push(held.0, held.1) {
                Ok(()) => return Ok(()),
                Err(Full(back)) => *back,
            };
            if self.delivery.gate().is_closing() || tokio::time::timeout_at(give_up_at, room).await.is_err() {
                return Err(());
            }
        }
    }
}

impl Shared {
    /// Waits for the calls whose callers wait, at most until `until`.
    async fn unqueued_end(&self, until: Instant) {
        loop {
            let ended = self.call_ended.notified();
            tokio::pin!(ended);
            // Registered before the look, so that an end in between is not missed.
            ended.as_mut().enable();
            let idle = self.calls.load(Ordering::Relaxed) == 0;
            if idle || tokio::time::timeout_at(until, ended).await.is_err() {
                return;
            }
        }
    }
}

fn died() -> ConsumeError {
    ConsumeError::refused(Reason::INTERNAL, "the delivery ended in an internal error")
}

impl Consumer for Sending {
    fn consume(&self, payload: Payload) -> Consumed<'_> {
        Box::pin(async move {
            match &self.shared.queue {
                Some(settings) => match self.shared.log.as_ref().filter(|_| logged::is_kept(&payload)) {
                    Some(log) => self.shared.keep(payload, settings, &**log).await,
                    None => self.shared.enqueue(payload, settings).await,
                },
                None if self.shared.delivery.gate().is_closing() => {
                    Err(ConsumeError::refused(Reason::SHUTDOWN, "the exporter is stopping"))
                }
                None => self.shared.send_now(payload).await,
            }
        })
    }
}

impl Component for Sending {
    fn start(&self) -> Task<'_, Result<(), StartError>> {
        Box::pin(async move {
            let shared = self.shared.clone();
            shared.delivery.start(&shared.host, shared.account.clone()).await?;
            if let Some(settings) = shared.queue.clone() {
                let tasks = shared.host.tasks.clone();
                let name = shared.delivery.path().to_owned();
                logged::recovering::register(&shared);
                *self.owner() = Some(tasks.spawn(&name, move |pulse| owner::run(shared, settings, pulse)));
            }
            Ok(())
        })
    }

    fn succeeded_by(&self, successor: &Next) {
        self.shared.heir.name(successor.clone());
    }

    fn drain(&self, deadline: Instant) -> Task<'_, ()> {
        Box::pin(async move {
            let shared = &self.shared;
            // A queue's owner gives up a dead next hop by itself.
            let deadline =
                if shared.queue.is_some() { deadline } else { deadline.min(Instant::now() + UNQUEUED_GRACE) };
            shared.delivery.gate().close_at(deadline);
            shared.lanes.iter().for_each(|lane| lane.lock().end());
            shared.wake.notify_one();
            shared.room.notify_waiters();
            let owner = self.owner().take();
            if let Some(mut owner) = owner
                && tokio::time::timeout_at(deadline + DRAIN_GRACE, &mut owner).await.is_err()
            {
                // Its deliveries are dropped with it, and their items are lost with them.
                shared.host.balance.close();
                owner.abort();
                let _ = owner.await;
            }
            shared.drop_what_waits();
            shared.unqueued_end(deadline + DRAIN_GRACE).await;
            let items = shared.heir.pass_on(deadline.max(Instant::now() + DRAIN_GRACE)).await;
            if items > 0 {
                tracing::info!(
                    exporter = shared.delivery.path(),
                    items,
                    "what its next hop did not take went to its successor"
                );
            }
            shared.delivery.drain(deadline).await;
            shared.account.say_losses(shared.delivery.path(), shared.delivery.destination());
        })
    }
}

#[cfg(test)]
mod tests;
