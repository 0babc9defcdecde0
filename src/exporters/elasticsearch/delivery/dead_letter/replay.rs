//! Dead letters sent again: from the file, in requests of the usual size, to Elasticsearch; what is refused again goes back
//! to the dead-letter file. Ids make it safe to do twice.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use bytes::Bytes;
use tokio::time::{Instant, sleep};

use crate::core::data::settlement::Share;
use crate::core::stage::commands::replay::{Replay, ReplaySummary};
use crate::core::stage::component::Task;
use crate::exporters::elasticsearch::delivery::bulk::batch::OpenDocument;
use crate::exporters::elasticsearch::delivery::bulk::loss::Caller;
use crate::exporters::elasticsearch::delivery::bulk_sender::BulkSender;
use crate::exporters::elasticsearch::delivery::dead_letter::file::{DeadLetter, Letter, private_file};

/// Lines read before they are sent.
const GATHERED_BYTES: usize = 4 << 20;
/// Elasticsearch takes no request above 100 MiB; the rest of a letter is small.
const LINE_BYTES_MAX: u64 = 128 << 20;
/// A running gateway that has just opened the file writes its letter into what was moved away.
const SETTLE: Duration = Duration::from_millis(300);

/// `dead.ndjson` -> `dead.ndjson.replay`
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

/// Replays the exporter's own file: moves it away first, so that a running gateway begins a new one. A file that an
/// interrupted replay left behind comes first. Files are removed once nothing in them is needed.
pub async fn own_file(sender: &BulkSender, path: &Path, deadline: Instant) -> io::Result<ReplaySummary> {
    let aside = beside(path, ".replay");
    let mut summary = ReplaySummary::default();
    if aside.exists() {
        add(&mut summary, file(sender, &aside, deadline).await?);
        if summary.unkept > 0 {
            return Ok(summary);
        }
        fs::remove_file(&aside)?;
    }
    if DeadLetter::set_aside(path, &aside)?.is_none() {
        return Ok(summary);
    }
    sleep(SETTLE).await;
    let rest = file(sender, &aside, deadline).await?;
    if rest.unkept == 0 {
        fs::remove_file(&aside)?;
    }
    add(&mut summary, rest);
    Ok(summary)
}

/// Replays a file and leaves it as it is. Lines that cannot be read are copied to a file of their own.
pub async fn file(sender: &BulkSender, path: &Path, deadline: Instant) -> io::Result<ReplaySummary> {
    let mut reader = BufReader::new(File::open(path)?);
    let mut summary = ReplaySummary::default();
    let mut gathered = Gathered::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line)?;
        if read > 0 && !line.trim_ascii().is_empty() {
            summary.letters += 1;
            if gathered.add(&line).is_none() {
                summary.unreadable += 1;
                let mut spoilt = private_file().open(beside(path, ".unreadable"))?;
                spoilt.write_all(line.trim_ascii_end())?;
                spoilt.write_all(b"\n")?;
            }
        }
        if gathered.lines.len() >= GATHERED_BYTES || (read == 0 && !gathered.documents.is_empty()) {
            add(&mut summary, gathered.send(sender, deadline).await);
        }
        if read == 0 {
            return Ok(summary);
        }
    }
}

#[derive(Default)]
struct Gathered {
    lines: Vec<u8>,
    documents: Vec<OpenDocument>,
}

impl Gathered {
    fn add(&mut self, line: &[u8]) -> Option<()> {
        let letter: Letter<'_> = serde_json::from_slice(line).ok()?;
        let start = self.lines.len();
        self.lines.extend_from_slice(letter.action.get().as_bytes());
        self.lines.push(b'\n');
        self.lines.extend_from_slice(letter.document.get().as_bytes());
        self.lines.push(b'\n');
        let range = start..self.lines.len();
        // A file edited by hand may have lines within its objects, which a bulk body cannot.
        if self.lines[range.clone()].iter().filter(|byte| **byte == b'\n').count() != 2 {
            self.lines.truncate(start);
            return None;
        }
        let (signal, own_id) = (letter.signal(), letter.own_id);
        let (range, items, share) = (range, letter.items, Share::none());
        self.documents.push(OpenDocument { range, items, own_id, signal, in_doubt: false, share });
        Some(())
    }

    async fn send(&mut self, sender: &BulkSender, deadline: Instant) -> ReplaySummary {
        let patience = deadline.saturating_duration_since(Instant::now());
        let lines = Bytes::from(std::mem::take(&mut self.lines));
        let documents = std::mem::take(&mut self.documents);
        let outcome = sender.deliver(&lines, documents, Caller::Replay, Some(patience)).await;
        let refused = outcome.buried as u64;
        let back = outcome.kept_on_disk.min(refused);
        ReplaySummary {
            delivered: outcome.documents_delivered(),
            back,
            unkept: refused - back,
            ..ReplaySummary::default()
        }
    }
}

fn add(summary: &mut ReplaySummary, other: ReplaySummary) {
    summary.letters += other.letters;
    summary.delivered += other.delivered;
    summary.back += other.back;
    summary.unkept += other.unkept;
    summary.unreadable += other.unreadable;
}

/// The dead letters of one exporter, to be sent by its own settings.
pub struct DeadLetters {
    pub sender: BulkSender,
}

impl Replay for DeadLetters {
    fn own_file(&self) -> Option<PathBuf> {
        self.sender.dead_letter.as_ref().map(|file| file.path().to_owned())
    }

    fn run<'a>(&'a self, named: Option<&'a Path>, deadline: Instant) -> Task<'a, io::Result<ReplaySummary>> {
        Box::pin(async move {
            let summary = match (named, self.own_file()) {
                (Some(named), _) => file(&self.sender, named, deadline).await,
                (None, Some(own)) => own_file(&self.sender, &own, deadline).await,
                (None, None) => Ok(ReplaySummary::default()),
            };
            self.sender.post.close().await;
            summary
        })
    }
}
