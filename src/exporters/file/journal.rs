//! One file that is appended to, renamed when it is full, and whose old parts are removed by number and age.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

/// `rotation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    pub max_bytes: u64,
    /// Zero keeps by number alone.
    pub max_age: Duration,
    /// Zero keeps all.
    pub max_backups: usize,
}

pub struct Journal {
    path: PathBuf,
    rotation: Option<Rotation>,
    file: BufWriter<File>,
    bytes: u64,
}

impl Journal {
    pub fn open(path: &Path, append: bool, make_directory: bool, rotation: Option<Rotation>) -> io::Result<Journal> {
        if let (true, Some(parent)) = (make_directory, path.parent()) {
            fs::create_dir_all(parent)?;
        }
        let file = OpenOptions::new().create(true).write(true).append(append).truncate(!append).open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Journal { path: path.to_owned(), rotation, file: BufWriter::with_capacity(64 << 10, file), bytes })
    }

    /// Appends lines, into a fresh file when they would outgrow this one.
    pub fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let grown = self.bytes + lines.len() as u64;
        if let Some(rotation) = self.rotation.filter(|rotation| self.bytes > 0 && grown > rotation.max_bytes) {
            self.rotate(rotation)?;
        }
        self.file.write_all(lines)?;
        self.bytes += lines.len() as u64;
        Ok(())
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    fn rotate(&mut self, rotation: Rotation) -> io::Result<()> {
        self.file.flush()?;
        fs::rename(&self.path, self.backup_path())?;
        let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        self.file = BufWriter::with_capacity(64 << 10, file);
        self.bytes = 0;
        self.remove_old(rotation)
    }

    /// `otlp-2026-11-21T08-49-37.123.jsonl`, and a number when that exists.
    fn backup_path(&self) -> PathBuf {
        let millis = Timestamp::now().as_millisecond();
        let now = Timestamp::from_millisecond(millis).unwrap_or_default();
        let (stem, extension) = self.name_parts();
        let name = |at: usize| {
            let time = now.strftime("%Y-%m-%dT%H-%M-%S");
            let count = if at == 0 { String::new() } else { format!("-{at}") };
            format!("{stem}-{time}.{:03}{count}{extension}", millis.rem_euclid(1000))
        };
        let free = (0..1000).map(|at| self.path.with_file_name(name(at))).find(|path| !path.exists());
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
        let mut backups: Vec<(String, PathBuf)> = fs::read_dir(directory)?
            .filter_map(|entry| entry.ok().map(|entry| entry.path()))
            .filter_map(|path| Some((path.file_name()?.to_str()?.to_owned(), path)))
            .filter(|(name, _)| name.strip_prefix(&prefix).is_some_and(|rest| is_ours(rest, &extension)))
            .collect();
        // Names carry the time, so the newest sort last.
        backups.sort();
        backups.reverse();
        let too_old = |path: &Path| {
            let modified = fs::metadata(path).and_then(|metadata| metadata.modified());
            let age = modified.ok().and_then(|modified| SystemTime::now().duration_since(modified).ok());
            !rotation.max_age.is_zero() && age.is_some_and(|age| age > rotation.max_age)
        };
        for (at, (_, path)) in backups.iter().enumerate() {
            if (rotation.max_backups > 0 && at >= rotation.max_backups) || too_old(path) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
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
    use super::*;

    #[test]
    fn a_full_file_is_renamed_and_old_ones_are_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("otlp.jsonl");
        let stranger = directory.path().join("otlp-notes.jsonl");
        fs::write(&stranger, "keep").unwrap();
        let rotation = Rotation { max_bytes: 10, max_age: Duration::ZERO, max_backups: 2 };
        let mut journal = Journal::open(&path, true, false, Some(rotation)).unwrap();
        for _ in 0..5 {
            journal.write(b"12345678\n").unwrap();
        }
        journal.flush().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"12345678\n");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1 + 2 + 1);
        assert!(stranger.exists());
    }

    #[test]
    fn appending_keeps_what_was_there_and_truncating_does_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/otlp.jsonl");
        assert!(Journal::open(&path, true, false, None).is_err(), "the directory is missing");
        for (append, wanted) in [(false, "x\n"), (true, "x\nx\n"), (false, "x\n")] {
            let mut journal = Journal::open(&path, append, true, None).unwrap();
            journal.write(b"x\n").unwrap();
            journal.flush().unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), wanted);
        }
    }
}
