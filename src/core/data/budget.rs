//! The process-wide byte budget: memory is granted before it is used and given back by dropping the ticket.
//!
//! A claim alone holds nothing: tickets grow as bytes arrive. Above the soft limit new payloads are refused; payloads
//! already admitted may grow up to the hard limit, so that work in hand finishes.
//! Invariant: `used` is the sum of the bytes of all live tickets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::core::lock::Locked;

/// What the process holds without a single payload: program, threads, listeners, metrics (9 to 12 MiB measured), and the
/// state of a few hundred connections.
const PROCESS_BYTES: u64 = 16 << 20;
/// One part in so many of the rest is the allocator's: free space inside and between its blocks, which no ticket covers.
const SLACK_PART: u64 = 8;

/// The budget of a process that shall stay below `limit` resident bytes: the limit without the process's own part and an
/// eighth of the rest; never below half of a limit that is too small for that.
pub fn of_process(limit: u64) -> u64 {
    let rest = limit.saturating_sub(PROCESS_BYTES);
    (rest - rest / SLACK_PART).max(limit / 2)
}

/// A shared account of bytes. Cheap to query from any thread.
#[derive(Debug)]
pub struct Budget {
    hard: AtomicU64,
    soft: AtomicU64,
    used: AtomicU64,
    peak: AtomicU64,
    refused: AtomicU64,
}

/// The budget had no room; the caller answers retryably.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("memory budget exhausted: {used} of {limit} bytes in use, {wanted} more wanted")]
pub struct OverBudget {
    pub wanted: u64,
    pub used: u64,
    pub limit: u64,
}

impl Budget {
    /// `hard` and `soft` in bytes; `soft <= hard`.
    pub fn new(hard: u64, soft: u64) -> Arc<Budget> {
        Arc::new(Budget {
            hard: AtomicU64::new(hard),
            soft: AtomicU64::new(soft.min(hard)),
            used: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// A budget nothing exceeds, for tests and one-shot commands.
    pub fn unlimited() -> Arc<Budget> {
        Budget::new(u64::MAX, u64::MAX)
    }

    pub fn set_limits(&self, hard: u64, soft: u64) {
        self.hard.store(hard, Ordering::Relaxed);
        self.soft.store(soft.min(hard), Ordering::Relaxed);
    }

    pub fn hard(&self) -> u64 {
        self.hard.load(Ordering::Relaxed)
    }

    pub fn soft(&self) -> u64 {
        self.soft.load(Ordering::Relaxed)
    }

    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub fn peak(&self) -> u64 {
        self.peak.load(Ordering::Relaxed)
    }

    /// How many takes and grows were refused since start.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// True while new payloads would be refused.
    pub fn under_pressure(&self) -> bool {
        self.used() >= self.soft()
    }

    /// Grants a ticket for a new payload, bounded by the soft limit.
    pub fn take(self: &Arc<Budget>, bytes: u64) -> Result<Ticket, OverBudget> {
        self.charge(bytes, self.soft())?;
        Ok(Ticket { held: Held::new(self.clone(), bytes) })
    }

    /// Grants memory that work on admitted payloads takes beside them, bounded by the hard limit.
    pub fn take_working(self: &Arc<Budget>, bytes: u64) -> Result<Ticket, OverBudget> {
        self.charge(bytes, self.hard())?;
        Ok(Ticket { held: Held::new(self.clone(), bytes) })
    }

    /// Grants in any case, beyond the hard limit too: for the one piece of work that must go on so that memory comes free.
    pub fn overdraw(self: &Arc<Budget>, bytes: u64) -> Ticket {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes);
        self.peak.fetch_max(used, Ordering::Relaxed);
        Ticket { held: Held::new(self.clone(), bytes) }
    }

    fn charge(&self, bytes: u64, limit: u64) -> Result<(), OverBudget> {
        let mut used = self.used.load(Ordering::Relaxed);
        loop {
            let next = used.saturating_add(bytes);
            if next > limit {
                self.refused.fetch_add(1, Ordering::Relaxed);
                return Err(OverBudget { wanted: bytes, used, limit });
            }
            match self.used.compare_exchange_weak(used, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    self.peak.fetch_max(next, Ordering::Relaxed);
                    return Ok(());
                }
                Err(now) => used = now,
            }
        }
    }
}

#[derive(Debug)]
struct Held {
    budget: Arc<Budget>,
    bytes: AtomicU64,
    // Tickets of payloads merged into this one, which others still share; locked at merges only.
    joined: Mutex<Vec<Ticket>>,
}

impl Held {
    fn new(budget: Arc<Budget>, bytes: u64) -> Arc<Held> {
        Arc::new(Held { budget, bytes: AtomicU64::new(bytes), joined: Mutex::default() })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(*self.bytes.get_mut(), Ordering::Relaxed);
    }
}

/// The bytes a payload holds. Clones share one account; the last one to go gives the bytes back.
#[derive(Clone, Debug)]
pub struct Ticket {
    held: Arc<Held>,
}

impl Ticket {
    /// A ticket of zero bytes on a budget of its own, for payloads whose memory is accounted elsewhere.
    pub fn free() -> Ticket {
        Ticket { held: Held::new(Budget::unlimited(), 0) }
    }

    pub fn bytes(&self) -> u64 {
        self.held.bytes.load(Ordering::Relaxed)
    }

    /// Asks for more, bounded by the hard limit: the payload was admitted already.
    pub fn grow(&self, more: u64) -> Result<(), OverBudget> {
        self.held.budget.charge(more, self.held.budget.hard())?;
        self.held.bytes.fetch_add(more, Ordering::Relaxed);
        Ok(())
    }

    /// Asks for more for what data goes before: never above the soft limit, and a no is not counted as a refusal.
    pub fn grow_softly(&self, more: u64) -> bool {
        let budget = &self.held.budget;
        budget.used().saturating_add(more) <= budget.soft() && self.grow(more).is_ok()
    }

    /// Grows in any case, beyond the hard limit where there is no room: for what has to be made so that what was taken can
    /// be sent, which alone gives memory back.
    pub fn grow_anyway(&self, more: u64) {
        if self.grow(more).is_err() {
            let budget = &self.held.budget;
            let used = budget.used.fetch_add(more, Ordering::Relaxed).saturating_add(more);
            budget.peak.fetch_max(used, Ordering::Relaxed);
            self.held.bytes.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// Gives back what was claimed but not needed. Of branches that share the ticket and shrink it at once, each byte is
    /// given back by one of them.
    pub fn shrink_to(&self, bytes: u64) {
        let before = self.lower(|held| held.min(bytes));
        self.held.budget.used.fetch_sub(before.saturating_sub(bytes), Ordering::Relaxed);
    }

    /// Gives back so many bytes; no more than the ticket holds.
    pub fn give_back(&self, bytes: u64) {
        let before = self.lower(|held| held.saturating_sub(bytes));
        self.held.budget.used.fetch_sub(before.min(bytes), Ordering::Relaxed);
    }

    /// The budget that the bytes are of.
    pub fn budget(&self) -> Arc<Budget> {
        self.held.budget.clone()
    }

    /// A ticket of its own on the same budget, for a copy of what this one covers. Bounded by the hard limit: the payload
    /// was admitted already.
    pub fn beside(&self, bytes: u64) -> Result<Ticket, OverBudget> {
        self.held.budget.take_working(bytes)
    }

    /// Sets the bytes to what `to` makes of them, which is not more, in one step (a load and a subtraction apart let two
    /// branches move the same bytes); what they were before.
    fn lower(&self, to: impl Fn(u64) -> u64) -> u64 {
        let bytes = &self.held.bytes;
        bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| Some(to(held))).unwrap_or_default()
    }

    /// Takes over another payload's bytes when that payload is merged into this one: they are given back with this ticket.
    pub fn absorb(&self, other: Ticket) {
        if Arc::ptr_eq(&self.held, &other.held) {
            return;
        }
        let same_budget = Arc::ptr_eq(&self.held.budget, &other.held.budget);
        match Arc::try_unwrap(other.held) {
            Ok(mut held) if same_budget => {
                let moved = std::mem::take(held.bytes.get_mut());
                self.held.bytes.fetch_add(moved, Ordering::Relaxed);
                let theirs = std::mem::take(held.joined.get_mut().unwrap_or_else(|poisoned| poisoned.into_inner()));
                self.joined().extend(theirs); // granted: one for each payload merged
            }
            Ok(held) => self.joined().push(Ticket { held: Arc::new(held) }),
            Err(shared) => self.joined().push(Ticket { held: shared }),
        }
    }

    fn joined(&self) -> std::sync::MutexGuard<'_, Vec<Ticket>> {
        self.held.joined.locked()
    }

    /// Moves up to `bytes` of this ticket into one of its own, for a part that no longer needs the rest.
    pub fn split(&self, bytes: u64) -> Ticket {
        let before = self.lower(|held| held.saturating_sub(bytes));
        Ticket { held: Held::new(self.held.budget.clone(), bytes.min(before)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_keeps_room_for_itself_below_its_limit() {
        let mebibytes = |limit: u64| of_process(limit << 20) >> 20;
        let budgets = [0, 16, 32, 64, 128, 256, 1024].map(mebibytes);
        assert_eq!(budgets, [0, 8, 16, 42, 98, 210, 882]);
        assert_eq!(of_process(u64::MAX), (u64::MAX - PROCESS_BYTES) / 8 * 7 + (u64::MAX - PROCESS_BYTES) % 8);
    }

    #[test]
    fn a_dropped_ticket_gives_its_bytes_back() {
        let budget = Budget::new(100, 80);
        let ticket = budget.take(50).expect("fits");
        ticket.grow(40).expect("hard limit leaves room");
        let part = ticket.split(30);
        assert_eq!((budget.used(), ticket.bytes(), part.bytes()), (90, 60, 30));
        drop(ticket);
        assert_eq!(budget.used(), 30);
        drop(part);
        assert_eq!((budget.used(), budget.peak()), (0, 90));
    }

    #[test]
    fn new_payloads_stop_at_the_soft_limit_and_growth_at_the_hard_one() {
        let budget = Budget::new(100, 80);
        let ticket = budget.take(80).expect("fits");
        assert_eq!(budget.take(1).unwrap_err(), OverBudget { wanted: 1, used: 80, limit: 80 });
        ticket.grow(20).expect("up to the hard limit");
        assert!(ticket.grow(1).is_err());
        assert_eq!(budget.refused(), 2);
    }

    #[test]
    fn work_goes_up_to_the_hard_limit_and_an_overdraft_beyond_is_counted_until_it_is_paid() {
        let budget = Budget::new(100, 80);
        let payload = budget.take(80).expect("fits");
        let work = budget.take_working(20).expect("up to the hard limit");
        assert!(budget.take_working(1).is_err());
        let overdraft = budget.overdraw(50);
        assert_eq!((budget.used(), budget.peak()), (150, 150));
        drop((payload, work));
        assert!(budget.take(31).is_err());
        drop(overdraft);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn an_absorbed_ticket_is_given_back_with_the_one_that_took_it() {
        let budget = Budget::new(100, 100);
        let (merged, alone, shared) = (budget.take(10).unwrap(), budget.take(20).unwrap(), budget.take(30).unwrap());
        let branch = shared.clone();
        merged.absorb(alone);
        merged.absorb(shared);
        merged.absorb(merged.clone());
        assert_eq!((budget.used(), merged.bytes()), (60, 30));
        drop(merged);
        assert_eq!(budget.used(), 30, "a branch still holds the shared ticket");
        drop(branch);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn clones_share_one_account() {
        let budget = Budget::new(100, 100);
        let ticket = budget.take(10).expect("fits");
        let branch = ticket.clone();
        drop(ticket);
        assert_eq!(budget.used(), 10);
        branch.shrink_to(4);
        assert_eq!(budget.used(), 4);
        drop(branch);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn branches_that_split_and_shrink_one_ticket_at_once_never_move_the_same_bytes_twice() {
        // B14: four threads take a ticket apart; whatever they got, the account is exact at every moment and at the end.
        for round in 0..200u64 {
            let budget = Budget::new(1 << 20, 1 << 20);
            let ticket = budget.take(1_000).expect("fits");
            let start = std::sync::Barrier::new(4);
            let apart = |branch: u64| {
                start.wait();
                let mut parts = Vec::new();
                for step in 0..20 {
                    match (round + branch + step) % 3 {
                        0 => ticket.shrink_to(900u64.saturating_sub(step * 60)),
                        1 => ticket.give_back(30),
                        _ => parts.push(ticket.split(70)),
                    }
                    assert!(budget.used() <= 1_000, "round {round}: {} of 1000 in use", budget.used());
                }
                parts
            };
            let parts: Vec<Ticket> = std::thread::scope(|scope| {
                let branches: Vec<_> = (0..4).map(|branch| scope.spawn(move || apart(branch))).collect();
                branches.into_iter().flat_map(|branch| branch.join().expect("no panic")).collect()
            });
            let held: u64 = parts.iter().map(Ticket::bytes).sum::<u64>() + ticket.bytes();
            assert_eq!(budget.used(), held, "round {round}");
            drop((parts, ticket));
            assert_eq!(budget.used(), 0, "round {round}");
        }
    }

    #[test]
    fn a_branch_that_shrinks_the_ticket_between_anothers_look_and_its_step_is_not_overlooked() {
        // B14 without luck: while one branch works out what is left, the other gives the same bytes back.
        let budget = Budget::new(1 << 20, 1 << 20);
        let ticket = budget.take(1_000).expect("fits");
        let (branch, first) = (ticket.clone(), std::cell::Cell::new(true));
        let before = ticket.lower(|held| {
            if first.replace(false) {
                branch.shrink_to(100);
            }
            held.min(100)
        });
        assert_eq!((before, ticket.bytes(), budget.used()), (100, 100, 100));
    }
}
