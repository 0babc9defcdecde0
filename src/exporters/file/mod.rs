//! `file`: OTLP/JSON lines on disk, one request a line, as the Collector writes them.
//!
//! For archives and tests. A sender hears success when its line is written (to the operating system: a killed process
//! loses nothing of it), so `flush_interval` is read and has nothing to do. A file never holds a part of a line: what a
//! full disk left of one is taken away again. A file that outgrows `rotation.max_megabytes` is renamed with the time and
//! a new one begun. A full or hanging disk refuses data, retryably, stands in `/status` and in the log, and holds up
//! nothing else. Parent directories are not made unless `create_directory` says so: a missing mount should show at start.
//!
//! ```yaml
//! file:
//!   path: /var/log/podgate/otlp.jsonl
//!   rotation: {max_megabytes: 100, max_backups: 10}
//!   flush_interval: 1s
//! ```

mod journal;

use std::collections::HashSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::Instant;

use crate::config::check::Section;
use crate::core::data::payload::{Payload, Signal};
use crate::core::diagnostic::code;
use crate::core::error::StartError;
use crate::core::lock::Locked;
use crate::core::node::Node;
use crate::core::stage::component::{Component, Task};
use crate::core::stage::consumer::{Consumed, Consumer};
use crate::core::stage::factory::{
    About, BuildContext, CheckContext, DataEnd, Exporter, ExporterFactory, ExporterPlan,
};
use crate::exporters::file::journal::{Journal, Rotation, Start as JournalStart};
use crate::exporters::writing::{Scribe, Unwritten, Writer};
use crate::otlp::json::line::JsonLine;
use crate::otlp::json::readable_from_wire;

pub const FACTORY: ExporterFactory = ExporterFactory {
    about: About {
        name: "file",
        aliases: &[],
        signals: &Signal::ALL,
        summary: "writes OTLP/JSON lines to a file, with rotation",
        example: "path: /tmp/otlp.jsonl\nflush_interval: 1s\n",
    },
    check,
    end: DataEnd::Shown,
};

#[derive(Clone, Debug)]
struct Settings {
    path: PathBuf,
    append: bool,
    create_directory: bool,
    rotation: Option<Rotation>,
}

fn check(cx: &CheckContext<'_>, node: &Node) -> Option<Box<dyn ExporterPlan>> {
    let keys = Section::new(node, cx.path.clone(), &cx.checks.diagnostics);
    for key in ["compression", "compression_params", "encoding", "group_by"] {
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
        keys.invalid::<()>("append", "`append` beside `rotation`", "remove one of the two: rotation always appends");
    }
    // Checked as ever; nothing waits for it.
    keys.duration("flush_interval");
    let settings = Settings {
        append: append || rotation.is_some(),
        create_directory: keys.bool("create_directory").unwrap_or(false),
        rotation,
        path: PathBuf::from(path.clone().unwrap_or_default()),
    };
    if let Some(other) = path.as_ref().and_then(|file| cx.checks.claim_file(file, &cx.path)) {
        let help = Some("give each exporter a file of its own, or name one exporter in both pipelines");
        keys.error("path", code::CONFLICT, format!("{other} writes this file already"), help);
    }
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
        let written = cx.host.shared("file/written", || Arc::new(WrittenPaths::default()));
        let writer = Writer::new(cx, self.settings.path.display().to_string());
        Arc::new(File { settings: self.settings.clone(), writer, written })
    }
}

/// Paths that this process has opened: a file is emptied at the process's start at most.
type WrittenPaths = Mutex<HashSet<PathBuf>>;

struct File {
    settings: Settings,
    writer: Writer,
    // Locked at start.
    written: Arc<WrittenPaths>,
}

/// Writes each payload as a line of the journal.
struct LineByLine {
    journal: Journal,
}

/// The request as a line, and how many items it is without, because they cannot be read. Nothing when none can be.
fn line(payload: &Payload) -> (JsonLine, u64) {
    let mut line = JsonLine::within(&payload.ticket);
    let unreadable = readable_from_wire(payload.signal, &payload.envelope, &mut line);
    if unreadable > 0 && unreadable >= payload.items {
        line.truncate(0);
    } else {
        line.push(b'\n'); // granted: by the line
    }
    (line, unreadable)
}

impl Scribe for LineByLine {
    fn write(&mut self, payload: &Payload) -> Result<u64, Unwritten> {
        let (line, unreadable) = line(payload);
        self.journal.write(line.text()?)?;
        Ok(unreadable)
    }

    fn notice(&mut self) -> Option<io::Error> {
        self.journal.notice()
    }
}

impl Consumer for File {
    fn consume(&self, payload: Payload) -> Consumed<'_> {
        Box::pin(self.writer.consume(payload))
    }
}

impl Component for File {
    fn start(&self) -> Task<'_, Result<(), StartError>> {
        Box::pin(async move {
            let Settings { path, append, create_directory, rotation } = self.settings.clone();
            let named = path.display().to_string();
            // A network file system that is away, or a pipe without a reader, blocks here.
            let written = self.written.clone();
            let make_directory = create_directory;
            let outside = self.writer.host().outside.clone();
            let opened = spawn_blocking(move || {
                // What this process wrote stays: the predecessor of a reload, which may write still, is no earlier life.
                let append = append || written.locked().contains(&path);
                let start = JournalStart { append, make_directory, rotation };
                let journal = Journal::open(outside, path.clone(), start)?;
                written.locked().insert(path); // granted: one for each path of a configuration
                Ok(journal)
            })
            .await;
            let journal = opened.map_err(io::Error::other).flatten().map_err(|error| StartError {
                component: self.writer.path().to_owned(),
                message: format!("cannot write {named}: {error}"),
                help: Some(
                    "make the directory (or set create_directory: true) and let podgate's user write there".to_owned(),
                ),
            })?;
            self.writer.start(Box::new(LineByLine { journal }));
            Ok(())
        })
    }

    fn drain(&self, deadline: Instant) -> Task<'_, ()> {
        Box::pin(self.writer.drain(deadline))
    }
}

#[cfg(test)]
mod tests;
