//! The marks of all files on disk: one small file of all of them, and beside it what changed since.
//!
//! A batch changes the marks of a few files, so these alone are appended. Once what was appended is longer than the marks that
//! it changes, all of them are written beside the old file and put in its place. Each such file has a generation, and so has
//! what is appended to it: changes of another generation count for nothing.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::receivers::file_log::follow::mark::{BytesDigest, FileId, FileMark};
use crate::receivers::source::kept;

const VERSION: u32 = 1;
/// So much is appended in any case.
const APPENDED_LEAST: u64 = 64 << 10;

#[derive(Debug, Serialize, Deserialize)]
struct Written {
    version: u32,
    #[serde(default)]
    generation: u64,
    marks: Vec<FileMark>,
}

/// The first line of what is appended.
#[derive(Debug, Serialize, Deserialize)]
struct Appended {
    generation: u64,
}

/// A mark in the place of an earlier one of its file. That one is known by where it was, because a file that was cut has left
/// a mark under the same id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkChange {
    was: (u64, BytesDigest),
    mark: FileMark,
}

impl MarkChange {
    pub fn of(was: &FileMark, mark: FileMark) -> MarkChange {
        MarkChange { was: (was.offset, was.tail), mark }
    }
}

/// Where the marks are kept.
#[derive(Debug)]
pub struct CheckpointFile {
    path: PathBuf,
    generation: u64,
    /// Bytes of all marks as they were written last.
    whole: u64,
    /// What is appended to, and its bytes; `None` until this process has written all marks.
    appended: Option<(File, u64)>,
}

impl CheckpointFile {
    /// In the folder of a storage extension, under the receiver's id.
    pub fn within(folder: &Path, receiver: &str) -> CheckpointFile {
        let path = kept::file_of(folder, receiver, "checkpoints");
        CheckpointFile { path, generation: 0, whole: 0, appended: None }
    }

    /// `None` when there are none yet.
    pub fn read(&mut self) -> io::Result<Option<Vec<FileMark>>> {
        let Some(text) = kept::read(&self.path)? else { return Ok(None) };
        let written: Written = serde_json::from_slice(&text).map_err(io::Error::other)?;
        if written.version != VERSION {
            return Err(io::Error::other(format!("its version is {}, and {VERSION} is understood", written.version)));
        }
        self.generation = written.generation;
        let mut marks = written.marks;
        let mut places: HashMap<(FileId, u64, BytesDigest), usize> =
            marks.iter().enumerate().map(|(at, mark)| (key_of(mark), at)).collect();
        for change in self.changes()? {
            let (offset, tail) = change.was;
            let key = key_of(&change.mark);
            match places.remove(&(change.mark.id, offset, tail)) {
                Some(at) => {
                    places.insert(key, at);
                    if let Some(mark) = marks.get_mut(at) {
                        *mark = change.mark;
                    }
                }
                None => {
                    places.insert(key, marks.len());
                    marks.push(change.mark); // granted: a file of bounded length
                }
            }
        }
        Ok(Some(marks))
    }

    /// What was appended to the marks of this generation; a line that breaks off is the last one.
    fn changes(&self) -> io::Result<Vec<MarkChange>> {
        let text = kept::read(&self.beside())?.unwrap_or_default();
        let mut lines = text.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
        let head = lines.next().and_then(|line| serde_json::from_slice::<Appended>(line).ok());
        if head.is_none_or(|head| head.generation != self.generation) {
            return Ok(Vec::new());
        }
        Ok(lines.map_while(|line| serde_json::from_slice(line).ok()).collect())
    }

    fn beside(&self) -> PathBuf {
        self.path.with_extension("changes")
    }

    /// Writes changes where there is room for them; else `false`, and all marks have to be written.
    pub fn append(&mut self, changes: &[MarkChange]) -> io::Result<bool> {
        let most = APPENDED_LEAST.max(2 * self.whole);
        let Some((file, bytes)) = self.appended.as_mut().filter(|(_, bytes)| *bytes < most) else { return Ok(false) };
        let mut text = Vec::new();
        for change in changes {
            serde_json::to_writer(&mut text, change).map_err(io::Error::other)?;
            text.push(b'\n'); // granted: a mark of each file that is followed
        }
        *bytes += text.len() as u64;
        let done = file.write_all(&text);
        if done.is_err() {
            // Part of a line may be there, and nothing is read behind it.
            self.appended = None;
        }
        done.map(|()| true)
    }

    /// What was appended survives a loss of power, too.
    pub fn sync(&mut self) -> io::Result<()> {
        self.appended.as_ref().map_or(Ok(()), |(file, _)| file.sync_data())
    }

    /// Writes all marks. The old ones stand until the new ones do.
    pub fn write(&mut self, marks: Vec<FileMark>, synced: bool) -> io::Result<()> {
        self.appended = None;
        let generation = self.generation + 1;
        let text = serde_json::to_vec(&Written { version: VERSION, generation, marks }).map_err(io::Error::other)?;
        kept::replace(&self.path, &text, synced)?;
        (self.generation, self.whole) = (generation, text.len() as u64);
        let mut head = serde_json::to_vec(&Appended { generation }).map_err(io::Error::other)?;
        head.push(b'\n'); // granted: a line of a number
        let mut file = kept::create(&self.beside())?;
        file.write_all(&head)?;
        self.appended = Some((file, head.len() as u64));
        if synced { kept::sync_folder(&self.path) } else { Ok(()) }
    }
}

fn key_of(mark: &FileMark) -> (FileId, u64, BytesDigest) {
    (mark.id, mark.offset, mark.tail)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn mark(inode: u64, offset: u64) -> FileMark {
        let head = BytesDigest { length: 7, digest: inode };
        let tail = BytesDigest { length: 7, digest: offset };
        let path = PathBuf::from(format!("/var/log/{inode}.log"));
        FileMark { path, id: FileId { device: 1, inode }, head, tail, offset, held_from: Some(3) }
    }

    fn file(folder: &tempfile::TempDir) -> CheckpointFile {
        CheckpointFile::within(folder.path(), "file_log/a b")
    }

    #[test]
    fn marks_are_read_as_they_were_written_and_a_broken_file_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let mut checkpoints = file(&folder);
        assert_eq!(checkpoints.read().unwrap(), None);
        checkpoints.write(vec![mark(2, 9)], true).unwrap();
        assert_eq!(file(&folder).read().unwrap(), Some(vec![mark(2, 9)]));
        fs::write(&checkpoints.path, "{").unwrap();
        file(&folder).read().expect_err("broken");
    }

    #[test]
    fn what_changed_is_appended_and_read_in_the_place_of_what_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let mut checkpoints = file(&folder);
        assert!(!checkpoints.append(&[]).unwrap(), "nothing was written that could be changed");
        // The second one is of a file that was cut: it left a mark, and has its id still.
        checkpoints.write(vec![mark(1, 9), mark(2, 50)], false).unwrap();
        let cut = FileMark::unread(Path::new("/var/log/2.log"), FileId { device: 1, inode: 2 });
        let changes = [MarkChange::of(&mark(1, 9), mark(1, 20)), MarkChange::of(&cut, mark(2, 5))];
        assert!(checkpoints.append(&changes).unwrap());
        assert!(checkpoints.append(&[MarkChange::of(&mark(2, 5), mark(2, 8))]).unwrap());
        let whole = vec![mark(1, 20), mark(2, 50), mark(2, 8)];
        assert_eq!(file(&folder).read().unwrap(), Some(whole.clone()));
        // A line that breaks off, and changes of marks that were replaced before the changes were.
        let beside = checkpoints.beside();
        let mut text = fs::read(&beside).unwrap();
        fs::write(&beside, [&text, b"{\"was\":[8,".as_slice()].concat()).unwrap();
        assert_eq!(file(&folder).read().unwrap(), Some(whole));
        checkpoints.write(vec![mark(1, 30)], false).unwrap();
        text.push(b'\n');
        fs::write(&beside, text).unwrap();
        assert_eq!(file(&folder).read().unwrap(), Some(vec![mark(1, 30)]));
    }

    #[test]
    fn what_is_written_for_each_change_does_not_grow_with_the_number_of_files() {
        let folder = tempfile::tempdir().unwrap();
        let mut checkpoints = file(&folder);
        let mut marks: Vec<FileMark> = (0..500).map(|inode| mark(inode, 1)).collect();
        checkpoints.write(marks.clone(), false).unwrap();
        let (mut appended, mut wholes) = (0, 0);
        for offset in 2..5_000 {
            let change = MarkChange::of(&marks[7], mark(7, offset));
            marks[7] = mark(7, offset);
            if !checkpoints.append(&[change]).unwrap() {
                checkpoints.write(marks.clone(), false).unwrap();
                wholes += checkpoints.whole;
            }
            appended += 1;
        }
        assert_eq!(file(&folder).read().unwrap(), Some(marks));
        assert!(wholes / appended < 200, "{wholes} bytes of whole files for {appended} changes");
    }
}
