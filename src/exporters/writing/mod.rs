//! What `file` and `debug` share: records go to a disk, a pipe or a terminal without ever holding up a worker.
//!
//! A payload waits in a short queue for an owner task, which hands it to a thread that may block; the answer comes back
//! when its record is written whole. A medium that hangs stops its exporter alone: who waits too long is refused
//! retryably, and so is everybody behind. A medium that fails is a state of the component, one line in the log with
//! cause and cure, and a refusal that the sender can repeat.

mod job;
mod owner;
pub mod records;
mod trouble;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};

use crate::core::data::payload::{Payload, Signal};
use crate::core::data::settlement::ItemEnd;
use crate::core::error::{ConsumeError, Reason};
use crate::core::lock::Locked;
use crate::core::report::stats::{Counter, SEND_FAILED_HELP, SENT_HELP};
use crate::core::stage::component::ComponentId;
use crate::core::stage::factory::BuildContext;
use crate::core::stage::host::Host;
use crate::exporters::writing::job::{WRITE_MAX, WriteJob};
use crate::exporters::writing::owner::MediumOwner;

pub use crate::exporters::writing::job::{Scribe, Unwritten};

/// Payloads that wait for the medium; their bytes are on their tickets.
const WAITING_MAX: usize = 64;

/// What a refused sender is told to wait: room on a disk does not come sooner.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(2);
/// What a drain waits for a medium that hangs already.
const HANGING_DRAIN_MAX: Duration = Duration::from_secs(1);

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
    jobs: Mutex<Option<mpsc::Sender<WriteJob>>>,
    // Taken by drain; locked at start and drain only.
    owner: Mutex<Option<JoinHandle<()>>>,
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
            status: self.host.status.teller(&self.path),
            hangs: self.hangs.clone(),
        };
        let task = self.host.tasks.spawn(&self.path, move |pulse| owner.run(scribe, taken, pulse));
        *self.jobs.locked() = Some(jobs);
        *self.owner.locked() = Some(task);
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
            return Err(self.refusal("an earlier write has not returned yet"));
        }
        let jobs = self.jobs.locked().clone();
        let Some(jobs) = jobs else { return Err(self.refusal("the exporter is not running")) };
        let (answer, answered) = oneshot::channel();
        if jobs.try_send(WriteJob { payload, answer }).is_err() {
            return Err(self.refusal("too much waits to be written"));
        }
        match timeout(WRITE_MAX, answered).await {
            Ok(Ok(Ok(unreadable))) => Ok(unreadable),
            Ok(Ok(Err(Unwritten::Memory(why)))) => Err(ConsumeError::refused(
                Reason::MEMORY,
                format!("there is no memory for the text of a request: {why}"),
            )),
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
        drop(self.jobs.locked().take());
        let owner = self.owner.locked().take();
        let hangs = self.hangs.load(Ordering::Relaxed);
        let until = if hangs { deadline.min(Instant::now() + HANGING_DRAIN_MAX) } else { deadline };
        let Some(mut owner) = owner else { return };
        if timeout_at(until, &mut owner).await.is_err() {
            tracing::warn!(exporter = %self.path, medium = %self.medium, "a write had not returned when the drain ended");
            owner.abort();
        }
    }
}

fn counter(host: &Host, id: &ComponentId, signal: Signal, what: &str, help: &'static str) -> Arc<Counter> {
    let name = format!("otelcol_exporter_{what}_{}", signal.items_name());
    host.stats.counter(&name, help, &[("exporter", &id.to_string())])
}

#[cfg(test)]
mod tests;
