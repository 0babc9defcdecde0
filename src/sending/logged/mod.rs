//! A queue that stands on disk: a payload is logged before its sender hears success, and comes back after a restart.
//!
//! Where the queue or the memory has no room the payload is parked: logged, and let go of, until the log gives it back. So an
//! outage of the next hop lasts as long as the disk does, and not as long as the memory.

pub(super) mod recovering;
pub mod room;

use tokio::time::Instant;

use crate::core::data::payload::Payload;
use crate::core::data::settlement::ItemEnd;
use crate::core::error::{ConsumeError, Reason};
use crate::core::stage::durable::{DurableLog, LogEntry};
use crate::sending::Shared;
use crate::sending::config::QueueSettings;
use crate::sending::logged::room::RoomFor;

/// What answers for nothing needs no record, and can be refused.
pub fn is_kept(payload: &Payload) -> bool {
    payload.share.items() > 0
}

impl Shared {
    /// Ok means on disk.
    pub(super) async fn keep(
        &self,
        payload: Payload,
        settings: &QueueSettings,
        log: &dyn DurableLog,
    ) -> Result<(), ConsumeError> {
        let (signal, items) = (payload.signal, payload.items);
        let kept = if !self.has_room(&payload, RoomFor::Live) {
            self.park(payload, log).await
        } else if payload.share.is_logged() {
            // What stands in a log already needs no second record.
            return self.enqueue(payload, settings).await;
        } else {
            self.log_and_enqueue(payload, log).await
        };
        kept.inspect_err(|_| self.account.meters.of(signal).enqueue_failed.add(items))
    }

    async fn log_and_enqueue(&self, mut payload: Payload, log: &dyn DurableLog) -> Result<(), ConsumeError> {
        let record = log.append(self.entry(&payload)).await?;
        // A share may answer for fewer items than there are, and then nobody knows for which.
        let placed = payload.share.items() == payload.items;
        let (loan, share) = std::mem::take(&mut payload.share).log(record, placed);
        payload.share = share;
        self.push_logged(payload);
        loan.accept();
        Ok(())
    }

    /// Hands the payload to the log, which gives it back when there is room. A record that it stands in already, a sampler's,
    /// is done with it.
    async fn park(&self, mut payload: Payload, log: &dyn DurableLog) -> Result<(), ConsumeError> {
        log.park(self.entry(&payload)).await?;
        std::mem::take(&mut payload.share).end(ItemEnd::Parked);
        Ok(())
    }

    fn entry<'a>(&'a self, payload: &'a Payload) -> LogEntry<'a> {
        let Payload { signal, envelope, origin, ticket, .. } = payload;
        let (taker, items) = (self.delivery.path(), payload.share.items());
        LogEntry { taker, signal: *signal, envelope, items, origin, ticket }
    }

    /// Whether a payload may stand in the queue, by its places and by the memory that it takes.
    fn has_room(&self, payload: &Payload, whose: RoomFor) -> bool {
        let lane = self.lane(payload.signal);
        let queue = lane.lock();
        let held = queue.bytes() + lane.on_the_way();
        queue.has_room_for(payload, whose.part_of(queue.capacity()))
            && room::has_memory(&self.host.budget, held, payload.ticket.bytes(), whose)
    }

    fn push_logged(&self, payload: Payload) {
        let lane = self.lane(payload.signal);
        let mut queue = lane.lock();
        if queue.is_ending() {
            drop(queue);
            // On disk, and taken up by the next start.
            return payload.share.end(ItemEnd::Dropped(Reason::SHUTDOWN, "the exporter is stopping"));
        }
        queue.push_anyway(payload, Instant::now());
        let used = i64::try_from(queue.used()).unwrap_or(i64::MAX);
        drop(queue);
        self.account.meters.of(lane.signal).queue_size.set(used);
        self.wake.notify_one();
    }
}
