//! The real disk: a folder of the operating system. Thin; every call is one or two system calls of the same name.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FallocateFlags, FlockOperation};
use rustix::io::Errno;

use crate::wal::disk::{LogDisk, LogFile, Removal};

/// What is locked, instead of the folder itself, because not every network file system locks folders.
const LOCK: &str = "lock";
/// The lock file, and strangers, are listed too; a folder with more names than this is not a log's.
const NAMES_MAX: usize = 100_000;
/// Bytes that a removal gives back at once, the pause between two, and how many there are at most.
const PART: u64 = 4 << 20;
const PART_WAIT: Duration = Duration::from_millis(10);
const PARTS_MAX: u64 = 64;

pub struct LogFolder {
    path: PathBuf,
    /// Whether a sync is one: without it what was written survives the process, and not the machine's power.
    synced: bool,
}

impl LogFolder {
    /// The folder has to exist.
    pub fn at(path: &Path) -> LogFolder {
        LogFolder::with(path, true)
    }

    /// Without `synced` no call waits for the disk.
    pub fn with(path: &Path, synced: bool) -> LogFolder {
        LogFolder { path: path.to_owned(), synced }
    }
}

impl LogDisk for LogFolder {
    fn list(&mut self) -> io::Result<Vec<(String, u64)>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            let about = match entry.metadata() {
                Ok(about) => about,
                // Gone since the folder was read.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            if let (true, Ok(name)) = (about.is_file(), entry.file_name().into_string()) {
                found.push((name, about.len()));
            }
            if found.len() > NAMES_MAX {
                return Err(io::Error::other("more than 100,000 files: this is not the folder of a log"));
            }
        }
        Ok(found)
    }

    fn create(&mut self, name: &str) -> io::Result<Box<dyn LogFile>> {
        // The mode at birth, because chmod is refused on some file systems.
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(self.path.join(name))?;
        Ok(Box::new(Descriptor { file, synced: self.synced }))
    }

    fn open(&mut self, name: &str) -> io::Result<Box<dyn LogFile>> {
        Ok(Box::new(Descriptor { file: File::open(self.path.join(name))?, synced: self.synced }))
    }

    fn cut(&mut self, name: &str, length: u64) -> io::Result<()> {
        OpenOptions::new().write(true).open(self.path.join(name))?.set_len(length)
    }

    fn unlink(&mut self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.path.join(name))
    }

    fn removal(&self, name: &str) -> Option<Removal> {
        let path = self.path.join(name);
        Some(Box::new(move || remove_by_parts(&path)))
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path.join(from), self.path.join(to))
    }

    fn sync_folder(&mut self) -> io::Result<()> {
        if self.synced { File::open(&self.path)?.sync_all() } else { Ok(()) }
    }

    fn free(&mut self) -> Option<u64> {
        let about = rustix::fs::statvfs(&self.path).ok()?;
        Some(about.f_bavail.saturating_mul(about.f_frsize))
    }

    fn lock(&mut self) -> io::Result<Option<Box<dyn Send>>> {
        let path = self.path.join(LOCK);
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Box::new(file))),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// Gives a file's room back a part at a time: where a file system tells its device what is free, as ext4 with `discard`, a
/// whole segment took 50 ms, for which every sync waited. What cannot be removed is removed by the next start.
fn remove_by_parts(path: &Path) {
    let file = OpenOptions::new().write(true).open(path);
    let cut = |file: &File| -> io::Result<()> {
        let about = file.metadata()?;
        let mut left = about.len().min(PARTS_MAX * PART);
        // Under another name it is somebody's copy.
        while left > PART && about.nlink() == 1 {
            left -= PART;
            file.set_len(left)?;
            std::thread::sleep(PART_WAIT);
        }
        Ok(())
    };
    _ = file.and_then(|file| cut(&file));
    _ = std::fs::remove_file(path);
}

struct Descriptor {
    file: File,
    synced: bool,
}

impl LogFile for Descriptor {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        again(|| self.file.write_at(bytes, offset))
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        again(|| self.file.read_at(into, offset))
    }

    fn allocate(&mut self, bytes: u64) -> io::Result<()> {
        match rustix::fs::fallocate(&self.file, FallocateFlags::empty(), 0, bytes) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => Err(io::Error::from(io::ErrorKind::Unsupported)),
            done => Ok(done?),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        if self.synced { self.file.sync_data() } else { Ok(()) }
    }

    fn length(&mut self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

/// A call that a signal interrupted has done nothing. Bounded, in case a file system says so for ever.
fn again(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    for _ in 0..100 {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
    Err(io::Error::from(io::ErrorKind::Interrupted))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::disk::{read_full, write_all};

    #[test]
    fn a_removal_leaves_a_copy_under_another_name_whole() {
        let folder = tempfile::tempdir().expect("a folder");
        let (name, copy) = (folder.path().join("a"), folder.path().join("copy"));
        std::fs::write(&name, vec![7; 3 * PART as usize]).expect("written");
        std::fs::hard_link(&name, &copy).expect("linked");
        LogFolder::at(folder.path()).removal("a").expect("left to others")();
        assert!(!name.exists() && std::fs::metadata(&copy).expect("there").len() == 3 * PART);
        LogFolder::at(folder.path()).removal("copy").expect("left to others")();
        assert!(!copy.exists());
    }

    #[test]
    fn what_is_written_is_read_and_the_lock_is_of_one() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut disk = LogFolder::at(folder.path());
        let mut medium = disk.create("a").expect("made");
        medium.allocate(8192).expect("room");
        assert!(disk.free().is_some_and(|free| free > 0), "there is room for this test");
        write_all(&mut *medium, 4096, b"hello").expect("written");
        medium.sync().expect("synced");
        disk.cut("a", 4101).expect("cut");
        disk.sync_folder().expect("synced");
        let mut bytes = [1u8; 8];
        let mut again = disk.open("a").expect("opened");
        assert_eq!(read_full(&mut *again, 4094, &mut bytes).expect("read"), 7);
        assert_eq!(&bytes[..7], b"\0\0hello");
        let held = disk.lock().expect("asked").expect("free");
        assert!(LogFolder::at(folder.path()).lock().expect("asked").is_none(), "a second process waits");
        drop(held);
        assert!(LogFolder::at(folder.path()).lock().expect("asked").is_some());
        assert_eq!(disk.create("a").err().expect("taken").kind(), io::ErrorKind::AlreadyExists);
        disk.rename("a", "b").expect("renamed");
        disk.removal("b").expect("left to others")();
        assert!(disk.list().expect("listed").iter().all(|(name, _)| name == LOCK));
        assert_eq!(disk.unlink("b").expect_err("gone already").kind(), io::ErrorKind::NotFound);
    }
}
