//! What an earlier process left in the log, on its way to those who had taken it, one record at a time beside live data.
//!
//! A record waits for memory under the same budget as a request, and for a place among the recovered ones under way. A
//! refusal is tried again. A record whose taker this configuration lacks stays where it is, and is named.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::core::data::balance::Balance;
use crate::core::data::budget::{Budget, Ticket};
use crate::core::data::payload::{Payload, Signal};
use crate::core::data::settlement::{Settlement, Share};
use crate::core::error::{ConsumeError, Reason};
use crate::core::lock::Locked;
use crate::core::stage::durable::Taker;
use crate::extensions::file_storage::entry;
use crate::extensions::file_storage::marks::{LoggedRecord, Marks};
use crate::otlp::envelope::{count_item, decode_within};
use crate::otlp::regroup::portion::part;
use crate::wal::body::{Mark, What};
use crate::wal::log::Log;
use crate::wal::writer::reading::Recovered;

/// How long a record waits before it is tried again.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// Takers that are named; a configuration has a handful, and so had the one before.
const STRANGERS_MAX: usize = 1_000;

/// Records that nobody takes in this configuration: records and unsettled items by the taker's name.
#[derive(Debug, Default)]
pub struct UntakenRecords(Mutex<BTreeMap<String, (u64, u64)>>);

impl UntakenRecords {
    /// True for the first record of a taker.
    fn note(&self, taker: &str, items: u64) -> bool {
        let mut known = self.0.locked();
        let is_new = !known.contains_key(taker);
        if is_new && known.len() >= STRANGERS_MAX {
            return false;
        }
        let (records, unsettled) = known.entry(taker.to_owned()).or_default();
        *records += 1;
        *unsettled += items;
        is_new
    }

    pub fn all(&self) -> BTreeMap<String, (u64, u64)> {
        self.0.locked().clone()
    }
}

/// One pass over what was there when the log was opened.
pub struct Recovery {
    pub log: Log,
    pub path: String,
    pub takers: Vec<Taker>,
    pub balance: Arc<Balance>,
    pub budget: Arc<Budget>,
    pub marks: Arc<Marks>,
    pub strangers: Arc<UntakenRecords>,
    pub recovered: Arc<AtomicU64>,
    pub stopping: watch::Receiver<bool>,
}

/// The stop came first; what was not handed on stays on disk.
struct Over;

impl Recovery {
    /// Hands verdicts to those who logged them. Those of a sampler that this configuration lacks stay until their time.
    pub async fn verdicts(&self) {
        let mut after = 0;
        while let Some((origin, named)) = self.log.verdicts_after(after).await {
            after = origin;
            let Some((name, body)) = entry::of_named(named) else { continue };
            let taker = self.takers.iter().find(|taker| entry::short(&taker.name) == &name[..]);
            if let Some(remember) = taker.and_then(|taker| taker.remember.as_ref()) {
                remember.remember(body).await;
            }
        }
    }

    pub async fn run(self) {
        let places: Vec<Option<Arc<Semaphore>>> =
            self.takers.iter().map(|taker| taker.at_once.map(|places| Arc::new(Semaphore::new(places)))).collect();
        let mut after = 0;
        while let Some(found) = self.log.recovered_after(after).await {
            after = found.record;
            let name = found.description.as_ref().map_or("a later version", |of| of.pipeline.as_str());
            let Some(at) = self.takers.iter().position(|taker| taker.name == name) else {
                self.is_strange(name, &found);
                continue;
            };
            let handed = self.hand_on(&self.takers[at], places[at].as_ref(), found).await;
            if handed.is_err() {
                return;
            }
        }
        let records = self.recovered.load(Ordering::Relaxed);
        if records > 0 {
            tracing::info!(storage = %self.path, records, "all records that were left in the log were handed on again");
        }
    }

    fn is_strange(&self, name: &str, found: &Recovered) {
        let items = found.left.iter().map(|(from, to)| u64::from(to.saturating_sub(*from))).sum();
        if self.strangers.note(name, items) {
            tracing::warn!(
                storage = %self.path, taker = name,
                "the log holds records of a component that this configuration lacks: they stay on disk until it is back"
            );
        }
    }

    async fn hand_on(&self, taker: &Taker, places: Option<&Arc<Semaphore>>, found: Recovered) -> Result<(), Over> {
        let place = self.place(places).await?;
        let Some((signal, origin)) = found.description.as_ref().and_then(entry::origin_of) else {
            self.is_strange("a later version", &found);
            return Ok(());
        };
        // The record's bytes stand in memory twice while its lists are made: here and in the log's answer.
        let ticket = self.memory(found.payload.len() as u64).await?;
        let Ok(envelope) = decode_within(found.payload.clone(), &ticket, |_| true) else {
            // Its checksum is right, so these are the bytes that were taken: they were never a request.
            let mark = Mark { record: found.record, from: 0, to: u32::MAX, what: What::Lost };
            tracing::error!(storage = %self.path, record = found.record, "a record holds no readable request and is dropped");
            self.marks.add(mark);
            return Ok(());
        };
        ticket.grow_anyway(2 * envelope.structure_bytes());
        let record = Arc::new(LoggedRecord { record: found.record, marks: self.marks.clone(), place });
        let origin = Arc::new(origin);
        let mut payload = Payload { signal, envelope, items: 0, origin, ticket, share: Share::none() };
        let left = unsettled(&mut payload, &found);
        let (receipt, mut share) = Settlement::recover(&self.balance, signal, record, &left);
        let mut wait = RETRY_FIRST;
        loop {
            let (loan, mut lent) = share.lend(1);
            let attempt = Payload { share: lent.pop().unwrap_or_default(), ..payload.copy() };
            match taker.next.consume(attempt).await {
                Ok(()) => {
                    loan.accept();
                    receipt.answer(Ok(()));
                    self.recovered.fetch_add(1, Ordering::Relaxed);
                    return Ok(());
                }
                Err(error @ ConsumeError::Rejected { .. }) => {
                    drop(loan.take_back(0, error.reason()));
                    receipt.answer(Err(&error));
                    return Ok(());
                }
                Err(error) => share = loan.take_back(0, error.reason()),
            }
            if self.pause(wait).await.is_err() {
                drop(share);
                receipt.answer(Err(&ConsumeError::refused(Reason::SHUTDOWN, "shutting down")));
                return Err(Over);
            }
            wait = (wait * 2).min(RETRY_MAX);
        }
    }

    async fn place(&self, places: Option<&Arc<Semaphore>>) -> Result<Option<OwnedSemaphorePermit>, Over> {
        let Some(places) = places else { return Ok(None) };
        let mut stopping = self.stopping.clone();
        tokio::select! {
            place = places.clone().acquire_owned() => place.map(Some).map_err(|_| Over),
            _ = stopping.wait_for(|stopping| *stopping) => Err(Over),
        }
    }

    /// Waits for memory as a new request would have to ask for it.
    async fn memory(&self, bytes: u64) -> Result<Ticket, Over> {
        let mut wait = RETRY_FIRST;
        loop {
            if let Ok(ticket) = self.budget.take(bytes) {
                return Ok(ticket);
            }
            self.pause(wait).await?;
            wait = (wait * 2).min(RETRY_MAX);
        }
    }

    async fn pause(&self, wait: Duration) -> Result<(), Over> {
        let mut stopping = self.stopping.clone();
        tokio::select! {
            () = tokio::time::sleep(wait) => Ok(()),
            _ = stopping.wait_for(|stopping| *stopping) => Err(Over),
        }
    }
}

/// Leaves in the payload what is unsettled of the record: the ranges of positions that it still has. A message of which
/// only a part is unsettled goes whole.
fn unsettled(payload: &mut Payload, found: &Recovered) -> Vec<(u32, u32)> {
    let counts: Vec<u64> = payload.envelope.items().map(|item| count_item(payload.signal, item)).collect();
    payload.items = counts.iter().sum();
    let is_placed = payload.items == u64::from(found.items);
    if !is_placed || found.left == [(0, found.items)] || payload.signal == Signal::Profiles {
        return found.left.clone();
    }
    let (messages, left) = chosen(&counts, &found.left);
    let kept = part(payload, &messages);
    *payload = kept;
    left
}

/// Messages with an unsettled item, and the positions of all of their items.
fn chosen(counts: &[u64], left: &[(u32, u32)]) -> (Vec<Range<usize>>, Vec<(u32, u32)>) {
    let (mut messages, mut positions): (Vec<Range<usize>>, Vec<(u32, u32)>) = Default::default();
    let (mut from, mut next) = (0u32, 0);
    for (at, count) in counts.iter().enumerate() {
        let to = from.saturating_add(u32::try_from(*count).unwrap_or(u32::MAX));
        while left.get(next).is_some_and(|(_, end)| *end <= from) {
            next += 1;
        }
        if left.get(next).is_some_and(|(start, _)| *start < to) {
            match (messages.last_mut(), positions.last_mut()) {
                (Some(last), Some(place)) if last.end == at => (last.end, place.1) = (at + 1, to),
                _ => {
                    messages.push(at..at + 1);
                    positions.push((from, to));
                }
            }
        }
        from = to;
    }
    (messages, positions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_chosen_when_any_of_its_items_is_unsettled() {
        let chosen = |counts: &[u64], left: &[(u32, u32)]| {
            let (messages, positions) = chosen(counts, left);
            (messages.into_iter().map(|range| (range.start, range.end)).collect::<Vec<_>>(), positions)
        };
        assert_eq!(chosen(&[1, 1, 1, 1], &[(1, 3)]), (vec![(1, 3)], vec![(1, 3)]));
        assert_eq!(chosen(&[1, 1, 1, 1], &[(0, 1), (2, 4)]), (vec![(0, 1), (2, 4)], vec![(0, 1), (2, 4)]));
        // A metric of three points, of which one is unsettled, goes whole; one without points goes with nothing.
        assert_eq!(chosen(&[2, 3, 0, 1], &[(4, 5)]), (vec![(1, 2)], vec![(2, 5)]));
        assert_eq!(chosen(&[2, 3], &[]), (vec![], vec![]));
    }
}
