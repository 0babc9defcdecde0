//! A queue that stands on disk: a payload is logged before its sender hears success, and comes back after a restart.
//!
//! Room in the queue is looked for first, because what is logged is answered for: it is queued in any case then.

pub mod recovering;

use tokio::time::{Instant, timeout_at};

use crate::core::data::payload::Payload;
use crate::core::data::settlement::ItemEnd;
use crate::core::error::{ConsumeError, Reason};
use crate::core::stage::durable::{DurableLog, LogEntry};
use crate::sending::config::QueueSettings;
use crate::sending::{BLOCK_MAX, Shared};

/// What answers for nothing needs no record; what stands in a log already needs no second one.
pub fn is_to_be_logged(payload: &Payload) -> bool {
    payload.share.items() > 0 && !payload.share.is_logged()
}

impl Shared {
    /// Ok means on disk.
    pub(super) async fn log_and_enqueue(
        &self,
        mut payload: Payload,
        settings: &QueueSettings,
        log: &dyn DurableLog,
    ) -> Result<(), ConsumeError> {
        self.room_for(&payload, settings).await.inspect_err(|_| {
            self.account.meters.of(payload.signal).enqueue_failed.add(payload.items);
        })?;
        let (signal, items, taker) = (payload.signal, payload.items, self.delivery.path());
        let Payload { envelope, origin, ticket, .. } = &payload;
        let entry = LogEntry { taker, signal, envelope, items: payload.share.items(), origin, ticket };
        let record = log.append(entry).await.inspect_err(|_| {
            self.account.meters.of(signal).enqueue_failed.add(items);
        })?;
        // A share may answer for fewer items than there are, and then nobody knows for which.
        let placed = payload.share.items() == payload.items;
        let (loan, share) = std::mem::take(&mut payload.share).log(record, placed);
        payload.share = share;
        self.push_logged(payload);
        loan.accept();
        Ok(())
    }

    /// Waits for room where the configuration says so.
    async fn room_for(&self, payload: &Payload, settings: &QueueSettings) -> Result<(), ConsumeError> {
        let give_up_at = Instant::now() + BLOCK_MAX;
        loop {
            let room = self.room.notified();
            tokio::pin!(room);
            // Registered before the look, so that room made in between is not missed.
            room.as_mut().enable();
            if self.lane(payload.signal).lock().has_room_for(payload) {
                return Ok(());
            }
            if self.delivery.gate().is_closing() {
                return Err(ConsumeError::refused(Reason::QUEUE_FULL, "the exporter is stopping"));
            }
            if !settings.block_on_overflow || timeout_at(give_up_at, room).await.is_err() {
                return Err(ConsumeError::refused(Reason::QUEUE_FULL, "sending queue is full"));
            }
        }
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
