//! `file`: OTLP/JSON lines on disk, one request a line, as the Collector writes them.
//!
//! For archives and tests. Writes are buffered and flushed by `flush_interval`, so a killed process loses what was not
//! flushed yet. A file that outgrows `rotation.max_megabytes` is renamed with the time and a new one begun. A full disk
//! refuses data, retryably. Parent directories are not made unless `create_directory` says so: a missing mount should
//! show at start.
//!
//! ```yaml
//! file:
//!   path: /var/log/podgate/otlp.jsonl
//!   rotation: {max_megabytes: 100, max_backups: 10}
//!   flush_interval: 1s
//! ```

mod journal;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout_at};

use crate::config::check::Section;
use crate::core::component::{Component, Task};
use crate::core::consumer::{Consumed, Consumer};
use crate::core::error::{ConsumeError, Reason, StartError};
use crate::core::factory::{About, BuildContext, CheckContext, Exporter, ExporterFactory, ExporterPlan};
use crate::core::host::Host;
use crate::core::node::Node;
use crate::core::payload::{Payload, Signal};
use crate::core::stats::Counter;
use crate::core::tasks::Pulse;
use crate::exporters::file::journal::{Journal, Rotation};
use crate::otlp::json::from_wire;
use crate::otlp::portion::halve;

pub const FACTORY: ExporterFactory = ExporterFactory {
    about: About {
        name: "file",
        aliases: &[],
        signals: &Signal::ALL,
        summary: "writes OTLP/JSON lines to a file, with rotation",
        example: "path: /tmp/otlp.jsonl\nflush_interval: 1s\n",
    },
    check,
};

#[derive(Clone, Debug)]
struct Settings {
    path: PathBuf,
    append: bool,
    create_directory: bool,
    flush_interval: Duration,
    rotation: Option<Rotation>,
}

fn check(cx: &CheckContext<'_>, node: &Node) -> Option<Box<dyn ExporterPlan>> {
    let keys = Section::new(node, cx.path.clone(), &cx.checks.diagnostics);
    for key in ["compression", "encoding", "group_by"] {
        if keys.node(key).is_some_and(|node| !node.is_null()) {
            keys.not_yet(&[key]);
        }
    }
    keys.without_effect("directory_permissions", "directories are made with the process's default permissions");
    if keys.string("format").is_some_and(|format| format == "proto") {
        keys.not_yet(&["format"]);
    } else {
        keys.choice("format", &[("json", ())]);
    }
    let path = keys.string("path").filter(|path| !path.is_empty());
    let rotation = keys.section("rotation").map(|keys| {
        keys.without_effect("localtime", "names of rotated files carry UTC");
        let read = Rotation {
            max_bytes: keys.u64("max_megabytes").filter(|size| *size > 0).unwrap_or(100).saturating_mul(1_000_000),
            max_age: Duration::from_secs(keys.u64("max_days").unwrap_or(0).saturating_mul(86_400)),
            max_backups: keys.usize("max_backups").unwrap_or(100),
        };
        keys.finish();
        read
    });
    let append = keys.bool("append").unwrap_or(false);
    if append && rotation.is_some() {
        keys.invalid::<()>("append", "`append` beside `rotation`", "one of the two: rotation always appends");
    }
    let settings = Settings {
        append: append || rotation.is_some(),
        create_directory: keys.bool("create_directory").unwrap_or(false),
        flush_interval: keys
            .duration("flush_interval")
            .unwrap_or(Duration::from_secs(1))
            .max(Duration::from_millis(10)),
        rotation,
        path: PathBuf::from(path.clone().unwrap_or_default()),
    };
    if path.is_none() {
        keys.missing::<()>("path", "the file to write");
    }
    keys.finish();
    path.map(|_| Box::new(Plan { settings }) as Box<dyn ExporterPlan>)
}

struct Plan {
    settings: Settings,
}

impl ExporterPlan for Plan {
    fn build(&self, cx: BuildContext) -> Arc<dyn Exporter> {
        let id = cx.id.to_string();
        let counters = |what: &str, help| {
            Signal::ALL.map(|signal| {
                let name = format!("otelcol_exporter_{what}_{}", signal.items_name());
                cx.host.stats.counter(&name, help, &[("exporter", &id)])
            })
        };
        let (sent, send_failed) = (counters("sent", "Items written."), counters("send_failed", "Items not written."));
        let shared = Arc::new(Shared { journal: Mutex::default(), stop: Notify::new() });
        let owner = Mutex::default();
        Arc::new(File {
            settings: self.settings.clone(),
            path: cx.path,
            host: cx.host,
            sent,
            send_failed,
            shared,
            owner,
        })
    }
}

struct File {
    settings: Settings,
    path: String,
    host: Arc<Host>,
    sent: [Arc<Counter>; 4],
    send_failed: [Arc<Counter>; 4],
    shared: Arc<Shared>,
    // Taken by drain; locked at start and drain only.
    owner: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    // Empty before start and after drain. Held while one request is written.
    journal: Mutex<Option<Journal>>,
    stop: Notify,
}

impl Shared {
    fn journal(&self) -> MutexGuard<'_, Option<Journal>> {
        self.journal.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn flush(&self) -> std::io::Result<()> {
        self.journal().as_mut().map_or(Ok(()), Journal::flush)
    }
}

/// Requests as lines; items that cannot be read are left out and counted.
#[derive(Default)]
struct Lines {
    text: Vec<u8>,
    unreadable: u64,
}

impl Lines {
    /// Halves a request that cannot be transcoded until the unreadable items stand alone.
    fn add(&mut self, payload: &Payload) {
        let before = self.text.len();
        if from_wire(payload.signal, &payload.envelope, &mut self.text).is_ok() {
            self.text.push(b'\n');
            return;
        }
        self.text.truncate(before);
        match halve(payload) {
            Some((first, second)) => {
                self.add(&first);
                self.add(&second);
            }
            None => self.unreadable += payload.items,
        }
    }
}

impl File {
    fn write(&self, payload: &Payload) -> Result<(), ConsumeError> {
        let at = payload.signal.index();
        let mut lines = Lines::default();
        lines.add(payload);
        let written = match self.shared.journal().as_mut() {
            Some(journal) => journal.write(&lines.text).map_err(|error| error.to_string()),
            None => Err("the exporter is not running".to_owned()),
        };
        if let Err(why) = written {
            self.send_failed[at].add(payload.items);
            let message = format!("{}: {why}", self.settings.path.display());
            return Err(ConsumeError::refused(Reason::UNAVAILABLE, message));
        }
        let unreadable = lines.unreadable.min(payload.items);
        self.host.balance.delivered(payload.signal, payload.items - unreadable);
        self.sent[at].add(payload.items - unreadable);
        self.host.balance.dropped(payload.signal, Reason::MALFORMED, unreadable);
        self.send_failed[at].add(unreadable);
        payload.origin.reject_items(unreadable);
        Ok(())
    }
}

impl Consumer for File {
    fn consume(&self, payload: Payload) -> Consumed<'_> {
        Box::pin(std::future::ready(self.write(&payload)))
    }
}

impl Component for File {
    fn start(&self) -> Task<'_, Result<(), StartError>> {
        Box::pin(async move {
            let Settings { path, append, create_directory, rotation, flush_interval } = self.settings.clone();
            let opened = Journal::open(&path, append, create_directory, rotation);
            let journal = opened.map_err(|error| StartError {
                component: self.path.clone(),
                message: format!("cannot write {}: {error}", path.display()),
                help: Some(
                    "make the directory (or set create_directory: true) and let podgate's user write there".to_owned(),
                ),
            })?;
            *self.shared.journal() = Some(journal);
            let shared = self.shared.clone();
            let name = self.path.clone();
            let owner =
                self.host.tasks.spawn(&self.path, move |pulse| flush_by_time(shared, name, flush_interval, pulse));
            *self.owner.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(owner);
            Ok(())
        })
    }

    fn drain(&self, deadline: Instant) -> Task<'_, ()> {
        Box::pin(async move {
            let owner = self.owner.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
            if let Some(owner) = owner {
                self.shared.stop.notify_one();
                let _ = timeout_at(deadline, owner).await;
            }
            if let Err(error) = self.shared.flush() {
                tracing::error!(exporter = %self.path, %error, "the last lines were not written");
            }
            *self.shared.journal() = None;
        })
    }
}

async fn flush_by_time(shared: Arc<Shared>, name: String, interval: Duration, pulse: Arc<Pulse>) {
    let mut failing = false;
    loop {
        pulse.beat();
        tokio::select! {
            () = shared.stop.notified() => return,
            () = sleep(interval.min(Pulse::INTERVAL)) => {}
        }
        let flushed = shared.flush();
        if let (Err(error), false) = (&flushed, failing) {
            tracing::error!(exporter = %name, %error, "lines cannot be written");
        }
        failing = flushed.is_err();
    }
}

#[cfg(test)]
mod tests;
