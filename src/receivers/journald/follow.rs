//! The task that reads the journal: journalctl as a child, its entries in batches, each handed on until it is taken, and only
//! then the position behind it.
//!
//! Nothing is read while a batch waits or memory is short: journalctl waits with its pipe full, and the journal is the queue.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, sleep, sleep_until};

use crate::core::backoff::{Doubling, around};
use crate::core::data::budget::Ticket;
use crate::core::report::status::State;
use crate::core::stage::tasks::Pulse;
use crate::core::time::UnixNanos;
use crate::net::server::admission::report::Throttle;
use crate::receivers::journald::config::JournalConfig;
use crate::receivers::journald::export::ExportReader;
use crate::receivers::journald::journalctl::{INSTALL, Journalctl};
use crate::receivers::journald::metrics::JournalMetrics;
use crate::receivers::journald::position::{JournalPosition, PositionFile};
use crate::receivers::journald::record::{JournalBatch, ReadBatch};
use crate::receivers::source::blocking::aside;
use crate::receivers::source::delivery::{SourceDelivery, WaitingBatch, stopped};

/// What a batch begins with; without room for it nothing is read.
const BATCH_ROOM: u64 = 256 << 10;
/// What is read at once: as much as a pipe holds.
const CHUNK_BYTES: usize = 64 << 10;
/// A batch goes on when it is full or so old (the Collector's flush interval).
const FLUSH_AFTER: Duration = Duration::from_millis(100);
/// Between two looks for memory.
const MEMORY_AGAIN: Duration = Duration::from_millis(100);
/// Between the end of journalctl and its next start.
const RESTARTS: Doubling = Doubling { first: Duration::from_secs(1), longest: Duration::from_secs(30) };

pub struct JournalFollower {
    pub config: Arc<JournalConfig>,
    pub delivery: SourceDelivery,
    pub counts: Arc<JournalMetrics>,
    pub file: Option<PositionFile>,
    pub line: Throttle,
}

/// What a look at journalctl's output came to.
enum Gathered {
    Batch(ReadBatch),
    /// Its output has ended, or cannot be read.
    Ended(Option<ReadBatch>, String),
    Stopped,
}

/// One journalctl and what of its output is not in a batch yet.
struct Following {
    journalctl: Journalctl,
    reader: ExportReader,
    chunk: Vec<u8>,
    /// Bytes of the chunk that are read, and those that came.
    at: usize,
    come: usize,
    started: Instant,
}

impl JournalFollower {
    /// Reads until a stop. `seat` holds the position between two instances of the receiver.
    pub async fn run(mut self, mut seat: OwnedMutexGuard<Option<JournalPosition>>, pulse: Arc<Pulse>) {
        pulse.waits_for("entries of the journal");
        let begun = Instant::now();
        let mut position = match seat.take() {
            Some(position) => Some(position),
            None => self.kept().await,
        };
        let mut failures = 0;
        while self.delivery.stop.borrow().is_none() {
            let started = UnixNanos::now();
            let ended = match Journalctl::start(&self.config, position.as_ref()) {
                Ok(journalctl) => {
                    if position.is_none() && self.config.starts_at_end {
                        position = Some(JournalPosition::Since(started));
                        self.keep(position.as_ref(), begun, false).await;
                    }
                    let following = Following::of(journalctl);
                    self.follow(following, &mut position, (begun, &pulse), &mut failures).await
                }
                Err(why) => Some(format!("{} cannot be started: {why}; {INSTALL}", self.config.program)),
            };
            let Some(why) = ended else { break };
            self.wait(&why, failures, &pulse).await;
            failures += 1;
            self.counts.restarts.add(1);
        }
        if self.file.as_ref().is_some_and(PositionFile::is_unsynced) {
            self.keep(position.as_ref(), begun, true).await;
        }
        *seat = position;
    }

    /// Hands on what journalctl writes until it ends, and why it did; `None` when a stop came.
    async fn follow(
        &mut self,
        mut following: Following,
        position: &mut Option<JournalPosition>,
        (begun, pulse): (Instant, &Pulse),
        failures: &mut u32,
    ) -> Option<String> {
        loop {
            let (batch, ended) = match following.gather(self, failures, pulse).await {
                Gathered::Batch(batch) => (Some(batch), None),
                Gathered::Ended(batch, why) => (batch, Some(why)),
                Gathered::Stopped => {
                    following.journalctl.kill().await;
                    return None;
                }
            };
            if let Some(batch) = batch {
                let waiting = WaitingBatch { envelope: &batch.envelope, items: batch.records, ticket: &batch.ticket };
                if !self.delivery.deliver(waiting, pulse).await {
                    following.journalctl.kill().await;
                    return None;
                }
                if let Some(cursor) = batch.cursor {
                    *position = Some(JournalPosition::After(cursor));
                    self.keep(position.as_ref(), begun, false).await;
                }
            }
            if let Some(why) = ended {
                return Some(following.end(why).await);
            }
        }
    }

    /// The position of an earlier process.
    async fn kept(&mut self) -> Option<JournalPosition> {
        let file = self.file.take()?;
        let (file, read) = aside(move || {
            let read = file.read();
            (file, read)
        })
        .await;
        self.file = Some(file);
        read.unwrap_or_else(|why| {
            tracing::warn!(component = %self.delivery.path, "the position in the journal cannot be read: {why}");
            None
        })
    }

    async fn keep(&mut self, position: Option<&JournalPosition>, begun: Instant, synced: bool) {
        let Some(position) = position.cloned() else { return };
        let Some(mut file) = self.file.take() else { return };
        let (file, written) = aside(move || {
            let written = file.write(&position, begun.elapsed(), synced);
            (file, written)
        })
        .await;
        self.file = Some(file);
        if let Err(why) = written
            && let Some(suppressed) = self.line.pass()
        {
            let path = &self.delivery.path;
            tracing::warn!(component = %path, suppressed, "the position in the journal cannot be written: {why}");
        }
    }

    async fn wait(&mut self, why: &str, failures: u32, pulse: &Pulse) {
        let path = &self.delivery.path;
        self.delivery.host.status.set(path, State::Degraded, why);
        if let Some(suppressed) = self.line.pass() {
            tracing::warn!(component = %path, suppressed, "{why}");
        }
        let until = Instant::now() + around(RESTARTS.after(failures), fastrand::f64());
        while Instant::now() < until {
            pulse.beat();
            tokio::select! {
                () = sleep_until(until.min(Instant::now() + Pulse::INTERVAL)) => {}
                () = stopped(&mut self.delivery.stop) => return,
            }
        }
    }

    /// journalctl works.
    fn well(&self, failures: &mut u32) {
        *failures = 0;
        self.delivery.host.status.set(&self.delivery.path, State::Ok, "");
    }
}

impl Following {
    fn of(journalctl: Journalctl) -> Following {
        let chunk = vec![0; CHUNK_BYTES]; // granted: one for each receiver
        let reader = ExportReader::default();
        Following { journalctl, reader, chunk, at: 0, come: 0, started: Instant::now() }
    }

    /// Reads until a batch is full or old, journalctl ends, or a stop comes.
    async fn gather(&mut self, of: &mut JournalFollower, failures: &mut u32, pulse: &Pulse) -> Gathered {
        let (mut batch, mut flush_at) = (None, None);
        let mut fault = None;
        loop {
            pulse.beat();
            let is_short = match self.take_in(of, &mut batch) {
                Ok(is_short) => is_short,
                Err(why) => {
                    fault = Some(why);
                    false
                }
            };
            if batch.is_some() {
                if *failures > 0 {
                    of.well(failures);
                }
                flush_at.get_or_insert_with(|| Instant::now() + FLUSH_AFTER);
            }
            let is_due = is_short || flush_at.is_some_and(|at| Instant::now() >= at);
            let is_full = batch.as_ref().is_some_and(JournalBatch::is_full);
            if fault.is_some() || is_full || (is_due && batch.is_some()) {
                let made = batch.take().map(|batch| batch.finish(&of.config.records)).transpose();
                return match (made, fault.take()) {
                    (Err(why), _) => Gathered::Ended(None, why.to_string()),
                    (Ok(made), Some(fault)) => Gathered::Ended(made, fault),
                    (Ok(Some(made)), None) => Gathered::Batch(made),
                    (Ok(None), None) => continue,
                };
            }
            if *failures > 0 && self.started.elapsed() >= Pulse::INTERVAL {
                of.well(failures);
            }
            tokio::select! {
                read = self.journalctl.output.read(&mut self.chunk), if !is_short => match read {
                    Ok(read @ 1..) => {
                        of.counts.bytes.add(read as u64);
                        (self.at, self.come) = (0, read);
                    }
                    Ok(_) => fault = Some(String::new()),
                    Err(why) => fault = Some(format!("its output cannot be read: {why}")),
                },
                said = self.journalctl.said.next() => {
                    if let Some(suppressed) = of.line.pass() {
                        tracing::warn!(component = %of.delivery.path, suppressed, "journalctl says: {said}");
                    }
                }
                () = sleep_until(flush_at.unwrap_or_else(Instant::now)), if flush_at.is_some() => {}
                () = sleep(if is_short { MEMORY_AGAIN } else { Pulse::INTERVAL }) => {}
                () = stopped(&mut of.delivery.stop) => return Gathered::Stopped,
            }
        }
    }

    /// Takes what has come into the batch, until it is full. True: the memory is short, and the rest waits where it is.
    fn take_in(&mut self, of: &JournalFollower, batch: &mut Option<JournalBatch>) -> Result<bool, String> {
        let observed = UnixNanos::now();
        loop {
            if batch.as_ref().is_some_and(JournalBatch::is_full) {
                return Ok(false);
            }
            let mut input = self.chunk.get(self.at..self.come).unwrap_or_default();
            let before = input.len();
            let is_whole = self.reader.read(&mut input);
            self.at += before - input.len();
            of.counts.left_out.add(self.reader.take_left_out());
            match is_whole {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                Err(why) => return Err(format!("its output is not the export format: {why}")),
            }
            let Some(room) = room(of, batch) else { return Ok(true) };
            if room.add(&self.reader, &of.config.records, observed).is_err() {
                // An entry alone that has no room waits until there is some.
                if room.records() == 0 {
                    *batch = None;
                }
                return Ok(true);
            }
            of.counts.left_out.add(room.take_left_out());
            of.counts.entries.add(1);
            self.reader.clear();
        }
    }

    /// What to say of its end.
    async fn end(mut self, why: String) -> String {
        if !why.is_empty() {
            self.journalctl.kill().await;
            return format!("journalctl was ended, because {why}");
        }
        self.journalctl.said.rest().await;
        let status = self.journalctl.end().await.map_or_else(|why| why.to_string(), |status| status.to_string());
        match &self.journalctl.said.last {
            Some(said) => format!("journalctl has ended ({status}): {said}"),
            None => format!("journalctl has ended ({status})"),
        }
    }
}

/// The batch, begun where there is room for one.
fn room<'b>(of: &JournalFollower, batch: &'b mut Option<JournalBatch>) -> Option<&'b mut JournalBatch> {
    if batch.is_none() {
        let ticket: Ticket = of.delivery.host.budget.take(BATCH_ROOM).ok()?;
        ticket.give_back(BATCH_ROOM);
        *batch = Some(JournalBatch::within(&ticket));
    }
    batch.as_mut()
}
