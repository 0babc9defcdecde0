//! The way of a partition's records into the pipelines: one after the other, each tried until it is taken.
//!
//! A partition whose record is refused waits with it; the others go on.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::core::data::budget::Ticket;
use crate::core::data::granted::SHARED_BYTES;
use crate::core::data::origin::Origin;
use crate::core::data::payload::{Payload, Signal};
use crate::core::data::settlement::{ItemEnd, Receipt, Settlement, Share};
use crate::core::error::{ConsumeError, Reason};
use crate::core::offload::Aside;
use crate::core::stage::host::Host;
use crate::core::stage::joint::Outputs;
use crate::core::time::UnixNanos;
use crate::kafka::client::seam::{BatchMemory, FetchedRecord};
use crate::net::server::admission::report::Throttle;
use crate::otlp::envelope::Unreadable;
use crate::otlp::json::{self, TranscodeError};
use crate::otlp::readable::{self, Readable};
use crate::receivers::kafka::config::{ReceiverSettings, RecordEncoding};
use crate::receivers::kafka::group::partition::{HeldPartition, RecordOnTheWay, WaitingRecord};
use crate::receivers::kafka::headers::{self, NotWritten};
use crate::receivers::kafka::metrics::ReceiverCounts;
use crate::receivers::kafka::mixed;

const NO_OTLP: &str = "a record is not OTLP of its topic's signal and encoding";
/// Between two looks for memory.
const MEMORY_AGAIN: Duration = Duration::from_millis(50);
/// After so many looks a record for which there was none, although hardly anything else has any, never gets it.
const ALONE_MAX: u32 = 40;
/// How many bytes of protobuf take as long to read as one of JSON, roughly.
const JSON_EFFORT: u64 = 4;

/// What the lanes of one receiver share.
pub struct LaneContext {
    pub path: String,
    pub settings: ReceiverSettings,
    pub outputs: Outputs,
    pub host: Arc<Host>,
    pub counts: ReceiverCounts,
    /// Set when the receiver drains.
    pub stop: watch::Receiver<Option<Instant>>,
    pub unreadable_line: Throttle,
}

/// One partition's.
pub struct PartitionLane {
    partition: Arc<HeldPartition>,
    cx: Arc<LaneContext>,
}

/// A record's items with the memory that they hold.
struct ReadRecord {
    readable: Readable,
    ticket: Ticket,
}

/// Why there are none.
enum NoItems {
    Memory,
    Poison(String),
}

/// The partition is gone, or the receiver drains.
struct Over;

impl PartitionLane {
    pub fn new(partition: Arc<HeldPartition>, cx: Arc<LaneContext>) -> PartitionLane {
        PartitionLane { partition, cx }
    }

    /// Ends with the partition.
    pub async fn run(self) {
        while let Some(record) = self.partition.next().await {
            self.bring(record).await;
        }
    }

    async fn bring(&self, record: WaitingRecord) {
        self.cx.counts.records.add(1);
        // The ticket pays until the record's own copy is made.
        let (FetchedRecord { offset, value, headers, memory, .. }, _paid) = match record {
            WaitingRecord::Read(record, ticket) => (record, ticket),
            WaitingRecord::TooLarge(offset, bytes) if self.partition.take(offset) => {
                return self.poison(offset, &format!("it has {bytes} bytes, for which podgate has no memory"));
            }
            WaitingRecord::TooLarge(..) => return,
        };
        if !self.partition.take(offset) {
            return;
        }
        let Some(value) = value.filter(|value| !value.is_empty()) else { return self.partition.settle(offset) };
        let Some(signal) = self.signal_of(&value) else { return self.partition.settle(offset) };
        match self.read((signal, &value, memory.as_deref()), &headers).await {
            Ok(Ok(read)) => {
                // The buffer of its batch is free from here on, where it was the last of it.
                drop((value, memory));
                self.hand_on((offset, signal), read).await;
            }
            Ok(Err(why)) => self.poison(offset, &why),
            Err(Over) => self.partition.lose(offset),
        }
    }

    /// What a record is read as; `None` for one of a signal that no pipeline takes from here.
    fn signal_of(&self, value: &[u8]) -> Option<Signal> {
        let signals = &self.partition.signals;
        let found = if signals.len() > 1 { mixed::signal_of(self.partition.encoding, value) } else { None };
        match found {
            Some(signal) => signals.contains(&signal).then_some(signal),
            None => signals.first().copied(),
        }
    }

    /// Reads the record as soon as there is memory for it.
    async fn read(
        &self,
        (signal, value, batch): (Signal, &Bytes, Option<&BatchMemory>),
        headers: &[(usize, Bytes)],
    ) -> Result<Result<ReadRecord, String>, Over> {
        let encoding = self.partition.encoding;
        let work = value.len() as u64 * if encoding == RecordEncoding::Json { JSON_EFFORT } else { 1 };
        let (budget, copy, held) =
            (&self.cx.host.budget, (value.len() + SHARED_BYTES) as u64, batch.map(BatchMemory::bytes));
        let mut alone = 0;
        loop {
            // A record of a batch was admitted with it, and only its way gives the batch's memory back.
            let granted = if held.is_some() { budget.take_working(copy) } else { budget.take(copy) };
            if let Ok(ticket) = granted {
                let (value, bytes) = (value.clone(), value.len());
                let read = Aside::shared().run(work, move || read(encoding, signal, &value, ticket)).await;
                match read.and_then(|read| self.with_headers(read, headers, bytes)) {
                    Ok(read) => return Ok(Ok(read)),
                    Err(NoItems::Poison(why)) => return Ok(Err(why)),
                    Err(NoItems::Memory) => {}
                }
            }
            // Hardly anything else has memory, and it is not enough.
            alone += u32::from(budget.used().saturating_sub(held.unwrap_or_default()) < budget.soft() / 2);
            if alone == ALONE_MAX {
                return Ok(Err(format!("it has {} bytes and takes more memory than podgate has", value.len())));
            }
            self.wait(MEMORY_AGAIN).await?;
        }
    }

    fn with_headers(
        &self,
        mut read: ReadRecord,
        found: &[(usize, Bytes)],
        bytes: usize,
    ) -> Result<ReadRecord, NoItems> {
        let names = &self.cx.settings.header_attributes;
        match headers::write(&mut read.readable.envelope, (names, found), bytes, &read.ticket) {
            Ok(()) => Ok(read),
            Err(NotWritten::Memory) => Err(NoItems::Memory),
            Err(NotWritten::TooMuch) => Err(NoItems::Poison("its resources are too small for its headers".to_owned())),
        }
    }

    /// No pipeline can take the record, whoever reads it.
    fn poison(&self, offset: i64, why: &str) {
        self.cx.counts.unreadable.add(1);
        let marks = self.cx.settings.marking.on_permanent_error;
        if let Some(suppressed) = self.cx.unreadable_line.pass() {
            let partition = &self.partition.of;
            let signal = self.partition.signals.iter().map(|signal| signal.name()).collect::<Vec<_>>().join(", ");
            let then =
                if marks { "it is passed over" } else { "its offset is not committed (on_permanent_error: false)" };
            tracing::warn!(
                receiver = %self.cx.path, %partition, offset, signal, cause = why, suppressed,
                "{NO_OTLP}, or podgate has no memory for it; {then}"
            );
        }
        if marks {
            self.partition.settle(offset);
        }
    }

    async fn hand_on(&self, (offset, signal): (i64, Signal), read: ReadRecord) {
        let ReadRecord { readable: Readable { envelope, items, malformed, .. }, ticket } = read;
        let all = items + malformed;
        if all == 0 {
            return self.partition.settle(offset);
        }
        if items == 0 {
            self.cx.counts.unreadable.add(1);
        }
        let record = Arc::new(RecordOnTheWay::new(self.partition.clone(), offset, all));
        let end = u32::try_from(all).unwrap_or(u32::MAX - 1);
        let (receipt, mut share) = Settlement::recover(&self.cx.host.balance, signal, record, &[(0, end)]);
        self.partition.watch(offset, receipt.settlement().clone());
        if malformed > 0 {
            // Which of the items they are is not known here.
            share.forget_positions();
            share.split(malformed).end(ItemEnd::Dropped(Reason::MALFORMED, "the item cannot be read"));
        }
        if items == 0 {
            return receipt.answer(Ok(()));
        }
        let origin = Arc::new(Origin::internal(UnixNanos::now()));
        let payload = Payload { signal, envelope, items, origin, ticket, share: Share::none() };
        self.consume(offset, payload, share, receipt).await;
    }

    /// Tries until the pipeline takes the record, or refuses it for good.
    async fn consume(&self, offset: i64, payload: Payload, mut share: Share, receipt: Receipt) {
        let (settings, counts) = (&self.cx.settings, self.cx.counts.items(payload.signal));
        let (mut wait, items) = (settings.backoff.first, payload.items);
        loop {
            let (loan, lent) = share.lend(1);
            let attempt = Payload { share: lent.into_iter().next().unwrap_or_default(), ..payload.copy() };
            let error = match self.attempt(attempt).await {
                Ok(Ok(())) => {
                    counts.accepted.add(items);
                    loan.accept();
                    return receipt.answer(Ok(()));
                }
                Ok(Err(error)) => error,
                Err(Panicked) => {
                    // Its items came back: they end here, once.
                    counts.failed.add(items);
                    self.cx.counts.panics.add(1);
                    let lost = loan.take_back(0, Reason::INTERNAL);
                    lost.end(ItemEnd::Dropped(Reason::INTERNAL, "an internal error"));
                    receipt.answer(Ok(()));
                    // Who panics once panics again.
                    self.partition.settle(offset);
                    return;
                }
            };
            share = loan.take_back(0, error.reason());
            let is_passing = error.is_retryable();
            if is_passing && !settings.marking.on_error {
                counts.refused.add(items);
                let asked = if let ConsumeError::Refused { after, .. } = &error { *after } else { None };
                let due = asked.unwrap_or_default().clamp(wait, settings.backoff.longest.max(wait));
                wait = wait.mul_f64(settings.backoff.multiplier).min(settings.backoff.longest);
                if self.wait(due).await.is_ok() {
                    continue;
                }
                share.end(ItemEnd::Dropped(Reason::SHUTDOWN, "the partition went before the record was taken"));
                return receipt.answer(Ok(()));
            }
            counts.failed.add(items);
            if is_passing || settings.marking.on_permanent_error {
                share.end(ItemEnd::Dropped(error.reason(), &error.to_string()));
            } else {
                // It counts as left in its topic, and nobody reads it again.
                self.partition.leave(offset);
                share.end(ItemEnd::Dropped(Reason::SHUTDOWN, &error.to_string()));
            }
            return receipt.answer(Ok(()));
        }
    }

    async fn attempt(&self, payload: Payload) -> Result<Result<(), ConsumeError>, Panicked> {
        let Some(next) = self.cx.outputs.get(payload.signal) else {
            return Ok(Err(ConsumeError::refused(Reason::UNAVAILABLE, "no pipeline takes this signal any more")));
        };
        let call = AssertUnwindSafe(async move { next.consume(payload).await });
        call.catch_unwind().await.map_err(|_| Panicked)
    }

    /// Waits, as long as somebody wants the record.
    async fn wait(&self, due: Duration) -> Result<(), Over> {
        let mut stop = self.cx.stop.clone();
        tokio::select! {
            () = sleep(due) => {}
            _ = stop.wait_for(Option::is_some) => return Err(Over),
        }
        if self.partition.is_gone() { Err(Over) } else { Ok(()) }
    }
}

/// A stage panicked.
struct Panicked;

/// The record's items. The ticket has paid for a copy, so that a record holds no other's memory.
fn read(encoding: RecordEncoding, signal: Signal, value: &Bytes, ticket: Ticket) -> Result<ReadRecord, NoItems> {
    let wire = match encoding {
        RecordEncoding::Protobuf => Bytes::copy_from_slice(value), // granted: by the caller
        RecordEncoding::Json => match json::transcode(signal, value, &ticket) {
            Ok(transcoded) => transcoded.wire,
            Err(TranscodeError::OverBudget(_)) => return Err(NoItems::Memory),
            Err(why) => return Err(NoItems::Poison(why.to_string())),
        },
    };
    match readable::read(signal, wire, &ticket) {
        Ok(readable) => Ok(ReadRecord { readable, ticket }),
        Err(Unreadable::OverBudget(_)) => Err(NoItems::Memory),
        Err(Unreadable::Malformed(why)) => Err(NoItems::Poison(why.to_string())),
    }
}
