//! A disk in memory that fails on command: no room, no file descriptors, in the middle of a line.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use podgate::core::outside::disk::{Disk, Medium};

/// What is wrong with the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    #[default]
    Well,
    /// Files cannot be opened (ENFILE); open ones can be written.
    NoHandles,
    /// So many bytes are left; then ENOSPC, after as much as fits.
    Full(u64),
}

#[derive(Default)]
struct State {
    health: Health,
    files: BTreeMap<PathBuf, Arc<Mutex<Vec<u8>>>>,
}

#[derive(Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

impl MemoryDisk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn set(&self, health: Health) {
        self.lock().health = health;
    }

    /// Every file's text, by name.
    pub fn texts(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let state = self.lock();
        let text = |bytes: &Mutex<Vec<u8>>| bytes.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        state.files.iter().map(|(path, bytes)| (path.clone(), text(bytes))).collect()
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for MemoryDisk {
    fn append(&self, path: &Path) -> io::Result<Box<dyn Medium>> {
        let mut state = self.lock();
        if state.health == Health::NoHandles {
            return Err(io::Error::other("Too many open files in system (os error 23)"));
        }
        let bytes = state.files.entry(path.to_owned()).or_default().clone();
        Ok(Box::new(MemoryFile { disk: self.clone(), bytes }))
    }

    fn last_byte(&self, path: &Path) -> io::Result<Option<u8>> {
        let state = self.lock();
        let bytes = state.files.get(path).ok_or_else(missing)?.lock().expect("not poisoned");
        Ok(bytes.last().copied())
    }

    fn create_dir_all(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.lock();
        let bytes = state.files.remove(from).ok_or_else(missing)?;
        state.files.insert(to.to_owned(), bytes);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.lock().files.remove(path).map(drop).ok_or_else(missing)
    }

    fn exists(&self, path: &Path) -> bool {
        self.lock().files.contains_key(path)
    }

    fn modified(&self, _: &Path) -> io::Result<SystemTime> {
        Ok(SystemTime::UNIX_EPOCH)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.lock().files.keys().filter(|file| file.parent() == Some(path)).cloned().collect())
    }
}

struct MemoryFile {
    disk: MemoryDisk,
    bytes: Arc<Mutex<Vec<u8>>>,
}

impl Medium for MemoryFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.disk.lock();
        let room = match &mut state.health {
            Health::Full(0) => return Err(io::ErrorKind::StorageFull.into()),
            Health::Full(left) => {
                let room = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= room as u64;
                room
            }
            _ => bytes.len(),
        };
        self.bytes.lock().expect("not poisoned").extend_from_slice(&bytes[..room]);
        Ok(room)
    }

    fn length(&self) -> io::Result<Option<u64>> {
        Ok(Some(self.bytes.lock().expect("not poisoned").len() as u64))
    }

    fn cut(&mut self, bytes: u64) -> io::Result<()> {
        self.bytes.lock().expect("not poisoned").truncate(usize::try_from(bytes).unwrap_or(usize::MAX));
        Ok(())
    }
}
