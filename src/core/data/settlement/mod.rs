//! What becomes of the items of a request: each ends exactly once - delivered, sampled out, dropped with a reason, or refused.
//!
//! A [`Settlement`] is the account of one request. Its items are answered for by [`Share`]s, which travel in payloads and are
//! split, joined and lent exactly where payloads are. Ending a share consumes it, so nothing ends twice; a share that is
//! dropped goes back to its settlement, where the answer of the call ends it (`Err` from a stage: the caller still answers),
//! and after the answer it counts as dropped(internal), so nothing is left without an end. The balance is moved here alone.

mod loan;
mod record;
mod share;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::Notify;

use crate::core::data::balance::Balance;
use crate::core::data::payload::Signal;
use crate::core::data::settlement::loan::Branch;
use crate::core::data::settlement::record::LoggedPart;
use crate::core::error::{ConsumeError, Reason};
use crate::core::lock::Locked;

pub use crate::core::data::settlement::loan::Loan;
pub use crate::core::data::settlement::record::{ItemRecord, RecordPlace, stays};
pub use crate::core::data::settlement::share::Share;

/// How items end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemEnd<'w> {
    Delivered,
    SampledOut,
    /// Given back to the sender, retryably.
    Refused,
    /// With words for whoever asks why: the next hop's own where there are any.
    Dropped(Reason, &'w str),
    /// Cut off by a stop, and still in a log on disk: the next start takes it up.
    OnDisk,
    /// There is no room for it in memory: it stands in a record of its own now, and is read back when there is some.
    Parked,
}

/// Items lost for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    pub reason: Reason,
    pub items: u64,
    pub words: String,
}

/// Different losses remembered of a request; further ones join the last.
const LOSSES_MAX: usize = 8;
/// Bytes of words kept of each.
const WORDS_BYTES_MAX: usize = 512;
/// Set in `returned` once the call has its answer.
const CLOSED: u64 = 1 << 63;

/// The account of one request, or of one branch that a part of it went. It outlives the answer: queues and stores end
/// items later.
#[derive(Debug)]
pub struct Settlement {
    signal: Signal,
    balance: Arc<Balance>,
    /// Items without an end.
    open: AtomicU64,
    /// Items whose share was dropped without an end, with [`CLOSED`].
    returned: AtomicU64,
    branch: Option<Branch>,
    /// The account of items that these were made beside: whoever waits for those waits for these.
    beside: Option<Arc<Settlement>>,
    /// Where its items stand on disk.
    logged: Option<Arc<LoggedPart>>,
    /// Items of the record that it answers for; 0 for settlements lent by it, which only name the record.
    owns: u64,
    abandoned: AtomicBool,
    /// Nobody waits any more, or the last item has ended.
    changed: Notify,
    // Locked when items are lost and when somebody asks; never across an await.
    losses: Mutex<Losses>,
}

/// Invariant: `items` is the sum of the list.
#[derive(Debug, Default)]
struct Losses {
    items: u64,
    list: Vec<Loss>,
}

impl Losses {
    fn add(&mut self, items: u64, reason: Reason, words: &str) {
        self.items += items;
        let known = self.list.iter().position(|loss| loss.reason == reason && loss.words == words);
        let full = (self.list.len() >= LOSSES_MAX).then_some(LOSSES_MAX - 1);
        match known.or(full).and_then(|at| self.list.get_mut(at)) {
            Some(loss) => loss.items += items,
            None => self.list.push(Loss { reason, items, words: words.to_owned() }),
        }
    }
}

fn items_of(ranges: &[(u32, u32)]) -> u64 {
    ranges.iter().map(|(from, to)| u64::from(to.saturating_sub(*from))).sum()
}

/// The first bytes of a text, whole characters only.
fn clipped(words: &str) -> &str {
    &words[..words.floor_char_boundary(WORDS_BYTES_MAX)]
}

/// The duty to answer a request. Dropped without an answer it counts what came back as lost to a bug of ours.
#[derive(Debug)]
pub struct Receipt {
    settlement: Arc<Settlement>,
    answered: bool,
}

impl Receipt {
    /// For whoever wants to know later what became of the request.
    pub fn settlement(&self) -> &Arc<Settlement> {
        &self.settlement
    }

    /// The pipeline's answer: with an error the items that came back end with it.
    pub fn answer(mut self, answer: Result<(), &ConsumeError>) {
        self.answered = true;
        let returned = self.settlement.close();
        match answer {
            Ok(()) => {
                self.settlement.end(returned, None, ItemEnd::Dropped(Reason::INTERNAL, LOST_WORDS));
                debug_assert!(returned == 0, "a stage said Ok and dropped {returned} items without an end");
            }
            Err(ConsumeError::Refused { .. }) => self.settlement.end(returned, None, ItemEnd::Refused),
            Err(ConsumeError::Rejected { reason, message }) => {
                self.settlement.end(returned, None, ItemEnd::Dropped(*reason, message));
            }
        }
    }
}

impl Drop for Receipt {
    fn drop(&mut self) {
        if !self.answered {
            let returned = self.settlement.close();
            self.settlement.end(returned, None, ItemEnd::Dropped(Reason::INTERNAL, LOST_WORDS));
        }
    }
}

const LOST_WORDS: &str = "an internal error";

#[cfg(any(test, feature = "testing"))]
impl crate::core::data::payload::Payload {
    /// Counts the items as received, as a receiver does; the receipt is to be answered with the pipeline's answer.
    pub fn received(self, balance: &Arc<Balance>) -> (Receipt, crate::core::data::payload::Payload) {
        let (receipt, share) = Settlement::receive(balance, self.signal, self.items);
        (receipt, crate::core::data::payload::Payload { share, ..self })
    }
}

impl Settlement {
    /// Counts items of a request as received. The share answers for all of them.
    pub fn receive(balance: &Arc<Balance>, signal: Signal, items: u64) -> (Receipt, Share) {
        balance.received(signal, items);
        let settlement = Settlement::new(balance.clone(), signal, items, (None, None), 0);
        (Receipt { settlement: settlement.clone(), answered: false }, Share::of(settlement, items, None))
    }

    /// Counts items of a record as received again, after a restart: those in `left`, ranges of positions that ascend. They
    /// stand on disk already.
    pub fn recover(
        balance: &Arc<Balance>,
        signal: Signal,
        record: Arc<dyn ItemRecord>,
        left: &[(u32, u32)],
    ) -> (Receipt, Share) {
        balance.received(signal, items_of(left));
        Settlement::of_record(balance, signal, record, left)
    }

    /// As [`Settlement::recover`], for a record whose items ended as [`ItemEnd::Parked`]: they were received before.
    pub fn read_back(
        balance: &Arc<Balance>,
        signal: Signal,
        record: Arc<dyn ItemRecord>,
        left: &[(u32, u32)],
    ) -> (Receipt, Share) {
        balance.read_back(signal, items_of(left));
        Settlement::of_record(balance, signal, record, left)
    }

    fn of_record(
        balance: &Arc<Balance>,
        signal: Signal,
        record: Arc<dyn ItemRecord>,
        left: &[(u32, u32)],
    ) -> (Receipt, Share) {
        let items = items_of(left);
        let logged = LoggedPart::new(record, (0, u32::MAX), items);
        let settlement = Settlement::new(balance.clone(), signal, items, (None, Some(logged)), items);
        let mut share = Share::none();
        for (from, to) in left {
            share.join(Share::of(settlement.clone(), u64::from(to.saturating_sub(*from)), Some(*from)));
        }
        (Receipt { settlement, answered: false }, share)
    }

    /// Counts items that a stage makes beside those of `share` as copies. Their account is their own: what becomes of them
    /// is no news for the sender, and the receipt is to be answered as the call that hands both on. `None` beside items
    /// that nobody counts.
    pub fn beside(share: &Share, items: u64) -> Option<(Receipt, Share)> {
        let of = share.account()?;
        of.balance.copied(of.signal, items);
        let mut settlement = Settlement::built(of.balance.clone(), of.signal, items, (None, None), 0);
        settlement.beside = Some(of.clone());
        let settlement = Arc::new(settlement);
        Some((Receipt { settlement: settlement.clone(), answered: false }, Share::of(settlement, items, None)))
    }

    fn new(
        balance: Arc<Balance>,
        signal: Signal,
        items: u64,
        reports: (Option<Branch>, Option<Arc<LoggedPart>>),
        owns: u64,
    ) -> Arc<Settlement> {
        Arc::new(Settlement::built(balance, signal, items, reports, owns))
    }

    fn built(
        balance: Arc<Balance>,
        signal: Signal,
        items: u64,
        (branch, logged): (Option<Branch>, Option<Arc<LoggedPart>>),
        owns: u64,
    ) -> Settlement {
        Settlement {
            logged,
            owns,
            signal,
            balance,
            open: AtomicU64::new(items),
            returned: AtomicU64::new(0),
            branch,
            beside: None,
            abandoned: AtomicBool::new(false),
            changed: Notify::new(),
            losses: Mutex::default(),
        }
    }

    fn losses_locked(&self) -> MutexGuard<'_, Losses> {
        self.losses.locked()
    }

    /// What was lost so far, except on purpose; behind a fan-out what the branch lost that lost most.
    pub fn losses(&self) -> Vec<Loss> {
        self.losses_locked().list.clone()
    }

    /// Items without an end so far.
    pub fn open(&self) -> u64 {
        self.open.load(Ordering::Acquire)
    }

    /// Completes when every item has its end, however long after the answer.
    pub async fn settled(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that an end in between is not missed.
            changed.as_mut().enable();
            if self.open() == 0 {
                return;
            }
            changed.await;
        }
    }

    /// Nobody waits for the answer any more: what is between two attempts ends as refused.
    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// The request itself, seen from a branch or from what was made beside it.
    fn request(&self) -> &Settlement {
        let mut at = self;
        while let Some(above) = at.branch.as_ref().map(Branch::parent).or(at.beside.as_deref()) {
            at = above;
        }
        at
    }

    /// A request whose answer was given is a stage's own now, whether or not its sender still heard it.
    fn is_abandoned(&self) -> bool {
        let request = self.request();
        request.abandoned.load(Ordering::Acquire) && request.returned.load(Ordering::Acquire) & CLOSED == 0
    }

    async fn until_abandoned(&self) {
        let request = self.request();
        loop {
            let changed = request.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.is_abandoned() {
                return;
            }
            changed.await;
        }
    }

    /// Gives items an end, in the balance, on disk and for whoever watches. `at`: the first one's position in the record.
    fn end(&self, items: u64, at: Option<u32>, end: ItemEnd<'_>) {
        if items == 0 {
            return;
        }
        let end = self.logged.as_ref().map_or(end, |logged| logged.end(at, items, end));
        self.balance.end(self.signal, items, end);
        if let ItemEnd::Dropped(reason, words) = end
            && !reason.is_on_purpose()
        {
            self.lose(items, reason, clipped(words));
        }
        self.finish(items);
    }

    fn lose(&self, items: u64, reason: Reason, words: &str) {
        let total = {
            let mut losses = self.losses_locked();
            losses.add(items, reason, words);
            losses.items
        };
        if let Some(branch) = &self.branch {
            branch.lost(total, reason, words);
        }
    }

    fn finish(&self, items: u64) {
        let before = self.open.fetch_sub(items, Ordering::AcqRel);
        debug_assert!(before >= items, "{items} ends for {before} open items");
        if let Some(branch) = &self.branch {
            branch.ended(items);
        }
        if before == items {
            if let Some(logged) = self.logged.as_ref().filter(|_| self.owns > 0) {
                logged.whole(self.owns);
            }
            self.changed.notify_waiters();
        }
    }

    /// A share was dropped: its items wait for the answer, or are lost when that was given.
    fn give_back(&self, items: u64) {
        if self.returned.fetch_add(items, Ordering::AcqRel) & CLOSED != 0 {
            let reason = self.balance.reason_of_orphans();
            self.end(items, None, ItemEnd::Dropped(reason, LOST_WORDS));
        }
    }

    /// Items that came back until now; what comes back later is lost.
    fn close(&self) -> u64 {
        self.returned.fetch_or(CLOSED, Ordering::AcqRel) & !CLOSED
    }
}

#[cfg(test)]
mod tests;
