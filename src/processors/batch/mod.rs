//! `batch`: merges small payloads into larger ones, and answers every sender with its batch's outcome.
//!
//! The Collector's processor says success before anything is sent; here responsibility stays with the sender until the
//! stages behind took the batch, so a failed batch is refused instead of lost. Merging is concatenation of envelopes;
//! items are not looked into. Profiles pass through: a dictionary ties each request together.
//!
//! ```yaml
//! batch:
//!   timeout: 200ms
//!   send_batch_size: 8192
//!   send_batch_max_size: 0
//! ```

mod pending;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::config::check::Section;
use crate::config::metadata::metadata_keys;
use crate::core::data::payload::{Payload, Signal};
use crate::core::data::settlement::ItemEnd;
use crate::core::error::{ConsumeError, Reason, StartError};
use crate::core::lock::Locked;
use crate::core::node::Node;
use crate::core::report::stats::{Counter, Flow, Histogram};
use crate::core::stage::component::{Component, Task};
use crate::core::stage::consumer::{Consumed, Consumer, Next};
use crate::core::stage::factory::{About, CheckContext, ProcessorFactory, ProcessorPlan, Stage, StageContext};
use crate::core::stage::tasks::{Pulse, Tasks};
use crate::otlp::regroup::portion;
use crate::processors::batch::pending::{BatchLimits, PendingBatch, PendingEntry, TooManyParts, Trigger};

pub const FACTORY: ProcessorFactory = ProcessorFactory {
    about: About {
        name: "batch",
        aliases: &[],
        signals: &Signal::ALL,
        summary: "merges small requests; answers each sender with its batch's outcome",
        example: "timeout: 200ms\nsend_batch_size: 8192\n",
    },
    check,
};

/// Batches on their way at a time; more wait, their senders with them.
const BATCHES_IN_FLIGHT_MAX: usize = 16;

/// Combinations of metadata that wait at a time, as in the Collector.
const PARTS_MAX: usize = 1_000;
const PARTS_LIMIT: usize = 10_000;

const SIZE_BOUNDS: &[u64] = &[
    10, 25, 50, 75, 100, 250, 500, 750, 1_000, 2_000, 3_000, 4_000, 5_000, 6_000, 7_000, 8_000, 9_000, 10_000, 20_000,
    30_000, 50_000, 100_000,
];

fn check(cx: &CheckContext<'_>, node: &Node) -> Option<Box<dyn ProcessorPlan>> {
    let keys = Section::new(node, cx.path.clone(), &cx.checks.diagnostics);
    let apart_by = metadata_keys(&keys);
    let parts_max = usize::try_from(keys.u64("metadata_cardinality_limit").unwrap_or(0)).unwrap_or(usize::MAX);
    let parts_max = if parts_max == 0 { PARTS_MAX } else { parts_max };
    if parts_max > PARTS_LIMIT {
        let message = format!("{parts_max} combinations");
        keys.invalid::<()>("metadata_cardinality_limit", message, "a number up to 10000");
    }
    let rule = BatchLimits {
        timeout: keys.duration("timeout").unwrap_or(Duration::from_millis(200)),
        send_batch_size: keys.u64("send_batch_size").unwrap_or(8192),
        send_batch_max_size: keys.u64("send_batch_max_size").unwrap_or(0),
    };
    if rule.send_batch_max_size > 0 && rule.send_batch_max_size < rule.send_batch_size {
        let message = format!("{} is below send_batch_size {}", rule.send_batch_max_size, rule.send_batch_size);
        keys.invalid::<()>("send_batch_max_size", message, "0 or at least send_batch_size");
    }
    keys.finish();
    Some(Box::new(Plan { rule, apart_by: apart_by.into(), parts_max }))
}

struct Plan {
    rule: BatchLimits,
    /// Headers whose values keep requests apart.
    apart_by: Arc<[String]>,
    parts_max: usize,
}

impl ProcessorPlan for Plan {
    fn forgets_senders(&self) -> bool {
        true
    }

    fn keeps_headers(&self) -> &[String] {
        &self.apart_by
    }

    fn build(&self, cx: StageContext, next: Next) -> Stage {
        let host = &cx.build.host;
        let id = cx.build.id.to_string();
        let labels = [("processor", id.as_str())];
        let sends = |cause: &str, help| {
            host.stats.counter(&format!("otelcol_processor_batch_{cause}_trigger_send"), help, &labels)
        };
        let shared = Arc::new(Shared {
            rule: self.rule,
            apart_by: self.apart_by.clone(),
            parts_max: self.parts_max,
            next,
            pending: Mutex::default(),
            wake: Notify::new(),
            flow: Flow::of(&host.stats, &id, cx.signal),
            sent_by_size: sends("batch_size", "Batches sent because they were large enough."),
            sent_by_timeout: sends("timeout", "Batches sent because they were old enough."),
            sizes: host.stats.histogram(
                "otelcol_processor_batch_batch_send_size",
                "Items in a batch.",
                &labels,
                SIZE_BOUNDS,
            ),
        });
        let name = format!("{} in {}", cx.build.path, cx.pipeline);
        let batch = Arc::new(Batch { shared, name, tasks: host.tasks.clone(), owner: Mutex::default() });
        Stage::Consumer { consumer: batch.clone(), component: Some(batch) }
    }

    fn touches_resources(&self) -> bool {
        false
    }

    fn longest_wait(&self) -> Duration {
        self.rule.timeout
    }
}

struct Batch {
    shared: Arc<Shared>,
    name: String,
    tasks: Arc<Tasks>,
    // Taken by drain; locked at start and drain only.
    owner: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    rule: BatchLimits,
    apart_by: Arc<[String]>,
    parts_max: usize,
    next: Next,
    // Locked to push and take, never across an await. Bounded by the byte budget: each entry's sender waits with its ticket.
    pending: Mutex<PendingBatch>,
    wake: Notify,
    flow: Flow,
    sent_by_size: Arc<Counter>,
    sent_by_timeout: Arc<Counter>,
    sizes: Arc<Histogram>,
}

impl Shared {
    fn pending(&self) -> MutexGuard<'_, PendingBatch> {
        self.pending.locked()
    }

    async fn consume(&self, payload: Payload) -> Result<(), ConsumeError> {
        self.flow.incoming.add(payload.items);
        if payload.signal == Signal::Profiles {
            self.flow.outgoing.add(payload.items);
            return self.next.consume(payload).await;
        }
        let (waiter, outcome) = oneshot::channel();
        {
            let mut pending = self.pending();
            if pending.is_ending() {
                return Err(ConsumeError::refused(Reason::SHUTDOWN, "the batch processor is stopping"));
            }
            let part = payload.origin.part(self.apart_by.iter().map(String::as_str));
            if let Err(TooManyParts) = pending.push(part, self.parts_max, (payload, waiter), Instant::now()) {
                let message = "more combinations of metadata_keys wait than metadata_cardinality_limit allows";
                return Err(ConsumeError::refused(Reason::QUEUE_FULL, message));
            }
        }
        self.wake.notify_one();
        let died = || ConsumeError::refused(Reason::INTERNAL, "the batch was not sent");
        outcome.await.unwrap_or_else(|_| Err(died()))
    }

    /// Sends one batch and tells its senders.
    async fn send(&self, entries: Vec<PendingEntry>, trigger: Trigger) {
        match trigger {
            Trigger::Size => self.sent_by_size.add(1),
            Trigger::Timeout => self.sent_by_timeout.add(1),
        }
        let mut senders = Vec::new();
        let mut payloads = Vec::new();
        for PendingEntry { payload, waiter, .. } in entries {
            if payload.share.is_abandoned() {
                drop(payload);
                let message = "the sender no longer waits for the answer";
                drop(waiter.send(Err(ConsumeError::refused(Reason::ABANDONED, message))));
                continue;
            }
            senders.push(waiter);
            payloads.push(payload);
        }
        let Some(whole) = portion::join(payloads) else { return };
        let outcome = self.hand_on(whole).await;
        senders.into_iter().for_each(|waiter| drop(waiter.send(outcome.clone())));
    }

    /// Sends a batch, in parts when it is one payload beyond the maximum.
    async fn hand_on(&self, whole: Payload) -> Result<(), ConsumeError> {
        let max = self.rule.send_batch_max_size;
        if max == 0 || whole.items <= max {
            return self.pass(whole).await;
        }
        let (mut any_taken, mut failed, mut error) = (false, Vec::new(), None);
        for mut part in portion::cut(whole, max, portion::items_of) {
            let (loan, mut shares) = std::mem::take(&mut part.share).lend(1);
            part.share = shares.pop().unwrap_or_default();
            match self.pass(part).await {
                Ok(()) => {
                    any_taken = true;
                    loan.accept();
                }
                Err(why) => {
                    failed.push((why.clone(), loan.take_back(0, why.reason())));
                    error = Some(why);
                }
            }
        }
        match error {
            None => Ok(()),
            // The shares go back to the senders, who hear of it.
            Some(error) if !any_taken => Err(error),
            Some(error) => {
                tracing::debug!(%error, "the next stage did not accept part of a batch");
                for (why, share) in failed {
                    share.end(ItemEnd::Dropped(
                        why.reason(),
                        &format!("the next stage did not accept part of the batch: {why}"),
                    ));
                }
                Ok(())
            }
        }
    }

    async fn pass(&self, payload: Payload) -> Result<(), ConsumeError> {
        self.sizes.record(payload.items);
        self.flow.outgoing.add(payload.items);
        self.next.consume(payload).await
    }
}

impl Consumer for Batch {
    fn consume(&self, payload: Payload) -> Consumed<'_> {
        Box::pin(self.shared.consume(payload))
    }
}

impl Component for Batch {
    fn start(&self) -> Task<'_, Result<(), StartError>> {
        Box::pin(async move {
            let shared = self.shared.clone();
            let owner = self.tasks.spawn(&self.name, move |pulse| run(shared, pulse));
            *self.owner.locked() = Some(owner);
            Ok(())
        })
    }

    fn drain(&self, deadline: Instant) -> Task<'_, ()> {
        Box::pin(async move {
            self.shared.pending().end();
            self.shared.wake.notify_one();
            let owner = self.owner.locked().take();
            let Some(mut owner) = owner else { return };
            if timeout_at(deadline, &mut owner).await.is_err() {
                // Its senders are told that their batch was not sent.
                owner.abort();
                let _ = owner.await;
            }
        })
    }
}

/// The owner task: sends what is ready until drained.
async fn run(shared: Arc<Shared>, pulse: Arc<Pulse>) {
    let mut batches = JoinSet::new();
    pulse.waits_for("requests, a batch's time, or the next stage's answers");
    loop {
        pulse.beat();
        while batches.try_join_next().is_some() {}
        let now = Instant::now();
        let mut wake_at = now + Pulse::INTERVAL;
        let ended = loop {
            let mut pending = shared.pending();
            if batches.len() >= BATCHES_IN_FLIGHT_MAX {
                break false;
            }
            let Some((entries, trigger)) = pending.take(shared.rule, now) else {
                wake_at = pending.due(shared.rule).map_or(wake_at, |due| wake_at.min(due));
                break pending.is_ended();
            };
            drop(pending);
            let shared = shared.clone();
            batches.spawn(async move { shared.send(entries, trigger).await });
        };
        if ended && batches.is_empty() {
            return;
        }
        tokio::select! {
            () = shared.wake.notified() => {}
            _ = batches.join_next(), if !batches.is_empty() => {}
            () = sleep_until(wake_at) => {}
        }
    }
}

#[cfg(test)]
mod tests;
