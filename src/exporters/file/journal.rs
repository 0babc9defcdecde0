//! One file that is appended to, renamed when it is full, and whose old parts are removed by number and age.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::core::outside::Outside;
use crate::core::outside::disk::{Disk, Medium};
use crate::core::time::UnixNanos;
use crate::exporters::writing::records::Records;

/// `rotation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    pub max_bytes: u64,
    /// Zero keeps by number alone.
    pub max_age: Duration,
    /// Zero keeps all.
    pub max_backups: usize,
}

/// What a next file is called until it takes the place of the full one.
const NEXT_SUFFIX: &str = ".next";
/// After a change of file that failed, this part of the maximum is written before the next attempt.
const TRY_AGAIN_PART: u64 = 16;

/// How a journal begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Start {
    pub append: bool,
    pub make_directory: bool,
    pub rotation: Option<Rotation>,
}

pub struct Journal {
    outside: Outside,
    path: PathBuf,
    rotation: Option<Rotation>,
    file: Records<Box<dyn Medium>>,
    bytes: u64,
    /// From how many bytes on the file is changed for a new one.
    full_at: u64,
    /// Why the last change failed; records go on into the old file.
    notice: Option<io::Error>,
}

impl Journal {
    pub fn open(outside: Outside, path: PathBuf, start: Start) -> io::Result<Journal> {
        let Start { append, make_directory, rotation } = start;
        if let (true, Some(parent)) = (make_directory, path.parent()) {
            outside.disk.create_dir_all(parent)?;
        }
        let (file, bytes) = open_records(&*outside.disk, &path, !append)?;
        let full_at = rotation.map_or(u64::MAX, |rotation| rotation.max_bytes);
        Ok(Journal { outside, path, rotation, file, bytes, full_at, notice: None })
    }

    /// Appends one record, into a fresh file when it would outgrow this one. After an error nothing of it is there.
    pub fn write(&mut self, record: &[u8]) -> io::Result<()> {
        let grown = self.bytes + record.len() as u64;
        if let Some(rotation) = self.rotation.filter(|_| self.bytes > 0 && grown > self.full_at) {
            self.notice = self.rotate(rotation).err();
            if self.notice.is_some() {
                // Larger than wanted beats lost; not tried again at each record.
                self.full_at = self.bytes + (rotation.max_bytes / TRY_AGAIN_PART).max(1);
            }
        }
        self.bytes += self.file.append(record)?;
        Ok(())
    }

    /// Why the file could not be changed for the next; once.
    pub fn notice(&mut self) -> Option<io::Error> {
        self.notice.take()
    }

    /// The new file is open before the old one is given up, and takes its name last: whatever fails, records have a file
    /// to go to. Somebody may have moved or removed the old one meanwhile.
    fn rotate(&mut self, rotation: Rotation) -> io::Result<()> {
        let mut next = self.path.clone().into_os_string();
        next.push(NEXT_SUFFIX);
        let next = PathBuf::from(next);
        let disk = &*self.outside.disk;
        let (file, bytes) = open_records(disk, &next, true)?;
        let backup = self.backup_path();
        let moved = match disk.rename(&self.path, &backup) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => {
                let _ = disk.remove_file(&next);
                return Err(error);
            }
        };
        if let Err(error) = disk.rename(&next, &self.path) {
            if moved {
                let _ = disk.rename(&backup, &self.path);
            }
            return Err(error);
        }
        (self.file, self.bytes, self.full_at) = (file, bytes, rotation.max_bytes);
        self.remove_old(rotation)
    }

    /// `otlp-2026-11-21T08-49-37.123.jsonl`, and a number when that exists.
    fn backup_path(&self) -> PathBuf {
        let millis = UnixNanos::now().timestamp().as_millisecond();
        let now = jiff::Timestamp::from_millisecond(millis).unwrap_or_default();
        let (stem, extension) = self.name_parts();
        let name = |at: usize| {
            let time = now.strftime("%Y-%m-%dT%H-%M-%S");
            let count = if at == 0 { String::new() } else { format!("-{at}") };
            format!("{stem}-{time}.{:03}{count}{extension}", millis.rem_euclid(1000))
        };
        let free = (0..1000).map(|at| self.path.with_file_name(name(at))).find(|path| !self.outside.disk.exists(path));
        free.unwrap_or_else(|| self.path.with_file_name(name(1000)))
    }

    /// The file's name before and from its last dot on.
    fn name_parts(&self) -> (String, String) {
        let part = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
        let extension = part(self.path.extension()).map(|extension| format!(".{extension}"));
        (part(self.path.file_stem()).unwrap_or_default(), extension.unwrap_or_default())
    }

    fn remove_old(&self, rotation: Rotation) -> io::Result<()> {
        let (stem, extension) = self.name_parts();
        let prefix = format!("{stem}-");
        let directory = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut backups: Vec<(String, PathBuf)> = self
            .outside
            .disk
            .read_dir(directory)?
            .into_iter()
            .filter_map(|path| Some((path.file_name()?.to_str()?.to_owned(), path)))
            .filter(|(name, _)| name.strip_prefix(&prefix).is_some_and(|rest| is_ours(rest, &extension)))
            .collect();
        // Names carry the time, so the newest sort last.
        backups.sort();
        backups.reverse();
        let too_old = |path: &Path| {
            let modified = self.outside.disk.modified(path).ok();
            let age = modified.map(|modified| UnixNanos::now().since(UnixNanos::of_system(modified)));
            !rotation.max_age.is_zero() && age.is_some_and(|age| age > rotation.max_age)
        };
        for (at, (_, path)) in backups.iter().enumerate() {
            if (rotation.max_backups > 0 && at >= rotation.max_backups) || too_old(path) {
                match self.outside.disk.remove_file(path) {
                    Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

/// Opened for appending, as whole records; with its length. A file that ends within a line, because whoever wrote it was
/// killed, gets the rest of its line closed by the first record.
fn open_records(disk: &dyn Disk, path: &Path, empty: bool) -> io::Result<(Records<Box<dyn Medium>>, u64)> {
    let mut file = disk.append(path)?;
    let length = file.length()?;
    if empty && length.is_some() {
        file.cut(0)?;
    }
    let bytes = if empty { 0 } else { length.unwrap_or(0) };
    let torn = bytes > 0 && disk.last_byte(path)?.is_some_and(|last| last != b'\n');
    Ok((Records::new(file, torn), bytes))
}

/// What stands between stem and extension of a rotated file begins with a date: other files are not ours to remove.
fn is_ours(rest: &str, extension: &str) -> bool {
    let date = rest.strip_suffix(extension).and_then(|time| time.get(..10));
    date.is_some_and(|date| {
        date.bytes().enumerate().all(|(at, byte)| if at == 4 || at == 7 { byte == b'-' } else { byte.is_ascii_digit() })
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn open(path: &Path, append: bool, make_directory: bool, rotation: Option<Rotation>) -> io::Result<Journal> {
        Journal::open(Outside::default(), path.to_owned(), Start { append, make_directory, rotation })
    }

    #[test]
    fn a_full_file_is_renamed_and_old_ones_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("otlp.jsonl");
        let stranger = directory.path().join("otlp-notes.jsonl");
        fs::write(&stranger, "keep").unwrap();
        let rotation = Rotation { max_bytes: 10, max_age: Duration::ZERO, max_backups: 2 };
        let mut journal = open(&path, true, false, Some(rotation)).unwrap();
        for _ in 0..5 {
            journal.write(b"12345678\n").unwrap();
        }
        assert_eq!(fs::read(&path).unwrap(), b"12345678\n");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1 + 2 + 1);
        assert!(stranger.exists());
    }

    #[test]
    fn appending_keeps_what_was_there_and_truncating_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/otlp.jsonl");
        assert!(open(&path, true, false, None).is_err(), "the directory is missing");
        for (append, wanted) in [(false, "x\n"), (true, "x\nx\n"), (false, "x\n")] {
            let mut journal = open(&path, append, true, None).unwrap();
            journal.write(b"x\n").unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), wanted);
        }
    }

    #[test]
    fn a_file_that_cannot_be_changed_for_the_next_goes_on_and_is_changed_later() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("otlp.jsonl");
        let rotation = Rotation { max_bytes: 10, max_age: Duration::ZERO, max_backups: 0 };
        let mut journal = open(&path, true, false, Some(rotation)).unwrap();
        // A folder stands where the next file would be made: opening it fails, as it does without file descriptors.
        let obstacle = directory.path().join("otlp.jsonl.next");
        fs::create_dir(&obstacle).unwrap();
        for _ in 0..3 {
            journal.write(b"12345678\n").unwrap();
        }
        assert!(journal.notice().is_some() && journal.notice().is_none(), "said once");
        assert_eq!(fs::read_to_string(&path).unwrap(), "12345678\n".repeat(3));
        fs::remove_dir(&obstacle).unwrap();
        journal.write(b"12345678\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "12345678\n");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 2, "the old one has its date");
        // Somebody else tidies up in between.
        fs::remove_file(&path).unwrap();
        for _ in 0..2 {
            journal.write(b"12345678\n").unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "12345678\n");
        assert!(journal.notice().is_none());
    }

    #[test]
    fn a_torn_line_of_an_earlier_life_is_closed_before_the_first_record() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("otlp.jsonl");
        fs::write(&path, "whole\n{\"resourceSpans\":[{\"sco").unwrap();
        let mut journal = open(&path, true, false, None).unwrap();
        journal.write(b"next\n").unwrap();
        journal.write(b"more\n").unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "whole\n{\"resourceSpans\":[{\"sco\nnext\nmore\n");
    }
}
