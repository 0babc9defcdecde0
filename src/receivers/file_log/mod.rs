//! The `file_log` receiver: lines of files that grow and rotate, as log records.
//!
//! ```yaml
//! include: [/var/log/pods/*/*/*.log]
//! storage: file_storage
//! operators: [{type: container}]
//! ```
//!
//! A file is its own queue: lines stay in it until the next stage took responsibility for them, and only then is their place
//! in the file remembered as read. One task follows all files; it reads on a blocking thread, a batch at a time.

mod audit;
mod batch;
pub mod condition;
mod config;
pub mod entry;
pub mod field;
mod follow;
pub mod glob;
mod metrics;
pub mod operators;
mod probe;
mod record;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::core::data::budget::Ticket;
use crate::core::data::payload::Signal;
use crate::core::error::StartError;
use crate::core::lock::Locked;
use crate::core::node::Node;
use crate::core::report::status::State;
use crate::core::stage::commands::probe::Probe;
use crate::core::stage::component::{Component, Task};
use crate::core::stage::factory::{About, Alias, BuildContext, CheckContext, ReceiverFactory, ReceiverPlan};
use crate::core::stage::host::Host;
use crate::core::stage::joint::Outputs;
use crate::core::stage::tasks::Pulse;
use crate::core::time::UnixNanos;
use crate::net::server::admission::report::Throttle;
use crate::receivers::file_log::batch::LineBatch;
use crate::receivers::file_log::config::FileLogConfig;
use crate::receivers::file_log::follow::checkpoint::CheckpointFile;
use crate::receivers::file_log::follow::handover::Handover;
use crate::receivers::file_log::follow::tail::{LogTail, SCAN_EVERY, TailCounts};
use crate::receivers::file_log::metrics::FileLogMetrics;
use crate::receivers::file_log::probe::FilesProbe;
use crate::receivers::source::blocking::aside;
use crate::receivers::source::delivery::{DeliveryCounts, SourceDelivery, WaitingBatch, stopped};

/// What a round begins with; without room for it no file is looked at.
const ROUND_BYTES: u64 = 256 << 10;

pub const FACTORY: ReceiverFactory = ReceiverFactory {
    about: About {
        name: "file_log",
        aliases: &[Alias { name: "filelog", note: "since v0.149" }],
        signals: &[Signal::Logs],
        summary: "reads lines of files that grow and rotate, container logs among them",
        example: "include: [/var/log/pods/*/*/*.log]\ninclude_file_path: true\noperators:\n  - type: container\n",
    },
    check,
};

fn check(cx: &CheckContext<'_>, node: &Node) -> Option<Box<dyn ReceiverPlan>> {
    config::check(cx, node).map(|config| Box::new(Plan { config: Arc::new(config) }) as Box<dyn ReceiverPlan>)
}

struct Plan {
    config: Arc<FileLogConfig>,
}

impl ReceiverPlan for Plan {
    fn build(&self, cx: BuildContext, outputs: Outputs) -> Arc<dyn Component> {
        let seat = cx.host.shared(&format!("file_log/seat {}", cx.id), || Arc::new(Seat::default()));
        let counts = Arc::new(FileLogMetrics::new(&cx.host.stats, &cx.id.to_string()));
        let (config, stop) = (self.config.clone(), watch::Sender::new(None));
        Arc::new(FileLogReceiver { config, cx, outputs, counts, seat, stop, task: Mutex::default() })
    }

    fn probe(&self, _: &[Signal]) -> Option<Box<dyn Probe>> {
        Some(Box::new(FilesProbe { config: self.config.clone() }))
    }
}

/// Instances of one receiver follow their files one after the other; what one leaves is the beginning of the next.
#[derive(Default)]
struct Seat {
    left: Arc<tokio::sync::Mutex<Option<Handover>>>,
    /// Instances that wait for their turn: without one nobody would close the files that are left.
    waiting: AtomicUsize,
}

/// An instance that waits for its turn.
struct SeatWait {
    seat: Arc<Seat>,
}

impl SeatWait {
    fn at(seat: &Arc<Seat>) -> SeatWait {
        seat.waiting.fetch_add(1, Ordering::AcqRel);
        SeatWait { seat: seat.clone() }
    }
}

impl Drop for SeatWait {
    fn drop(&mut self) {
        self.seat.waiting.fetch_sub(1, Ordering::AcqRel);
        self.seat.close_unless_awaited();
    }
}

impl Seat {
    /// Asked by who leaves files and by who no longer waits for them, each after the other can see it.
    fn close_unless_awaited(&self) {
        // Who has the turn holds the lock, and asks at its end.
        if self.waiting.load(Ordering::Acquire) == 0
            && let Ok(mut left) = self.left.try_lock()
            && let Some(left) = left.as_mut()
        {
            left.close();
        }
    }
}

/// The receiver between start and drain.
struct FileLogReceiver {
    config: Arc<FileLogConfig>,
    cx: BuildContext,
    outputs: Outputs,
    counts: Arc<FileLogMetrics>,
    seat: Arc<Seat>,
    stop: watch::Sender<Option<Instant>>,
    // Locked at start and at drain.
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Component for FileLogReceiver {
    fn start(&self) -> Task<'_, Result<(), StartError>> {
        Box::pin(async move {
            let (host, path, id) = (&self.cx.host, &self.cx.path, self.cx.id.to_string());
            let wanted = self.config.storage.as_deref();
            let log = host.logs.all().into_iter().find(|(id, _)| Some(id.as_str()) == wanted);
            let checkpoints = log.and_then(|(_, log)| log.folder()).map(|folder| CheckpointFile::within(&folder, &id));
            let delivery = SourceDelivery {
                outputs: self.outputs.clone(),
                host: host.clone(),
                path: path.clone(),
                stop: self.stop.subscribe(),
                retry: self.config.retry,
                counts: Arc::new(DeliveryCounts::new(&host.stats, &id)),
            };
            let following = Following {
                counts: self.counts.clone(),
                config: self.config.clone(),
                checkpoints,
                host: host.clone(),
                path: path.clone(),
                stop: self.stop.subscribe(),
                delivery,
                line: Throttle::default(),
                unread: 0,
            };
            // From now on, and not from the task's first turn on: the predecessor may end in between.
            let wait = SeatWait::at(&self.seat);
            *self.task.locked() = Some(host.tasks.spawn(path, |pulse| following.run(wait, pulse)));
            host.status.set(path, State::Ok, "");
            Ok(())
        })
    }

    fn drain(&self, deadline: Instant) -> Task<'_, ()> {
        Box::pin(async move {
            self.stop.send_replace(Some(deadline));
            let task = self.task.locked().take();
            if let Some(task) = task {
                // What is not handed on by then stays in its file.
                let _ = timeout_at(deadline, task).await;
            }
            self.cx.host.status.set(&self.cx.path, State::Stopped, "");
        })
    }
}

/// The task that follows.
struct Following {
    config: Arc<FileLogConfig>,
    checkpoints: Option<CheckpointFile>,
    delivery: SourceDelivery,
    host: Arc<Host>,
    path: String,
    stop: watch::Receiver<Option<Instant>>,
    counts: Arc<FileLogMetrics>,
    line: Throttle,
    /// Files that are not read, as the status says.
    unread: u64,
}

impl Following {
    async fn run(mut self, wait: SeatWait, pulse: Arc<Pulse>) {
        pulse.waits_for("its predecessor to end");
        let seat = wait.seat.clone();
        let mut left = loop {
            tokio::select! {
                left = seat.left.clone().lock_owned() => break left,
                () = sleep(Pulse::INTERVAL) => pulse.beat(),
                () = stopped(&mut self.stop) => return,
            }
        };
        drop(wait);
        pulse.waits_for("lines");
        let (config, checkpoints, begun) = (self.config.clone(), self.checkpoints.take(), Instant::now());
        let before = left.take();
        let mut tail = aside(move || LogTail::new(config, checkpoints, before)).await;
        let mut settled = true;
        while self.stop.borrow().is_none() {
            pulse.beat();
            let (now, observed) = (begun.elapsed(), UnixNanos::now());
            let round;
            (tail, round) = self.round(tail, (now, observed), settled).await;
            settled = true;
            match round {
                Some((batch, ticket)) => {
                    let waiting = WaitingBatch { envelope: &batch.envelope, items: batch.records(), ticket: &ticket };
                    let delivery = self.delivery.deliver(waiting, &pulse);
                    (tail, settled) = looking(delivery, tail, begun).await;
                }
                None => {
                    tokio::select! {
                        () = sleep(self.config.poll_interval) => {}
                        () = stopped(&mut self.stop) => {}
                    }
                }
            }
        }
        let now = begun.elapsed();
        let mut tail = aside(move || {
            if settled {
                tail.settle(now);
            }
            if let Err(why) = tail.save(now, true) {
                tail.counts.said.push(format!("the checkpoints cannot be written: {why}"));
            }
            tail
        })
        .await;
        self.tell(std::mem::take(&mut tail.counts));
        *left = Some(tail.into_handover());
        drop(left);
        seat.close_unless_awaited();
    }

    /// Settles what was handed on before, and reads on.
    async fn round(
        &mut self,
        mut tail: LogTail,
        (now, observed): (Duration, UnixNanos),
        settled: bool,
    ) -> (LogTail, Option<(LineBatch, Ticket)>) {
        let budget = self.host.budget.clone();
        let (mut tail, round) = aside(move || {
            if settled {
                tail.settle(now);
            } else {
                tail.rewind();
            }
            // Above the soft limit the files are the queue.
            let Ok(ticket) = budget.take(ROUND_BYTES) else { return (tail, None) };
            let read = tail.round(now, observed, &ticket);
            ticket.give_back(ROUND_BYTES);
            let batch = read.ok().flatten().map(|batch| (batch, ticket));
            (tail, batch)
        })
        .await;
        self.counts.files.set(i64::try_from(tail.files()).unwrap_or(i64::MAX));
        self.tell_unread(tail.unread_files());
        self.tell(std::mem::take(&mut tail.counts));
        (tail, round)
    }

    /// Files that are not read are told of as long as there are some.
    fn tell_unread(&mut self, files: u64) {
        self.counts.unread_files.set(i64::try_from(files).unwrap_or(i64::MAX));
        if std::mem::replace(&mut self.unread, files) == files {
            return;
        }
        let (state, message) = match files {
            0 => (State::Ok, String::new()),
            files => (State::Degraded, format!("{files} files that fit the patterns are not read")),
        };
        self.host.status.set(&self.path, state, message);
    }

    fn tell(&self, counts: TailCounts) {
        self.counts.add(&counts);
        if let Some(said) = counts.said.last()
            && let Some(suppressed) = self.line.pass()
        {
            let said: String = said.chars().take(500).collect();
            tracing::warn!(component = %self.path, suppressed, "{said}");
        }
    }
}

/// Waits for a batch's delivery, and looks which files there are meanwhile: one that is renamed or removed while the next hop
/// is away is held open by then.
async fn looking(delivery: impl Future<Output = bool>, mut tail: LogTail, begun: Instant) -> (LogTail, bool) {
    let mut delivery = std::pin::pin!(delivery);
    loop {
        tokio::select! {
            settled = &mut delivery => return (tail, settled),
            () = sleep(SCAN_EVERY) => {}
        }
        let now = begun.elapsed();
        tail = aside(move || {
            tail.look(now, UnixNanos::now());
            tail
        })
        .await;
    }
}
