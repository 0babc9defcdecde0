//! What the keys of a log on disk say.

use std::path::PathBuf;
use std::time::Duration;

/// What success promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The group was synced: it survives the machine's power.
    Group,
    /// The operating system has it: it survives the process.
    PageCache,
    /// Nothing: the queue is in memory, as without the extension.
    Off,
}

/// A checked `file_storage` body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageSettings {
    pub directory: PathBuf,
    pub create_directory: bool,
    /// Mode of a folder that is made.
    pub permissions: u32,
    /// The budget of the folder.
    pub max_bytes: u64,
    /// Bytes of the file system that are left to others.
    pub reserve: u64,
    pub durability: Durability,
    /// When a segment that is still wanted is compressed; `None` for never.
    pub compress_after: Option<Duration>,
}
