//! Which files there are: those that are new, those that went, and what is known of them.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::core::time::UnixNanos;
use crate::receivers::file_log::follow::file::{FollowedFile, LINK_WAIT};
use crate::receivers::file_log::follow::known::{KnownMarks, MarkPlace};
use crate::receivers::file_log::follow::mark::{FileId, FileMark};
use crate::receivers::file_log::follow::pods::{LogPath, RunIds, docker_id};
use crate::receivers::file_log::follow::tail::{LogTail, SCAN_EVERY};
use crate::receivers::file_log::glob::WalkedPaths;
use crate::receivers::file_log::operators::ChainState;

/// A file without a name is read on for so long: a runtime writes to it until it has opened the next one.
const GONE_WAIT: Duration = Duration::from_secs(5);
/// A file without a name that has not grown for so long is given up, with the piece of a line at its end.
const STALE_WAIT: Duration = Duration::from_secs(60);
/// Marks of files that were cut or went are kept for so long, to know their copies.
const DEPARTED_WAIT: Duration = Duration::from_secs(300);
const DEPARTED_MAX: usize = 1_000;
/// A file with the beginning of one that is there is looked at again for so long: the other one is cut by then, if this is
/// its copy.
const COPY_WAIT: Duration = Duration::from_secs(5);
/// Files that one line of the log names.
const NAMED_MAX: usize = 5;
/// Files that are told of as unreadable.
const TOLD_MAX: usize = 1_000;

impl LogTail {
    /// Looks which files there are.
    pub(super) fn scan(&mut self, (now, observed): (Duration, UnixNanos)) {
        let is_first = self.scanned.is_none();
        self.scanned = Some(now);
        let mut found = WalkedPaths::default();
        for pattern in &self.config.include {
            pattern.walk(&mut found);
        }
        let unreadable = found.unreadable.take();
        if let Some((folder, why)) = &unreadable {
            self.tell(folder, format!("{} cannot be read: {why}", folder.display()));
        }
        if found.is_cut {
            self.tell(Path::new(""), "the patterns find more files than are looked at".to_owned());
        }
        found.files.sort();
        found.files.dedup();
        let known: HashMap<FileId, usize> = self.files.iter().enumerate().map(|(at, file)| (file.id, at)).collect();
        let mut seen = HashSet::new();
        let mut marks = None;
        for path in found.files {
            let Some(text) = path.to_str() else { continue };
            if self.config.exclude.iter().any(|pattern| pattern.fits(text)) || text.ends_with(".gz") {
                continue;
            }
            let Ok(about) = path.metadata() else { continue };
            let id = FileId::of(&about);
            if !seen.insert(id) {
                continue;
            }
            match known.get(&id).and_then(|at| self.files.get_mut(*at)) {
                Some(file) => {
                    file.path = path;
                    file.gone_since = None;
                }
                None => {
                    let marks = &*marks.get_or_insert_with(|| self.known_marks());
                    self.meet((path, marks), &about, (is_first, now, observed));
                }
            }
        }
        for file in &mut self.files {
            // In a folder that cannot be read nobody knows what is gone.
            let is_hidden = unreadable.as_ref().is_some_and(|(folder, _)| file.path.starts_with(folder));
            if !seen.contains(&file.id) && !is_hidden {
                file.gone_since.get_or_insert(now);
            }
        }
        self.young.retain(|id, _| seen.contains(id));
        self.miss(&seen);
        self.link_runs();
        self.tell_unopened();
    }

    /// A file that is not known.
    fn meet(
        &mut self,
        (path, marks): (PathBuf, &KnownMarks),
        about: &std::fs::Metadata,
        (is_first, now, observed): (bool, Duration, UnixNanos),
    ) {
        let id = FileId::of(about);
        let changed = about.modified().ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
        let age = changed.and_then(|at| Duration::from_nanos(observed.0).checked_sub(at));
        if self.config.exclude_older_than.is_some_and(|most| age.is_some_and(|age| age > most)) {
            return;
        }
        if self.files.len() >= self.config.files_at_once {
            self.unopened.insert(id, path); // granted: the files of a walk
            return;
        }
        // Of a copy in the making too little is there to know it by. A file with a mark of its own is none, and neither is one that
        // has not changed for a while: a process that does not live until the next scan would never meet it.
        let is_beside = |file: &FollowedFile| {
            path.as_os_str().len() > file.path.as_os_str().len()
                && path.as_os_str().as_encoded_bytes().starts_with(file.path.as_os_str().as_encoded_bytes())
        };
        let is_known = self.departed.iter().any(|(mark, _)| mark.id == id);
        let grows = age.is_none_or(|age| age < SCAN_EVERY);
        if !is_known && grows && self.files.iter().any(is_beside) && *self.young.entry(id).or_insert(now) == now {
            return;
        }
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(why) => {
                self.tell(&path, format!("{} cannot be read: {why}", path.display()));
                self.unopened.insert(id, path); // granted: as above
                return;
            }
        };
        let size = about.len();
        let at_end = is_first && !self.resumes && self.config.starts_at_end;
        let (offset, held_from) = match self.known_offset((&file, size), (&path, id), (marks, now)) {
            MetFile::Known(mark) => (mark.offset, mark.held_from),
            MetFile::MayBeCopy => return,
            MetFile::New if at_end => (size, None),
            MetFile::New => (0, None),
        };
        let mark = match FileMark::at(&file, (&path, id), offset, self.config.fingerprint_bytes) {
            Ok(mark) => FileMark { held_from, ..mark },
            Err(why) => return self.tell(&path, format!("{} cannot be read: {why}", path.display())),
        };
        let resolved = path.canonicalize().unwrap_or_else(|_| path.clone());
        let log = LogPath::parse(&path).or_else(|| LogPath::parse(&resolved));
        let run = docker_id(&resolved);
        let pod = log.as_ref().map(|log| log.pod(run)).unwrap_or_default();
        let waits = log.as_ref().is_some_and(|log| run.is_none() && log.links().is_dir());
        self.files.push(FollowedFile {
            facts: self.facts(&path, &resolved),
            resolved,
            held_until: waits.then(|| now + LINK_WAIT),
            path,
            id,
            file,
            log,
            pod,
            read: mark.read_from(),
            mark,
            pending: None,
            state: ChainState::from(offset),
            size: u64::MAX,
            grown_at: now,
            gone_since: None,
            is_at_end: false,
            unfinished: None,
        });
        self.unopened.remove(&id);
    }

    pub(super) fn facts(&self, path: &Path, resolved: &Path) -> Vec<(&'static str, String)> {
        let wanted = self.config.file_attributes;
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let whole = |path: &Path| path.to_string_lossy().into_owned();
        let mut facts = Vec::new();
        facts.extend(wanted.name.then(|| ("log.file.name", name(path)))); // granted: one for each file
        facts.extend(wanted.path.then(|| ("log.file.path", whole(path)))); // granted: one for each file
        facts.extend(wanted.name_resolved.then(|| ("log.file.name_resolved", name(resolved)))); // granted: as above
        facts.extend(wanted.path_resolved.then(|| ("log.file.path_resolved", whole(resolved)))); // granted: as above
        facts
    }

    fn known_marks(&self) -> KnownMarks {
        let mut known = KnownMarks::default();
        for (at, (mark, _)) in self.departed.iter().enumerate() {
            known.add(mark, MarkPlace::Departed(at));
        }
        for (at, file) in self.files.iter().enumerate() {
            known.add(&file.mark, MarkPlace::Live(at));
        }
        known
    }

    /// How far a file was read before: by its own mark, or by that of the file which it is a copy of. While that one is there
    /// and has its bytes, the two are files that begin alike.
    fn known_offset(
        &mut self,
        (file, size): (&File, u64),
        (path, id): (&Path, FileId),
        (marks, now): (&KnownMarks, Duration),
    ) -> MetFile {
        let mark_at = |place: MarkPlace| match place {
            MarkPlace::Departed(at) => self.departed.get(at).map(|(mark, _)| mark).filter(|mark| mark.offset > 0),
            MarkPlace::Live(at) => self.files.get(at).map(|file| &file.mark),
        };
        match marks.find((file, size), (path, id), mark_at) {
            Some(MarkPlace::Departed(at)) => {
                let Some((mark, _)) = self.departed.get_mut(at) else { return MetFile::New };
                let known = mark.clone();
                // It is taken; nothing is found by a mark of nothing.
                mark.offset = 0;
                MetFile::Known(known)
            }
            Some(MarkPlace::Live(at)) => {
                let Some(other) = self.files.get(at) else { return MetFile::New };
                let is_whole = other.gone_since.is_none() && other.mark.is_of(&other.file).unwrap_or(true);
                if !is_whole {
                    return MetFile::Known(other.mark.clone());
                }
                let since = *self.young.entry(id).or_insert(now); // granted: the files of a walk
                if now.saturating_sub(since) < COPY_WAIT { MetFile::MayBeCopy } else { MetFile::New }
            }
            None => MetFile::New,
        }
    }

    /// Files that went before they were opened.
    fn miss(&mut self, seen: &HashSet<FileId>) {
        let gone: Vec<FileId> = self.unopened.keys().filter(|id| !seen.contains(id)).copied().collect();
        for id in gone {
            let Some(path) = self.unopened.remove(&id) else { continue };
            self.counts.unopened += 1;
            self.tell(&path, format!("{} went before it was opened; its lines are lost", path.display()));
        }
    }

    /// Names files that are not read now, whenever they are more or fewer than before.
    fn tell_unopened(&mut self) {
        let count = self.unopened.len();
        if std::mem::replace(&mut self.told_unopened, count) == count {
            return;
        }
        let mut named: Vec<String> = self.unopened.values().map(|path| path.display().to_string()).collect();
        named.sort();
        let more = if count > NAMED_MAX { format!(" and {} more", count - NAMED_MAX) } else { String::new() };
        named.truncate(NAMED_MAX);
        self.counts.said.push(match count {
            0 => "all files are read again".to_owned(),
            _ => format!(
                "{count} files that fit the patterns are not read, and {} are: {}{more}; raise `max_concurrent_files` ({}) and \
                 the process's bound on open files, or exclude some",
                self.files.len(),
                named.join(", "),
                self.config.files_at_once,
            ),
        });
    }

    /// The ids of runs whose links were not there before.
    fn link_runs(&mut self) {
        let mut folders: HashMap<PathBuf, RunIds> = HashMap::new();
        for file in self.files.iter_mut().filter(|file| file.held_until.is_some()) {
            let Some(log) = &file.log else { continue };
            let ids = folders.entry(log.links().to_owned()).or_insert_with(|| RunIds::read(log.links()));
            if let Some(id) = ids.of(log) {
                file.pod = log.pod(Some(id));
                file.held_until = None;
            }
        }
    }

    /// Files that are gone and read to their end.
    pub(super) fn forget(&mut self, now: Duration) {
        let LogTail { files, departed, .. } = self;
        files.retain(|file| {
            let is_over = |since: Duration| now.saturating_sub(since) >= GONE_WAIT;
            let is_read = file.read >= file.size && file.mark.read_from() == file.read;
            // What never becomes whole is not waited for without end.
            let is_stale = |since: Duration| {
                file.is_at_end && file.pending.is_none() && now.saturating_sub(since.max(file.grown_at)) >= STALE_WAIT
            };
            let goes = file.gone_since.is_some_and(|since| (is_read && is_over(since)) || is_stale(since));
            if goes {
                departed.push((file.mark.clone(), now));
            }
            !goes
        });
        // What an earlier process left is kept as long, from this one's start. In a folder that is away nobody knows what
        // went: a volume may come back with all of its files.
        departed.retain_mut(|(mark, since)| {
            if now.saturating_sub(*since) < DEPARTED_WAIT {
                return true;
            }
            let is_away = mark.path.parent().is_some_and(|folder| !folder.exists());
            if is_away {
                *since = now;
            }
            is_away
        });
        let over = departed.len().saturating_sub(DEPARTED_MAX.max(self.config.files_at_once));
        departed.drain(..over);
    }

    /// Says something once of a path.
    fn tell(&mut self, path: &Path, what: String) {
        if self.told.len() < TOLD_MAX && self.told.insert(path.to_owned()) {
            self.counts.said.push(what);
        }
    }
}

/// What a file is that is met.
enum MetFile {
    Known(FileMark),
    /// It has the beginning of a file that is there: nothing is read before the other one is cut or the wait is over.
    MayBeCopy,
    New,
}
