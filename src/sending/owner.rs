//! The owner task of a queue: takes what is ready and runs its deliveries, at most `num_consumers` at a time for each signal.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::core::data::payload::Payload;
use crate::core::error::{ConsumeError, Reason};
use crate::core::stage::tasks::Pulse;
use crate::otlp::regroup::portion;
use crate::sending::config::QueueSettings;
use crate::sending::outcome::delivery_guard::DeliveryGuard;
use crate::sending::outcome::tally::Tally;
use crate::sending::queue::{BatchRule, QueueEntry, Sizer, Taken, Waiter};
use crate::sending::report::metrics::InFlight;
use crate::sending::{Lane, Shared};

/// While draining, a next hop that has taken nothing for this long, with no request on the wire that it may still answer, is
/// given up: whoever stops a process waits for it, and a dead next hop would cost the whole deadline for nothing.
const DRAIN_WITHOUT_PROGRESS_MAX: Duration = Duration::from_secs(3);

/// Runs until draining has emptied the queues, or its deadline has.
pub async fn run(shared: Arc<Shared>, settings: Arc<QueueSettings>, pulse: Arc<Pulse>) {
    let mut deliveries = JoinSet::new();
    let mut progress = Quiet::default();
    pulse.waits_for("queued requests, or the next hop's answers");
    loop {
        pulse.beat();
        while deliveries.try_join_next().is_some() {}
        let mut wake_at = Instant::now() + Pulse::INTERVAL;
        for lane in &shared.lanes {
            if let Some(due) = dispatch(&shared, lane, &settings, &mut deliveries) {
                wake_at = wake_at.min(due);
            }
        }
        let gate = shared.delivery.gate();
        if gate.is_closing() && !gate.is_over() {
            let hop = shared.delivery.progress();
            let quiet = progress.since(hop.taken(), Instant::now()) + DRAIN_WITHOUT_PROGRESS_MAX;
            let give_up_at = hop.answer_due().map_or(quiet, |due| due.max(quiet));
            match give_up_at <= Instant::now() {
                true => gate.close_at(Instant::now()),
                false => wake_at = wake_at.min(give_up_at),
            }
        }
        if gate.is_over() {
            shared.drop_what_waits();
        }
        if gate.is_closing() && deliveries.is_empty() && shared.lanes.iter().all(|lane| lane.lock().is_empty()) {
            return;
        }
        tokio::select! {
            () = shared.wake.notified() => {}
            _ = deliveries.join_next(), if !deliveries.is_empty() => {}
            () = sleep_until(wake_at) => {}
            () = gate.over(), if !gate.is_over() => {}
        }
    }
}

/// When the next hop last took something, as seen from the drain.
#[derive(Default)]
struct Quiet {
    last: Option<(u64, Instant)>,
}

impl Quiet {
    /// The time since which the count of requests taken has stood still.
    fn since(&mut self, taken: u64, now: Instant) -> Instant {
        match self.last {
            Some((before, since)) if before == taken => since,
            _ => {
                self.last = Some((taken, now));
                now
            }
        }
    }
}

/// Starts as many deliveries as may run; says when the next batch is due.
fn dispatch(
    shared: &Arc<Shared>,
    lane: &Lane,
    settings: &Arc<QueueSettings>,
    deliveries: &mut JoinSet<()>,
) -> Option<Instant> {
    while lane.busy.load(Ordering::Relaxed) < settings.num_consumers {
        let mut queue = lane.lock();
        let taken = queue.take(Instant::now());
        let used = queue.used();
        drop(queue);
        let entries = match taken {
            Taken::Empty => return None,
            Taken::NotBefore(due) => return Some(due),
            Taken::Batch(entries) => entries,
        };
        shared.account.meters.of(lane.signal).queue_size.set(i64::try_from(used).unwrap_or(i64::MAX));
        shared.room.notify_waiters();
        let bytes = entries.iter().map(QueueEntry::bytes).sum();
        let busy = Busy::new(shared.clone(), lane.signal.index(), bytes);
        let settings = settings.clone();
        deliveries.spawn(async move { deliver(&busy.shared, &settings, entries).await });
    }
    None
}

/// Counts a delivery as running for as long as it lives, also when it panics.
struct Busy {
    shared: Arc<Shared>,
    lane: usize,
    bytes: u64,
    _in_flight: InFlight,
}

impl Busy {
    fn new(shared: Arc<Shared>, lane: usize, bytes: u64) -> Busy {
        shared.lanes[lane].bytes.fetch_add(bytes, Ordering::Relaxed);
        shared.lanes[lane].busy.fetch_add(1, Ordering::Relaxed);
        let _in_flight = InFlight::new(&shared.account.meters.of(shared.lanes[lane].signal).in_flight);
        Busy { shared, lane, bytes, _in_flight }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let lane = &self.shared.lanes[self.lane];
        lane.busy.fetch_sub(1, Ordering::Relaxed);
        lane.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.shared.wake.notify_one();
    }
}

/// Merges the entries, sends them, and tells whoever waits.
async fn deliver(shared: &Shared, settings: &QueueSettings, entries: Vec<QueueEntry>) {
    let entries: Vec<QueueEntry> = entries.into_iter().filter_map(still_wanted).collect();
    let items = entries.iter().map(|entry| entry.payload.items).sum();
    let (payloads, waiters): (Vec<Payload>, Vec<Option<Waiter>>) = entries.into_iter().map(QueueEntry::split).unzip();
    let Some(whole) = portion::join(payloads) else { return };
    let signal = whole.signal;
    let guard = DeliveryGuard::new(shared, signal, items);
    let mut tally = Tally::default();
    for part in cut(whole, settings) {
        shared.account.meters.of(signal).batch_send_size.record(part.items);
        tally.add(shared.delivery.deliver(part).await);
    }
    let again = tally.again.clone();
    let failed = tally.error.clone().filter(|_| !tally.answered && settings.wait_for_result);
    // The items have their end, or are the senders' again, before anybody is told.
    match failed {
        Some(_) => guard.give_back(tally),
        None => guard.settle(tally),
    }
    let answer = failed.or(again).map_or(Ok(()), Err);
    waiters.into_iter().flatten().for_each(|waiter| drop(waiter.send(answer.clone())));
}

/// An entry whose sender still waits, or has its answer already.
fn still_wanted(entry: QueueEntry) -> Option<QueueEntry> {
    if entry.waiter.is_none() || !entry.payload.share.is_abandoned() {
        return Some(entry);
    }
    let (payload, waiter) = entry.split();
    drop(payload);
    if let Some(waiter) = waiter {
        let message = "the sender no longer waits for the answer";
        drop(waiter.send(Err(ConsumeError::refused(Reason::ABANDONED, message))));
    }
    None
}

fn cut(whole: Payload, settings: &QueueSettings) -> portion::Cut {
    let (max, size): (u64, portion::Size) = match &settings.batch {
        Some(BatchRule { max_size, sizer: Sizer::Items, .. }) if whole.items > *max_size => {
            (*max_size, portion::items_of)
        }
        Some(BatchRule { max_size, sizer: Sizer::Bytes, .. }) if Sizer::Bytes.of(&whole) > *max_size => {
            (*max_size, portion::bytes_of)
        }
        _ => (0, portion::items_of),
    };
    portion::cut(whole, max, size)
}

impl Shared {
    /// Ends everything that waits: the deadline came first, or nobody will ever take it.
    pub(super) fn drop_what_waits(&self) {
        for lane in &self.lanes {
            let entries = lane.lock().take_all();
            if entries.is_empty() {
                continue;
            }
            self.account.meters.of(lane.signal).queue_size.set(0);
            for QueueEntry { payload, waiter, .. } in entries {
                let payload = match &waiter {
                    None => self.heir.keep(payload),
                    Some(_) => Some(payload),
                };
                let Some(payload) = payload else { continue };
                let guard = DeliveryGuard::new(self, lane.signal, payload.items);
                match waiter {
                    Some(waiter) => {
                        drop(payload);
                        guard.give_back(Tally::default());
                        let message = "the exporter stopped before it was sent";
                        drop(waiter.send(Err(ConsumeError::refused(Reason::SHUTDOWN, message))));
                    }
                    None => guard.settle(self.delivery.end(payload)),
                }
            }
        }
    }
}
