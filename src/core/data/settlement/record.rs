//! Items that stand in a log on disk: what ends is said there, and what a stop cuts off stays there.
//!
//! A seam: core says which items of a record ended and how; whoever implements [`ItemRecord`] knows what a log is. An item
//! whose position is known is said at once. Where positions were lost (a fan-out, a count without names) the record hears
//! of its items when the last of them has ended: never of an item that may not be the one that ended.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::core::data::settlement::ItemEnd;
use crate::core::error::Reason;
use crate::core::lock::Locked;

/// One record of a log.
pub trait ItemRecord: Send + Sync + fmt::Debug {
    /// Items `from..to` of the record ended so, for good. Called on hot paths: must not wait.
    fn ended(&self, from: u32, to: u32, end: ItemEnd<'_>);

    /// A number of its own, the same after a restart; `None` where there is none.
    fn nonce(&self) -> Option<u64> {
        None
    }

    /// Whether an earlier process had it, which may have delivered of it what it did not live to say.
    fn is_in_doubt(&self) -> bool {
        false
    }

    /// Whether what stays of it is handed out again soon, wherever and by whomever it is read then: nothing is lost by
    /// leaving it.
    fn comes_again(&self) -> bool {
        false
    }

    /// Whether what stays of it is somebody else's by now, who reads it from the start: whoever holds items of it undecided
    /// lets go of them.
    fn is_taken_over(&self) -> bool {
        false
    }
}

/// Where an item stands on disk, by what is the same after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordPlace {
    /// Of the record.
    pub nonce: u64,
    /// The item's position in it.
    pub at: u32,
}

/// The part of a record that one settlement answers for; all of it, for several together, where there are no positions.
#[derive(Debug)]
pub(super) struct LoggedPart {
    record: Arc<dyn ItemRecord>,
    /// Where in the record its items stand; between them may be some that had ended before.
    range: (u32, u32),
    items: u64,
    /// Items of settlements that have not ended.
    open: AtomicU64,
    /// Items that were said by position.
    said: AtomicU64,
    /// An item stays on disk, or may have been one of those without a position.
    kept: AtomicBool,
    /// How items without a position ended; `Delivered` once one was.
    // Locked for a few instructions, and only where positions were lost.
    unplaced: Mutex<Option<ItemEnd<'static>>>,
}

impl LoggedPart {
    pub(super) fn new(record: Arc<dyn ItemRecord>, range: (u32, u32), items: u64) -> Arc<LoggedPart> {
        Arc::new(LoggedPart {
            record,
            range,
            items,
            open: AtomicU64::new(items),
            said: AtomicU64::new(0),
            kept: AtomicBool::new(false),
            unplaced: Mutex::default(),
        })
    }

    pub(super) fn nonce(&self) -> Option<u64> {
        self.record.nonce()
    }

    pub(super) fn is_in_doubt(&self) -> bool {
        self.record.is_in_doubt()
    }

    pub(super) fn comes_again(&self) -> bool {
        self.record.comes_again()
    }

    pub(super) fn is_taken_over(&self) -> bool {
        self.record.is_taken_over()
    }

    /// Items end; the end that the account is told of.
    pub(super) fn end<'w>(&self, at: Option<u32>, items: u64, end: ItemEnd<'w>) -> ItemEnd<'w> {
        if stays(end) {
            self.kept.store(true, Ordering::Release);
            return ItemEnd::OnDisk;
        }
        let Some(at) = at else {
            let mut unplaced = self.unplaced.locked();
            if *unplaced != Some(ItemEnd::Delivered) {
                *unplaced = Some(match end {
                    ItemEnd::Dropped(reason, _) => ItemEnd::Dropped(reason, ""),
                    ItemEnd::Delivered => ItemEnd::Delivered,
                    ItemEnd::SampledOut => ItemEnd::SampledOut,
                    ItemEnd::Refused => ItemEnd::Refused,
                    ItemEnd::OnDisk => ItemEnd::OnDisk,
                    ItemEnd::Parked => ItemEnd::Parked,
                });
            }
            return end;
        };
        self.said.fetch_add(items, Ordering::AcqRel);
        self.record.ended(at, at.saturating_add(u32::try_from(items).unwrap_or(u32::MAX)), end);
        end
    }

    /// The last of a settlement's items has ended, in every branch.
    pub(super) fn whole(&self, items: u64) {
        if self.open.fetch_sub(items, Ordering::AcqRel) > items {
            return;
        }
        if self.kept.load(Ordering::Acquire) || self.said.load(Ordering::Acquire) >= self.items {
            return;
        }
        let unplaced = *self.unplaced.locked();
        if let Some(end) = unplaced {
            self.record.ended(self.range.0, self.range.1, end);
        }
    }
}

/// Whether an item of a record stays on disk instead: what a stop, a fault of ours or a lack of memory cut off is sent by
/// the next start. What a next hop refused for good, or the configuration gave up, has its end.
pub fn stays(end: ItemEnd<'_>) -> bool {
    let cut_off = [Reason::SHUTDOWN, Reason::INTERNAL, Reason::ABANDONED, Reason::MEMORY, Reason::BLOCKED];
    match end {
        ItemEnd::Refused | ItemEnd::OnDisk => true,
        // What is parked stands in another record.
        ItemEnd::Delivered | ItemEnd::SampledOut | ItemEnd::Parked => false,
        ItemEnd::Dropped(reason, _) => cut_off.contains(&reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::data::balance::Balance;
    use crate::core::data::payload::Signal;
    use crate::core::data::settlement::{Receipt, Settlement, Share};
    use crate::core::error::ConsumeError;

    /// Notes what is said of a record.
    #[derive(Debug, Default)]
    struct Told(Mutex<Vec<(u32, u32, bool)>>);

    impl ItemRecord for Told {
        fn ended(&self, from: u32, to: u32, end: ItemEnd<'_>) {
            self.0.lock().expect("no panic").push((from, to, end == ItemEnd::Delivered));
        }
    }

    impl Told {
        fn said(&self) -> Vec<(u32, u32, bool)> {
            std::mem::take(&mut *self.0.lock().expect("no panic"))
        }
    }

    /// Items of a request that were logged and answered for.
    fn logged(items: u64) -> (Arc<Balance>, Arc<Told>, Share) {
        let (balance, told): (Arc<Balance>, Arc<Told>) = Default::default();
        let (receipt, share) = Settlement::receive(&balance, Signal::Logs, items);
        let (loan, share) = share.log(told.clone(), true);
        loan.accept();
        receipt.answer(Ok(()));
        (balance, told, share)
    }

    const LOST: ItemEnd<'static> = ItemEnd::Dropped(Reason::PERMANENT, "words");
    const STOP: ItemEnd<'static> = ItemEnd::Dropped(Reason::SHUTDOWN, "words");

    #[test]
    fn parts_of_a_record_are_said_by_their_positions_in_whatever_order_they_end() {
        let (balance, told, mut share) = logged(10);
        let (first, second) = (share.split(3), share.split(4));
        second.end(LOST);
        assert_eq!(told.said(), [(3, 7, false)]);
        let mut rest = share;
        rest.gather(first);
        assert!(rest.is_merged(), "7..10 and 0..3 have no one range");
        rest.end(ItemEnd::Delivered);
        assert_eq!(told.said(), [(7, 10, true), (0, 3, true)]);
        assert!(balance.sheet(Signal::Logs).holds(0));
    }

    #[test]
    fn a_loan_to_one_keeps_positions_also_when_it_is_taken_back() {
        let (_, told, mut share) = logged(6);
        let middle = {
            drop(share.split(0));
            share.split(4)
        };
        share.end(ItemEnd::Delivered);
        assert_eq!(told.said(), [(4, 6, true)]);
        let (loan, lent) = middle.lend(1);
        drop(lent);
        let mut back = loan.take_back(0, Reason::INTERNAL);
        back.split(1).end(ItemEnd::Delivered);
        let (loan, mut lent) = back.lend(1);
        loan.accept();
        lent.remove(0).end(LOST);
        assert_eq!(told.said(), [(0, 1, true), (1, 4, false)]);
    }

    #[test]
    fn what_a_call_took_before_it_failed_is_told_when_it_ends_and_not_before() {
        let (balance, told, share) = logged(4);
        let (loan, mut lent) = share.lend(1);
        let mut called = lent.remove(0);
        // A member of several took two, and the others were refused.
        let taken = called.split(2);
        drop(called);
        let back = loan.take_back(0, Reason::UNAVAILABLE);
        assert_eq!(back.items(), 2);
        back.end(ItemEnd::Delivered);
        assert_eq!(told.said(), [], "two are in somebody's memory");
        taken.end(ItemEnd::Delivered);
        assert!(told.said().iter().any(|(from, to, delivered)| (*from, *to, *delivered) == (0, 4, true)));
        assert!(balance.sheet(Signal::Logs).holds(0));
    }

    #[test]
    fn items_nobody_can_tell_apart_are_said_when_the_last_one_has_ended() {
        let (_, told, mut share) = logged(5);
        let some = share.spread(2);
        some.end(LOST);
        assert_eq!(told.said(), [], "which two is not known");
        share.end(ItemEnd::Delivered);
        assert_eq!(told.said(), [(0, 5, true)]);
    }

    #[test]
    fn a_fan_out_has_ended_an_item_when_every_branch_has() {
        let (balance, told, share) = logged(4);
        let (loan, mut lent) = share.lend(2);
        loan.accept();
        lent.remove(0).end(ItemEnd::Delivered);
        assert_eq!(told.said(), [], "the other branch has them still");
        lent.remove(0).end(LOST);
        assert_eq!(told.said(), [(0, 4, true)]);
        assert!(balance.sheet(Signal::Logs).holds(0));
    }

    #[test]
    fn what_a_stop_cuts_off_stays_on_disk_and_is_never_said() {
        let (balance, told, mut share) = logged(5);
        let (sent, dropped) = (share.split(2), share.split(1));
        sent.end(ItemEnd::Delivered);
        balance.close();
        share.end(STOP);
        drop(dropped);
        assert_eq!(told.said(), [(0, 2, true)]);
        let sheet = balance.sheet(Signal::Logs);
        assert!(sheet.holds(0) && sheet.on_disk == 3 && sheet.lost_at_stop() == 0, "{sheet:?}");
        // Where one branch of two keeps it, nothing of it may be said.
        let (_, told, share) = logged(4);
        let (loan, mut lent) = share.lend(2);
        loan.accept();
        lent.remove(0).end(ItemEnd::Delivered);
        lent.remove(0).end(STOP);
        assert_eq!(told.said(), []);
    }

    #[test]
    fn requests_merged_into_one_record_have_positions_one_after_the_other() {
        let (balance, told): (Arc<Balance>, Arc<Told>) = Default::default();
        let (one, mut share): (Receipt, Share) = Settlement::receive(&balance, Signal::Logs, 3);
        let (other, rest) = Settlement::receive(&balance, Signal::Logs, 4);
        share.join(rest);
        let (loan, mut share) = share.log(told.clone(), true);
        loan.accept();
        one.answer(Ok(()));
        other.answer(Ok(()));
        share.split(5).end(ItemEnd::Delivered);
        assert_eq!(told.said(), [(0, 3, true), (3, 5, true)]);
        // What lost its positions is said as its request's part.
        let mut left = share;
        left.forget_positions();
        left.end(LOST);
        assert_eq!(told.said(), [(3, 7, false)]);
    }

    #[test]
    fn requests_without_positions_are_said_when_all_of_them_have_ended() {
        let (balance, told): (Arc<Balance>, Arc<Told>) = Default::default();
        let (one, mut share): (Receipt, Share) = Settlement::receive(&balance, Signal::Logs, 3);
        let (other, rest) = Settlement::receive(&balance, Signal::Logs, 4);
        share.join(rest);
        let (loan, mut share) = share.log(told.clone(), false);
        loan.accept();
        one.answer(Ok(()));
        other.answer(Ok(()));
        share.split(5).end(LOST);
        assert_eq!(told.said(), []);
        share.end(ItemEnd::SampledOut);
        assert_eq!(told.said(), [(0, u32::MAX, false)]);
    }

    #[test]
    fn what_had_ended_before_a_restart_is_not_received_again() {
        let (balance, told): (Arc<Balance>, Arc<Told>) = Default::default();
        let (receipt, share) = Settlement::recover(&balance, Signal::Logs, told.clone(), &[(1, 3), (5, 6)]);
        assert_eq!((share.items(), balance.sheet(Signal::Logs).received), (3, 3));
        let (loan, mut lent) = share.lend(1);
        drop(lent.remove(0));
        let share = loan.take_back(0, Reason::INTERNAL);
        drop(share);
        receipt.answer(Err(&ConsumeError::refused(Reason::SHUTDOWN, "later")));
        assert_eq!((told.said(), balance.sheet(Signal::Logs).on_disk), (vec![], 3));
    }
}
