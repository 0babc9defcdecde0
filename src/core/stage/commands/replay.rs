//! Data that a component could not deliver and kept on disk, sent again: what `podgate replay` runs. Components contribute it
//! through their plans; whoever runs it knows nothing of the component.

use std::path::{Path, PathBuf};

use tokio::time::Instant;

use crate::core::stage::component::Task;

/// What became of the letters of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReplaySummary {
    pub letters: u64,
    pub delivered: u64,
    /// Refused again, and in the dead-letter file again.
    pub back: u64,
    /// Refused again and kept nowhere but in the file that was replayed.
    pub unkept: u64,
    pub unreadable: u64,
}

/// One component's dead letters.
pub trait Replay: Send + Sync {
    /// The component's own file; `None` when it keeps none.
    fn own_file(&self) -> Option<PathBuf>;

    /// Sends `file`, or the component's own one, until `deadline`; what was not taken by then is kept again.
    fn run<'a>(&'a self, file: Option<&'a Path>, deadline: Instant) -> Task<'a, std::io::Result<ReplaySummary>>;
}
