//! What the keys of a log on disk say.

use std::path::PathBuf;

/// A checked `file_storage` body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageSettings {
    pub directory: PathBuf,
    pub create_directory: bool,
    /// The budget of the folder.
    pub max_bytes: u64,
}
