//! The log's thread over real folders, and over a disk that is held up.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::wal::body::Description;
use crate::wal::files::LogFolder;

fn record(text: &str) -> LogRecord {
    let description = Description { pipeline: "traces".to_owned(), ..Description::default() };
    let payload = vec![Bytes::copy_from_slice(text.as_bytes())];
    LogRecord { description, items: 2, payload, parked: false }
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
    let waiting = log.waiting_after("traces", 0, (0, 9)).await.expect("it is open");
    assert_eq!(waiting.records.iter().map(|(record, _)| *record).collect::<Vec<_>>(), [ids[0]]);
    let back = &log.read_back(vec![ids[0]]).await[0];
    assert_eq!((back.record, back.doubt, back.parked), (ids[0], false, false));
    assert!(back.payload.starts_with(b"record "), "{back:?}");
    assert_eq!(log.waiting_after("traces", waiting.looked_at, (0, 9)).await.expect("open").records, []);
    log.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_parked_is_read_back_in_its_order_and_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let (log, _) = opened(folder.path()).await;
    let mut parked = Vec::new();
    for number in 0..40 {
        let id = log.append(LogRecord { parked: number % 2 == 1, ..record("r") }).await.expect("taken");
        parked.extend((number % 2 == 1).then_some(id));
    }
    // Those that were parked last go first.
    let last = log.waiting_after("traces", 0, (2, 1)).await.expect("open");
    let ids = |waiting: &WaitingRecords| waiting.records.iter().map(|(record, _)| *record).collect::<Vec<_>>();
    assert_eq!(ids(&last), [parked[19], parked[18], parked[0]]);
    log.read_back(vec![parked[19], parked[18]]).await;
    parked.truncate(18);
    let mut after = 0;
    let mut found: Vec<u64> = Vec::new();
    while found.len() < parked.len() {
        let waiting = log.waiting_after("traces", after, (0, 7)).await.expect("open");
        assert!(waiting.records.len() <= 7 && waiting.looked_at > after, "{waiting:?}");
        after = waiting.looked_at;
        let ids: Vec<u64> = waiting.records.iter().map(|(record, _)| *record).collect();
        let back = log.read_back(ids).await;
        assert!(back.iter().all(|back| back.parked && back.left == [(0, 2)]), "{back:?}");
        found.extend(back.iter().map(|back| back.record));
    }
    assert_eq!(found, parked);
    assert_eq!(log.waiting_after("traces", 0, (9, 99)).await.expect("open").records, [], "they are in memory now");
    assert_eq!(log.waiting_after("of nobody", 0, (9, 99)).await.expect("open").records, []);
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
