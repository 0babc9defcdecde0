//! Memory that sending takes beside the payload: what is encoded, compressed or mapped before it goes out.
//!
//! It is charged to the process's budget before it is used. When there is none left, one piece of work at a time goes on
//! all the same, because only what is sent gives memory back; so what an exporter takes beyond the limit is bounded by
//! one request. It knows no protocol.

use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard};

use crate::core::data::budget::{Budget, Ticket};

/// Work that takes no more than this is not charged: an account of its own would cost more than it holds.
const FREE_BYTES: u64 = 4 << 10;

pub struct Workroom {
    budget: Arc<Budget>,
    /// Held by the work that goes on without room, across its whole attempt.
    alone: Mutex<()>,
}

/// Memory granted to one piece of work, given back when dropped.
pub struct SendMemory<'w> {
    budget: &'w Arc<Budget>,
    tickets: [Option<Ticket>; 2],
    _alone: Option<MutexGuard<'w, ()>>,
}

impl SendMemory<'_> {
    /// What the work really takes, once that is known.
    pub fn measured(&mut self, bytes: u64) {
        let Some(granted) = &self.tickets[0] else { return };
        granted.shrink_to(bytes);
        let more = bytes.saturating_sub(granted.bytes());
        self.tickets[1] = (more > 0).then(|| self.budget.overdraw(more));
    }
}

impl Workroom {
    pub fn new(budget: Arc<Budget>) -> Workroom {
        Workroom { budget, alone: Mutex::default() }
    }

    /// Waits for room for `bytes`, or for the place of the one that goes on without. Fair: who came first goes first.
    pub async fn enter(&self, bytes: u64) -> SendMemory<'_> {
        if bytes <= FREE_BYTES {
            return self.room(None, None);
        }
        if let Ok(ticket) = self.budget.take_working(bytes) {
            return self.room(Some(ticket), None);
        }
        let alone = self.alone.lock().await;
        match self.budget.take_working(bytes) {
            Ok(ticket) => self.room(Some(ticket), None),
            Err(_) => self.room(Some(self.budget.overdraw(bytes)), Some(alone)),
        }
    }

    fn room<'w>(&'w self, ticket: Option<Ticket>, alone: Option<MutexGuard<'w, ()>>) -> SendMemory<'w> {
        SendMemory { budget: &self.budget, tickets: [ticket, None], _alone: alone }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const KIB: u64 = 1 << 10;

    #[tokio::test(start_paused = true)]
    async fn without_room_one_goes_on_and_the_others_wait_for_it_or_for_room() {
        let budget = Budget::new(100 * KIB, 80 * KIB);
        let work = Workroom::new(budget.clone());
        let payloads = budget.take(80 * KIB).expect("fits");
        let first = work.enter(20 * KIB).await;
        let second = work.enter(50 * KIB).await;
        assert_eq!(budget.used(), 150 * KIB, "the second goes on beyond the limit");
        let mut third = Box::pin(work.enter(50 * KIB));
        assert!(timeout(Duration::from_secs(60), &mut third).await.is_err());
        drop(second);
        let third = third.await;
        assert_eq!(budget.used(), 150 * KIB, "then the third does");
        let mut fourth = Box::pin(work.enter(50 * KIB));
        assert!(timeout(Duration::from_secs(60), &mut fourth).await.is_err());
        drop((payloads, first, third));
        let fourth = fourth.await;
        let mut fifth = work.enter(50 * KIB).await;
        assert_eq!(budget.used(), 100 * KIB, "with room again nobody waits for anybody");
        for (really, used) in [(10, 60), (70, 120), (10, 60)] {
            fifth.measured(really * KIB);
            assert_eq!(budget.used(), used * KIB, "{really} KiB in place of 50");
        }
        drop((fourth, fifth));
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn work_of_a_few_bytes_waits_for_nobody() {
        let budget = Budget::new(10, 10);
        let work = Workroom::new(budget.clone());
        let _beyond = work.enter(FREE_BYTES + 1).await;
        let _few = work.enter(FREE_BYTES).await;
        assert_eq!(budget.used(), FREE_BYTES + 1);
    }
}
