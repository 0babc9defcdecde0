//! Answering for items costs one allocation a request, whatever its size, and a fixed few for a fan-out.

use std::sync::Arc;

use podgate::core::data::balance::Balance;
use podgate::core::data::payload::Signal;
use podgate::core::data::settlement::{ItemEnd, Settlement};

use crate::allocations;

#[test]
fn a_request_of_any_size_is_settled_with_one_allocation() {
    let balance = Arc::new(Balance::default());
    for items in [1, 500, 100_000] {
        let (count, ()) = allocations(|| {
            let (receipt, mut share) = Settlement::receive(&balance, Signal::Traces, items);
            share.split(items / 3).end(ItemEnd::SampledOut);
            let mut halves = share.split(items / 3);
            halves.join(share);
            halves.end(ItemEnd::Delivered);
            receipt.answer(Ok(()));
        });
        assert_eq!(count, 1, "{items} items");
    }
    assert!(balance.sheet(Signal::Traces).holds(0));
}

#[test]
fn a_fan_out_allocates_for_its_branches_and_not_for_its_items() {
    let balance = Arc::new(Balance::default());
    for (items, branches) in [(1, 2), (100_000, 2), (500, 4)] {
        let (receipt, share) = Settlement::receive(&balance, Signal::Traces, items);
        let (count, ()) = allocations(|| {
            let (loan, shares) = share.lend(branches);
            shares.into_iter().for_each(|share| share.end(ItemEnd::Delivered));
            loan.accept();
        });
        receipt.answer(Ok(()));
        assert!(count <= 5 + branches, "{count} allocations for {items} items to {branches} branches");
    }
    assert!(balance.sheet(Signal::Traces).holds(0));
}
