//! Delivery of kept traces: a verdict is final when it is made, delivery is a state of its own.
//!
//! Owns the task that hands parcels to the next stage: refusals are retried within bounds, what still waits for its
//! instance attributes is asked again for a while, and every loss is counted by cause. While the next stage refuses,
//! parcels stay here, the shard stops deciding, its account fills, and senders are refused.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::core::data::budget::Ticket;
use crate::core::data::payload::Payload;
use crate::core::data::settlement::{ItemEnd, Share};
use crate::core::error::{ConsumeError, Reason};
use crate::core::stage::consumer::Next;
use crate::core::stage::tasks::Pulse;
use crate::core::time::UnixNanos;
use crate::processors::tail_sampling::held::account::Delivering;
use crate::processors::tail_sampling::held::admission::HeldGroup;
use crate::processors::tail_sampling::release::gather::Parcel;
use crate::processors::tail_sampling::report::metrics::Metrics;

/// Parcels in the hands of the next stage at a time.
const IN_FLIGHT_MAX: usize = 8;
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// From the first refusal to giving up, as long as the exporters' own retries last by default.
const RETRY_FOR: Duration = Duration::from_secs(300);
/// How long instance attributes are waited for (a status, and then the answer to a read that proves it), how often they
/// are asked for, and for how many parcels at a time.
pub const BIND_FOR: Duration = Duration::from_millis(4_250);
const BIND_EVERY: Duration = Duration::from_millis(250);
const UNBOUND_MAX: usize = 256;

/// A parcel with the bytes that it holds: of the process-wide budget, and of the sampler's own maximum.
pub struct Shipment {
    pub parcel: Parcel,
    pub ticket: Ticket,
    pub delivering: Delivering,
}

impl Shipment {
    /// Asks for instance attributes; what is still pending is split off.
    fn bind(&mut self, last_chance: bool) -> Option<Shipment> {
        let pending = self.parcel.bind(last_chance);
        // Decided so that memory comes free: what that takes may be beyond the limit.
        self.ticket.grow_anyway(std::mem::take(&mut self.parcel.made));
        let parcel = pending?;
        let (ticket, delivering) = (self.ticket.split(parcel.bytes), self.delivering.split(parcel.bytes));
        Some(Shipment { parcel, ticket, delivering })
    }

    /// What is sent; nothing when all of it was split off.
    fn ready(self) -> Option<Ready> {
        let Shipment { parcel, ticket, delivering } = self;
        if parcel.spans() == 0 {
            return None;
        }
        let groups = parcel.held();
        Some(Ready { payload: parcel.into_payload(ticket, UnixNanos::now()), _delivering: delivering, _groups: groups })
    }
}

/// A payload on its way, with what stays charged to the sampler until the next stage has taken it.
struct Ready {
    payload: Payload,
    _delivering: Delivering,
    /// Their resources and scopes are part of the payload.
    _groups: Vec<Arc<HeldGroup>>,
}

struct Unbound {
    shipment: Shipment,
    until: Instant,
}

/// What the delivery task works with.
pub struct TraceDelivery {
    pub next: Next,
    pub metrics: Arc<Metrics>,
    /// The drain's deadline, once there is one.
    pub deadline: watch::Receiver<Option<Instant>>,
}

impl TraceDelivery {
    /// Runs until the shard hangs up and everything is delivered or counted as lost.
    pub async fn run(self, mut shipments: mpsc::Receiver<Shipment>, pulse: Arc<Pulse>) {
        let mut in_flight = FuturesUnordered::new();
        let mut unbound: Vec<Unbound> = Vec::new();
        let mut open = true;
        pulse.waits_for("decided traces, and the next stage's answers");
        while open || !in_flight.is_empty() || !unbound.is_empty() {
            pulse.beat();
            for ready in TraceDelivery::bind_again(&mut unbound, open) {
                in_flight.push(self.deliver(ready));
            }
            let pause = if unbound.is_empty() { Pulse::INTERVAL } else { BIND_EVERY };
            tokio::select! {
                shipment = shipments.recv(), if open && in_flight.len() < IN_FLIGHT_MAX => match shipment {
                    Some(shipment) => in_flight.extend(TraceDelivery::bind(shipment, &mut unbound).map(|ready| self.deliver(ready))),
                    None => open = false,
                },
                Some(()) = in_flight.next(), if !in_flight.is_empty() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Asks for instance attributes; what is still pending is put aside. Returns what is ready.
    fn bind(mut shipment: Shipment, unbound: &mut Vec<Unbound>) -> Option<Ready> {
        let pending = shipment.bind(false);
        unbound.extend(pending.map(|shipment| Unbound { shipment, until: Instant::now() + BIND_FOR }));
        shipment.ready()
    }

    /// Asks again; what waited long enough, or one too many, goes as it is.
    fn bind_again(unbound: &mut Vec<Unbound>, open: bool) -> Vec<Ready> {
        let instant = Instant::now();
        let mut ready = Vec::new();
        let waiting = std::mem::take(unbound);
        let surplus = waiting.len().saturating_sub(UNBOUND_MAX);
        for (at, Unbound { mut shipment, until }) in waiting.into_iter().enumerate() {
            let last_chance = until <= instant || at < surplus || !open;
            let pending = shipment.bind(last_chance);
            ready.extend(shipment.ready());
            match pending {
                Some(pending) if last_chance => ready.extend(pending.ready()),
                Some(shipment) => unbound.push(Unbound { shipment, until }),
                None => {}
            }
        }
        ready
    }

    async fn deliver(&self, ready: Ready) {
        let Ready { mut payload, _delivering, _groups } = ready;
        let mut share = std::mem::take(&mut payload.share);
        let give_up = Instant::now() + RETRY_FOR;
        let mut deadline = self.deadline.clone();
        let mut backoff = BACKOFF_FIRST;
        loop {
            // Lent, because what is refused is tried again.
            let (loan, mut lent) = share.lend(1);
            let attempt = Payload { share: lent.pop().unwrap_or_default(), ..payload.copy() };
            let answer = tokio::select! {
                answer = self.next.consume(attempt) => answer,
                () = passed(&mut deadline) => {
                    let share = loan.take_back(0, Reason::SHUTDOWN);
                    return self.lose(payload.items, share, Reason::SHUTDOWN, DEADLINE);
                }
            };
            let Err(error) = answer else { return loan.accept() };
            share = loan.take_back(0, error.reason());
            let after = match error {
                ConsumeError::Rejected { reason, message } => return self.lose(payload.items, share, reason, &message),
                ConsumeError::Refused { after, .. } => after.unwrap_or_default().clamp(backoff, RETRY_FOR),
            };
            self.metrics.delivery_refused.add(1);
            // What stands on disk is not given up.
            if Instant::now() + after > give_up && !share.is_logged() {
                return self.lose(payload.items, share, Reason::RETRIES_EXHAUSTED, "refused for five minutes");
            }
            tokio::select! {
                () = tokio::time::sleep(after) => {}
                () = passed(&mut deadline) => return self.lose(payload.items, share, Reason::SHUTDOWN, DEADLINE),
            }
            backoff = (backoff * 2).min(BACKOFF_MAX);
        }
    }

    fn lose(&self, items: u64, share: Share, reason: Reason, words: &str) {
        let end = ItemEnd::Dropped(reason, words);
        self.metrics.delivery_lost.add(items.saturating_sub(share.staying(end)));
        share.end(end);
    }
}

const DEADLINE: &str = "the drain's deadline passed first";

/// Completes when there is a deadline and it has passed.
async fn passed(deadline: &mut watch::Receiver<Option<Instant>>) {
    let Ok(at) = deadline.wait_for(Option::is_some).await.map(|at| *at) else {
        return std::future::pending().await;
    };
    tokio::time::sleep_until(at.unwrap_or_else(Instant::now)).await;
}
