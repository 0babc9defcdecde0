//! The marks of all files on disk: one small file, written whole beside the old one and put in its place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::receivers::file_log::follow::mark::FileMark;

/// A longer file is none of ours.
const BYTES_MAX: u64 = 64 << 20;
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Written {
    version: u32,
    marks: Vec<FileMark>,
}

/// Where the marks are kept.
#[derive(Clone, Debug)]
pub struct CheckpointFile {
    path: PathBuf,
}

impl CheckpointFile {
    /// In the folder of a storage extension, under the receiver's id.
    pub fn within(folder: &Path, receiver: &str) -> CheckpointFile {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let name: String = receiver.chars().map(plain).collect();
        CheckpointFile { path: folder.join(format!("{name}.checkpoints")) }
    }

    /// `None` when there are none yet.
    pub fn read(&self) -> io::Result<Option<Vec<FileMark>>> {
        let about = match fs::metadata(&self.path) {
            Ok(about) => about,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        if about.len() > BYTES_MAX {
            return Err(io::Error::other("it is longer than 64 MiB"));
        }
        let written: Written = serde_json::from_slice(&fs::read(&self.path)?).map_err(io::Error::other)?;
        if written.version != VERSION {
            return Err(io::Error::other(format!("its version is {}, and {VERSION} is understood", written.version)));
        }
        Ok(Some(written.marks))
    }

    /// The old marks stand until the new ones do. `synced`: they survive a loss of power, too.
    pub fn write(&self, marks: Vec<FileMark>, synced: bool) -> io::Result<()> {
        let text = serde_json::to_vec(&Written { version: VERSION, marks }).map_err(io::Error::other)?;
        let beside = self.path.with_extension("new");
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(&text)?;
        if synced {
            file.sync_all()?;
        }
        fs::rename(&beside, &self.path)?;
        match self.path.parent() {
            Some(folder) if synced => File::open(folder)?.sync_all(),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receivers::file_log::follow::mark::{BytesDigest, FileId};

    #[test]
    fn marks_are_read_as_they_were_written_and_a_broken_file_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let file = CheckpointFile::within(folder.path(), "file_log/a b");
        assert_eq!(file.read().unwrap(), None);
        let head = BytesDigest { length: 7, digest: u64::MAX };
        let path = PathBuf::from("/var/log/a.log");
        let mark =
            FileMark { path, id: FileId { device: 1, inode: 2 }, head, tail: head, offset: 9, held_from: Some(3) };
        file.write(vec![mark.clone()], true).unwrap();
        assert_eq!(file.read().unwrap(), Some(vec![mark]));
        fs::write(&file.path, "{").unwrap();
        file.read().expect_err("broken");
    }
}
