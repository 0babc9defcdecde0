//! Shares: who answers for items, by how many of which request, in the order of the items.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::core::data::settlement::{ItemEnd, ItemRecord, Loan, RecordPlace, Settlement, stays};

#[derive(Debug)]
pub(super) struct SharePart {
    pub(super) of: Arc<Settlement>,
    pub(super) items: u64,
    /// The first one's position in a record on disk, the others following it; `None` where it is not known, or there is
    /// no record.
    pub(super) at: Option<u32>,
}

impl SharePart {
    /// The position behind the last item.
    fn end(&self) -> Option<u32> {
        self.at?.checked_add(u32::try_from(self.items).ok()?)
    }

    /// Whether items that follow these can be told by the same words.
    fn goes_on_with(&self, next: &SharePart) -> bool {
        Arc::ptr_eq(&self.of, &next.of) && (self.at.is_none() == next.at.is_none()) && self.end() == next.at
    }
}

/// Items that somebody answers for. One request is the usual case and allocates nothing; merged payloads have a part for
/// each request, in the order of their items.
#[must_use]
#[derive(Debug, Default)]
pub struct Share {
    first: Option<SharePart>,
    rest: VecDeque<SharePart>,
}

impl Share {
    /// Answers for nothing: of copies, and of payloads in tests that count nothing.
    pub fn none() -> Share {
        Share::default()
    }

    pub(super) fn of(settlement: Arc<Settlement>, items: u64, at: Option<u32>) -> Share {
        let first = (items > 0).then_some(SharePart { of: settlement, items, at });
        Share { first, rest: VecDeque::new() }
    }

    fn parts(&self) -> impl Iterator<Item = &SharePart> {
        self.first.iter().chain(&self.rest)
    }

    fn parts_mut(&mut self) -> impl Iterator<Item = &mut SharePart> {
        self.first.iter_mut().chain(&mut self.rest)
    }

    pub(super) fn take_parts(&mut self) -> impl Iterator<Item = SharePart> + use<> {
        self.first.take().into_iter().chain(std::mem::take(&mut self.rest))
    }

    /// Takes the parts in their order. Most shares have one or none, and a bulk request has a thousand of them.
    #[inline]
    fn take_each(&mut self, mut take: impl FnMut(SharePart)) {
        if let Some(first) = self.first.take() {
            take(first);
        }
        if !self.rest.is_empty() {
            std::mem::take(&mut self.rest).into_iter().for_each(take);
        }
    }

    pub fn items(&self) -> u64 {
        self.parts().map(|part| part.items).sum()
    }

    /// The account of the first items.
    pub(super) fn account(&self) -> Option<&Arc<Settlement>> {
        self.first.as_ref().map(|part| &part.of)
    }

    /// True when the items are of more than one request.
    pub fn is_merged(&self) -> bool {
        !self.rest.is_empty()
    }

    /// Every item ends so.
    pub fn end(mut self, end: ItemEnd<'_>) {
        self.take_each(|part| part.of.end(part.items, part.at, end));
    }

    pub(super) fn push(&mut self, part: SharePart) {
        if part.items == 0 {
            return;
        }
        match self.rest.back_mut().or(self.first.as_mut()) {
            Some(last) if last.goes_on_with(&part) => last.items += part.items,
            Some(_) => self.rest.push_back(part),
            None => self.first = Some(part),
        }
    }

    /// Joins the share of items that follow these.
    pub fn join(&mut self, mut other: Share) {
        other.take_each(|part| self.push(part));
    }

    /// Joins the share of items in no order: what belongs to one request stays together.
    pub fn gather(&mut self, mut other: Share) {
        other.take_each(|part| {
            let known = self.parts_mut().find(|known| known.goes_on_with(&part)).map(|known| known.items += part.items);
            if known.is_none() {
                self.push(part);
            }
        });
    }

    /// The share of the first items; fewer when there are not as many.
    pub fn split(&mut self, mut items: u64) -> Share {
        let mut front = Share::none();
        while items > 0 {
            let Some(first) = &mut self.first else { break };
            if first.items > items {
                let whole = SharePart { of: first.of.clone(), items, at: first.at };
                first.items -= items;
                first.at = whole.end();
                front.push(whole);
                break;
            }
            items -= first.items;
            let next = self.rest.pop_front();
            if let Some(whole) = std::mem::replace(&mut self.first, next) {
                front.push(whole);
            }
        }
        front
    }

    /// The share of `items` items of which it is not known which they are: of each request in proportion to what it has
    /// here, and never more. Sums are exact: a request's count is off by less than one item.
    pub fn spread(&mut self, items: u64) -> Share {
        let total = u128::from(self.items());
        let items = u128::from(items).min(total);
        let mut spread = Share::none();
        let (mut seen, mut given) = (0u128, 0u128);
        for part in self.parts_mut() {
            seen += u128::from(part.items);
            let due = (items * seen / total - given) as u64;
            given += u128::from(due);
            if due > 0 && due < part.items {
                // Which of them is what nobody knows.
                part.at = None;
            }
            part.items -= due;
            spread.push(SharePart { of: part.of.clone(), items: due, at: part.at });
        }
        self.drop_empty();
        spread
    }

    fn drop_empty(&mut self) {
        self.rest.retain(|part| part.items > 0);
        if self.first.as_ref().is_some_and(|first| first.items == 0) {
            self.first = self.rest.pop_front();
        }
    }

    /// True when there are items here and nobody waits any more for the answer of any of their requests.
    pub fn is_abandoned(&self) -> bool {
        self.first.is_some() && self.parts().all(|part| part.of.is_abandoned())
    }

    /// Completes when nobody waits any more for any of the items; never for a share of nothing.
    pub async fn abandoned(&self) {
        for part in self.parts() {
            part.of.until_abandoned().await;
        }
        if self.first.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Lends the items to `branches` calls at once, each of which answers for all of them. Who lends answers for them again
    /// when it takes the loan back; copies are counted in the balance.
    pub fn lend(self, branches: usize) -> (Loan, Vec<Share>) {
        Loan::new(self, branches, None)
    }

    /// Lends the items, which stand in `record` in this order from position 0 on, to one call: what ends of them from now
    /// on is said there. Without `placed` their order is not that of the record.
    pub fn log(self, record: Arc<dyn ItemRecord>, placed: bool) -> (Loan, Share) {
        let (loan, mut shares) = Loan::new(self, 1, Some((record, placed)));
        (loan, shares.pop().unwrap_or_default())
    }

    /// True when all items stand in a log on disk.
    pub fn is_logged(&self) -> bool {
        self.first.is_some() && self.parts().all(|part| part.of.logged.is_some())
    }

    /// Runs of the items in their order: how many, and where the first of them stands on disk, the others following it.
    pub fn places(&self) -> impl Iterator<Item = (u64, Option<RecordPlace>)> + '_ {
        self.parts().map(|part| {
            let nonce = part.of.logged.as_ref().and_then(|logged| logged.nonce());
            (part.items, nonce.zip(part.at).map(|(nonce, at)| RecordPlace { nonce, at }))
        })
    }

    /// Whether an earlier process may have delivered some of the items.
    pub fn is_in_doubt(&self) -> bool {
        self.parts().any(|part| part.of.logged.as_ref().is_some_and(|logged| logged.is_in_doubt()))
    }

    /// True when all items are read again wherever they are left.
    pub fn comes_again(&self) -> bool {
        let comes = |part: &SharePart| part.of.logged.as_ref().is_some_and(|logged| logged.comes_again());
        self.first.is_some() && self.parts().all(comes)
    }

    /// True when the first items are somebody else's by now.
    pub fn is_taken_over(&self) -> bool {
        self.account().and_then(|of| of.logged.as_ref()).is_some_and(|logged| logged.is_taken_over())
    }

    /// Items that such an end leaves on disk.
    pub fn staying(&self, end: ItemEnd<'_>) -> u64 {
        let logged = self.parts().filter(|part| stays(end) && part.of.logged.is_some());
        logged.map(|part| part.items).sum()
    }

    /// The items from now on have no position in their record.
    pub fn forget_positions(&mut self) {
        self.parts_mut().for_each(|part| part.at = None);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.take_each(|part| part.of.give_back(part.items));
    }
}
