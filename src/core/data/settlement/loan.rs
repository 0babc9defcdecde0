//! Loans: one share in the hands of several calls at once, or of one that may refuse and be tried again.
//!
//! Each call gets shares of a settlement of its own. While a loan stands, nothing of it reaches the lender's settlement;
//! once the calls have said `Ok`, an item of the lender has ended when it has ended in every branch, and it counts as lost
//! when the branch that lost most has lost it: two next hops that reject the same two spans have rejected two, not four.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::core::data::settlement::record::LoggedPart;
use crate::core::data::settlement::share::{Share, SharePart};
use crate::core::data::settlement::{ItemEnd, ItemRecord, LOST_WORDS, Settlement};
use crate::core::error::Reason;
use crate::core::lock::Locked;

/// The items of one request that were lent together.
#[derive(Debug)]
struct Lent {
    parent: Arc<Settlement>,
    items: u64,
    /// Position of the first one in the parent's record.
    at: Option<u32>,
    // Locked for a few instructions.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    accepted: bool,
    /// What the parent heard of: items lost, and items ended.
    lost: u64,
    done: u64,
    /// Items ended by branch.
    ended: Vec<u64>,
    /// Some came back from this branch: what did not has its end there.
    only: Option<usize>,
}

impl State {
    /// Items that ended in every branch since the parent last heard.
    fn newly_done(&mut self) -> u64 {
        let of_one = self.only.and_then(|at| self.ended.get(at).copied());
        let done = of_one.or_else(|| self.ended.iter().copied().min()).unwrap_or_default();
        let new = done.saturating_sub(self.done);
        self.done += new;
        new
    }
}

impl Lent {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.locked()
    }

    /// The branches answer for the items now; what they lost and ended already is heard of.
    fn accept(&self, branches: &[Arc<Settlement>]) {
        let (losses, done) = {
            let mut state = self.lock();
            state.accepted = true;
            let most = branches.iter().map(|branch| branch.losses_locked()).max_by_key(|losses| losses.items);
            let losses = most.map(|losses| losses.list.clone()).unwrap_or_default();
            state.lost = losses.iter().map(|loss| loss.items).sum();
            (losses, state.newly_done())
        };
        losses.iter().for_each(|loss| self.parent.lose(loss.items, loss.reason, &loss.words));
        if done > 0 {
            self.parent.finish(done);
        }
    }
}

impl Lent {
    /// A part of the items came back from this branch. The others are still its own: the parent hears of their ends as they
    /// come, so that a record of theirs is not told of before.
    fn runs_on(&self, at: usize, branch: &Settlement) {
        let done = {
            let mut state = self.lock();
            (state.accepted, state.only) = (true, Some(at));
            state.lost = branch.losses_locked().items;
            state.newly_done()
        };
        if done > 0 {
            self.parent.finish(done);
        }
    }
}

/// Where a settlement made by a loan reports to.
#[derive(Debug)]
pub(super) struct Branch {
    lent: Arc<Lent>,
    at: usize,
}

impl Branch {
    pub(super) fn parent(&self) -> &Settlement {
        &self.lent.parent
    }

    /// `total`: items that this branch has lost in all.
    pub(super) fn lost(&self, total: u64, reason: Reason, words: &str) {
        let new = {
            let mut state = self.lent.lock();
            let is_others = state.only.is_some_and(|only| only != self.at);
            if !state.accepted || is_others || total <= state.lost {
                return;
            }
            total - std::mem::replace(&mut state.lost, total)
        };
        self.lent.parent.lose(new, reason, words);
    }

    pub(super) fn ended(&self, items: u64) {
        let done = {
            let mut state = self.lent.lock();
            state.ended[self.at] += items;
            if state.accepted { state.newly_done() } else { 0 }
        };
        if done > 0 {
            self.lent.parent.finish(done);
        }
    }
}

/// What the lender keeps. Dropped without a word - a panic, a call given up - it takes the items back.
#[derive(Debug)]
pub struct Loan {
    lent: Vec<(Arc<Lent>, Vec<Arc<Settlement>>)>,
}

impl Loan {
    /// With a record, in which the items stand from position 0 on, what is lent is told there.
    pub(super) fn new(
        mut share: Share,
        branches: usize,
        record: Option<(Arc<dyn ItemRecord>, bool)>,
    ) -> (Loan, Vec<Share>) {
        let mut shares: Vec<Share> = (0..branches).map(|_| Share::none()).collect();
        let mut position = 0u32;
        let whole = record.as_ref().filter(|(_, placed)| !placed);
        let whole = whole.map(|(record, _)| LoggedPart::new(record.clone(), (0, u32::MAX), share.items()));
        let lent = share.take_parts().map(|part| {
            let SharePart { of: parent, items, at } = part;
            let (logged, placed) = match &record {
                Some(_) if whole.is_some() => (whole.clone(), None),
                Some((record, _)) => {
                    let from = position;
                    position = position.saturating_add(u32::try_from(items).unwrap_or(u32::MAX));
                    (Some(LoggedPart::new(record.clone(), (from, position), items)), Some(from))
                }
                // Several branches end an item several times: only the last end is the item's.
                None => (parent.logged.clone(), at.filter(|_| branches == 1)),
            };
            let owns = if record.is_some() { items } else { 0 };
            let (signal, balance) = (parent.signal, parent.balance.clone());
            balance.copied(signal, items * (branches as u64).saturating_sub(1));
            // granted: as many as are configured
            let state = State { accepted: false, lost: 0, done: 0, ended: vec![0; branches], only: None };
            let lent = Arc::new(Lent { parent, items, at, state: Mutex::new(state) });
            let settlements = shares.iter_mut().enumerate().map(|(at, share)| {
                let branch = Some(Branch { lent: lent.clone(), at });
                let settlement = Settlement::new(balance.clone(), signal, items, (branch, logged.clone()), owns);
                share.push(SharePart { of: settlement.clone(), items, at: placed });
                settlement
            });
            let settlements = settlements.collect();
            (lent, settlements)
        });
        let lent = lent.collect();
        (Loan { lent }, shares)
    }

    /// All calls said `Ok`: the branches answer for the items from now on.
    pub fn accept(mut self) {
        for (lent, branches) in std::mem::take(&mut self.lent) {
            for branch in &branches {
                // Only a panic behind a branch that had said `Ok` before the others gives something back.
                branch.end(branch.close(), None, ItemEnd::Dropped(Reason::INTERNAL, LOST_WORDS));
            }
            lent.accept(&branches);
        }
    }

    /// Calls failed: the items of branch `back` are the lender's again. What other branches gave back is dropped under
    /// `reason`; what they took runs on without the lender.
    pub fn take_back(mut self, back: usize, reason: Reason) -> Share {
        self.take(Some(back), reason)
    }

    fn take(&mut self, back: Option<usize>, reason: Reason) -> Share {
        let mut share = Share::none();
        for (lent, branches) in std::mem::take(&mut self.lent) {
            let returned: Vec<u64> = branches.iter().map(|branch| branch.close()).collect();
            let most = || returned.iter().enumerate().max_by_key(|(_, items)| **items).map(|(at, _)| at);
            let back = back.or_else(most).unwrap_or_default();
            for (at, (branch, items)) in branches.iter().zip(&returned).enumerate() {
                if at != back {
                    branch.end(*items, None, ItemEnd::Dropped(reason, "another branch failed as well"));
                }
            }
            let mine = returned.get(back).copied().unwrap_or_default().min(lent.items);
            if let Some(branch) = branches.get(back).filter(|_| mine < lent.items) {
                lent.runs_on(back, branch);
            }
            // All of them, or nobody knows which.
            let at = lent.at.filter(|_| mine == lent.items);
            share.push(SharePart { of: lent.parent.clone(), items: mine, at });
        }
        share
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        drop(self.take(None, Reason::INTERNAL));
    }
}
