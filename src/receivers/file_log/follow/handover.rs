//! What one instance of a receiver leaves to the next: marks, and the files that it holds open. A file that was renamed or
//! removed before it was read to its end is nowhere else to be had.

use crate::receivers::file_log::config::FileLogConfig;
use crate::receivers::file_log::follow::file::FollowedFile;
use crate::receivers::file_log::follow::mark::FileMark;

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
        files.sort_by_cached_key(FollowedFile::is_there);
        let (mut kept, mut lost_files, mut lost_bytes) = (Vec::new(), 0u64, 0u64);
        for mut file in files {
            if kept.len() < config.files_at_once && is_named(config, &file) {
                file.begin_anew();
                kept.push(file); // granted: one for each file
                continue;
            }
            let unread = file.file.metadata().map_or(0, |about| about.len().saturating_sub(file.mark.offset));
            if unread > 0 && !file.is_there() {
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
