//! A queue as the payloads meet it that come back from disk: a full one is tried again.

use std::sync::Arc;

use crate::core::data::payload::Payload;
use crate::core::error::{ConsumeError, Reason};
use crate::core::stage::consumer::{Consumed, Consumer};
use crate::core::stage::durable::Taker;
use crate::sending::Shared;
use crate::sending::logged::room::RoomFor;
use crate::sending::queue::{Full, Sizer};

/// Payloads from disk in a queue at a time, at most; never more than a quarter of a queue that counts requests.
const RECOVERED_AT_ONCE: u64 = 64;

/// Registers the queue for what was parked, and what an earlier process left of it.
pub fn register(shared: &Arc<Shared>) {
    let (Some(settings), true) = (&shared.queue, shared.log.is_some()) else { return };
    let Some(id) = &settings.storage else { return };
    let part = if settings.sizer == Sizer::Requests { (settings.queue_size / 4).max(1) } else { RECOVERED_AT_ONCE };
    let at_once = usize::try_from(part.min(RECOVERED_AT_ONCE)).ok();
    let next = Arc::new(Recovering(shared.clone()));
    let (name, remember) = (shared.delivery.path().to_owned(), shared.delivery.remember());
    shared.host.logs.take(id, Taker { name, next, at_once, remember });
}

/// The queue as payloads from disk meet it.
struct Recovering(Arc<Shared>);

impl Consumer for Recovering {
    fn consume(&self, payload: Payload) -> Consumed<'_> {
        let full = || ConsumeError::refused(Reason::QUEUE_FULL, "sending queue is full");
        let pushed = match self.0.has_room(&payload, RoomFor::Recovered) {
            true => self.0.push(payload, None).map_err(|Full(back)| {
                drop(back);
                full()
            }),
            false => Err(full()),
        };
        Box::pin(std::future::ready(pushed))
    }
}
