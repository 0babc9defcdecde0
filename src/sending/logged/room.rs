//! How much of the queue and of the memory live data may take, and how much what comes back from disk. Pure.
//!
//! Live data goes first: it is parked when three quarters of the queue are taken, so that what is read back always finds
//! places, and no more than a quarter of them. The queue is served in its order, so those are also the parts of the way
//! out that each gets while both want all of it.

use crate::core::data::budget::Budget;

/// Who asks for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoomFor {
    Live,
    Recovered,
}

/// One part in so many of the memory budget is a queue's for live data ...
const LIVE_SHARE: u64 = 4;
/// ... with half as much again for what comes back.
const RECOVERED_SHARE: u64 = 8;
/// A queue with less than this part of the budget is not what fills it.
const SMALL_SHARE: u64 = 64;

impl RoomFor {
    /// Places of a queue with so many, in its units.
    pub fn part_of(self, capacity: u64) -> u64 {
        match self {
            RoomFor::Live => capacity - capacity / 4,
            RoomFor::Recovered => capacity,
        }
    }
}

/// Whether a queue whose payloads hold `held` bytes may take `more`. One that holds nothing always may: nothing else
/// would ever be sent.
pub fn has_memory(budget: &Budget, held: u64, more: u64, whose: RoomFor) -> bool {
    let soft = budget.soft();
    let most = match whose {
        RoomFor::Live => soft / LIVE_SHARE,
        RoomFor::Recovered => soft / LIVE_SHARE + soft / RECOVERED_SHARE,
    };
    // With others in need of the rest a queue goes back to disk as well.
    let is_tight = budget.used() >= soft / 4 * 3 && held > soft / SMALL_SHARE;
    held == 0 || held.saturating_add(more) <= most && !is_tight
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_data_leaves_places_and_memory_for_what_comes_back_and_an_empty_queue_takes_anything() {
        assert_eq!((RoomFor::Live.part_of(1_000), RoomFor::Recovered.part_of(1_000)), (750, 1_000));
        assert_eq!((RoomFor::Live.part_of(1), RoomFor::Live.part_of(4)), (1, 3));
        let budget = Budget::new(1_000, 800);
        let may = |held, more| [RoomFor::Live, RoomFor::Recovered].map(|whose| has_memory(&budget, held, more, whose));
        assert_eq!(may(0, 5_000), [true, true]);
        assert_eq!(may(100, 100), [true, true]);
        assert_eq!(may(150, 100), [false, true]);
        assert_eq!(may(250, 100), [false, false]);
        // Others hold three quarters: a queue that has something leaves them the rest.
        let _others = budget.take(600).expect("room");
        assert_eq!(may(0, 10), [true, true]);
        assert_eq!(may(12, 10), [true, true]);
        assert_eq!(may(13, 10), [false, false]);
    }
}
