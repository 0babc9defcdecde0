//! The log as the rest of the program sees it: futures in front of one thread that owns the writer and may block.
//!
//! Thin: it gathers what is asked, calls the writer when something is due, and answers. Every queue is bounded; whoever
//! asks faster than the disk writes, waits.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

use crate::wal::body::{Mark, What};
use crate::wal::disk::LogDisk;
use crate::wal::recovery::{OpenError, Report, open};
use crate::wal::writer::reading::Recovered;
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
    Recovered { after: u64, answer: oneshot::Sender<Option<Recovered>> },
    OldVerdicts { after: u64, answer: oneshot::Sender<Option<(u64, Bytes)>> },
    DeadLetter { record: u64, answer: oneshot::Sender<io::Result<bool>> },
    Close(oneshot::Sender<()>),
}

/// A handle; cheap to clone. The log is closed by [`Log::close`], or when the last handle is gone.
#[derive(Clone)]
pub struct Log {
    asks: mpsc::Sender<Ask>,
    stats: Arc<Mutex<LogStats>>,
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
                let stats = Arc::new(Mutex::new(writer.stats()));
                let owner = Owner::new(writer, clock, Arc::clone(&stats));
                if opened.send(Ok((stats, report))).is_ok() {
                    owner.run(queue).await;
                }
            });
        };
        std::thread::Builder::new().name("wal".to_owned()).spawn(own).map_err(failed)?;
        let ended = || failed(io::Error::other("its thread ended"));
        let (stats, report) = answer.await.map_err(|_| ended())??;
        Ok((Log { asks, stats }, report))
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

    /// The first record behind `after` (0 at first) that was there when the log was opened and has unsettled items.
    pub async fn recovered_after(&self, after: u64) -> Option<Recovered> {
        self.asked(|answer| Ask::Recovered { after, answer }).await.flatten()
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
        let closer = loop {
            let wait = self.writer.due_in(self.clock.now()).unwrap_or(TEND).min(TEND);
            match timeout(wait, queue.recv()).await {
                Ok(Some(first)) => {
                    if let Some(closer) = self.gather(first, &mut queue) {
                        break Some(closer);
                    }
                }
                Ok(None) => break None,
                Err(_) => {}
            }
            self.work();
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

    fn work(&mut self) {
        let now = self.clock.now();
        if self.writer.due_in(now).is_some_and(|wait| wait.is_zero()) {
            let done = self.writer.commit(now);
            self.answer(done);
        }
        if self.tended.elapsed() >= TEND {
            self.tended = Instant::now();
            self.writer.tend(now);
            self.publish();
        }
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
            Ask::Recovered { after, answer } => _ = answer.send(self.writer.recovered_after(now, after)),
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
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::wal::body::Description;
    use crate::wal::files::LogFolder;

    fn record(text: &str) -> LogRecord {
        let description = Description { pipeline: "traces".to_owned(), ..Description::default() };
        LogRecord { description, items: 2, payload: vec![Bytes::copy_from_slice(text.as_bytes())] }
    }

    fn at(folder: &std::path::Path) -> impl Fn() -> Box<dyn LogDisk> + Send + 'static {
        let folder = folder.to_owned();
        move || Box::new(LogFolder::at(&folder))
    }

    async fn opened(folder: &std::path::Path) -> (Log, Report) {
        let options = Options { max_bytes: 20 << 20, ..Options::default() };
        Log::open(at(folder), options, 7, || 0).await.expect("opened")
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_was_appended_by_many_comes_back_and_what_was_settled_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let (log, report) = opened(folder.path()).await;
        assert_eq!(report, Report::default());
        let names: Vec<String> = (0..50).map(|number| format!("record {number}")).collect();
        let mut appends = tokio::task::JoinSet::new();
        for name in &names {
            let (log, record) = (log.clone(), record(name));
            appends.spawn(async move { log.append(record).await.expect("taken") });
        }
        let mut ids = appends.join_all().await;
        ids.sort_unstable();
        assert!(log.stats().counts.groups < 50, "groups are shared");
        for id in &ids[1..] {
            log.settle_whole(*id, What::Delivered).await;
        }
        assert!(log.flush().await, "on disk");
        log.close().await;
        assert!(matches!(log.append(record("late")).await, Err(Refusal::CannotWrite { .. })));
        let (log, report) = opened(folder.path()).await;
        assert!(report.clean && report.scanned == 0, "{report:?}");
        let back = log.recovered_after(0).await.expect("one is left");
        assert_eq!((back.record, back.doubt), (ids[0], false));
        assert!(back.payload.starts_with(b"record "), "{back:?}");
        assert_eq!(log.recovered_after(back.record).await, None);
        log.close().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_second_owner_is_told_that_the_log_is_held() {
        let folder = tempfile::tempdir().expect("a folder");
        let (log, _) = opened(folder.path()).await;
        let second = Log::open(at(folder.path()), Options::default(), 7, || 0).await;
        assert!(matches!(second, Err(OpenError::Held)));
        log.close().await;
        let third = Log::open(at(folder.path()), Options::default(), 7, || 0).await;
        assert!(third.is_ok(), "closed is given back");
    }

    /// How many syncs were begun, and the words that they wait for.
    type Gate = Arc<(AtomicUsize, Mutex<std::sync::mpsc::Receiver<()>>)>;

    /// A folder whose syncs wait for a word each, as long as somebody gives words.
    struct Gated(LogFolder, Gate);
    struct GatedFile(Box<dyn crate::wal::disk::LogFile>, Gate);

    impl LogDisk for Gated {
        fn list(&mut self) -> io::Result<Vec<(String, u64)>> {
            self.0.list()
        }
        fn create(&mut self, name: &str) -> io::Result<Box<dyn crate::wal::disk::LogFile>> {
            Ok(Box::new(GatedFile(self.0.create(name)?, Arc::clone(&self.1))))
        }
        fn open(&mut self, name: &str) -> io::Result<Box<dyn crate::wal::disk::LogFile>> {
            self.0.open(name)
        }
        fn cut(&mut self, name: &str, length: u64) -> io::Result<()> {
            self.0.cut(name, length)
        }
        fn unlink(&mut self, name: &str) -> io::Result<()> {
            self.0.unlink(name)
        }
        fn sync_folder(&mut self) -> io::Result<()> {
            self.0.sync_folder()
        }
        fn lock(&mut self) -> io::Result<Option<Box<dyn Send>>> {
            self.0.lock()
        }
    }

    impl crate::wal::disk::LogFile for GatedFile {
        fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
            self.0.write_at(offset, bytes)
        }
        fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
            self.0.read_at(offset, into)
        }
        fn allocate(&mut self, bytes: u64) -> io::Result<()> {
            self.0.allocate(bytes)
        }
        fn sync(&mut self) -> io::Result<()> {
            self.1.0.fetch_add(1, Ordering::SeqCst);
            _ = self.1.1.lock().expect("one owner").recv();
            self.0.sync()
        }
        fn length(&mut self) -> io::Result<u64> {
            self.0.length()
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_waited_for_a_sync_is_one_group_and_nothing_is_acknowledged_before_its_own() {
        let folder = tempfile::tempdir().expect("a folder");
        let (words, gate) = std::sync::mpsc::channel();
        let path = folder.path().to_owned();
        let gate: Gate = Arc::new((AtomicUsize::new(0), Mutex::new(gate)));
        let held = Arc::clone(&gate);
        let disk = move || -> Box<dyn LogDisk> { Box::new(Gated(LogFolder::at(&path), Arc::clone(&held))) };
        let (log, _) = Log::open(disk, Options::default(), 7, || 0).await.expect("opened");
        let mut first = tokio::task::JoinSet::new();
        let mut others = tokio::task::JoinSet::new();
        let append = |name: &'static str, log: Log| async move { log.append(record(name)).await.expect("taken") };
        first.spawn(append("first", log.clone()));
        while gate.0.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        // The owner is in the first one's sync.
        (0..100).for_each(|_| _ = others.spawn(append("others", log.clone())));
        while log.asks.capacity() > QUEUE - 100 {
            tokio::task::yield_now().await;
        }
        assert!(timeout(Duration::from_millis(50), others.join_next()).await.is_err(), "no sync has returned");
        // One for the first, one for all that queued up behind it.
        (0..2).for_each(|_| words.send(()).expect("waited for"));
        let all = async { first.join_all().await.len() + others.join_all().await.len() };
        assert_eq!(timeout(Duration::from_secs(20), all).await, Ok(101), "one group each would want a sync each");
        // Whatever else is synced need not wait.
        drop(words);
        log.close().await;
        assert_eq!(log.stats().counts.groups, 2);
    }
}
