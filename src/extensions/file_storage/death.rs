//! What a process says as it dies by itself, for the next one: only then are the records that it had under way suspects.
//!
//! Whoever kills a process from outside (kill -9, a node that restarts, the kernel when memory is short) leaves it no time to say
//! anything, and says nothing about its records. What Rust ends a process by (a stack overflow, memory that cannot be had, a panic
//! while panicking, an abort in a C library) is SIGABRT: its handler appends a byte to a file beside the log, which survives the
//! process without a sync. A panic of an owner task, after which the process drains, is written by hand.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use signal_hook::SigId;
use signal_hook::consts::SIGABRT;
use signal_hook::low_level::{pipe, unregister};

use crate::core::lock::Locked;

const NAME: &str = "died";

/// Ends the process by the signal as if nobody handled it. Handlers run in the order in which they came, so it is registered anew
/// behind each file. Locked while a log is opened.
static ENDS: Mutex<Option<SigId>> = Mutex::new(None);

/// The file of this process in the folder of its log; without a word in it as long as the process lives.
pub struct DeathNote {
    path: PathBuf,
    id: SigId,
}

fn open(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).mode(0o600).open(path)
}

/// Whether the last process that had the log in this folder died by itself.
pub fn was_told(directory: &Path) -> bool {
    std::fs::metadata(directory.join(NAME)).is_ok_and(|file| file.len() > 0)
}

impl DeathNote {
    /// Forgets what the process before said. Called by the one process that has the log.
    pub fn begin(directory: &Path) -> io::Result<DeathNote> {
        let path = directory.join(NAME);
        let file = open(&path)?;
        file.set_len(0)?;
        let id = pipe::register(SIGABRT, file)?;
        let mut ends = ENDS.locked();
        let now = signal_hook::flag::register_conditional_default(SIGABRT, Arc::new(AtomicBool::new(true)))?;
        if let Some(before) = ends.replace(now) {
            unregister(before);
        }
        Ok(DeathNote { path, id })
    }

    /// Says that the process ends because of a fault of its own.
    pub fn tell(&self) -> io::Result<()> {
        open(&self.path)?.write_all(b"panic\n")
    }
}

impl Drop for DeathNote {
    fn drop(&mut self) {
        unregister(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_says_so_died_by_itself() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(!was_told(folder.path()));
        let note = DeathNote::begin(folder.path()).expect("writable");
        assert!(!was_told(folder.path()));
        note.tell().expect("writable");
        drop(note);
        assert!(was_told(folder.path()));
        drop(DeathNote::begin(folder.path()).expect("writable"));
        assert!(!was_told(folder.path()), "the next process has not died");
    }
}
