//! The file system as the log sees it: one folder, files by name. What a test replaces to cut the power.
//!
//! Blocking. Says what must be synced for what to survive; knows no format.

use std::io;

/// What is left to do of an unlink. Blocks; where it is never run, the next start does it.
pub type Removal = Box<dyn FnOnce() + Send>;

/// One folder. A name made, or gone, survives a power cut once [`LogDisk::sync_folder`] has returned.
pub trait LogDisk: Send {
    /// Names and lengths of the files, in no order.
    fn list(&mut self) -> io::Result<Vec<(String, u64)>>;
    /// A new file; an error where the name is taken.
    fn create(&mut self, name: &str) -> io::Result<Box<dyn LogFile>>;
    /// An existing file, for reading.
    fn open(&mut self, name: &str) -> io::Result<Box<dyn LogFile>>;
    /// Cuts a file; what was reserved behind `length` is given back. Need not survive a power cut.
    fn cut(&mut self, name: &str, length: u64) -> io::Result<()>;
    fn unlink(&mut self, name: &str) -> io::Result<()>;
    /// As [`LogDisk::unlink`], later and on any thread: some file systems take tens of milliseconds for a large file. `None`
    /// where the caller unlinks by itself.
    fn removal(&self, name: &str) -> Option<Removal> {
        _ = name;
        None
    }
    /// A file takes the name of another one, which is gone: at once, so that one of them has it after a power cut.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        _ = (from, to);
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }
    fn sync_folder(&mut self) -> io::Result<()>;
    /// Bytes that may still be written on its file system, whoever writes them; `None` where nobody says.
    fn free(&mut self) -> Option<u64> {
        None
    }
    /// The one lock of the folder; `None` while another process holds it. Held until the value is dropped.
    fn lock(&mut self) -> io::Result<Option<Box<dyn Send>>>;
}

/// One file. Bytes survive a power cut once [`LogFile::sync`] has returned `Ok`; after an error nobody knows.
pub trait LogFile: Send {
    /// May take a part, never none.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<usize>;
    /// May give a part; 0 at the end.
    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<usize>;
    /// Reserves room, which reads as zeros. [`io::ErrorKind::Unsupported`] where the file system cannot.
    fn allocate(&mut self, bytes: u64) -> io::Result<()>;
    /// Data, and what of the metadata is needed to find it.
    fn sync(&mut self) -> io::Result<()>;
    fn length(&mut self) -> io::Result<u64>;
}

/// Writes all of it, however many calls the system takes.
pub fn write_all(medium: &mut dyn LogFile, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let taken = medium.write_at(offset, bytes)?;
        if taken == 0 || taken > bytes.len() {
            return Err(io::Error::from(io::ErrorKind::WriteZero));
        }
        offset += taken as u64;
        bytes = &bytes[taken..];
    }
    Ok(())
}

/// Fills as much of `into` as the file has; how much that is.
pub fn read_full(medium: &mut dyn LogFile, mut offset: u64, into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < into.len() {
        match medium.read_at(offset, &mut into[filled..])? {
            0 => break,
            taken => {
                filled += taken;
                offset += taken as u64;
            }
        }
    }
    Ok(filled)
}
