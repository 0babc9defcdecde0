//! What became of items, on its way to the log: gathered where items end, handed over in batches by the log's own task.
//!
//! Nobody who ends an item waits. The buffer is bounded: a mark that finds no room is left out and counted, and its items
//! come back after a restart - twice is better than never.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::core::data::settlement::{ItemEnd, ItemRecord};
use crate::core::error::Reason;
use crate::core::lock::Locked;
use crate::wal::body::{Mark, What};

/// Marks that wait for the log's task: 2.4 MB.
const HELD_MAX: usize = 100_000;

/// Reasons by the numbers that stand on disk: only ever added to at the end. 0 is a reason of a later version.
const REASONS: [Reason; 19] = [
    Reason::MALFORMED,
    Reason::NOP,
    Reason::MEMORY,
    Reason::QUEUE_FULL,
    Reason::PERMANENT,
    Reason::PARTIAL_SUCCESS,
    Reason::RETRIES_EXHAUSTED,
    Reason::UNAVAILABLE,
    Reason::SHUTDOWN,
    Reason::INTERNAL,
    Reason::TOO_LARGE,
    Reason::CONFLICT,
    Reason::BLOCKED,
    Reason::DEAD_LETTER,
    Reason::FILTERED,
    Reason::STATEMENT,
    Reason::ABANDONED,
    Reason::OTHER_BRANCH,
    Reason::TRANSFORMED,
];

/// How an end is written; `None` for what is no end on disk.
pub fn what(end: ItemEnd<'_>) -> Option<What> {
    Some(match end {
        // A record that took them over is as good as a next hop.
        ItemEnd::Delivered | ItemEnd::Parked => What::Delivered,
        ItemEnd::SampledOut => What::SampledOut,
        ItemEnd::Dropped(Reason::DEAD_LETTER, _) => What::DeadLettered,
        ItemEnd::Dropped(reason, _) => {
            let place = REASONS.iter().position(|known| *known == reason);
            What::Dropped(place.map_or(0, |place| place as u8 + 1))
        }
        ItemEnd::Refused | ItemEnd::OnDisk => return None,
    })
}

#[derive(Debug, Default)]
pub struct Marks {
    // Locked for a few instructions.
    held: Mutex<Vec<Mark>>,
    left_out: AtomicU64,
    more: Notify,
}

impl Marks {
    pub fn add(&self, mark: Mark) {
        let mut held = self.held.locked();
        let is_full = held.len() >= HELD_MAX;
        match held.last_mut() {
            Some(last) if last.record == mark.record && last.what == mark.what && last.to == mark.from => {
                last.to = mark.to;
            }
            _ if is_full => _ = self.left_out.fetch_add(1, Ordering::Relaxed),
            _ => held.push(mark),
        }
        drop(held);
        self.more.notify_one();
    }

    pub fn take(&self) -> Vec<Mark> {
        std::mem::take(&mut *self.held.locked())
    }

    /// Completes when something was added since the last time.
    pub async fn more(&self) {
        self.more.notified().await;
    }

    /// Marks for which there was no room.
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }
}

/// One record, as those hear of it who answer for its items.
pub struct LoggedRecord {
    pub record: u64,
    /// The same in every process.
    pub nonce: u64,
    pub marks: Arc<Marks>,
    /// It is an earlier process's.
    pub in_doubt: bool,
    /// Of a recovered record: a place among those under way.
    pub place: Option<OwnedSemaphorePermit>,
}

impl ItemRecord for LoggedRecord {
    fn ended(&self, from: u32, to: u32, end: ItemEnd<'_>) {
        if let Some(what) = what(end) {
            self.marks.add(Mark { record: self.record, from, to, what });
        }
    }

    fn nonce(&self) -> Option<u64> {
        Some(self.nonce)
    }

    fn is_in_doubt(&self) -> bool {
        self.in_doubt
    }
}

impl fmt::Debug for LoggedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoggedRecord").field("record", &self.record).field("recovered", &self.place.is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_that_follow_each_other_are_one_and_beyond_the_bound_they_are_counted() {
        let marks = Arc::new(Marks::default());
        let record = LoggedRecord { record: 7, nonce: 0, marks: marks.clone(), in_doubt: false, place: None };
        record.ended(0, 2, ItemEnd::Delivered);
        record.ended(2, 5, ItemEnd::Delivered);
        record.ended(5, 6, ItemEnd::Dropped(Reason::PERMANENT, "words"));
        record.ended(6, 9, ItemEnd::Refused);
        let mark = |from, to, what| Mark { record: 7, from, to, what };
        assert_eq!(marks.take(), [mark(0, 5, What::Delivered), mark(5, 6, What::Dropped(5))]);
        for at in 0..HELD_MAX as u32 + 3 {
            marks.add(mark(2 * at, 2 * at + 1, What::SampledOut));
        }
        assert_eq!((marks.take().len(), marks.left_out()), (HELD_MAX, 3));
    }
}
