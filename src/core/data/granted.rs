//! Memory for what grows: a list gets no longer than its ticket has paid for, and it pays by capacity.
//!
//! `Allowance` is what was paid ahead on a ticket, so that growth costs the process's account one step in many. It is for
//! memory that stays with the payload, or for memory that goes when the work ends.
//! `Granted` is a vector that grows only out of an allowance: while it moves, the old memory and the new are both paid
//! for. What a list ends with stays on the ticket; the ticket's end gives it back. Neither knows what is kept in it.

use bytes::Bytes;

use crate::core::data::budget::{OverBudget, Ticket};

/// Steps in which a ticket is asked for more: the first is small, because most requests are.
const STEP_FIRST_BYTES: u64 = 4 << 10;
const STEP_MAX_BYTES: u64 = 256 << 10;
/// A list to which one item is pushed gets room for so many.
const PUSHED_MIN: usize = 4;
/// A list ends with at most so much free space, in parts of its length, or it moves once more.
const SPARE_PART: usize = 4;

/// What one piece of work may use without asking: the buffers of a usual message. It is a constant, because work on one
/// payload is not interrupted.
const WORKING_FREE_BYTES: u64 = 16 << 10;
/// What a block costs beside its bytes: what the allocator rounds up, and free space that freed neighbours leave around it. It
/// is felt where blocks are tiny: 100,000 resources of 100 bytes made a third more resident than they had asked for.
pub const BLOCK_BYTES: usize = 32;
/// The count that slices of one buffer share, a block of its own.
pub const SHARED_BYTES: usize = 32 + BLOCK_BYTES;

/// Bytes granted and not used yet.
#[derive(Debug)]
pub struct Allowance {
    ticket: Ticket,
    left: u64,
    /// By how much the ticket has grown for it.
    grown: u64,
    step: u64,
    working: bool,
}

impl Allowance {
    /// For memory that the payload keeps: what is left goes back to the ticket at the end, what was taken stays on it.
    pub fn of(ticket: &Ticket) -> Allowance {
        Allowance { ticket: ticket.clone(), left: 0, grown: 0, step: STEP_FIRST_BYTES, working: false }
    }

    /// For memory that is freed when the work ends: then all goes back to the ticket. The first bytes are not asked for.
    pub fn working(ticket: &Ticket) -> Allowance {
        let ticket = ticket.clone();
        Allowance { ticket, left: WORKING_FREE_BYTES, grown: 0, step: STEP_FIRST_BYTES, working: true }
    }

    /// Pays for so many bytes, before they are allocated.
    #[inline]
    pub fn take(&mut self, bytes: usize) -> Result<(), OverBudget> {
        let bytes = bytes as u64;
        if self.left < bytes {
            self.refill(bytes)?;
        }
        self.left -= bytes;
        Ok(())
    }

    #[cold]
    fn refill(&mut self, bytes: u64) -> Result<(), OverBudget> {
        let lacking = bytes - self.left;
        let step = self.step.max(bytes / 4).min(STEP_MAX_BYTES);
        self.step = (2 * self.step).min(STEP_MAX_BYTES);
        // Near the limit there may be room for what is needed and for nothing ahead.
        let more = if self.ticket.grow(lacking + step).is_ok() {
            lacking + step
        } else {
            self.ticket.grow(lacking)?;
            lacking
        };
        self.grown += more;
        self.left += more;
        Ok(())
    }

    /// Takes bytes back that were freed.
    #[inline]
    pub fn give(&mut self, bytes: usize) {
        self.left += bytes as u64;
        if self.left > 2 * STEP_MAX_BYTES {
            let back = (self.left - STEP_MAX_BYTES).min(self.grown);
            self.ticket.give_back(back);
            self.left -= back;
            self.grown -= back;
        }
    }

    pub fn ticket(&self) -> &Ticket {
        &self.ticket
    }
}

impl Drop for Allowance {
    fn drop(&mut self) {
        self.ticket.give_back(if self.working { self.grown } else { self.left.min(self.grown) });
    }
}

/// What a list of this capacity costs.
pub const fn list_bytes<T>(capacity: usize) -> usize {
    if capacity == 0 { 0 } else { capacity.saturating_mul(size_of::<T>()).saturating_add(BLOCK_BYTES) }
}

/// A vector whose capacity is paid for. Invariant: its allowance's ticket has grown by its capacity.
#[derive(Debug)]
pub struct Granted<T> {
    list: Vec<T>,
}

impl<T> Default for Granted<T> {
    fn default() -> Granted<T> {
        Granted::new()
    }
}

impl<T> Granted<T> {
    pub const fn new() -> Granted<T> {
        Granted { list: Vec::new() }
    }

    /// A list that is paid for elsewhere.
    pub const fn of(list: Vec<T>) -> Granted<T> {
        Granted { list }
    }

    #[inline]
    pub fn push(&mut self, item: T, room: &mut Allowance) -> Result<(), OverBudget> {
        if self.list.len() == self.list.capacity() {
            // Not one by one at the beginning.
            self.grow(PUSHED_MIN, room)?;
        }
        self.list.push(item);
        Ok(())
    }

    /// Room for so many items more: just these when there are none yet, else at least half as many again as there are.
    #[inline]
    pub fn reserve(&mut self, more: usize, room: &mut Allowance) -> Result<(), OverBudget> {
        if self.list.capacity() - self.list.len() >= more { Ok(()) } else { self.grow(more, room) }
    }

    #[cold]
    fn grow(&mut self, more: usize, room: &mut Allowance) -> Result<(), OverBudget> {
        let before = self.list.capacity();
        let capacity = self.list.len().saturating_add(more).max(before + before / 2);
        // While the items move, both places are there.
        room.take(list_bytes::<T>(capacity))?;
        self.list.reserve_exact(capacity - self.list.len()); // granted: taken above
        room.give(list_bytes::<T>(before));
        Ok(())
    }

    /// The list, without free space worth speaking of. Its capacity stays on the ticket.
    pub fn finish(mut self, room: &mut Allowance) -> Vec<T> {
        let (before, length) = (self.list.capacity(), self.list.len());
        if before - length > length / SPARE_PART + 4 && room.take(list_bytes::<T>(length)).is_ok() {
            self.list.shrink_to_fit();
            room.give(list_bytes::<T>(before));
        }
        self.list
    }

    /// The list itself, for writers that add no more than room was made for.
    #[inline]
    pub fn within(&mut self) -> &mut Vec<T> {
        &mut self.list
    }

    /// Empties it; the memory stays and stays paid for.
    pub fn clear(&mut self) {
        self.list.clear();
    }

    pub fn truncate(&mut self, length: usize) {
        self.list.truncate(length);
    }

    pub fn capacity(&self) -> usize {
        self.list.capacity()
    }
}

impl Granted<u8> {
    /// The bytes, to be shared by slices.
    pub fn freeze(self, room: &mut Allowance) -> Result<Bytes, OverBudget> {
        room.take(SHARED_BYTES)?;
        Ok(Bytes::from(self.finish(room)))
    }

    #[inline]
    pub fn extend(&mut self, bytes: &[u8], room: &mut Allowance) -> Result<(), OverBudget> {
        self.reserve(bytes.len(), room)?;
        self.list.extend_from_slice(bytes); // granted: reserved above
        Ok(())
    }
}

impl<T> std::ops::Deref for Granted<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.list
    }
}

impl<T> std::ops::DerefMut for Granted<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.list
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::data::budget::Budget;

    #[test]
    fn a_list_never_holds_more_than_its_ticket_and_an_allowance_gives_back_what_is_left() {
        let budget = Budget::new(1 << 20, 1 << 20);
        let ticket = budget.take(0).expect("fits");
        let mut room = Allowance::of(&ticket);
        let mut list = Granted::new();
        for number in 0..10_000u64 {
            list.push(number, &mut room).expect("fits");
            assert!(list.capacity() as u64 * 8 <= ticket.bytes(), "{number}");
        }
        let kept = list.finish(&mut room);
        drop(room);
        assert_eq!(ticket.bytes(), kept.capacity() as u64 * 8 + BLOCK_BYTES as u64);
        drop(ticket);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_list_stops_where_the_budget_ends_and_keeps_what_it_has() {
        let budget = Budget::new(10_000, 10_000);
        let ticket = budget.take(0).expect("fits");
        let mut room = Allowance::of(&ticket);
        let mut list = Granted::new();
        let refused = (0..).find(|number| list.push(*number as u8, &mut room).is_err());
        // The old memory and the new are there at once: so it ends at two fifths.
        assert!(refused.is_some_and(|at| (3_500..10_000).contains(&at)), "{refused:?}");
        assert_eq!(Some(list.len()), refused);
        assert!(budget.used() <= 10_000);
    }

    #[test]
    fn near_the_limit_nothing_is_asked_for_ahead() {
        let budget = Budget::new(5_000, 5_000);
        let ticket = budget.take(0).expect("fits");
        let mut room = Allowance::of(&ticket);
        room.take(4_900).expect("fits without a step ahead");
        room.take(100).expect("fits");
        assert!(room.take(1).is_err());
    }

    #[test]
    fn freed_memory_goes_back_while_the_allowance_lives() {
        let ticket = Budget::new(64 << 20, 64 << 20).take(0).expect("fits");
        let mut room = Allowance::of(&ticket);
        room.take(32 << 20).expect("fits");
        room.give(32 << 20);
        assert!(ticket.bytes() <= 2 * STEP_MAX_BYTES, "{}", ticket.bytes());
    }

    #[test]
    fn what_work_takes_is_given_back_when_it_ends_and_a_usual_message_asks_for_nothing() {
        let budget = Budget::new(1 << 20, 1 << 20);
        let ticket = budget.take(100).expect("fits");
        let mut room = Allowance::working(&ticket);
        room.take(WORKING_FREE_BYTES as usize).expect("free");
        assert_eq!(ticket.bytes(), 100);
        room.take(100_000).expect("fits");
        assert!(ticket.bytes() >= 100_100);
        drop(room);
        assert_eq!(ticket.bytes(), 100);
    }
}
