//! A balancer with a log on disk: a request is logged before its sender hears success, and divided anew after a restart,
//! among the members of then.
//!
//! The balancer logs what it has not divided yet, because a log gives back what it holds to whom logged it and a member may
//! be gone by then. What a member has no room for is parked by itself: an outage of one member takes disk and keeps no
//! other member waiting. Nobody waits for room here.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::core::data::payload::Payload;
use crate::core::data::settlement::ItemEnd;
use crate::core::error::{ConsumeError, Reason, StartError};
use crate::core::stage::component::{Component, Task};
use crate::core::stage::consumer::{Consumed, Consumer, Next};
use crate::core::stage::durable::{DurableLog, LogEntry, Taker};
use crate::core::stage::host::Host;
use crate::exporters::otlp::load_balancing::balancer::{Giving, LoadBalancer, PartsLeft, stopping};
use crate::sending::logged::is_kept;
use crate::sending::logged::room::RoomFor;

/// Payloads from disk that may be without an end at a time.
const RECOVERED_AT_ONCE: usize = 64;
/// What came back and finds no room for so long goes to the end of the log, so that it is not in the way of what other
/// members could take.
const TURN: Duration = Duration::from_secs(5);
const AGAIN_AFTER: Duration = Duration::from_millis(50);

pub struct LoggedBalancer {
    balancer: Arc<LoadBalancer>,
    host: Arc<Host>,
    /// Its id, as the configuration names it.
    storage: String,
    log: Arc<dyn DurableLog>,
    this: Weak<LoggedBalancer>,
}

impl LoggedBalancer {
    /// Builds without I/O.
    pub fn new(
        balancer: Arc<LoadBalancer>,
        host: Arc<Host>,
        storage: String,
        log: Arc<dyn DurableLog>,
    ) -> Arc<LoggedBalancer> {
        Arc::new_cyclic(|this: &Weak<LoggedBalancer>| {
            balancer.kept_by(this.clone());
            LoggedBalancer { balancer, host, storage, log, this: this.clone() }
        })
    }

    /// Ok means on disk.
    async fn keep(&self, mut payload: Payload) -> Result<(), ConsumeError> {
        if self.balancer.is_closing() {
            return Err(stopping());
        }
        let members = self.balancer.members();
        if !(0..members.each.len()).any(|at| self.balancer.has_room(&members, at, &payload, RoomFor::Live)) {
            return self.park(payload).await;
        }
        if payload.share.is_logged() {
            // What stands in a log already needs no second record.
            return self.hand_on(payload).await;
        }
        let record = self.log.append(self.entry(&payload)).await?;
        // A share may answer for fewer items than there are, and then nobody knows for which.
        let placed = payload.share.items() == payload.items;
        let (loan, share) = std::mem::take(&mut payload.share).log(record, placed);
        payload.share = share;
        match self.hand_on(payload).await {
            Ok(()) => {
                loan.accept();
                Ok(())
            }
            Err(error) => {
                drop(loan.take_back(0, error.reason()));
                Err(error)
            }
        }
    }

    /// Divides what stands on disk. What finds no room is parked.
    async fn hand_on(&self, payload: Payload) -> Result<(), ConsumeError> {
        match self.balancer.divide(payload, Giving::Logged(RoomFor::Live)).await {
            Ok(()) => Ok(()),
            Err(PartsLeft { rest: Some(rest), .. }) if self.balancer.is_closing() => {
                // On disk, and taken up by the next start.
                rest.share.end(ItemEnd::Dropped(Reason::SHUTDOWN, "the exporter is stopping"));
                Ok(())
            }
            Err(PartsLeft { error, rest: Some(rest) }) if error.is_retryable() => self.park(*rest).await,
            Err(PartsLeft { error, .. }) => Err(error),
        }
    }

    /// Hands the payload to the log, which gives it back when it is its turn. Another record of it is done with it.
    async fn park(&self, mut payload: Payload) -> Result<(), ConsumeError> {
        self.log.park(self.entry(&payload)).await?;
        std::mem::take(&mut payload.share).end(ItemEnd::Parked);
        Ok(())
    }

    fn entry<'a>(&'a self, payload: &'a Payload) -> LogEntry<'a> {
        let Payload { signal, envelope, origin, ticket, .. } = payload;
        let (taker, items) = (self.balancer.path(), payload.share.items());
        LogEntry { taker, signal: *signal, envelope, items, origin, ticket }
    }

    /// Takes what an earlier process left, or what was parked. What finds no room when others of its request did is parked by
    /// itself.
    async fn take_up(&self, mut payload: Payload) -> Result<(), ConsumeError> {
        let (items, until) = (payload.share.items(), Instant::now() + TURN);
        loop {
            let giving = Giving::Logged(RoomFor::Recovered);
            let Err(PartsLeft { error, rest }) = self.balancer.divide(payload, giving).await else { return Ok(()) };
            let waits = error.is_retryable() && !self.balancer.is_closing();
            let Some(rest) = rest.filter(|_| waits) else { return Err(error) };
            if rest.share.items() < items || Instant::now() >= until {
                return self.park(*rest).await;
            }
            payload = *rest;
            sleep(AGAIN_AFTER).await;
        }
    }
}

impl Consumer for LoggedBalancer {
    fn consume(&self, payload: Payload) -> Consumed<'_> {
        Box::pin(async move {
            match is_kept(&payload) {
                true => self.keep(payload).await,
                false => self.balancer.consume(payload).await,
            }
        })
    }
}

impl Component for LoggedBalancer {
    fn start(&self) -> Task<'_, Result<(), StartError>> {
        let next = Arc::new(TakesUp { balancer: self.this.clone() });
        let name = self.balancer.path().to_owned();
        self.host.logs.take(&self.storage, Taker { name, next, at_once: Some(RECOVERED_AT_ONCE), remember: None });
        self.balancer.start()
    }

    fn succeeded_by(&self, successor: &Next) {
        self.balancer.succeeded_by(successor);
    }

    fn drain(&self, deadline: Instant) -> Task<'_, ()> {
        self.balancer.drain(deadline)
    }
}

/// The balancer as payloads from disk meet it.
struct TakesUp {
    balancer: Weak<LoggedBalancer>,
}

impl Consumer for TakesUp {
    fn consume(&self, payload: Payload) -> Consumed<'_> {
        Box::pin(async move {
            let balancer = self.balancer.upgrade().ok_or_else(stopping)?;
            balancer.take_up(payload).await
        })
    }
}
