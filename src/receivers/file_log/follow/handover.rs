//! What one instance of a receiver leaves to the next: marks, and the files that it holds open. A file that was renamed or
//! removed before it was read to its end is nowhere else to be had.

use std::collections::HashSet;
use std::time::Duration;

use crate::receivers::file_log::config::FileLogConfig;
use crate::receivers::file_log::follow::mark::{FileId, FileMark};
use crate::receivers::file_log::follow::scan::LINK_WAIT;
use crate::receivers::file_log::follow::tail::{FollowedFile, LogTail};
use crate::receivers::file_log::operators::ChainState;

#[derive(Debug, Default)]
pub struct Handover {
    /// Of files that are not among those held.
    pub(super) marks: Vec<FileMark>,
    /// Settled; what was read and not settled is read again.
    pub(super) files: Vec<FollowedFile>,
}

impl Handover {
    /// Closes the files, and keeps their marks.
    pub fn close(&mut self) {
        self.marks.extend(self.files.drain(..).map(|file| file.mark).filter(|mark| mark.offset > 0)); // granted: one for each file
    }

    /// Parts what the configuration still names from what it does not. The first are those that go on, at most as many as may be
    /// read at once, and first those that cannot be opened again; of the others the marks are left, and words for the log where
    /// lines are lost.
    pub(super) fn parted(self, config: &FileLogConfig) -> (Vec<FollowedFile>, Vec<FileMark>, Option<String>) {
        let Handover { mut marks, mut files } = self;
        files.sort_by_cached_key(is_there);
        let (mut kept, mut lost_files, mut lost_bytes) = (Vec::new(), 0u64, 0u64);
        for mut file in files {
            if kept.len() < config.files_at_once && is_named(config, &file) {
                begin_anew(&mut file);
                kept.push(file); // granted: one for each file
                continue;
            }
            let unread = file.file.metadata().map_or(0, |about| about.len().saturating_sub(file.mark.offset));
            if unread > 0 && !is_there(&file) {
                (lost_files, lost_bytes) = (lost_files + 1, lost_bytes + unread);
            }
            marks.extend(Some(file.mark).filter(|mark| mark.offset > 0)); // granted: one for each file
        }
        let said = (lost_files > 0).then(|| {
            format!(
                "{lost_bytes} bytes of {lost_files} files that were renamed or removed are lost: the new configuration does not \
                 name them, or reads fewer files at once"
            )
        });
        (kept, marks, said)
    }
}

fn is_named(config: &FileLogConfig, file: &FollowedFile) -> bool {
    let Some(path) = file.path.to_str() else { return false };
    config.include.iter().any(|pattern| pattern.fits(path)) && !config.exclude.iter().any(|pattern| pattern.fits(path))
}

/// Whether the file has its name still.
fn is_there(file: &FollowedFile) -> bool {
    file.path.metadata().is_ok_and(|about| FileId::of(&about) == file.id)
}

/// Back to the last settled line, by a clock that begins.
fn begin_anew(file: &mut FollowedFile) {
    file.read = file.mark.read_from();
    file.pending = None;
    file.state = ChainState::from(file.mark.offset);
    file.size = u64::MAX;
    file.grown_at = Duration::ZERO;
    file.gone_since = file.gone_since.map(|_| Duration::ZERO);
    file.held_until = file.held_until.map(|_| LINK_WAIT);
    file.is_at_end = false;
    file.unfinished = None;
}

impl LogTail {
    /// What the next instance goes on with.
    pub fn into_handover(self) -> Handover {
        let marks = self.departed.into_iter().map(|(mark, _)| mark).filter(|mark| mark.offset > 0).collect();
        Handover { marks, files: self.files }
    }

    /// Takes the files of a predecessor over, with this configuration's attributes.
    pub(super) fn take_over(&mut self, files: Vec<FollowedFile>) {
        let mut ids = HashSet::new();
        for mut file in files.into_iter().filter(|file| ids.insert(file.id)) {
            if is_there(&file) {
                file.resolved = file.path.canonicalize().unwrap_or(file.resolved);
            }
            file.facts = self.facts(&file.path, &file.resolved);
            self.files.push(file); // granted: one for each file
        }
    }
}
