//! `file_storage`: one log on disk, in which queues and samplers keep what senders were told is taken.
//!
//! A component that names this extension (`sending_queue: {storage: file_storage}`) hears of success when its record was
//! synced to the disk, and gets what is unsettled back after a restart, however the process ended. The keys are the
//! Collector's; the files are not (docs/wal-format.md).
//!
//! ```yaml
//! file_storage:
//!   directory: /var/lib/podgate/log
//!   create_directory: true
//!   podgate: {durability: group, max_bytes: 2GiB}
//! ```

mod death;
pub mod entry;
mod figures;
mod marks;
mod parking;
mod probe;
mod reading;
mod report;
mod settings;
mod store;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::config::check::Section;
use crate::core::data::payload::Signal;
use crate::core::diagnostic::code;
use crate::core::node::Node;
use crate::core::stage::commands::probe::Probe;
use crate::core::stage::component::Component;
use crate::core::stage::factory::{About, BuildContext, CheckContext, ExtensionFactory, ExtensionPlan};
use crate::extensions::file_storage::probe::FolderProbe;
use crate::extensions::file_storage::settings::{Durability, StorageSettings};
use crate::extensions::file_storage::store::FileStorage;
use crate::wal::disk::LogDisk;
use crate::wal::files::LogFolder;

pub const FACTORY: ExtensionFactory = ExtensionFactory {
    about: About {
        name: "file_storage",
        aliases: &[],
        signals: &Signal::ALL,
        summary: "keeps queues on disk: success means that a record was synced",
        example: "directory: /var/lib/podgate/log\ncreate_directory: true\n",
    },
    check,
};

/// The Collector's default.
const DIRECTORY: &str = "/var/lib/otelcol/file_storage";
const MAX_BYTES: u64 = 2 << 30;
/// The Collector's default.
const PERMISSIONS: u32 = 0o750;
const DURABILITIES: &[(&str, Durability)] =
    &[("group", Durability::Group), ("page_cache", Durability::PageCache), ("off", Durability::Off)];
/// Whether segments that are wanted for long are compressed.
const COMPRESSIONS: &[(&str, bool)] = &[("zstd", true), ("none", false)];
/// Longer than most sampling windows: what is delivered in time is never compressed.
const COMPRESS_AFTER: Duration = Duration::from_secs(60);
/// A twentieth is one segment, which has to hold a block for each frame.
const MAX_BYTES_LEAST: u64 = 4 << 20;

struct Plan {
    settings: StorageSettings,
}

fn check(cx: &CheckContext<'_>, body: &Node) -> Option<Box<dyn ExtensionPlan>> {
    let section = Section::new(body, &cx.path, &cx.checks.diagnostics);
    let directory = section.string("directory").unwrap_or_else(|| DIRECTORY.to_owned());
    if directory.is_empty() {
        section.invalid::<()>("directory", "`directory` is empty", "a folder that outlives the process");
    }
    if let Some(other) = cx.checks.claim_file(&directory, &cx.path) {
        let message = format!("{directory} is written by {other} already: a folder holds one log");
        section.error("directory", code::CONFLICT, message, Some("name another folder"));
    }
    let create_directory = section.bool("create_directory").unwrap_or(false);
    section.without_effect("fsync", "a record is always synced before its sender hears success");
    section.without_effect("timeout", "while another process holds the log, podgate waits and is not ready");
    section.without_effect("recreate", "damaged parts are skipped and counted, and the log goes on");
    if let Some(compaction) = section.section("compaction") {
        for key in [
            "on_start",
            "on_rebound",
            "directory",
            "rebound_needed_threshold_mib",
            "rebound_trigger_threshold_mib",
            "max_transaction_size",
            "check_interval",
            "cleanup_on_start",
        ] {
            compaction.without_effect(key, "a segment is removed when everything in it is settled");
        }
        compaction.finish();
    }
    let permissions = permissions(&section);
    let (mut max_bytes, mut reserve, mut durability) = (MAX_BYTES, 0, Durability::Group);
    let mut compress_after = Some(COMPRESS_AFTER);
    if let Some(own) = section.section("podgate") {
        max_bytes = own.bytes("max_bytes").unwrap_or(MAX_BYTES);
        if max_bytes < MAX_BYTES_LEAST {
            own.invalid::<()>("max_bytes", format!("{max_bytes} bytes are too few for a log"), "4MiB or more");
        }
        reserve = own.bytes("reserve").unwrap_or(0);
        durability = own.choice("durability", DURABILITIES).unwrap_or(durability);
        let compresses = own.choice("compression", COMPRESSIONS).unwrap_or(true);
        let after = own.duration("compress_after").unwrap_or(COMPRESS_AFTER);
        compress_after = compresses.then_some(after);
        own.finish();
    }
    section.finish();
    let directory = PathBuf::from(directory);
    let settings =
        StorageSettings { directory, create_directory, permissions, max_bytes, reserve, durability, compress_after };
    Some(Box::new(Plan { settings }))
}

/// The mode of a folder that is made, in octal digits as the Collector writes it.
fn permissions(section: &Section<'_>) -> u32 {
    let Some(written) = section.string("directory_permissions") else { return PERMISSIONS };
    let mode = u32::from_str_radix(&written, 8).ok().filter(|mode| mode & !0o777 == 0 && mode & 0o700 == 0o700);
    let expected = "octal digits in quotes that let the owner in, such as \"0750\"";
    let wrong = || section.invalid("directory_permissions", format!("{written:?} is no mode of a folder"), expected);
    mode.or_else(wrong).unwrap_or(PERMISSIONS)
}

impl ExtensionPlan for Plan {
    fn build(&self, cx: BuildContext) -> Arc<dyn Component> {
        let directory = self.settings.directory.clone();
        let synced = match self.settings.durability {
            Durability::Group => true,
            Durability::PageCache => false,
            // Whoever names it finds no log, and keeps its queue in memory.
            Durability::Off => return Arc::new(Declared),
        };
        let disk = move || -> Box<dyn LogDisk> { Box::new(LogFolder::with(&directory, synced)) };
        let storage = Arc::new(FileStorage::new(&cx, self.settings.clone(), Box::new(disk)));
        report::register(&cx.host, &storage);
        cx.host.logs.add(&cx.id.to_string(), storage.clone());
        Arc::new(Declared)
    }

    fn keeps_log(&self) -> bool {
        true
    }

    fn probe(&self) -> Option<Box<dyn Probe>> {
        Some(Box::new(FolderProbe { settings: self.settings.clone() }))
    }
}

/// The log is opened and closed by the gateway, in front of whoever uses it and behind it; this only stands in the list.
struct Declared;

impl Component for Declared {}

#[cfg(test)]
mod tests;
