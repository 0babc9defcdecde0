//! Folders and files as a seam: what the operating system does by default, and what a simulation makes fail.
//!
//! Blocking, as the system's calls are; whoever must not wait calls from a blocking task. Nothing here buffers.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What takes bytes at its end.
pub trait Medium: Send {
    /// As [`Write::write`]: may take a part.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// The length now; `None` where nothing can be cut.
    fn length(&self) -> io::Result<Option<u64>>;

    fn cut(&mut self, length: u64) -> io::Result<()>;
}

impl Medium for Box<dyn Medium> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (**self).write(bytes)
    }

    fn length(&self) -> io::Result<Option<u64>> {
        (**self).length()
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        (**self).cut(length)
    }
}

/// Folders and files by path.
pub trait Disk: Send + Sync {
    /// Opens a file for appending and makes it when it does not exist.
    fn append(&self, path: &Path) -> io::Result<Box<dyn Medium>>;
    /// The last byte of a file that can be cut; `None` when it is empty.
    fn last_byte(&self, path: &Path) -> io::Result<Option<u8>>;
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    fn exists(&self, path: &Path) -> bool;
    /// When the file was last changed.
    fn modified(&self, path: &Path) -> io::Result<SystemTime>;
    /// The entries of a folder, in no order.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<PathBuf>>;
}

/// The operating system's files.
pub struct Files;

impl Disk for Files {
    fn append(&self, path: &Path) -> io::Result<Box<dyn Medium>> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Box::new(Descriptor::new(file)?))
    }

    fn last_byte(&self, path: &Path) -> io::Result<Option<u8>> {
        let mut file = File::open(path)?;
        if file.metadata()?.len() == 0 {
            return Ok(None);
        }
        let mut last = [0u8];
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
        Ok(Some(last[0]))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn modified(&self, path: &Path) -> io::Result<SystemTime> {
        fs::metadata(path)?.modified()
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(fs::read_dir(path)?.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect())
    }
}

/// A file opened for appending, or whatever else a file descriptor is.
pub struct Descriptor {
    file: File,
    regular: bool,
}

impl Descriptor {
    pub fn new(file: File) -> io::Result<Descriptor> {
        let regular = file.metadata()?.is_file();
        Ok(Descriptor { file, regular })
    }
}

impl Medium for Descriptor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn length(&self) -> io::Result<Option<u64>> {
        if self.regular { self.file.metadata().map(|metadata| Some(metadata.len())) } else { Ok(None) }
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        // Somebody may have emptied the file meanwhile: never make it longer.
        if self.file.metadata()?.len() > length { self.file.set_len(length) } else { Ok(()) }
    }
}
