//! Documents that Elasticsearch will never take as they are, kept on disk with the reason: one JSON object a line.
//!
//! `podgate replay` reads the file. It is opened anew for each burst of documents, so that it may be renamed away under a
//! running gateway. Full, or a disk that is full, means that documents are counted as dropped instead.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use std::{fs, io};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;

use crate::core::data::payload::Signal;
use crate::core::lock::Locked;
use crate::core::time::UnixNanos;
use crate::exporters::elasticsearch::delivery::bulk::batch::{OpenDocument, lines_of};
use crate::exporters::elasticsearch::delivery::bulk::loss::LossCause;

/// A `podgate: {dead_letter: ...}` block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterSettings {
    pub path: PathBuf,
    pub max_bytes: u64,
}

impl DeadLetterSettings {
    pub const DEFAULT_BYTES: u64 = 64 << 20;
}

/// One line of the file.
#[derive(Debug, Serialize, Deserialize)]
pub struct Letter<'a> {
    /// RFC 3339.
    pub time: String,
    pub exporter: String,
    pub signal: String,
    /// Items that end with the document; 0 for an event of a span.
    pub items: u32,
    /// The HTTP status of the item or of the request; 0 when there was none.
    pub status: u16,
    /// Elasticsearch's error type, or our own word.
    #[serde(rename = "type")]
    pub kind: String,
    pub reason: String,
    pub own_id: bool,
    /// The action line.
    #[serde(borrow)]
    pub action: &'a RawValue,
    #[serde(borrow)]
    pub document: &'a RawValue,
}

impl Letter<'_> {
    pub fn signal(&self) -> Signal {
        Signal::parse(&self.signal).unwrap_or(Signal::Logs)
    }
}

/// Reasons quote field values, which can be as large as a document.
const REASON_CHARS_MAX: usize = 2_000;

/// What is known of a document to be buried.
#[derive(Clone, Copy, Debug)]
pub struct Grave<'a> {
    pub lines: &'a [u8],
    pub signal: Signal,
    pub items: u32,
    pub own_id: bool,
    pub status: u16,
    pub kind: &'a str,
    pub reason: &'a str,
}

impl<'a> Grave<'a> {
    /// The grave of a document with these lines, lost for this cause.
    pub fn of(cause: &'a LossCause, lines: &'a [u8], document: &OpenDocument) -> Grave<'a> {
        Grave {
            lines,
            signal: document.signal,
            items: document.items,
            // Whoever sends it again may find it there.
            own_id: document.own_id || document.in_doubt,
            status: cause.status,
            kind: &cause.kind,
            reason: &cause.reason,
        }
    }
}

/// Why a document could not be kept.
#[derive(Debug, thiserror::Error)]
pub enum Unkept {
    #[error("the dead-letter file has reached its {0} bytes")]
    Full(u64),
    #[error("{path}: {why}")]
    Io { path: String, why: io::Error },
    #[error("the document is not JSON: {0}")]
    NotJson(serde_json::Error),
}

/// Telemetry is nobody else's: the file is made for its owner only.
pub fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).append(true).mode(0o600);
    options
}

pub struct DeadLetter {
    settings: DeadLetterSettings,
    exporter: String,
    // One writer at a time, so that lines stay whole; held for one write.
    writing: Mutex<Option<Writing>>,
    full: AtomicBool,
}

/// The file while documents come in a row.
struct Writing {
    file: File,
    bytes: u64,
    opened: Instant,
}

/// Afterwards the file is opened anew, because it may have been moved away. Shorter than a replay waits before it reads.
const OPEN_FOR: Duration = Duration::from_millis(100);

impl DeadLetter {
    pub fn new(settings: DeadLetterSettings, exporter: String) -> DeadLetter {
        DeadLetter { settings, exporter, writing: Mutex::default(), full: AtomicBool::new(false) }
    }

    pub fn path(&self) -> &Path {
        &self.settings.path
    }

    /// The last document did not fit.
    pub fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Writing>> {
        self.writing.locked()
    }

    /// Sees at start that the file can be written. A line that a crash cut short is ended, so that the next one stays whole.
    pub fn prepare(&self) -> Result<(), Unkept> {
        let io = |why| Unkept::Io { path: self.settings.path.display().to_string(), why };
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(&self.settings.path).map_err(io)?;
        if file.metadata().map_err(io)?.len() > 0 {
            let mut last = [0];
            file.seek(SeekFrom::End(-1)).and_then(|_| file.read_exact(&mut last)).map_err(io)?;
            if last != *b"\n" {
                file.write_all(b"\n").map_err(io)?;
            }
        }
        Ok(())
    }

    /// Appends one document.
    pub fn keep(&self, grave: &Grave<'_>) -> Result<(), Unkept> {
        let line = self.line(grave).map_err(Unkept::NotJson)?;
        let io = |why| Unkept::Io { path: self.settings.path.display().to_string(), why };
        let mut writing = self.lock();
        if writing.as_ref().is_none_or(|writing| writing.opened.elapsed() > OPEN_FOR) {
            let file = private_file().open(&self.settings.path).map_err(io)?;
            let bytes = file.metadata().map_err(io)?.len();
            *writing = Some(Writing { file, bytes, opened: Instant::now() });
        }
        let open = writing.as_mut().expect("it was opened above");
        let full = open.bytes + line.len() as u64 > self.settings.max_bytes;
        self.full.store(full, Ordering::Relaxed);
        if full {
            return Err(Unkept::Full(self.settings.max_bytes));
        }
        if let Err(why) = open.file.write_all(&line) {
            // Half a line would spoil the next one.
            let _ = open.file.set_len(open.bytes);
            *writing = None;
            return Err(io(why));
        }
        open.bytes += line.len() as u64;
        Ok(())
    }

    fn line(&self, grave: &Grave<'_>) -> Result<Vec<u8>, serde_json::Error> {
        let (action, document) = lines_of(grave.lines);
        let letter = Letter {
            time: UnixNanos::now().timestamp().to_string(),
            exporter: self.exporter.clone(),
            signal: grave.signal.name().to_owned(),
            items: grave.items,
            status: grave.status,
            kind: grave.kind.to_owned(),
            reason: grave.reason.chars().take(REASON_CHARS_MAX).collect(),
            own_id: grave.own_id,
            action: serde_json::from_slice(action)?,
            document: serde_json::from_slice(document)?,
        };
        let mut line = serde_json::to_vec(&letter)?;
        line.push(b'\n');
        Ok(line)
    }

    /// Moves the file away for a replay; `None` when there is nothing to replay.
    pub fn set_aside(path: &Path, aside: &Path) -> io::Result<Option<()>> {
        match fs::rename(path, aside) {
            Ok(()) => Ok(Some(())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grave(lines: &[u8]) -> Grave<'_> {
        Grave { lines, signal: Signal::Traces, items: 1, own_id: true, status: 400, kind: "mapper", reason: "no \"x\"" }
    }

    const LINES: &[u8] = b"{\"create\":{\"_index\":\"a\"}}\n{\"n\":1.50}\n";

    fn dead_letter(path: &Path, max_bytes: u64) -> DeadLetter {
        DeadLetter::new(DeadLetterSettings { path: path.to_owned(), max_bytes }, "elasticsearch/x".to_owned())
    }

    #[test]
    fn a_letter_keeps_both_lines_as_they_were_and_says_why() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dead.ndjson");
        fs::write(&path, "{\"cut sho").unwrap();
        let file = dead_letter(&path, 10_000);
        file.prepare().unwrap();
        file.keep(&grave(LINES)).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "the line cut short stands alone");
        let letter: Letter<'_> = serde_json::from_str(lines[1]).unwrap();
        assert_eq!((letter.action.get(), letter.document.get()), ("{\"create\":{\"_index\":\"a\"}}", "{\"n\":1.50}"));
        assert_eq!((letter.signal(), letter.items, letter.status, letter.own_id), (Signal::Traces, 1, 400, true));
        assert_eq!((letter.exporter.as_str(), letter.reason.as_str()), ("elasticsearch/x", "no \"x\""));
    }

    #[test]
    fn the_file_never_outgrows_its_bytes_and_holds_whole_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("dead.ndjson");
        let file = dead_letter(&path, 1000);
        let kept = (0..100).filter(|_| file.keep(&grave(LINES)).is_ok()).count();
        let text = fs::read_to_string(&path).unwrap();
        assert!(kept > 1 && text.len() <= 1000);
        assert_eq!(text.lines().count(), kept);
        assert!(matches!(file.keep(&grave(LINES)), Err(Unkept::Full(1000))));
    }

    #[test]
    fn what_cannot_be_written_is_an_error_and_never_a_panic() {
        let directory = tempfile::tempdir().unwrap();
        let missing = dead_letter(&directory.path().join("no/such/dead.ndjson"), 1000);
        assert!(matches!(missing.prepare(), Err(Unkept::Io { .. })));
        assert!(matches!(missing.keep(&grave(LINES)), Err(Unkept::Io { .. })));
        let full = dead_letter(Path::new("/dev/full"), u64::MAX);
        assert!(matches!(full.keep(&grave(LINES)), Err(Unkept::Io { .. })));
        let odd = dead_letter(&directory.path().join("odd"), 1000);
        assert!(matches!(odd.keep(&grave(b"{broken\n{}\n")), Err(Unkept::NotJson(_))));
    }
}
