//! One partition that this member has: its window, the records that wait for its lane, and the memory of both.
//!
//! Settlements reach the window of the membership in which their records were read, and no other: a partition that went
//! away and came again has another window.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::core::data::budget::{Budget, Ticket};
use crate::core::data::payload::Signal;
use crate::core::data::settlement::{ItemEnd, ItemRecord, Settlement};
use crate::core::lock::Locked;
use crate::kafka::client::seam::{FetchedRecord, TopicPartition};
use crate::receivers::kafka::config::RecordEncoding;
use crate::receivers::kafka::group::window::OffsetWindow;

/// What one record takes while it is remembered: its place in the window, its account and who tells of it.
const RECORD_BYTES: u64 = 512;
/// A partition with so much waiting for its lane is not read further.
const WAITING_BYTES_MAX: usize = 1 << 20;
const WAITING_RECORDS_MAX: usize = 1_000;

pub struct HeldPartition {
    pub of: TopicPartition,
    /// What its records may be, of one encoding: more than one where signals share the topic.
    pub signals: Vec<Signal>,
    pub encoding: RecordEncoding,
    in_flight_max: usize,
    nonce: u64,
    /// Pays for the window; what waits pays for itself.
    ticket: Ticket,
    gone: AtomicBool,
    paused: AtomicBool,
    /// Something waits, or the partition is gone.
    more: Notify,
    // All are locked for a few instructions and never across an await.
    window: Mutex<OffsetWindow>,
    waiting: Mutex<Waiting>,
    on_the_way: Mutex<Vec<OnTheWay>>,
    /// Where a batch stands that cannot be decoded, and when it is tried again.
    halted: Mutex<Option<(i64, Instant)>>,
}

impl WaitingRecord {
    fn bytes(&self) -> usize {
        match self {
            WaitingRecord::Read(record, _) => bytes_of(record),
            WaitingRecord::TooLarge(..) => size_of::<WaitingRecord>(),
        }
    }
}

#[derive(Default)]
struct Waiting {
    records: VecDeque<WaitingRecord>,
    bytes: usize,
}

/// A record that waits for its lane.
pub enum WaitingRecord {
    /// With what pays for it.
    Read(FetchedRecord, Ticket),
    /// One of so many bytes, for which there never is memory.
    TooLarge(i64, usize),
}

/// A record in the pipeline.
struct OnTheWay {
    offset: i64,
    settlement: Arc<Settlement>,
    /// All of its items had an end when it was looked at last, and the window did not know.
    suspect: bool,
}

/// What a record takes while it waits.
pub fn bytes_of(record: &FetchedRecord) -> usize {
    let headers: usize = record.headers.iter().map(|(_, value)| value.len() + size_of::<(usize, Bytes)>()).sum();
    record.value.as_ref().map_or(0, Bytes::len) + headers + size_of::<FetchedRecord>()
}

impl HeldPartition {
    pub fn new(
        of: TopicPartition,
        (signals, encoding): (Vec<Signal>, RecordEncoding),
        in_flight_max: usize,
        budget: &Arc<Budget>,
    ) -> Arc<HeldPartition> {
        let nonce = nonce_of(&of);
        Arc::new(HeldPartition {
            of,
            signals,
            encoding,
            in_flight_max,
            nonce,
            ticket: budget.overdraw(0),
            gone: AtomicBool::new(false),
            paused: AtomicBool::new(false),
            more: Notify::new(),
            window: Mutex::default(),
            waiting: Mutex::default(),
            on_the_way: Mutex::default(),
            halted: Mutex::default(),
        })
    }

    pub fn push(&self, record: WaitingRecord) {
        let mut waiting = self.waiting.locked();
        waiting.bytes += record.bytes();
        waiting.records.push_back(record); // granted: by its ticket
        drop(waiting);
        self.more.notify_one();
    }

    pub fn waiting_bytes(&self) -> usize {
        self.waiting.locked().bytes
    }

    /// The next record for the lane; `None` when the partition is gone.
    pub async fn next(&self) -> Option<WaitingRecord> {
        loop {
            let more = self.more.notified();
            if self.is_gone() {
                return None;
            }
            if let Some(record) = self.pop() {
                return Some(record);
            }
            more.await;
        }
    }

    fn pop(&self) -> Option<WaitingRecord> {
        let mut waiting = self.waiting.locked();
        let record = waiting.records.pop_front()?;
        waiting.bytes -= record.bytes();
        Some(record)
    }

    /// What stands here cannot be decoded: nothing is read of the partition for a while. True when that is news.
    pub fn halt(&self, offset: i64, until: Instant) -> bool {
        let before = self.halted.locked().replace((offset, until));
        before.is_none_or(|(known, _)| known != offset)
    }

    fn is_halted(&self) -> bool {
        self.halted.locked().is_some_and(|(_, until)| Instant::now() < until)
    }

    /// Whether there is room for records that are not read yet.
    pub fn has_room(&self) -> bool {
        let waiting = self.waiting.locked();
        let is_behind = waiting.bytes >= WAITING_BYTES_MAX || waiting.records.len() >= WAITING_RECORDS_MAX;
        drop(waiting);
        !is_behind && !self.is_halted() && self.window.locked().len() < self.in_flight_max
    }

    /// See [`OffsetWindow::take`].
    pub fn take(&self, offset: i64) -> bool {
        let mut window = self.window.locked();
        let before = window.len();
        let is_taken = window.take(offset);
        let more = window.len() - before;
        drop(window);
        self.ticket.grow_anyway(more as u64 * RECORD_BYTES);
        is_taken
    }

    pub fn settle(&self, offset: i64) {
        let mut window = self.window.locked();
        let before = window.len();
        window.settle(offset);
        let fewer = before - window.len();
        drop(window);
        self.ticket.give_back(fewer as u64 * RECORD_BYTES);
    }

    /// The record came to no end and has to be read again.
    pub fn lose(&self, offset: i64) {
        self.window.locked().lose(offset);
    }

    /// Looks after a record until all of its items have an end.
    pub fn watch(&self, offset: i64, settlement: Arc<Settlement>) {
        self.on_the_way.locked().push(OnTheWay { offset, settlement, suspect: false }); // granted: RECORD_BYTES
    }

    /// The record has no end, and nobody reads it again: nothing is committed beyond it.
    pub fn leave(&self, offset: i64) {
        self.on_the_way.locked().retain(|one| one.offset != offset);
    }

    /// Notes whether the partition is paused; true when that is news.
    pub fn set_paused(&self, paused: bool) -> bool {
        self.paused.swap(paused, Ordering::Relaxed) != paused
    }

    /// Finds records that were cut off: all of their items have ended, and some of them not for good. So many are lost
    /// now, and the lowest of all that are has this offset.
    pub fn look_for_lost(&self) -> (u64, Option<i64>) {
        let mut lost = 0;
        let mut on_the_way = self.on_the_way.locked();
        on_the_way.retain_mut(|one| {
            if one.settlement.open() > 0 {
                return true;
            }
            // The window is told after the last end was counted: at the next look it has been.
            if !std::mem::replace(&mut one.suspect, true) {
                return true;
            }
            lost += u64::from(self.window.locked().lose(one.offset));
            false
        });
        drop(on_the_way);
        (lost, self.window.locked().lowest_lost())
    }

    pub fn to_commit(&self) -> Option<i64> {
        self.window.locked().to_commit()
    }

    pub fn committed(&self, offset: i64) {
        self.window.locked().committed(offset);
    }

    /// Records on their way.
    pub fn open(&self) -> usize {
        self.window.locked().open()
    }

    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// The partition is another member's, or nobody reads any more: what waits is dropped, and its lane ends.
    pub fn let_go(&self) {
        self.gone.store(true, Ordering::Release);
        while self.pop().is_some() {}
        self.more.notify_waiters();
        // For a lane that is about to wait.
        self.more.notify_one();
    }
}

/// Tells a partition's window of one record.
pub struct RecordOnTheWay {
    partition: Arc<HeldPartition>,
    offset: i64,
    /// Items without an end.
    left: AtomicU64,
}

impl RecordOnTheWay {
    pub fn new(partition: Arc<HeldPartition>, offset: i64, items: u64) -> RecordOnTheWay {
        RecordOnTheWay { partition, offset, left: AtomicU64::new(items) }
    }
}

impl fmt::Debug for RecordOnTheWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.partition.of, self.offset)
    }
}

impl ItemRecord for RecordOnTheWay {
    fn ended(&self, from: u32, to: u32, _: ItemEnd<'_>) {
        // Told as a whole where nobody knows which items they are.
        let is_whole = to == u32::MAX;
        let ended = u64::from(to.saturating_sub(from));
        if is_whole || self.left.fetch_sub(ended, Ordering::AcqRel) <= ended {
            self.partition.settle(self.offset);
        }
    }

    /// The same whenever the record is read: documents get the same ids again.
    fn nonce(&self) -> Option<u64> {
        Some(mixed(self.partition.nonce ^ self.offset.cast_unsigned()))
    }

    /// Another member, or this one before, may have had it.
    fn is_in_doubt(&self) -> bool {
        true
    }

    fn comes_again(&self) -> bool {
        true
    }

    /// The partition has another owner, or this member has it anew: its records are read again.
    fn is_taken_over(&self) -> bool {
        self.partition.is_gone()
    }
}

fn nonce_of(partition: &TopicPartition) -> u64 {
    let text = partition.to_string();
    mixed(
        text.bytes()
            .fold(0xcbf2_9ce4_8422_2325, |state, byte| (state ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)),
    )
}

/// The finalizer of SplitMix64.
fn mixed(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::core::data::balance::Balance;
    use crate::core::error::Reason;

    fn partition(budget: &Arc<Budget>) -> Arc<HeldPartition> {
        let of = TopicPartition { topic: "spans".into(), partition: 3 };
        HeldPartition::new(of, (vec![Signal::Traces], RecordEncoding::Protobuf), 1_000, budget)
    }

    fn record(of: &HeldPartition, offset: i64, bytes: usize) -> FetchedRecord {
        let value = Some(Bytes::from(vec![1; bytes]));
        FetchedRecord { from: of.of.clone(), offset, value, headers: Vec::new(), memory: None }
    }

    /// A record of three items as a lane hands it on.
    fn handed_on(
        held: &Arc<HeldPartition>,
        balance: &Arc<Balance>,
        offset: i64,
    ) -> crate::core::data::settlement::Share {
        assert!(held.take(offset));
        let on_the_way = Arc::new(RecordOnTheWay::new(held.clone(), offset, 3));
        let (receipt, share) = Settlement::recover(balance, Signal::Traces, on_the_way, &[(0, 3)]);
        held.watch(offset, receipt.settlement().clone());
        receipt.answer(Ok(()));
        share
    }

    #[test]
    fn a_record_is_settled_when_its_last_item_has_its_end_however_it_ended() {
        let (held, balance) = (partition(&Budget::unlimited()), Arc::<Balance>::default());
        let (mut first, second) = (handed_on(&held, &balance, 7), handed_on(&held, &balance, 8));
        second.end(ItemEnd::SampledOut);
        first.split(1).end(ItemEnd::Delivered);
        assert_eq!(held.to_commit(), Some(7));
        first.split(1).end(ItemEnd::Dropped(Reason::PERMANENT, "no"));
        assert_eq!(held.to_commit(), Some(7), "one item is on its way");
        first.end(ItemEnd::Delivered);
        assert_eq!((held.to_commit(), held.open()), (Some(9), 0));
        assert_eq!(held.look_for_lost(), (0, None));
        assert_eq!(held.look_for_lost(), (0, None));
    }

    #[test]
    fn items_without_places_settle_their_record_as_a_whole() {
        let (held, balance) = (partition(&Budget::unlimited()), Arc::<Balance>::default());
        let mut share = handed_on(&held, &balance, 1);
        share.forget_positions();
        share.split(2).end(ItemEnd::SampledOut);
        assert_eq!(held.to_commit(), Some(1));
        share.end(ItemEnd::Delivered);
        assert_eq!(held.to_commit(), Some(2));
    }

    #[test]
    fn what_a_stop_or_a_lack_of_memory_cut_off_is_read_again_and_not_committed() {
        let (held, balance) = (partition(&Budget::unlimited()), Arc::<Balance>::default());
        let shares = [5, 6, 7].map(|offset| handed_on(&held, &balance, offset));
        let [first, second, third] = shares;
        first.end(ItemEnd::Delivered);
        second.end(ItemEnd::Dropped(Reason::MEMORY, "full"));
        assert_eq!(held.look_for_lost(), (0, None), "the first look only suspects it");
        assert_eq!(held.look_for_lost(), (1, Some(6)));
        assert_eq!(held.to_commit(), Some(6));
        let again = handed_on(&held, &balance, 6);
        assert!(!held.take(7), "it is on its way");
        third.end(ItemEnd::Delivered);
        again.end(ItemEnd::Delivered);
        assert_eq!(held.to_commit(), Some(8));
    }

    #[test]
    fn records_that_wait_and_those_on_their_way_are_paid_for_until_they_have_their_end() {
        let budget = Budget::new(1 << 30, 1 << 30);
        let held = partition(&budget);
        assert!(held.has_room());
        for offset in 0..3 {
            let record = record(&held, offset, 500_000);
            let ticket = budget.take(bytes_of(&record) as u64).expect("there is room");
            held.push(WaitingRecord::Read(record, ticket));
        }
        assert!(budget.used() > 1_500_000 && !held.has_room());
        while let Some(WaitingRecord::Read(record, _)) = held.pop() {
            assert!(held.take(record.offset));
        }
        assert!(held.has_room());
        assert_eq!(budget.used(), 3 * RECORD_BYTES);
        (0..3).for_each(|offset| held.settle(offset));
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn a_partition_that_goes_lets_its_lane_end_and_forgets_what_waits() {
        let held = partition(&Budget::unlimited());
        held.push(WaitingRecord::Read(record(&held, 1, 10), Ticket::free()));
        assert!(matches!(held.next().await, Some(WaitingRecord::Read(record, _)) if record.offset == 1));
        let waiting = held.clone();
        let (ended, ()) = tokio::join!(waiting.next(), async {
            tokio::task::yield_now().await;
            held.let_go();
        });
        assert!(ended.is_none() && held.next().await.is_none());
    }

    #[test]
    fn a_record_has_the_same_number_whenever_it_is_read_and_another_one_another() {
        let (one, other) = (partition(&Budget::unlimited()), partition(&Budget::unlimited()));
        let nonce = |held: &Arc<HeldPartition>, offset| RecordOnTheWay::new(held.clone(), offset, 1).nonce();
        assert_eq!(nonce(&one, 4), nonce(&other, 4));
        assert_ne!(nonce(&one, 4), nonce(&one, 5));
    }
}
