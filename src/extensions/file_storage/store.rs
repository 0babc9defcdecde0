//! The log as the gateway's stages see it: opened in front of them, appended to while they run, closed behind them.
//!
//! Thin: waits and translates. What a log is, is `wal`'s; what becomes of a recovered record is `recovery`'s.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::core::data::balance::Balance;
use crate::core::data::budget::{Budget, Ticket};
use crate::core::data::settlement::ItemRecord;
use crate::core::error::{ConsumeError, Reason, StartError};
use crate::core::lock::Locked;
use crate::core::report::status::{State, StatusBoard};
use crate::core::stage::component::Task;
use crate::core::stage::durable::{DurableLog, LogEntry, Taker};
use crate::core::stage::factory::BuildContext;
use crate::core::stage::tasks::{Pulse, Tasks};
use crate::core::time::UnixNanos;
use crate::extensions::file_storage::death::{self, DeathNote};
use crate::extensions::file_storage::entry;
use crate::extensions::file_storage::figures;
use crate::extensions::file_storage::marks::{LoggedRecord, Marks};
use crate::extensions::file_storage::parking::ParkingLine;
use crate::extensions::file_storage::reading::recovery::{Recovery, UntakenRecords};
use crate::extensions::file_storage::reading::suspects::Suspects;
use crate::extensions::file_storage::settings::StorageSettings;
use crate::otlp::envelope::{copied_len, encode_chunks};
use crate::wal::disk::LogDisk;
use crate::wal::log::Log;
use crate::wal::recovery::{OpenError, Report};
use crate::wal::writer::stats::LogStats;
use crate::wal::writer::{Blame, LogRecord, Options, Refusal};

/// Bytes that leave as one buffer where they are copied.
const CHUNK_BYTES: usize = 64 << 10;
/// How often a log that another process holds is asked for again.
const HELD_WAIT: Duration = Duration::from_millis(250);
/// Marks gather this long before they are handed over.
const MARKS_WAIT: Duration = Duration::from_millis(1);
/// How often the state is told.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// What the log's table takes for an unsettled record.
const RECORD_BYTES: u64 = 150;
/// A table that small is allowed in any budget.
const RECORDS_LEAST: u64 = 10_000;
/// When a sender that was refused may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Makes the disk that the log writes on.
pub type DiskMaker = Box<dyn Fn() -> Box<dyn LogDisk> + Send + Sync>;

/// One log. Holds what it needs of the host and not the host, which holds it.
pub struct FileStorage {
    pub(super) path: String,
    settings: StorageSettings,
    disk: Arc<DiskMaker>,
    pub(super) balance: Arc<Balance>,
    pub(super) budget: Arc<Budget>,
    tasks: Arc<Tasks>,
    status: Arc<StatusBoard>,
    log: OnceLock<Log>,
    pub(super) marks: Arc<Marks>,
    /// Records whose taker this configuration lacks.
    pub strangers: Arc<UntakenRecords>,
    pub recovered: Arc<AtomicU64>,
    suspects: Arc<Suspects>,
    /// Where this process says that it dies by itself.
    note: OnceLock<DeathNote>,
    /// Records that nobody has in memory.
    waiting: Arc<AtomicI64>,
    /// How many records were parked.
    parked: watch::Sender<u64>,
    /// A stop has begun.
    stopping: watch::Sender<bool>,
    over: watch::Sender<bool>,
    // Taken once by close; never held across an await.
    running: Mutex<Vec<JoinHandle<()>>>,
}

impl FileStorage {
    /// Builds without I/O.
    pub fn new(cx: &BuildContext, settings: StorageSettings, disk: DiskMaker) -> FileStorage {
        FileStorage {
            path: cx.path.clone(),
            settings,
            disk: Arc::new(disk),
            balance: cx.host.balance.clone(),
            budget: cx.host.budget.clone(),
            tasks: cx.host.tasks.clone(),
            status: cx.host.status.clone(),
            log: OnceLock::new(),
            marks: Arc::default(),
            strangers: Arc::default(),
            recovered: Arc::default(),
            suspects: Arc::default(),
            note: OnceLock::new(),
            waiting: Arc::default(),
            parked: watch::Sender::new(0),
            stopping: watch::Sender::new(false),
            over: watch::Sender::new(false),
            running: Mutex::default(),
        }
    }

    /// Figures; `None` before the log is open.
    pub fn stats(&self) -> Option<LogStats> {
        self.log.get().map(Log::stats)
    }

    pub fn directory(&self) -> String {
        self.settings.directory.display().to_string()
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.running.locked()
    }

    fn failed(&self, message: String, help: &str) -> StartError {
        StartError { component: self.path.clone(), message, help: Some(help.to_owned()) }
    }

    async fn open_log(&self) -> Result<(), StartError> {
        let directory = &self.settings.directory;
        let make = || DirBuilder::new().recursive(true).mode(self.settings.permissions).create(directory);
        if self.settings.create_directory
            && let Err(error) = make()
        {
            let message = format!("{} cannot be made: {error}", directory.display());
            return Err(self.failed(message, "name a folder on a writable volume"));
        }
        let mut stopping = self.stopping.subscribe();
        let mut said = false;
        loop {
            let disk = self.disk.clone();
            let StorageSettings { max_bytes, reserve, compress_after: pack_after, .. } = self.settings;
            let records_max = records_max(self.budget.hard());
            let blame = if death::was_told(directory) { Blame::Always } else { Blame::Never };
            let options = Options { max_bytes, reserve, records_max, pack_after, blame, ..Options::default() };
            match Log::open(move || disk(), options, fastrand::u64(..), || UnixNanos::now().0).await {
                Ok((log, report)) => {
                    self.say_opened(&report);
                    self.begin_note();
                    _ = self.log.set(log.clone());
                    self.begin(log);
                    return Ok(());
                }
                Err(OpenError::Held) => {
                    if !std::mem::replace(&mut said, true) {
                        let message = "another process holds the log; podgate waits for it";
                        self.status.set(&self.path, State::Starting, message);
                        tracing::info!(storage = %self.path, directory = %directory.display(), "{message}");
                    }
                }
                Err(error) => {
                    let message = format!("{}: {error}", directory.display());
                    let help =
                        "look at the folder with `podgate wal inspect`; `create_directory: true` makes a missing one";
                    return Err(self.failed(message, help));
                }
            }
            tokio::select! {
                () = tokio::time::sleep(HELD_WAIT) => {}
                _ = stopping.wait_for(|stopping| *stopping) => {
                    return Err(self.failed("another process still holds the log".to_owned(), "end it first"));
                }
            }
        }
    }

    fn say_opened(&self, report: &Report) {
        self.status.set(&self.path, State::Ok, "");
        let (records, items) = (report.records, report.items);
        let directory = self.settings.directory.display();
        if report.lost.records + report.damaged + report.missing.0 > 0 {
            let (lost, damaged) = (report.lost.records + report.missing.0, report.damaged);
            tracing::warn!(storage = %self.path, %directory, lost, damaged, "parts of the log are damaged and are skipped");
        }
        let quarantined = report.quarantined;
        if quarantined > 0 {
            tracing::warn!(
                storage = %self.path, records = quarantined,
                "records were put aside, because podgate ended by a fault of its own three times while each of them was under \
                 way: `podgate replay --config FILE --file {directory}/NUMBER.dead` sends them again"
            );
        }
        tracing::info!(
            storage = %self.path, %directory, records, items, closed_in_order = report.clean, quarantined,
            "the log on disk is open"
        );
    }

    /// Without a note the next start takes this process for one that was killed, and counts nothing.
    fn begin_note(&self) {
        match DeathNote::begin(&self.settings.directory) {
            Ok(note) => _ = self.note.set(note),
            Err(error) => tracing::warn!(
                storage = %self.path, %error,
                "nothing can be written beside the log: a record that ends podgate each time will not be put aside"
            ),
        }
    }

    /// An owner task panicked.
    fn has_failed(&self) -> bool {
        self.tasks.failed().borrow().is_some()
    }

    /// The task that hands marks over and tells the state.
    fn begin(&self, log: Log) {
        let (marks, path, status) = (self.marks.clone(), self.path.clone(), self.status.clone());
        let (suspects, budget) = (self.suspects.clone(), self.budget.clone());
        let failed = self.tasks.failed();
        let (mut over, parked, waiting) = (self.over.subscribe(), self.parked.subscribe(), self.waiting.clone());
        let task = self.tasks.spawn(&self.path, |pulse| async move {
            pulse.waits_for("items that end");
            let (mut reported, mut line) = (Instant::now(), ParkingLine::default());
            // Of the log's table; it is there already, so it is not asked for.
            let table = budget.overdraw(0);
            while !*over.borrow_and_update() {
                pulse.beat();
                tokio::select! {
                    () = marks.more() => tokio::time::sleep(MARKS_WAIT).await,
                    () = tokio::time::sleep(REPORT_EVERY.min(Pulse::INTERVAL)) => {}
                    _ = over.changed() => {}
                }
                hand_over(&log, &marks).await;
                if reported.elapsed() >= REPORT_EVERY {
                    reported = Instant::now();
                    // After a panic those that were under way stay suspects.
                    let survivors = failed.borrow().is_none().then(|| suspects.survivors(reported));
                    log.settle(survivors.unwrap_or_default()).await;
                    let (stats, waiting) = (log.stats(), waiting.load(Ordering::Relaxed).max(0) as u64);
                    tell(&path, &status, &stats, waiting);
                    hold(&table, stats.records.saturating_mul(RECORD_BYTES));
                    line.tell(&path, *parked.borrow(), waiting, &stats);
                }
            }
        });
        self.running().push(task);
    }

    async fn append_entry(&self, entry: LogEntry<'_>, parked: bool) -> Result<u64, ConsumeError> {
        let Some(log) = self.log.get() else {
            return Err(ConsumeError::refused(Reason::UNAVAILABLE, "the log on disk is not open yet"));
        };
        // The copy is gone when the record is written.
        let _copy = entry.ticket.beside(copied_len(entry.envelope) as u64).map_err(|why| {
            ConsumeError::refused(Reason::MEMORY, format!("there is no memory to write the record: {why}"))
        })?;
        let record = LogRecord {
            description: entry::describe(entry.taker, entry.signal, entry.origin),
            items: u32::try_from(entry.items).unwrap_or(u32::MAX),
            payload: encode_chunks(entry.envelope, CHUNK_BYTES),
            parked,
        };
        log.append(record).await.map_err(|refusal| refused(&refusal))
    }

    async fn close_log(&self) {
        self.stop();
        self.over.send_replace(true);
        let running = std::mem::take(&mut *self.running());
        for task in running {
            // They end by the word that it is over.
            _ = task.await;
        }
        let Some(log) = self.log.get() else { return };
        hand_over(log, &self.marks).await;
        if let Some(note) = self.note.get().filter(|_| self.has_failed())
            && let Err(error) = note.tell()
        {
            tracing::warn!(storage = %self.path, %error, "it cannot be written that podgate ends by a fault of its own");
        }
        log.close().await;
        let stats = log.stats();
        let items = figures::items(&stats);
        if items > 0 {
            let (records, directory) = (stats.records, self.settings.directory.display());
            tracing::info!(
                storage = %self.path, %directory, records, items, "held on disk: the next start delivers what is unsettled"
            );
        }
    }
}

async fn hand_over(log: &Log, marks: &Marks) {
    let taken = marks.take();
    if !taken.is_empty() {
        log.settle(taken).await;
    }
}

/// What a sender hears when its record was not taken.
fn refused(refusal: &Refusal) -> ConsumeError {
    if refusal.is_final() {
        return ConsumeError::rejected(Reason::TOO_LARGE, refusal.to_string());
    }
    let after = Some(RETRY_AFTER);
    let reason = match refusal {
        Refusal::Full { .. } | Refusal::Reserved { .. } | Refusal::TooMany { .. } => Reason::QUEUE_FULL,
        _ => Reason::UNAVAILABLE,
    };
    ConsumeError::Refused { reason, after, message: refusal.to_string() }
}

/// What the log's table of unsettled records may take of the memory budget: one part in four.
fn records_max(budget: u64) -> usize {
    let least = Options::default().records_max as u64;
    usize::try_from((budget / 4 / RECORD_BYTES).clamp(RECORDS_LEAST, least)).unwrap_or(usize::MAX)
}

/// The ticket of what has grown or shrunk to so many bytes.
fn hold(ticket: &Ticket, bytes: u64) {
    match bytes.checked_sub(ticket.bytes()) {
        Some(more) => ticket.grow_anyway(more),
        None => ticket.shrink_to(bytes),
    }
}

fn tell(path: &str, status: &StatusBoard, stats: &LogStats, waiting: u64) {
    match &stats.why_not {
        None => {
            if status.set(path, State::Ok, figures::told(stats, waiting)) {
                tracing::info!(storage = path, "the log on disk can write again");
            }
        }
        Some(why) => {
            if status.set(path, State::Degraded, why.clone()) {
                tracing::warn!(storage = path, why, "the log on disk cannot write: senders are refused");
            }
        }
    }
}

impl DurableLog for FileStorage {
    fn open(&self) -> Task<'_, Result<(), StartError>> {
        Box::pin(self.open_log())
    }

    fn stop(&self) {
        self.stopping.send_replace(true);
    }

    fn append<'a>(&'a self, entry: LogEntry<'a>) -> Task<'a, Result<Arc<dyn ItemRecord>, ConsumeError>> {
        Box::pin(async move {
            let record = self.append_entry(entry, false).await?;
            let nonce = self.log.get().map_or(0, |log| log.nonce(record));
            let marks = self.marks.clone();
            Ok(Arc::new(LoggedRecord { record, nonce, marks, in_doubt: false, place: None }) as Arc<dyn ItemRecord>)
        })
    }

    fn park<'a>(&'a self, entry: LogEntry<'a>) -> Task<'a, Result<(), ConsumeError>> {
        Box::pin(async move {
            self.append_entry(entry, true).await?;
            self.waiting.fetch_add(1, Ordering::Relaxed);
            self.parked.send_modify(|parked| *parked += 1);
            Ok(())
        })
    }

    fn verdicts<'a>(&'a self, taker: &'a str, until: UnixNanos, body: Bytes) -> Task<'a, Result<(), ConsumeError>> {
        Box::pin(async move {
            let log =
                self.log.get().ok_or_else(|| ConsumeError::refused(Reason::UNAVAILABLE, "the log is not open"))?;
            let body = entry::named(taker, &body);
            log.verdicts(until.0, body).await.map(drop).map_err(|refusal| refused(&refusal))
        })
    }

    fn recover(&self, takers: Vec<Taker>) -> Task<'_, ()> {
        Box::pin(async move {
            let Some(log) = self.log.get() else { return };
            let recovery = Recovery {
                log: log.clone(),
                path: self.path.clone(),
                balance: self.balance.clone(),
                budget: self.budget.clone(),
                marks: self.marks.clone(),
                strangers: self.strangers.clone(),
                recovered: self.recovered.clone(),
                suspects: self.suspects.clone(),
                waiting: self.waiting.clone(),
                stopping: self.stopping.subscribe(),
            };
            recovery.verdicts(&takers).await;
            recovery.announce(&takers).await;
            let recovery = Arc::new(recovery);
            for taker in takers {
                let name = format!("{}/back to {}", self.path, taker.name);
                let reader = recovery.clone().run(taker, self.parked.subscribe());
                let task = self.tasks.spawn_idle(&name, reader);
                self.running().push(task);
            }
        })
    }

    fn folder(&self) -> Option<PathBuf> {
        Some(self.settings.directory.clone())
    }

    fn trouble(&self) -> Option<String> {
        match self.log.get() {
            None => Some("the log on disk is not open yet".to_owned()),
            Some(log) => log.stats().why_not.map(|why| format!("cannot write: {why}")),
        }
    }

    fn close(&self) -> Task<'_, ()> {
        Box::pin(self.close_log())
    }
}

impl FileStorage {
    /// Recovered records so far.
    pub fn recovered(&self) -> u64 {
        self.recovered.load(Ordering::Relaxed)
    }

    /// Records that are on disk alone and go on when there is room.
    pub fn waiting(&self) -> u64 {
        u64::try_from(self.waiting.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Records that were parked so far.
    pub fn parked(&self) -> u64 {
        *self.parked.borrow()
    }
}
