//! What `file` and `debug` share: records go to a disk, a pipe or a terminal without ever holding up a worker.
//!
//! A payload waits in a short queue for an owner task, which hands it to a thread that may block; the answer comes back
//! when its record is written whole. A medium that hangs stops its exporter alone: who waits too long is refused
//! retryably, and so is everybody behind. A medium that fails is a state of the component, one line in the log with
//! cause and cure, and a refusal that the sender can repeat.

mod owner;
pub mod records;
mod trouble;

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::core::data::budget::OverBudget;
use crate::core::data::payload::{Payload, Signal};
use crate::core::data::settlement::ItemEnd;
use crate::core::error::{ConsumeError, Reason};
use crate::core::report::stats::{Counter, SEND_FAILED_HELP, SENT_HELP};
use crate::core::stage::component::ComponentId;
use crate::core::stage::factory::BuildContext;
use crate::core::stage::host::Host;
use crate::exporters::writing::owner::MediumOwner;

/// Payloads that wait for the medium; their bytes are on their tickets.
const WAITING_MAX: usize = 64;
/// After this long a write counts as hanging and nobody waits for it any more. SDKs give up after ten seconds.
const WRITE_MAX: Duration = Duration::from_secs(5);
/// What a refused sender is told to wait: room on a disk does not come sooner.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// What a drain waits for a medium that hangs already.
const HANGING_DRAIN_MAX: Duration = Duration::from_secs(1);

/// Why a record was not written.
#[derive(Debug, thiserror::Error)]
pub enum Unwritten {
    #[error(transparent)]
    Medium(#[from] io::Error),
    /// There is no memory for its text; the medium is as it was.
    #[error(transparent)]
    Memory(#[from] OverBudget),
}

/// Turns payloads into records of one medium. Runs where blocking is allowed, one payload at a time.
pub trait Scribe: Send + 'static {
    /// Writes the payload as whole records and returns how many of its items could not be read and were left out. After
    /// an error nothing of it is left on the medium.
    fn write(&mut self, payload: &Payload) -> Result<u64, Unwritten>;

    /// What went wrong beside the record, which was written all the same (a file that could not be changed for the next).
    fn notice(&mut self) -> Option<io::Error> {
        None
    }
}

/// One exporter's way to its medium.
pub struct Writer {
    host: Arc<Host>,
    /// The component's path, for messages.
    path: String,
    /// `/var/log/otlp.jsonl`, `standard output`.
    medium: String,
    sent: [Arc<Counter>; 4],
    send_failed: [Arc<Counter>; 4],
    hangs: Arc<AtomicBool>,
    // Empty before start and after drain; locked for a moment.
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    // Taken by drain; locked at start and drain only.
    owner: Mutex<Option<JoinHandle<()>>>,
}

struct Job {
    payload: Payload,
    /// Closed when nobody waits any more: the record is then not begun.
    answer: oneshot::Sender<Result<u64, Unwritten>>,
}

impl Writer {
    pub fn new(cx: BuildContext, medium: String) -> Writer {
        let BuildContext { id, path, host } = cx;
        let counters = |what, help| Signal::ALL.map(|signal| counter(&host, &id, signal, what, help));
        let (sent, send_failed) = (counters("sent", SENT_HELP), counters("send_failed", SEND_FAILED_HELP));
        let (hangs, jobs, owner) = (Arc::default(), Mutex::default(), Mutex::default());
        Writer { host, path, medium, sent, send_failed, hangs, jobs, owner }
    }

    pub fn host(&self) -> &Host {
        &self.host
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    /// Begins to take payloads.
    pub fn start(&self, scribe: Box<dyn Scribe>) {
        let (jobs, taken) = mpsc::channel(WAITING_MAX);
        let owner = MediumOwner {
            path: self.path.clone(),
            medium: self.medium.clone(),
            status: self.host.status.clone(),
            hangs: self.hangs.clone(),
        };
        let task = self.host.tasks.spawn(&self.path, move |pulse| owner.run(scribe, taken, pulse));
        *lock(&self.jobs) = Some(jobs);
        *lock(&self.owner) = Some(task);
    }

    /// Writes one payload and counts its end, or refuses it.
    pub async fn consume(&self, mut payload: Payload) -> Result<(), ConsumeError> {
        let (items, at) = (payload.items, payload.signal.index());
        // Stays here, so that what was given up goes back to the caller whatever becomes of the record.
        let mut share = std::mem::take(&mut payload.share);
        let unreadable = self.write(payload).await.inspect_err(|_| self.send_failed[at].add(items))?.min(items);
        share.spread(unreadable).end(ItemEnd::Dropped(Reason::MALFORMED, "not written: it cannot be read"));
        self.send_failed[at].add(unreadable);
        share.end(ItemEnd::Delivered);
        self.sent[at].add(items - unreadable);
        Ok(())
    }

    async fn write(&self, payload: Payload) -> Result<u64, ConsumeError> {
        if self.hangs.load(Ordering::Relaxed) {
            return Err(self.refusal("an earlier write has not come back yet"));
        }
        let jobs = lock(&self.jobs).clone();
        let Some(jobs) = jobs else { return Err(self.refusal("the exporter is not running")) };
        let (answer, answered) = oneshot::channel();
        if jobs.try_send(Job { payload, answer }).is_err() {
            return Err(self.refusal("too much waits to be written"));
        }
        match timeout(WRITE_MAX, answered).await {
            Ok(Ok(Ok(unreadable))) => Ok(unreadable),
            Ok(Ok(Err(Unwritten::Memory(why)))) => {
                Err(ConsumeError::refused(Reason::MEMORY, format!("no memory for the text of a request: {why}")))
            }
            Ok(Ok(Err(Unwritten::Medium(why)))) => Err(self.refusal(&why.to_string())),
            Ok(Err(_)) => Err(self.refusal("the exporter has stopped")),
            Err(_) => Err(self.refusal(&format!("not written within {} s", WRITE_MAX.as_secs()))),
        }
    }

    fn refusal(&self, why: &str) -> ConsumeError {
        let message = format!("{}: {why}", self.medium);
        ConsumeError::Refused { reason: Reason::UNAVAILABLE, after: Some(TRY_AGAIN_AFTER), message }
    }

    /// Writes what waits until the deadline; a medium that hangs is not waited for.
    pub async fn drain(&self, deadline: Instant) {
        drop(lock(&self.jobs).take());
        let owner = lock(&self.owner).take();
        let hangs = self.hangs.load(Ordering::Relaxed);
        let until = if hangs { deadline.min(Instant::now() + HANGING_DRAIN_MAX) } else { deadline };
        let Some(mut owner) = owner else { return };
        if timeout_at(until, &mut owner).await.is_err() {
            tracing::warn!(exporter = %self.path, medium = %self.medium, "a write did not come back before the end");
            owner.abort();
        }
    }
}

fn counter(host: &Host, id: &ComponentId, signal: Signal, what: &str, help: &'static str) -> Arc<Counter> {
    let name = format!("otelcol_exporter_{what}_{}", signal.items_name());
    host.stats.counter(&name, help, &[("exporter", &id.to_string())])
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

#[cfg(test)]
mod tests;
