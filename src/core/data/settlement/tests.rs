//! Each item ends once whatever happens to its share, and whoever watches hears the truth.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;

use super::*;
use crate::core::data::budget::Ticket;
use crate::core::data::fan_out::FanOut;
use crate::core::data::origin::Origin;
use crate::core::data::payload::{Envelope, Payload};
use crate::core::stage::consumer::{Consumed, Consumer, Next};
use crate::core::time::UnixNanos;

fn lost(settlement: &Settlement) -> u64 {
    settlement.losses().iter().map(|loss| loss.items).sum()
}

fn drop_for(reason: Reason) -> ItemEnd<'static> {
    ItemEnd::Dropped(reason, "words")
}

#[test]
fn what_comes_back_ends_with_the_answer_and_what_is_dropped_later_is_counted_as_a_bug_of_ours() {
    let balance: Arc<Balance> = Arc::default();
    let (receipt, mut share) = Settlement::receive(&balance, Signal::Logs, 10);
    let (delivered, queued) = (share.split(3), share.split(2));
    delivered.end(ItemEnd::Delivered);
    drop(share);
    receipt.answer(Err(&ConsumeError::refused(Reason::UNAVAILABLE, "later")));
    let sheet = balance.sheet(Signal::Logs);
    assert_eq!((sheet.delivered, sheet.refused, sheet.held), (3, 5, 2));
    drop(queued);
    let sheet = balance.sheet(Signal::Logs);
    assert!(sheet.holds(0) && sheet.dropped["internal"] == 2, "{sheet:?}");

    let (receipt, share) = Settlement::receive(&balance, Signal::Logs, 1);
    drop(share);
    receipt.answer(Err(&ConsumeError::rejected(Reason::PERMANENT, "never")));
    let (receipt, share) = Settlement::receive(&balance, Signal::Logs, 1);
    drop((receipt, share));
    let (receipt, share) = Settlement::receive(&balance, Signal::Logs, 1);
    receipt.answer(Ok(()));
    balance.close();
    drop(share);
    let sheet = balance.sheet(Signal::Logs);
    assert_eq!((sheet.dropped["permanent"], sheet.dropped["internal"], sheet.dropped["shutdown"]), (1, 3, 1));
    assert!(sheet.holds(0), "{sheet:?}");
}

#[test]
fn merged_shares_are_split_in_the_order_of_their_items() {
    let balance: Arc<Balance> = Arc::default();
    let (first, mut share) = Settlement::receive(&balance, Signal::Logs, 3);
    let (second, other) = Settlement::receive(&balance, Signal::Logs, 4);
    share.join(other);
    assert!(share.is_merged());
    share.split(2).end(drop_for(Reason::PERMANENT));
    share.split(2).end(drop_for(Reason::TOO_LARGE));
    assert_eq!((lost(first.settlement()), lost(second.settlement())), (3, 1));
    let reasons: Vec<_> = first.settlement().losses().iter().map(|loss| (loss.reason, loss.items)).collect();
    assert_eq!(reasons, [(Reason::PERMANENT, 2), (Reason::TOO_LARGE, 1)]);
    assert_eq!(share.split(99).items(), 3, "no more than there is");
    drop(share);
}

#[test]
fn a_count_without_places_is_spread_in_proportion_and_nobody_is_charged_beyond_its_own() {
    let mut random = fastrand::Rng::with_seed(3);
    for _ in 0..500 {
        let balance: Arc<Balance> = Arc::default();
        let sizes: Vec<u64> = (0..random.usize(1..8)).map(|_| random.u64(1..20)).collect();
        let total: u64 = sizes.iter().sum();
        let mut share = Share::none();
        let mut receipts = Vec::new();
        for items in &sizes {
            let (receipt, one) = Settlement::receive(&balance, Signal::Logs, *items);
            share.join(one);
            receipts.push(receipt);
        }
        let count = random.u64(0..=total);
        let spread = share.spread(count);
        assert_eq!((spread.items(), share.items()), (count, total - count), "seed 3: {sizes:?}");
        spread.end(drop_for(Reason::PARTIAL_SUCCESS));
        for (receipt, items) in receipts.iter().zip(&sizes) {
            let (charged, due) = (lost(receipt.settlement()) as f64, (count * items) as f64 / total as f64);
            assert!((charged - due).abs() < 1.0, "seed 3: {charged} of {due}: {sizes:?}");
        }
        share.end(ItemEnd::Delivered);
        assert!(balance.sheet(Signal::Logs).holds(0));
    }
}

#[test]
fn different_losses_are_bounded_and_their_sum_is_exact() {
    let balance: Arc<Balance> = Arc::default();
    let (receipt, mut share) = Settlement::receive(&balance, Signal::Logs, 100);
    for at in 0..100 {
        let words = format!("{at} {}", "\u{e9}".repeat(WORDS_BYTES_MAX));
        share.split(1).end(ItemEnd::Dropped(Reason::PERMANENT, &words));
    }
    let losses = receipt.settlement().losses();
    assert_eq!((losses.len(), lost(receipt.settlement())), (LOSSES_MAX, 100));
    assert!(losses.iter().all(|loss| loss.words.len() <= WORDS_BYTES_MAX));
    let (receipt, share) = Settlement::receive(&balance, Signal::Logs, 1);
    share.end(drop_for(Reason::FILTERED));
    assert_eq!(receipt.settlement().losses(), [], "what is dropped on purpose is no loss");
}

#[tokio::test(start_paused = true)]
async fn an_item_lent_to_two_branches_has_ended_when_both_have_ended_it_and_is_lost_once() {
    let balance: Arc<Balance> = Arc::default();
    let (receipt, share) = Settlement::receive(&balance, Signal::Logs, 3);
    let settlement = receipt.settlement().clone();
    let (loan, shares) = share.lend(2);
    let [mut one, mut other]: [Share; 2] = shares.try_into().unwrap();
    one.split(2).end(drop_for(Reason::PARTIAL_SUCCESS));
    assert_eq!(lost(&settlement), 0, "the calls may still fail");
    loan.accept();
    receipt.answer(Ok(()));
    assert_eq!(lost(&settlement), 2);
    other.split(1).end(drop_for(Reason::PERMANENT));
    assert_eq!((lost(&settlement), settlement.open()), (2, 2));
    other.end(drop_for(Reason::PERMANENT));
    assert_eq!((lost(&settlement), settlement.open()), (3, 1));
    let settled = settlement.settled();
    tokio::pin!(settled);
    assert!(tokio::time::timeout(Duration::from_secs(1), &mut settled).await.is_err());
    one.end(ItemEnd::Delivered);
    settled.await;
    let sheet = balance.sheet(Signal::Logs);
    assert!(sheet.holds(0) && sheet.copied == 3 && sheet.dropped_total() == 5, "{sheet:?}");
}

#[test]
fn what_was_refused_is_the_lenders_again_and_other_failed_branches_end_by_themselves() {
    let balance: Arc<Balance> = Arc::default();
    let (receipt, share) = Settlement::receive(&balance, Signal::Logs, 3);
    let (loan, mut shares) = share.lend(3);
    let queued = shares.remove(2);
    drop(shares);
    let share = loan.take_back(1, Reason::OTHER_BRANCH);
    assert_eq!(share.items(), 3);
    let (loan, again) = share.lend(1);
    again.into_iter().for_each(|share| share.end(ItemEnd::Delivered));
    loan.accept();
    receipt.answer(Ok(()));
    queued.end(ItemEnd::Delivered);
    let sheet = balance.sheet(Signal::Logs);
    assert!(sheet.holds(0) && sheet.delivered == 6, "{sheet:?}");
    assert_eq!(sheet.dropped["other_branch_failed"], 3);
}

#[tokio::test(start_paused = true)]
async fn a_share_is_abandoned_when_all_its_requests_are_also_behind_a_loan() {
    let balance: Arc<Balance> = Arc::default();
    let (first, mut share) = Settlement::receive(&balance, Signal::Logs, 1);
    let (second, other) = Settlement::receive(&balance, Signal::Logs, 1);
    share.join(other);
    let (_loan, lent) = share.lend(1);
    first.settlement().abandon();
    assert!(!lent[0].is_abandoned());
    let abandoned = lent[0].abandoned();
    tokio::pin!(abandoned);
    assert!(tokio::time::timeout(Duration::from_secs(1), &mut abandoned).await.is_err());
    second.settlement().abandon();
    abandoned.await;
    assert!(lent[0].is_abandoned());
    assert!(!Share::none().is_abandoned(), "nobody is nobody's caller");
    second.answer(Ok(()));
    assert!(!lent[0].is_abandoned(), "what was answered for is somebody's own");
}

#[test]
fn what_is_made_beside_items_has_an_account_of_its_own_and_waits_as_they_do() {
    let balance: Arc<Balance> = Arc::default();
    let (receipt, share) = Settlement::receive(&balance, Signal::Metrics, 2);
    let (loan, mut lent) = share.lend(1);
    let mut lent = lent.remove(0);
    let (made, copies) = Settlement::beside(&lent, 3).expect("items that are counted");
    assert!(Settlement::beside(&Share::none(), 3).is_none(), "nobody counts them");
    lent.join(copies);
    assert!(!lent.is_abandoned());
    receipt.settlement().abandon();
    assert!(lent.is_abandoned(), "nobody waits for what was made of it either");
    // Two next hops of it lose, which is none of the sender's business.
    let mut rest = lent.split(2);
    lent.end(drop_for(Reason::PERMANENT));
    assert_eq!(lost(receipt.settlement()), 0);
    drop(rest.split(1));
    rest.end(ItemEnd::Delivered);
    made.answer(Err(&ConsumeError::refused(Reason::UNAVAILABLE, "later")));
    drop(loan);
    receipt.answer(Err(&ConsumeError::refused(Reason::UNAVAILABLE, "later")));
    let sheet = balance.sheet(Signal::Metrics);
    assert!(sheet.holds(0) && sheet.held == 0 && sheet.copied == 3, "{sheet:?}");
    assert_eq!((sheet.delivered, sheet.refused, sheet.dropped["permanent"]), (1, 1, 3));
}

/// Panics as soon as it is called, or keeps the share.
struct Rude {
    panics: bool,
    kept: Mutex<Vec<Share>>,
}

impl Consumer for Rude {
    fn consume(&self, payload: Payload) -> Consumed<'_> {
        assert!(!self.panics, "a stage panics on purpose");
        self.kept.lock().unwrap().push(payload.share);
        Box::pin(std::future::ready(Ok(())))
    }
}

#[tokio::test]
async fn a_panic_while_a_fan_out_builds_its_branches_leaves_nothing_held() {
    for panics_at in 0..3 {
        let balance: Arc<Balance> = Arc::default();
        let rude = |at| Arc::new(Rude { panics: at == panics_at, kept: Mutex::default() });
        let stages: Vec<Arc<Rude>> = (0..3).map(rude).collect();
        let fan_out = FanOut::over(stages.iter().map(|stage| stage.clone() as Next).collect());
        let (receipt, share) = Settlement::receive(&balance, Signal::Logs, 4);
        let origin = Arc::new(Origin::internal(UnixNanos(0)));
        let (envelope, ticket) = (Envelope::default(), Ticket::free());
        let payload = Payload { signal: Signal::Logs, envelope, items: 4, origin, ticket, share };
        let called = AssertUnwindSafe(async move { fan_out.consume(payload).await }).catch_unwind().await;
        assert!(called.is_err(), "it panicked");
        drop(receipt);
        // What earlier branches had taken already is theirs to end.
        for stage in stages {
            std::mem::take(&mut *stage.kept.lock().unwrap())
                .into_iter()
                .for_each(|share| share.end(ItemEnd::Delivered));
        }
        let sheet = balance.sheet(Signal::Logs);
        assert!(sheet.holds(0) && sheet.held == 0, "panic at {panics_at}: {sheet:?}");
        assert_eq!((sheet.copied, sheet.delivered), (8, 4 * panics_at as u64), "{sheet:?}");
    }
}
