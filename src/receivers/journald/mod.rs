//! The `journald` receiver: entries of systemd's journal as log records, through `journalctl --output=export --follow`.
//!
//! ```yaml
//! journald:
//!   directory: /var/log/journal
//!   units: [kubelet, containerd]
//!   storage: file_storage
//! ```
//!
//! The journal is its own queue: an entry stays in it until the next stage took responsibility, and only then its cursor is
//! remembered. docs/logs.md says what a node needs.

mod config;
pub mod export;
mod follow;
mod journalctl;
mod metrics;
mod position;
mod probe;
pub mod record;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::core::data::payload::Signal;
use crate::core::error::StartError;
use crate::core::lock::Locked;
use crate::core::node::Node;
use crate::core::report::status::State;
use crate::core::stage::commands::probe::Probe;
use crate::core::stage::component::{Component, Task};
use crate::core::stage::factory::{About, BuildContext, CheckContext, ReceiverFactory, ReceiverPlan};
use crate::core::stage::joint::Outputs;
use crate::core::stage::tasks::Pulse;
use crate::net::server::admission::report::Throttle;
use crate::receivers::journald::config::JournalConfig;
use crate::receivers::journald::follow::JournalFollower;
use crate::receivers::journald::journalctl::{INSTALL, NoAnswer};
use crate::receivers::journald::metrics::JournalMetrics;
use crate::receivers::journald::position::{JournalPosition, PositionFile};
use crate::receivers::journald::probe::JournalProbe;
use crate::receivers::source::delivery::{DeliveryCounts, SourceDelivery, stopped};

pub const FACTORY: ReceiverFactory = ReceiverFactory {
    about: About {
        name: "journald",
        aliases: &[],
        signals: &[Signal::Logs],
        summary: "reads systemd's journal through journalctl",
        example: "directory: /var/log/journal\nunits: [kubelet, containerd]\n",
    },
    check,
};

fn check(cx: &CheckContext<'_>, node: &Node) -> Option<Box<dyn ReceiverPlan>> {
    config::check(cx, node).map(|config| Box::new(Plan { config: Arc::new(config) }) as Box<dyn ReceiverPlan>)
}

struct Plan {
    config: Arc<JournalConfig>,
}

impl ReceiverPlan for Plan {
    fn build(&self, cx: BuildContext, outputs: Outputs) -> Arc<dyn Component> {
        let seat = cx.host.shared(&format!("journald/seat {}", cx.id), || Arc::new(JournalSeat::default()));
        let id = cx.id.to_string();
        let counts = Arc::new(JournalMetrics::new(&cx.host.stats, &id));
        let delivered = Arc::new(DeliveryCounts::new(&cx.host.stats, &id));
        let (config, stop) = (self.config.clone(), watch::Sender::new(None));
        Arc::new(JournalReceiver { config, cx, outputs, counts, delivered, seat, stop, task: Mutex::default() })
    }

    fn probe(&self, _: &[Signal]) -> Option<Box<dyn Probe>> {
        Some(Box::new(JournalProbe { config: self.config.clone() }))
    }
}

/// Instances of one receiver read one after the other; where one ended the next begins.
#[derive(Default)]
struct JournalSeat {
    position: Arc<tokio::sync::Mutex<Option<JournalPosition>>>,
}

/// The receiver between start and drain.
struct JournalReceiver {
    config: Arc<JournalConfig>,
    cx: BuildContext,
    outputs: Outputs,
    counts: Arc<JournalMetrics>,
    delivered: Arc<DeliveryCounts>,
    seat: Arc<JournalSeat>,
    stop: watch::Sender<Option<Instant>>,
    // Locked at start and at drain.
    task: Mutex<Option<JoinHandle<()>>>,
}

impl JournalReceiver {
    fn follower(&self) -> JournalFollower {
        let (host, id) = (&self.cx.host, self.cx.id.to_string());
        let wanted = self.config.storage.as_deref();
        let log = host.logs.all().into_iter().find(|(id, _)| Some(id.as_str()) == wanted);
        let delivery = SourceDelivery {
            outputs: self.outputs.clone(),
            host: host.clone(),
            path: self.cx.path.clone(),
            stop: self.stop.subscribe(),
            retry: self.config.retry,
            counts: self.delivered.clone(),
        };
        JournalFollower {
            config: self.config.clone(),
            delivery,
            counts: self.counts.clone(),
            file: log.and_then(|(_, log)| log.folder()).map(|folder| PositionFile::within(&folder, &id)),
            line: Throttle::default(),
        }
    }
}

impl Component for JournalReceiver {
    fn start(&self) -> Task<'_, Result<(), StartError>> {
        Box::pin(async move {
            let (host, path) = (&self.cx.host, &self.cx.path);
            match journalctl::version(&self.config).await {
                Ok(version) => tracing::info!(component = %path, %version, "journalctl is there"),
                Err(absent @ NoAnswer::NotThere { .. }) => {
                    let (component, message) = (path.clone(), absent.to_string());
                    return Err(StartError { component, message, help: Some(INSTALL.to_owned()) });
                }
                // Following says so, if it is of weight.
                Err(NoAnswer::Refused(_) | NoAnswer::Late) => {}
            }
            let (follower, seat, stop) = (self.follower(), self.seat.clone(), self.stop.subscribe());
            *self.task.locked() = Some(host.tasks.spawn(path, |pulse| seated(follower, seat, stop, pulse)));
            host.status.set(path, State::Ok, "");
            Ok(())
        })
    }

    fn drain(&self, deadline: Instant) -> Task<'_, ()> {
        Box::pin(async move {
            self.stop.send_replace(Some(deadline));
            let task = self.task.locked().take();
            if let Some(task) = task {
                // What is not handed on by then stays in the journal.
                let _ = timeout_at(deadline, task).await;
            }
            self.cx.host.status.set(&self.cx.path, State::Stopped, "");
        })
    }
}

/// Follows once the predecessor has ended.
async fn seated(
    follower: JournalFollower,
    seat: Arc<JournalSeat>,
    mut stop: watch::Receiver<Option<Instant>>,
    pulse: Arc<Pulse>,
) {
    pulse.waits_for("its predecessor to end");
    let position = loop {
        tokio::select! {
            position = seat.position.clone().lock_owned() => break position,
            () = sleep(Pulse::INTERVAL) => pulse.beat(),
            () = stopped(&mut stop) => return,
        }
    };
    follower.run(position, pulse).await;
}
