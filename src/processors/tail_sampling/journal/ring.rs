//! Where the records of one shard stand: blocks of bytes, the oldest of which make room for the newest.
//!
//! A page takes the blocks by their counts and reads them without holding the shard up. Memory is claimed from the budget
//! block by block, never above its soft limit: data goes before memory of what became of data. Knows no record's meaning.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::core::data::budget::Ticket;
use crate::core::lock::Locked;
use crate::processors::tail_sampling::journal::record::{DecisionRecord, LateRecord};
use crate::processors::tail_sampling::journal::services::ServiceNames;

/// Large enough that sealing one is rare, small enough that a quiet sampler costs little.
const BLOCK_BYTES: usize = 32 << 10;
/// Records that are not in the ring yet; a shard publishes them once a step. What does not fit into a block leaves its rest
/// empty, so this is far smaller than one.
const STAGED_BYTES: usize = 2 << 10;
/// Late spans have this part of a journal to themselves: a trace that never ends must not push decisions out.
const LATE_PART: u64 = 16;

/// Blocks of one kind of record. Invariant: the ticket has been grown by `BLOCK_BYTES` for each block, the open one
/// included.
struct Blocks {
    sealed: VecDeque<Arc<Vec<u8>>>,
    open: Vec<u8>,
    max: usize,
    ticket: Ticket,
    /// Bytes of records that found no room.
    lost: u64,
}

fn blocks_of(bytes: u64) -> usize {
    usize::try_from(bytes / BLOCK_BYTES as u64).unwrap_or(usize::MAX)
}

impl Blocks {
    fn new(bytes: u64, ticket: Ticket) -> Blocks {
        Blocks { sealed: VecDeque::new(), open: Vec::new(), max: blocks_of(bytes), ticket, lost: 0 }
    }

    fn resize(&mut self, bytes: u64) {
        self.max = blocks_of(bytes);
        while self.sealed.len() + usize::from(self.open.capacity() > 0) > self.max {
            if self.sealed.pop_front().is_none() {
                self.open = Vec::new();
            }
            self.ticket.give_back(BLOCK_BYTES as u64);
        }
    }

    fn may_grow(&self) -> bool {
        let blocks = self.sealed.len() + usize::from(self.open.capacity() > 0);
        blocks < self.max && self.ticket.grow_softly(BLOCK_BYTES as u64)
    }

    fn push(&mut self, staged: &[u8]) {
        if self.open.len() + staged.len() > self.open.capacity() && !self.begin() {
            self.lost += staged.len() as u64;
            return;
        }
        self.open.extend_from_slice(staged);
    }

    /// A new open block; false when there is no room for any.
    fn begin(&mut self) -> bool {
        let grows = self.may_grow();
        if self.open.capacity() > 0 {
            self.sealed.push_back(Arc::new(std::mem::take(&mut self.open)));
        }
        self.open = if grows {
            Vec::with_capacity(BLOCK_BYTES)
        } else {
            let Some(oldest) = self.sealed.pop_front() else { return false };
            // While a page reads it, its memory is the page's.
            let mut memory = Arc::try_unwrap(oldest).unwrap_or_else(|_| Vec::with_capacity(BLOCK_BYTES));
            memory.clear();
            memory
        };
        true
    }

    /// Gives the oldest block back while the budget is short.
    fn yield_one(&mut self) {
        if self.ticket.budget().under_pressure() && self.sealed.pop_front().is_some() {
            self.ticket.give_back(BLOCK_BYTES as u64);
        }
    }

    fn copy(&self) -> Vec<Arc<Vec<u8>>> {
        self.sealed.iter().cloned().chain((!self.open.is_empty()).then(|| Arc::new(self.open.clone()))).collect()
    }

    fn bytes(&self) -> u64 {
        ((self.sealed.len() + usize::from(self.open.capacity() > 0)) * BLOCK_BYTES) as u64
    }

    fn clear(&mut self) {
        self.ticket.give_back(self.bytes());
        (self.sealed, self.open) = (VecDeque::new(), Vec::new());
    }
}

/// The journal of one shard as pages see it.
pub struct JournalRing {
    // Locked by the shard once a step, and by a page for as long as it takes to count the blocks.
    decisions: Mutex<Blocks>,
    late: Mutex<Blocks>,
    // Locked by the shard once for each resource it has not seen.
    services: Mutex<ServiceNames>,
    on: AtomicBool,
}

/// What a page reads.
pub struct JournalCopy {
    /// Oldest first.
    pub decisions: Vec<Arc<Vec<u8>>>,
    pub late: Vec<Arc<Vec<u8>>>,
}

impl JournalCopy {
    pub fn bytes(&self) -> u64 {
        self.decisions.iter().chain(&self.late).map(|block| block.len() as u64).sum()
    }
}

impl JournalRing {
    /// At most so many bytes, each claimed on tickets of the budget of `ticket`, which is one of zero bytes.
    pub fn new(bytes: u64, ticket: impl Fn() -> Ticket) -> Arc<JournalRing> {
        let late = bytes / LATE_PART;
        Arc::new(JournalRing {
            decisions: Mutex::new(Blocks::new(bytes - late, ticket())),
            late: Mutex::new(Blocks::new(late, ticket())),
            services: Mutex::default(),
            on: AtomicBool::new(bytes > 0),
        })
    }

    /// At most so many bytes from now on; what is more is forgotten, the oldest first.
    pub fn resize(&self, bytes: u64) {
        let late = bytes / LATE_PART;
        JournalRing::locked(&self.decisions).resize(bytes - late);
        JournalRing::locked(&self.late).resize(late);
        self.on.store(bytes > 0, Ordering::Relaxed);
    }

    fn locked(blocks: &Mutex<Blocks>) -> MutexGuard<'_, Blocks> {
        blocks.locked()
    }

    pub fn copy(&self) -> JournalCopy {
        JournalCopy {
            decisions: JournalRing::locked(&self.decisions).copy(),
            late: JournalRing::locked(&self.late).copy(),
        }
    }

    /// The number of the service that a resource names.
    pub fn number_of(&self, resource: &[u8]) -> u16 {
        self.services().number_of(resource)
    }

    pub fn services(&self) -> MutexGuard<'_, ServiceNames> {
        self.services.locked()
    }

    /// Bytes held now, and bytes of records that found no room.
    pub fn held_and_lost(&self) -> (u64, u64) {
        let (decisions, late) = (JournalRing::locked(&self.decisions), JournalRing::locked(&self.late));
        (decisions.bytes() + late.bytes(), decisions.lost + late.lost)
    }
}

/// The shard's end of its journal: records wait here until the shard publishes them, once a step.
pub struct DecisionJournal {
    ring: Arc<JournalRing>,
    decisions: Vec<u8>,
    late: Vec<u8>,
}

impl DecisionJournal {
    pub fn new(ring: Arc<JournalRing>) -> DecisionJournal {
        DecisionJournal { ring, decisions: Vec::new(), late: Vec::new() }
    }

    /// False where nothing is recorded (`journal_bytes: 0`), so that nothing need be gathered either.
    pub fn is_on(&self) -> bool {
        self.ring.on.load(Ordering::Relaxed)
    }

    pub fn ring(&self) -> &Arc<JournalRing> {
        &self.ring
    }

    pub fn decided(&mut self, record: &DecisionRecord) {
        if !self.is_on() {
            return;
        }
        record.write(&mut self.decisions);
        if self.decisions.len() >= STAGED_BYTES {
            self.publish();
        }
    }

    pub fn followed(&mut self, record: &LateRecord) {
        if !self.is_on() {
            return;
        }
        record.write(&mut self.late);
        if self.late.len() >= STAGED_BYTES {
            self.publish();
        }
    }

    /// Shows what was recorded to pages.
    pub fn publish(&mut self) {
        for (staged, blocks) in [(&mut self.decisions, &self.ring.decisions), (&mut self.late, &self.ring.late)] {
            if !staged.is_empty() {
                let mut blocks = JournalRing::locked(blocks);
                blocks.yield_one();
                blocks.push(staged);
                staged.clear();
            }
        }
    }
}

impl Drop for DecisionJournal {
    /// A sampler that has ended explains nothing, and its memory is wanted elsewhere.
    fn drop(&mut self) {
        JournalRing::locked(&self.ring.decisions).clear();
        JournalRing::locked(&self.ring.late).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::data::budget::Budget;
    use crate::core::time::UnixNanos;
    use crate::processors::tail_sampling::journal::record::records;

    fn late(number: u64) -> LateRecord {
        let trace_id = u128::from(number).to_be_bytes();
        LateRecord { trace_id, at: UnixNanos(number), kept: true, spans: 1, after_millis: None }
    }

    fn known(ring: &JournalRing) -> Vec<u64> {
        let copy = ring.copy();
        let ids = copy.late.iter().flat_map(|block| records(block).map(|raw| u128::from_be_bytes(raw.trace_id())));
        ids.map(|id| id as u64).collect()
    }

    #[test]
    fn the_latest_records_are_kept_within_the_bytes_granted_and_given_back_at_the_end() {
        let budget = Budget::new(64 << 20, 64 << 20);
        let ring = JournalRing::new(4 << 20, || budget.take(0).expect("room"));
        let mut journal = DecisionJournal::new(ring.clone());
        (0..100_000).for_each(|number| journal.followed(&late(number)));
        journal.publish();
        let known = known(&ring);
        assert_eq!(known.last(), Some(&99_999));
        assert!(known.windows(2).all(|pair| pair[0] + 1 == pair[1]), "without a gap");
        assert!(known.len() > 6_000, "{}", known.len());
        let (held, lost) = ring.held_and_lost();
        assert_eq!((budget.used(), lost), (held, 0));
        assert!(held <= 4 << 20, "{held}");
        let copy = ring.copy();
        drop(journal);
        assert_eq!((budget.used(), ring.held_and_lost().0), (0, 0));
        assert!(copy.bytes() > 0, "what a page has taken stays readable");
    }

    #[test]
    fn a_journal_that_becomes_smaller_keeps_what_is_latest_and_gives_the_rest_back() {
        let budget = Budget::new(64 << 20, 64 << 20);
        let ring = JournalRing::new(8 << 20, || budget.take(0).expect("room"));
        let mut journal = DecisionJournal::new(ring.clone());
        (0..20_000).for_each(|number| journal.followed(&late(number)));
        journal.publish();
        ring.resize(2 << 20);
        let left = known(&ring);
        assert_eq!((left.last(), budget.used()), (Some(&19_999), ring.held_and_lost().0));
        assert!(budget.used() <= 2 << 20, "{}", budget.used());
        ring.resize(0);
        assert_eq!((known(&ring).len(), budget.used(), journal.is_on()), (0, 0, false));
        ring.resize(2 << 20);
        journal.followed(&late(1));
        journal.publish();
        assert_eq!(known(&ring), [1]);
    }

    #[test]
    fn data_goes_before_the_journal_where_memory_is_short() {
        let budget = Budget::new(1 << 20, 256 << 10);
        let ring = JournalRing::new(64 << 20, || budget.take(0).expect("room"));
        let mut journal = DecisionJournal::new(ring.clone());
        (0..20_000).for_each(|number| journal.followed(&late(number)));
        journal.publish();
        assert!(budget.used() <= 256 << 10, "{}", budget.used());
        let before = ring.held_and_lost().0;
        let data = budget.take_working(512 << 10).expect("below the hard limit");
        (0..5_000).for_each(|number| journal.followed(&late(number)));
        journal.publish();
        assert!(ring.held_and_lost().0 < before, "blocks are given back while the budget is short");
        assert_eq!(budget.refused(), 0, "and no claim of it counts as a refusal");
        drop((data, journal));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_journal_without_room_records_nothing_and_says_so() {
        for (bytes, says_so) in [(0, false), (1, true)] {
            let ring = JournalRing::new(bytes, Ticket::free);
            let mut journal = DecisionJournal::new(ring.clone());
            journal.followed(&late(1));
            journal.publish();
            assert!(known(&ring).is_empty());
            assert_eq!(ring.held_and_lost().1 > 0, says_so, "{bytes} bytes");
        }
    }
}
