//! What waits in the log on its way to those who had taken it, beside live data: what an earlier process left, and what was
//! parked since. One reader for each taker, so that a next hop that takes nothing holds up its own records alone.
//!
//! A record waits for memory under the same budget as a request, and for a place among those under way. A refusal is tried
//! again. A record whose taker this configuration lacks stays where it is, and is named.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use crate::core::data::balance::Balance;
use crate::core::data::budget::{Budget, Ticket};
use crate::core::data::payload::{Payload, Signal};
use crate::core::data::settlement::{Receipt, Settlement, Share};
use crate::core::error::{ConsumeError, Reason};
use crate::core::lock::Locked;
use crate::core::stage::durable::Taker;
use crate::extensions::file_storage::entry;
use crate::extensions::file_storage::marks::{LoggedRecord, Marks};
use crate::extensions::file_storage::reading::chosen::unsettled;
use crate::extensions::file_storage::reading::suspects::Suspects;
use crate::otlp::envelope::decode_within;
use crate::wal::body::{Mark, What};
use crate::wal::log::Log;
use crate::wal::writer::reading::Recovered;

/// How long a record waits before it is tried again.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_secs(1);
/// Records, and bytes of them, that are read at once; one of more bytes is read alone. A quarter of them are those that were
/// parked last, so that what comes while much waits is not behind all of it.
const NEWEST_AT_ONCE: usize = 8;
const OLDEST_AT_ONCE: usize = 24;
const READ_BYTES: u64 = 256 << 10;
const AT_ONCE: (usize, usize) = (NEWEST_AT_ONCE, OLDEST_AT_ONCE);
/// Takers that are named; a configuration has a handful, and so had the one before.
const STRANGERS_MAX: usize = 1_000;

/// Records that nobody takes in this configuration: records and unsettled items by the taker's name.
#[derive(Debug, Default)]
pub struct UntakenRecords(Mutex<BTreeMap<String, (u64, u64)>>);

impl UntakenRecords {
    /// True for a taker that is new here.
    fn note(&self, taker: &str, records: u64, items: u64) -> bool {
        let mut known = self.0.locked();
        let is_new = !known.contains_key(taker);
        if is_new && known.len() >= STRANGERS_MAX {
            return false;
        }
        let of = known.entry(taker.to_owned()).or_default();
        *of = (of.0 + records, of.1 + items);
        is_new
    }

    pub fn all(&self) -> BTreeMap<String, (u64, u64)> {
        self.0.locked().clone()
    }
}

/// What the readers of a log share.
pub struct Recovery {
    pub log: Log,
    pub path: String,
    pub balance: Arc<Balance>,
    pub budget: Arc<Budget>,
    pub marks: Arc<Marks>,
    pub strangers: Arc<UntakenRecords>,
    pub recovered: Arc<AtomicU64>,
    pub suspects: Arc<Suspects>,
    /// Records that nobody has in memory.
    pub waiting: Arc<AtomicI64>,
    pub stopping: watch::Receiver<bool>,
}

/// The stop came first; what was not handed on stays on disk.
struct Over;

type Place = Option<OwnedSemaphorePermit>;

/// A place that is free right now.
fn free_place(places: &Places) -> Option<Place> {
    match places {
        None => Some(None),
        Some((places, _)) => places.clone().try_acquire_owned().ok().map(Some),
    }
}

/// Places among the records under way of a taker, and how many there are.
type Places = Option<(Arc<Semaphore>, usize)>;

impl Recovery {
    /// Hands verdicts to those who logged them. Those of a sampler that this configuration lacks stay until their time.
    pub async fn verdicts(&self, takers: &[Taker]) {
        let mut after = 0;
        while let Some((origin, named)) = self.log.verdicts_after(after).await {
            after = origin;
            let Some((name, body)) = entry::of_named(named) else { continue };
            let taker = takers.iter().find(|taker| entry::short(&taker.name) == &name[..]);
            if let Some(remember) = taker.and_then(|taker| taker.remember.as_ref()) {
                remember.remember(body).await;
            }
        }
    }

    /// Tells those whose records are there that they come, and names those who are not there.
    pub async fn announce(&self, takers: &[Taker]) {
        for of in self.log.stats().unsettled {
            let Some(taker) = takers.iter().find(|taker| taker.name == of.pipeline) else {
                self.is_strange(&of.pipeline, of.records, of.items);
                continue;
            };
            self.waiting.fetch_add(of.records as i64, Ordering::Relaxed);
            if let Some(remember) = &taker.remember {
                remember.returning(true).await;
            }
        }
    }

    fn is_strange(&self, taker: &str, records: u64, items: u64) {
        if self.strangers.note(taker, records, items) {
            tracing::warn!(
                storage = %self.path, taker, records, items,
                "the log holds records of a component that this configuration lacks: they stay on disk until it is back"
            );
        }
    }

    /// Hands a taker its records until the stop. `parked` tells when there may be more.
    pub async fn run(self: Arc<Recovery>, taker: Taker, mut parked: watch::Receiver<u64>) {
        let places: Places = taker.at_once.map(|places| (Arc::new(Semaphore::new(places)), places));
        let mut stopping = self.stopping.clone();
        let (mut after, mut handed) = (0, Some(0));
        loop {
            // Before the look, so that what is parked in between is not missed.
            parked.borrow_and_update();
            let Some(found) = self.log.waiting_after(&taker.name, after, AT_ONCE).await else { return };
            let looked = std::mem::replace(&mut after, found.looked_at) != found.looked_at || !found.records.is_empty();
            handed.iter_mut().for_each(|handed| *handed += found.records.len());
            if self.hand_on_all(&taker, &places, &found.records).await.is_err() {
                return;
            }
            if looked {
                continue;
            }
            if let Some(records) = handed.take().filter(|records| *records > 0) {
                if let Some(remember) = &taker.remember {
                    remember.returning(false).await;
                }
                let taker = &taker.name;
                tracing::info!(storage = %self.path, taker, records, "all records that were left in the log were handed on again");
            }
            tokio::select! {
                told = parked.changed() => if told.is_err() { return },
                _ = stopping.wait_for(|stopping| *stopping) => return,
            }
        }
    }

    async fn hand_on_all(&self, taker: &Taker, places: &Places, records: &[(u64, u32)]) -> Result<(), Over> {
        let mut rest = records;
        while let Some(((first, length), others)) = rest.split_first() {
            let mut granted = vec![(*first, self.memory(u64::from(*length), places).await?)];
            let mut bytes = u64::from(*length);
            for (record, length) in others {
                bytes += u64::from(*length);
                let Some(ticket) = (bytes <= READ_BYTES).then(|| self.budget.take(u64::from(*length)).ok()).flatten()
                else {
                    break;
                };
                granted.push((*record, ticket));
            }
            rest = &rest[granted.len()..];
            let found = self.log.read_back(granted.iter().map(|(record, _)| *record).collect()).await;
            self.waiting.fetch_sub(granted.len() as i64, Ordering::Relaxed);
            let mut granted = granted.into_iter();
            // What could not be read has no place in the answer.
            let ticket =
                |found: &Recovered| granted.find(|(record, _)| *record == found.record).map(|(_, ticket)| ticket);
            let tickets: Vec<Option<Ticket>> = found.iter().map(ticket).collect();
            let mut found = found.into_iter().zip(tickets.into_iter().flatten()).peekable();
            while found.peek().is_some() {
                let mut batch = Vec::new();
                let mut free = Some(self.place(places).await?);
                while let Some(((record, ticket), place)) = free.and_then(|place| Some((found.next()?, place))) {
                    batch.push((record, ticket, place));
                    free = free_place(places);
                }
                self.suspect(batch.iter().map(|(record, ..)| record)).await;
                for (record, ticket, place) in batch {
                    self.hand_on(taker, place, record, ticket).await?;
                }
            }
        }
        Ok(())
    }

    /// Returns when it is on disk that records of an earlier process are handed on now.
    async fn suspect(&self, records: impl Iterator<Item = &Recovered>) {
        let marks = self.suspects.note(records, Instant::now());
        if !marks.is_empty() {
            self.log.settle(marks).await;
            // A log that cannot write counts no crashes.
            _ = tokio::time::timeout(RETRY_MAX, self.log.flush()).await;
        }
    }

    async fn hand_on(&self, taker: &Taker, place: Place, found: Recovered, ticket: Ticket) -> Result<(), Over> {
        let Some((signal, origin)) = found.description.as_ref().and_then(entry::origin_of) else {
            let items = found.left.iter().map(|(from, to)| u64::from(to.saturating_sub(*from))).sum();
            self.is_strange("a later version", 1, items);
            return Ok(());
        };
        // The record's bytes stand in memory twice while its lists are made: here and in the log's answer.
        let Ok(envelope) = decode_within(found.payload.clone(), &ticket, |_| true) else {
            // Its checksum is right, so these are the bytes that were taken: they were never a request.
            let mark = Mark { record: found.record, from: 0, to: u32::MAX, what: What::Lost };
            tracing::error!(storage = %self.path, record = found.record, "a record holds no readable request and is dropped");
            self.marks.add(mark);
            return Ok(());
        };
        ticket.grow_anyway(2 * envelope.structure_bytes());
        let record = Arc::new(LoggedRecord {
            record: found.record,
            nonce: self.log.nonce(found.record),
            marks: self.marks.clone(),
            in_doubt: !found.parked,
            place,
        });
        let origin = Arc::new(origin);
        let mut payload = Payload { signal, envelope, items: 0, origin, ticket, share: Share::none() };
        let left = unsettled(&mut payload, &found);
        let (receipt, share) = self.received(signal, record, &left, found.parked);
        self.offer(taker, payload, receipt, share).await
    }

    /// Offers a payload until it is taken, or refused for good.
    async fn offer(&self, taker: &Taker, payload: Payload, receipt: Receipt, share: Share) -> Result<(), Over> {
        let (mut wait, mut share) = (RETRY_FIRST, share);
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

    /// The account of a record: what this process parked it has received before.
    fn received(
        &self,
        signal: Signal,
        record: Arc<LoggedRecord>,
        left: &[(u32, u32)],
        parked: bool,
    ) -> (Receipt, Share) {
        if parked {
            Settlement::read_back(&self.balance, signal, record, left)
        } else {
            Settlement::recover(&self.balance, signal, record, left)
        }
    }

    async fn place(&self, places: &Places) -> Result<Place, Over> {
        let Some((places, _)) = places else { return Ok(None) };
        let mut stopping = self.stopping.clone();
        tokio::select! {
            place = places.clone().acquire_owned() => place.map(Some).map_err(|_| Over),
            _ = stopping.wait_for(|stopping| *stopping) => Err(Over),
        }
    }

    /// Waits for memory as a new request would have to ask for it. With nothing of the taker under way one record goes up
    /// to the hard limit: nothing else may give memory back.
    async fn memory(&self, bytes: u64, places: &Places) -> Result<Ticket, Over> {
        let mut wait = RETRY_FIRST;
        loop {
            if let Ok(ticket) = self.budget.take(bytes) {
                return Ok(ticket);
            }
            let idle = places.as_ref().is_some_and(|(places, all)| places.available_permits() == *all);
            if let (true, Ok(ticket)) = (idle, self.budget.take_working(bytes)) {
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
