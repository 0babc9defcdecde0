//! `podgate wal`: what a log on disk holds, and whether all of it is whole: reads, takes no lock, changes nothing. And its
//! folder made ready for podgate's user, which is root's business: for the init container of a hostPath.

use std::os::unix::fs::{MetadataExt, lchown};
use std::path::{Path, PathBuf};

use clap::{Args as ClapArgs, Subcommand};
use serde_json::{Value, json};

use crate::cli::Exit;
use crate::telemetry::stdout::{self, Format};
use crate::wal::files::LogFolder;
use crate::wal::format::Purpose;
use crate::wal::inspect::{InspectedFile, Inspection, inspect};

#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What the log holds: segments, and what is unsettled by pipeline, as a start would find it
    Inspect(Of),
    /// Read every byte; exit code 1 when something that was written whole is not whole any more
    Verify(Of),
    /// Make the folder, and give it and the log in it to a user: what an init container does that runs as root
    Prepare(Prepared),
}

#[derive(Debug, ClapArgs)]
struct Prepared {
    /// The log's folder
    dir: PathBuf,
    /// Whose it shall be, as numbers: USER:GROUP
    #[arg(long, value_parser = owner, default_value = "10001:10001")]
    owner: Owner,
}

#[derive(Clone, Copy, Debug)]
struct Owner {
    user: u32,
    group: u32,
}

fn owner(text: &str) -> Result<Owner, String> {
    let numbers = text.split_once(':').and_then(|(user, group)| Some((user.parse().ok()?, group.parse().ok()?)));
    numbers.map(|(user, group)| Owner { user, group }).ok_or_else(|| "two numbers, as 10001:10001".to_owned())
}

#[derive(Debug, ClapArgs)]
struct Of {
    /// The log's folder. A log that is being written may look torn at its end
    dir: PathBuf,
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub fn run(args: &Args) -> Exit {
    let (of, whole) = match &args.command {
        Command::Inspect(of) => (of, false),
        Command::Verify(of) => (of, true),
        Command::Prepare(Prepared { dir, owner }) => return prepare(dir, *owner),
    };
    let found = match inspect(&mut LogFolder::at(&of.dir), whole) {
        Ok(found) => found,
        Err(error) => {
            stdout::error_line(&format!(
                "{}: {error}; name the folder that holds the log's .wal files",
                of.dir.display()
            ));
            return Exit::Failure;
        }
    };
    if found.files.is_empty() {
        // Nothing is whole where nothing is: the folder may be another than was meant.
        stdout::error_line(&format!("{}: no log is here; name the folder that holds its .wal files", of.dir.display()));
        return Exit::Failure;
    }
    match of.format {
        Format::Text => text(&found, whole).iter().for_each(|line| stdout::line(line)),
        Format::Json => stdout::line(&as_json(&found, whole).to_string()),
    }
    if found.is_damaged() { Exit::Failure } else { Exit::Ok }
}

fn prepare(dir: &Path, owner: Owner) -> Exit {
    match prepared(dir, owner) {
        Ok(()) => {
            stdout::line(&format!("{} is {}:{}'s", dir.display(), owner.user, owner.group));
            Exit::Ok
        }
        Err(error) => {
            let help = "run it as root with the capability CHOWN, on a writable volume";
            stdout::error_line(&format!("{}: {error}; {help}", dir.display()));
            Exit::Failure
        }
    }
}

/// The folder comes last: once it is the owner's, everything in it is.
fn prepared(dir: &Path, owner: Owner) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    let about = std::fs::metadata(dir)?;
    if (about.uid(), about.gid()) == (owner.user, owner.group) {
        return Ok(());
    }
    for entry in std::fs::read_dir(dir)? {
        lchown(entry?.path(), Some(owner.user), Some(owner.group))?;
    }
    std::os::unix::fs::chown(dir, Some(owner.user), Some(owner.group))
}

fn text(found: &Inspection, whole: bool) -> Vec<String> {
    let report = &found.report;
    let mut lines: Vec<String> = found.files.iter().map(|file| line_of(file, whole)).collect();
    lines.push(format!("{} segments, {} bytes", report.segments, found.bytes));
    lines.push(format!("unsettled: {} records, {} items, {} in doubt", report.records, report.items, report.in_doubt));
    lines.extend(found.unsettled.iter().map(|of| {
        let name = if of.pipeline.is_empty() { "(no pipeline)" } else { &of.pipeline };
        format!("  {name}: {} records, {} items", of.records, of.items)
    }));
    if report.torn > 0 {
        lines.push(format!("torn: {} bytes of groups that were never acknowledged", report.torn));
    }
    lines.extend(damage(found));
    if !found.is_damaged() {
        lines.push(
            if whole { "everything is whole" } else { "no damage was found; verify reads every byte" }.to_owned(),
        );
    }
    lines
}

fn line_of(file: &InspectedFile, whole: bool) -> String {
    let about = match &file.header {
        Ok(header) if header.purpose == Purpose::DeadLetters => "dead letters".to_owned(),
        Ok(header) if header.purpose == Purpose::Packed => format!("from sequence {}, compressed", header.first),
        Ok(header) => format!("from sequence {}", header.first),
        Err(fault) => fault.clone(),
    };
    if !whole {
        return format!("{}: {} bytes, {about}", file.name, file.bytes);
    }
    let sealed = if file.sealed { ", sealed" } else { "" };
    let InspectedFile { records, items, verdicts, marks, .. } = file;
    let held = format!("{records} records, {items} items, {verdicts} batches of verdicts, {marks} marks");
    format!("{}: {} bytes, {about}, {held}{sealed}", file.name, file.bytes)
}

fn damage(found: &Inspection) -> Vec<String> {
    let report = &found.report;
    let mut lines = Vec::new();
    for file in &found.files {
        if file.damaged > 0 || file.lost.frames > 0 {
            let lost = file.lost;
            lines.push(format!(
                "DAMAGE {}: {} bytes, which held {} records with {} items among {} frames",
                file.name, file.damaged, lost.records, lost.items, lost.frames
            ));
        }
        if file.unreadable > 0 {
            lines.push(format!("DAMAGE {}: the disk cannot read {} bytes", file.name, file.unreadable));
        }
    }
    lines.extend(report.unknown.iter().map(|name| format!("DAMAGE {name}: its header cannot be read")));
    if report.missing.0 > 0 {
        let (records, items) = report.missing;
        lines.push(format!("DAMAGE segments are gone that held {records} records with {items} unsettled items"));
    }
    if report.lost.records > 0 && lines.is_empty() {
        lines.push(format!("DAMAGE {} records with {} items are lost", report.lost.records, report.lost.items));
    }
    lines
}

fn as_json(found: &Inspection, whole: bool) -> Value {
    let report = &found.report;
    let files = found.files.iter().map(|file| file_json(file, whole)).collect::<Vec<_>>();
    let unsettled =
        found.unsettled.iter().map(|of| json!({"pipeline": of.pipeline, "records": of.records, "items": of.items}));
    json!({
        "damaged": found.is_damaged(),
        "bytes": found.bytes,
        "segments": report.segments,
        "records": report.records,
        "items": report.items,
        "in_doubt": report.in_doubt,
        "unsettled": unsettled.collect::<Vec<_>>(),
        "torn_bytes": report.torn,
        "lost": {"records": report.lost.records, "items": report.lost.items},
        "missing": {"records": report.missing.0, "items": report.missing.1},
        "unknown": report.unknown,
        "files": files,
    })
}

fn file_json(file: &InspectedFile, whole: bool) -> Value {
    let mut value = json!({"name": file.name, "bytes": file.bytes});
    match &file.header {
        Ok(header) => {
            value["number"] = json!(header.number);
            value["purpose"] = json!(match header.purpose {
                Purpose::Log | Purpose::Packed => "log",
                Purpose::DeadLetters => "dead_letters",
            });
            value["compressed"] = json!(header.purpose == Purpose::Packed);
            value["first_sequence"] = json!(header.first);
        }
        Err(fault) => value["fault"] = json!(fault),
    }
    if whole {
        let lost = json!({"frames": file.lost.frames, "records": file.lost.records, "items": file.lost.items});
        let held = [("records", file.records), ("items", file.items), ("verdicts", file.verdicts)];
        let more = [("marks", file.marks), ("damaged_bytes", file.damaged), ("unreadable_bytes", file.unreadable)];
        held.into_iter().chain(more).for_each(|(name, number)| value[name] = json!(number));
        value["sealed"] = json!(file.sealed);
        value["lost"] = lost;
    }
    value
}
