//! How far the journal was read: the cursor of the last entry that was taken, in a small file where there is a storage.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::core::time::UnixNanos;
use crate::receivers::journald::record::cursor;
use crate::receivers::source::kept;

const VERSION: u32 = 1;
/// A loss of power takes back no more than this.
const SYNCED_EVERY: Duration = Duration::from_secs(1);

/// Where reading goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JournalPosition {
    /// Behind the entry of this cursor.
    After(String),
    /// Where an earlier journalctl began at the end, of which no entry came: nothing that came since is left out.
    Since(UnixNanos),
}

#[derive(Debug, Serialize, Deserialize)]
struct Written {
    version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    /// Microseconds since 1970, journald's unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<u64>,
}

/// Where the position is kept.
#[derive(Debug)]
pub struct PositionFile {
    path: PathBuf,
    synced: Option<Duration>,
    is_unsynced: bool,
}

impl PositionFile {
    /// In the folder of a storage extension, under the receiver's id.
    pub fn within(folder: &Path, receiver: &str) -> PositionFile {
        PositionFile { path: kept::file_of(folder, receiver, "cursor"), synced: None, is_unsynced: false }
    }

    /// `None` when there is none yet.
    pub fn read(&self) -> io::Result<Option<JournalPosition>> {
        let Some(text) = kept::read(&self.path)? else { return Ok(None) };
        let written: Written = serde_json::from_slice(&text).map_err(io::Error::other)?;
        if written.version != VERSION {
            return Err(io::Error::other(format!("its version is {}, and {VERSION} is understood", written.version)));
        }
        let after = written.cursor.filter(|text| cursor(text.as_bytes()).is_some()).map(JournalPosition::After);
        let since = || written.since.map(|micros| JournalPosition::Since(UnixNanos(micros.saturating_mul(1_000))));
        after.or_else(since).map(Some).ok_or_else(|| io::Error::other("it has no cursor"))
    }

    /// Puts `position` in the place of the one before. It is synced once a second, and where `synced` says so.
    pub fn write(&mut self, position: &JournalPosition, now: Duration, synced: bool) -> io::Result<()> {
        let mut written = Written { version: VERSION, cursor: None, since: None };
        match position {
            JournalPosition::After(cursor) => written.cursor = Some(cursor.clone()),
            JournalPosition::Since(since) => written.since = Some(since.0 / 1_000),
        }
        let text = serde_json::to_vec(&written).map_err(io::Error::other)?;
        let synced = synced || self.synced.is_none_or(|at| now.saturating_sub(at) >= SYNCED_EVERY);
        kept::replace(&self.path, &text, synced)?;
        self.is_unsynced = !synced;
        if synced {
            self.synced = Some(now);
            kept::sync_folder(&self.path)?;
        }
        Ok(())
    }

    /// What was written and not synced.
    pub fn is_unsynced(&self) -> bool {
        self.is_unsynced
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_was_written_and_a_broken_file_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = PositionFile::within(folder.path(), "journald/a b");
        assert_eq!(file.read().unwrap(), None);
        let since = JournalPosition::Since(UnixNanos(1_796_119_205_000_001_000));
        for position in [since, JournalPosition::After("s=1;i=2".to_owned())] {
            file.write(&position, Duration::ZERO, false).unwrap();
            assert_eq!(PositionFile::within(folder.path(), "journald/a b").read().unwrap(), Some(position));
        }
        assert!(file.is_unsynced(), "the second one within a second");
        for broken in ["{", r#"{"version":2,"cursor":"s=1"}"#, r#"{"version":1}"#, r#"{"version":1,"cursor":"a b"}"#] {
            std::fs::write(&file.path, broken).unwrap();
            file.read().expect_err(broken);
        }
    }
}
