//! One file that is followed: what is known of it, held open with it.

use std::fs::File;
use std::path::PathBuf;
use std::time::Duration;

use crate::receivers::file_log::entry::PodOfFile;
use crate::receivers::file_log::follow::mark::{FileId, FileMark};
use crate::receivers::file_log::follow::pods::LogPath;
use crate::receivers::file_log::operators::ChainState;

/// A container's link is made right after its log; without it a line would not say of which run it is.
pub(super) const LINK_WAIT: Duration = Duration::from_secs(3);

/// One file.
#[derive(Debug)]
pub(super) struct FollowedFile {
    pub(super) path: PathBuf,
    /// Behind all links, when it was met.
    pub(super) resolved: PathBuf,
    pub(super) id: FileId,
    pub(super) file: File,
    /// Attributes of each record.
    pub(super) facts: Vec<(&'static str, String)>,
    pub(super) log: Option<LogPath>,
    pub(super) pod: PodOfFile,
    /// Lines wait for the link that names their run.
    pub(super) held_until: Option<Duration>,
    /// Where the next line begins.
    pub(super) read: u64,
    /// Of the last settled line.
    pub(super) mark: FileMark,
    /// Of the last line that was read and is not settled, made with it: the file may be cut before it is.
    pub(super) pending: Option<FileMark>,
    pub(super) state: ChainState,
    pub(super) size: u64,
    pub(super) grown_at: Duration,
    pub(super) gone_since: Option<Duration>,
    /// The last look read all that it had.
    pub(super) is_at_end: bool,
    /// Where a line begins that was not whole in a file of this size, and whether the file was quiet: it is not read again
    /// before one of them changes.
    pub(super) unfinished: Option<(u64, u64, bool)>,
}

impl FollowedFile {
    /// Whether the file has its name still.
    pub(super) fn is_there(&self) -> bool {
        self.path.metadata().is_ok_and(|about| FileId::of(&about) == self.id)
    }

    /// Back to the last settled line, by a clock that begins.
    pub(super) fn begin_anew(&mut self) {
        self.read = self.mark.read_from();
        self.pending = None;
        self.state = ChainState::from(self.mark.offset);
        self.size = u64::MAX;
        self.grown_at = Duration::ZERO;
        self.gone_since = self.gone_since.map(|_| Duration::ZERO);
        self.held_until = self.held_until.map(|_| LINK_WAIT);
        self.is_at_end = false;
        self.unfinished = None;
    }
}
