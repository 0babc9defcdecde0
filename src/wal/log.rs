//! The log as the rest of the program sees it: futures in front of one thread that owns the writer and may block.
//!
//! Thin: it gathers what is asked, calls the writer when something is due, and answers. Every queue is bounded; whoever
//! asks faster than the disk writes, waits.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::wal::body::{Mark, What};
use crate::wal::disk::LogDisk;
use crate::wal::recovery::{OpenError, Report, open};
use crate::wal::writer::packing::PackResult;
use crate::wal::writer::reading::{Recovered, WaitingRecords};
use crate::wal::writer::stats::LogStats;
use crate::wal::writer::{Commit, LogRecord, LogTime, LogWriter, Options, Refusal};

/// Asks that wait for the owner.
const QUEUE: usize = 1_024;
/// Marks that one call may hand over.
pub const MARKS_MAX: usize = 4_096;
/// Whoever waits for marks to last; more are told that they may not.
const FLUSHES_MAX: usize = 1_024;
/// How often the writer is tended and the figures are renewed.
const TEND: Duration = Duration::from_millis(250);

/// The wall clock, Unix nanoseconds.
pub type Wall = fn() -> u64;

enum Ask {
    Append { record: LogRecord, since: Instant, answer: oneshot::Sender<Result<u64, Refusal>> },
    Verdicts { keep_until: u64, body: Bytes, since: Instant, answer: oneshot::Sender<Result<u64, Refusal>> },
    Settle(Vec<Mark>),
    Flush(oneshot::Sender<()>),
    Waiting { pipeline: String, after: u64, most: (usize, usize), answer: oneshot::Sender<WaitingRecords> },
    ReadBack { records: Vec<u64>, answer: oneshot::Sender<Vec<Recovered>> },
    OldVerdicts { after: u64, answer: oneshot::Sender<Option<(u64, Bytes)>> },
    DeadLetter { record: u64, answer: oneshot::Sender<io::Result<bool>> },
    Close(oneshot::Sender<()>),
}

/// A handle; cheap to clone. The log is closed by [`Log::close`], or when the last handle is gone.
#[derive(Clone)]
pub struct Log {
    asks: mpsc::Sender<Ask>,
    stats: Arc<Mutex<LogStats>>,
    salt: u64,
}

impl Log {
    /// Opens a folder on a thread of its own. [`OpenError::Held`] while another process has it: ask again later. Where
    /// the disk does not give all bytes several times in a row, the log opens without them and says so.
    pub async fn open(
        disk: impl Fn() -> Box<dyn LogDisk> + Send + 'static,
        options: Options,
        random: u64,
        wall: Wall,
    ) -> Result<(Log, Report), OpenError> {
        let (asks, queue) = mpsc::channel(QUEUE);
        let (opened, answer) = oneshot::channel();
        let failed = |error| OpenError::Disk { what: "opened", error };
        let own = move || {
            let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_time().build() else { return };
            runtime.block_on(async move {
                let clock = Clock { started: Instant::now(), wall };
                let (writer, report) = match open_at_last(disk, options, random, clock).await {
                    Ok(found) => found,
                    Err(error) => {
                        _ = opened.send(Err(error));
                        return;
                    }
                };
                let (stats, salt) = (Arc::new(Mutex::new(writer.stats())), writer.salt);
                let owner = Owner::new(writer, clock, Arc::clone(&stats));
                if opened.send(Ok((stats, salt, report))).is_ok() {
                    owner.run(queue).await;
                }
            });
        };
        std::thread::Builder::new().name("wal".to_owned()).spawn(own).map_err(failed)?;
        let ended = || failed(io::Error::other("its thread ended"));
        let (stats, salt, report) = answer.await.map_err(|_| ended())??;
        Ok((Log { asks, stats, salt }, report))
    }

    /// Returns once the record is on disk; the number is its name in marks.
    pub async fn append(&self, record: LogRecord) -> Result<u64, Refusal> {
        self.asked(|answer| Ask::Append { record, since: Instant::now(), answer }).await.unwrap_or_else(gone)
    }

    /// Returns once the verdicts are on disk; they come back after a restart until `keep_until`, Unix nanoseconds.
    pub async fn verdicts(&self, keep_until: u64, body: Bytes) -> Result<u64, Refusal> {
        self.asked(|answer| Ask::Verdicts { keep_until, body, since: Instant::now(), answer })
            .await
            .unwrap_or_else(gone)
    }

    /// Says what became of items; at most [`MARKS_MAX`] marks in one call, more are cut into several. Returns when it is
    /// heard; [`Log::flush`] tells when it is on disk.
    pub async fn settle(&self, mut marks: Vec<Mark>) {
        while marks.len() > MARKS_MAX {
            let rest = marks.split_off(MARKS_MAX);
            _ = self.asks.send(Ask::Settle(std::mem::replace(&mut marks, rest))).await;
        }
        // Without an owner nothing can be said any more; what was not heard comes back after a restart.
        _ = self.asks.send(Ask::Settle(marks)).await;
    }

    /// All items of a record.
    pub async fn settle_whole(&self, record: u64, what: What) {
        self.settle(vec![Mark { record, from: 0, to: u32::MAX, what }]).await;
    }

    /// Returns once everything that was said before is on disk; `false` when that will not be.
    pub async fn flush(&self) -> bool {
        self.asked(Ask::Flush).await.is_some()
    }

    /// Records of a pipeline that nobody has in memory; see [`LogWriter::waiting_after`].
    pub async fn waiting_after(&self, pipeline: &str, after: u64, most: (usize, usize)) -> Option<WaitingRecords> {
        let pipeline = pipeline.to_owned();
        self.asked(|answer| Ask::Waiting { pipeline, after, most, answer }).await
    }

    /// Reads records back; see [`LogWriter::read_back`].
    pub async fn read_back(&self, records: Vec<u64>) -> Vec<Recovered> {
        self.asked(|answer| Ask::ReadBack { records, answer }).await.unwrap_or_default()
    }

    /// The first batch of verdicts behind `after` (0 at first), with its name.
    pub async fn verdicts_after(&self, after: u64) -> Option<(u64, Bytes)> {
        self.asked(|answer| Ask::OldVerdicts { after, answer }).await.flatten()
    }

    /// Moves a record to the dead letters; see [`LogWriter::dead_letter`].
    pub async fn dead_letter(&self, record: u64) -> io::Result<bool> {
        let ended = || Err(io::Error::other("the log was closed"));
        self.asked(|answer| Ask::DeadLetter { record, answer }).await.unwrap_or_else(ended)
    }

    /// A number that is the record's in every process that opens the log, and no other's in all likelihood.
    pub fn nonce(&self, record: u64) -> u64 {
        // The finish of SplitMix64: neighbours have nothing in common.
        let mixed = (self.salt ^ record.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb) ^ mixed >> 31
    }

    /// Figures, at most a quarter of a second old.
    pub fn stats(&self) -> LogStats {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Writes and syncs what waits, then closes the log in order. What is asked afterwards is refused.
    pub async fn close(&self) {
        _ = self.asked(Ask::Close).await;
    }

    async fn asked<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Option<T> {
        let (answer, heard) = oneshot::channel();
        self.asks.send(ask(answer)).await.ok()?;
        heard.await.ok()
    }
}

/// Reads that failed are tried again, because what is not read now is not found later either.
async fn open_at_last(
    disk: impl Fn() -> Box<dyn LogDisk>,
    options: Options,
    random: u64,
    clock: Clock,
) -> Result<(LogWriter, Report), OpenError> {
    for _ in 0..3 {
        match open(disk(), options.clone(), random, clock.now()) {
            Err(OpenError::Unreadable { .. }) => tokio::time::sleep(TEND).await,
            done => return done,
        }
    }
    open(disk(), Options { salvage: true, ..options }, random, clock.now())
}

fn gone() -> Result<u64, Refusal> {
    Err(Refusal::CannotWrite { why: "it was closed".to_owned() })
}

/// What became of the segment that is packed; waits for ever while none is.
async fn ended(packing: &mut Option<JoinHandle<PackResult>>) -> Option<PackResult> {
    match packing {
        Some(job) => {
            let done = job.await.ok();
            *packing = None;
            done
        }
        None => std::future::pending().await,
    }
}

#[derive(Clone, Copy)]
struct Clock {
    started: Instant,
    wall: Wall,
}

impl Clock {
    fn now(self) -> LogTime {
        self.at(Instant::now())
    }

    fn at(self, then: Instant) -> LogTime {
        LogTime { mono: then.saturating_duration_since(self.started), wall: (self.wall)() }
    }
}

type Waiter = (u64, oneshot::Sender<Result<u64, Refusal>>);

struct Owner {
    writer: LogWriter,
    clock: Clock,
    stats: Arc<Mutex<LogStats>>,
    /// Whoever waits for the group.
    waiters: Vec<Waiter>,
    flushes: Vec<oneshot::Sender<()>>,
    tended: Instant,
}

impl Owner {
    fn new(writer: LogWriter, clock: Clock, stats: Arc<Mutex<LogStats>>) -> Owner {
        Owner { writer, clock, stats, waiters: Vec::new(), flushes: Vec::new(), tended: clock.started }
    }

    async fn run(mut self, mut queue: mpsc::Receiver<Ask>) {
        let mut packing: Option<JoinHandle<PackResult>> = None;
        let closer = loop {
            let wait = self.writer.due_in(self.clock.now()).unwrap_or(TEND).min(TEND);
            let asked = tokio::select! {
                biased;
                asked = timeout(wait, queue.recv()) => asked.ok(),
                done = ended(&mut packing) => {
                    done.into_iter().for_each(|done| self.writer.packed(self.clock.now(), done));
                    None
                }
            };
            match asked {
                Some(Some(first)) => {
                    if let Some(closer) = self.gather(first, &mut queue) {
                        break Some(closer);
                    }
                }
                Some(None) => break None,
                None => {}
            }
            if self.work() && packing.is_none() {
                // Beside the log's own thread, which has senders waiting.
                let job = self.writer.next_to_pack(self.clock.now());
                packing = job.map(|job| tokio::task::spawn_blocking(|| job.run()));
            }
            // So too.
            self.writer.removals().into_iter().for_each(|removal| _ = tokio::task::spawn_blocking(removal));
        };
        queue.close();
        while let Ok(ask) = queue.try_recv() {
            self.take(ask);
        }
        let now = self.clock.now();
        let done = self.writer.close(now);
        self.answer(done);
        self.publish();
        // The folder's lock goes first: whoever hears that the log is closed may open it.
        drop(self);
        if let Some(closer) = closer {
            _ = closer.send(());
        }
    }

    /// Takes what has queued up, as far as a group goes: what waited for a sync has waited long enough to be due, and would
    /// be a group each. Whoever wants the log closed ends it.
    fn gather(&mut self, first: Ask, queue: &mut mpsc::Receiver<Ask>) -> Option<oneshot::Sender<()>> {
        let mut next = Some(first);
        for _ in 0..QUEUE {
            match next {
                Some(Ask::Close(closer)) => return Some(closer),
                Some(ask) => self.take(ask),
                None => break,
            }
            if self.writer.is_group_full() {
                break;
            }
            next = queue.try_recv().ok();
        }
        None
    }

    /// Whether it was time to tend.
    fn work(&mut self) -> bool {
        let now = self.clock.now();
        if self.writer.due_in(now).is_some_and(|wait| wait.is_zero()) {
            let done = self.writer.commit(now);
            self.answer(done);
        }
        let is_time = self.tended.elapsed() >= TEND;
        if is_time {
            self.tended = Instant::now();
            self.writer.tend(now);
            self.publish();
        }
        is_time
    }

    fn take(&mut self, ask: Ask) {
        let now = self.clock.now();
        match ask {
            Ask::Append { record, since, answer } => match self.writer.append(self.clock.at(since), &record) {
                Ok(id) => self.waiters.push((id, answer)),
                // Nobody may be there to hear it any more.
                Err(refusal) => _ = answer.send(Err(refusal)),
            },
            Ask::Verdicts { keep_until, body, since, answer } => {
                match self.writer.verdicts(self.clock.at(since), keep_until, &body) {
                    Ok(id) => self.waiters.push((id, answer)),
                    Err(refusal) => _ = answer.send(Err(refusal)),
                }
            }
            Ask::Settle(marks) => marks.into_iter().for_each(|mark| _ = self.writer.mark(now, mark)),
            Ask::Flush(answer) if self.writer.is_settled() => _ = answer.send(()),
            Ask::Flush(answer) if self.flushes.len() < FLUSHES_MAX => self.flushes.push(answer),
            Ask::Flush(_) => {}
            Ask::Waiting { pipeline, after, most, answer } => {
                _ = answer.send(self.writer.waiting_after(&pipeline, after, most));
            }
            Ask::ReadBack { records, answer } => _ = answer.send(self.writer.read_back(now, &records)),
            Ask::OldVerdicts { after, answer } => _ = answer.send(self.writer.verdicts_after(after)),
            Ask::DeadLetter { record, answer } => _ = answer.send(self.writer.dead_letter(now, record)),
            Ask::Close(answer) => _ = answer.send(()),
        }
    }

    /// Tells everybody who waited for the group.
    fn answer(&mut self, done: Commit) {
        if matches!(done, Commit::Refused(_)) {
            // Whoever is refused finds the figures saying why.
            self.publish();
        }
        for (id, answer) in self.waiters.drain(..) {
            _ = answer.send(match &done {
                Commit::Durable => Ok(id),
                Commit::Refused(refusal) => Err(refusal.clone()),
                Commit::Nothing => Err(Refusal::Busy),
            });
        }
        if self.writer.is_settled() {
            self.flushes.drain(..).for_each(|answer| _ = answer.send(()));
        }
    }

    fn publish(&self) {
        *self.stats.lock().unwrap_or_else(PoisonError::into_inner) = self.writer.stats();
    }
}

#[cfg(test)]
mod tests;
