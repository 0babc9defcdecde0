//! All files of one receiver: which there are, how far each was read, and the next batch of records.
//!
//! Blocking, for a thread of its own; the time is an argument. A file is held open until it is gone and read to its end, so
//! that what was written before a rotation is not lost; it is known again by its mark (`mark`). Nothing counts as read before
//! the batch that it is in was settled: until then its place on disk is that of the last settled line.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::core::data::budget::{OverBudget, Ticket};
use crate::core::time::UnixNanos;
use crate::receivers::file_log::batch::LineBatch;
use crate::receivers::file_log::config::FileLogConfig;
use crate::receivers::file_log::entry::PodOfFile;
use crate::receivers::file_log::follow::checkpoint::CheckpointFile;
use crate::receivers::file_log::follow::lines::{next_line, trimmed};
use crate::receivers::file_log::follow::mark::{FileId, FileMark};
use crate::receivers::file_log::follow::pods::{LogPath, RunIds, docker_id};
use crate::receivers::file_log::glob::WalkedPaths;
use crate::receivers::file_log::operators::{ChainState, LinePlace};

/// How often folders are looked through; files that are known are looked at by every poll.
const SCAN_EVERY: Duration = Duration::from_secs(1);
/// A file without a name is read on for so long: a runtime writes to it until it has opened the next one.
const GONE_WAIT: Duration = Duration::from_secs(5);
/// A file without a name that has not grown for so long is given up, with the piece of a line at its end.
const STALE_WAIT: Duration = Duration::from_secs(60);
/// A container's link is made right after its log; without it a line would not say of which run it is.
const LINK_WAIT: Duration = Duration::from_secs(3);
/// Marks of files that were cut or went are kept for so long, to know their copies.
const DEPARTED_WAIT: Duration = Duration::from_secs(300);
const DEPARTED_MAX: usize = 1_000;
const CHUNK_BYTES: usize = 64 << 10;
/// Files that are told of as unreadable.
const TOLD_MAX: usize = 1_000;

/// What happened since it was asked for last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TailCounts {
    pub lines: u64,
    pub bytes: u64,
    pub failed: u64,
    pub dropped: u64,
    /// Files that were cut and begin anew.
    pub cut: u64,
    /// For the log: what an operator failed on last, files that cannot be read, marks that cannot be written.
    pub said: Vec<String>,
}

/// One file.
#[derive(Debug)]
struct FollowedFile {
    path: PathBuf,
    id: FileId,
    file: File,
    /// Attributes of each record.
    facts: Vec<(&'static str, String)>,
    log: Option<LogPath>,
    pod: PodOfFile,
    /// Lines wait for the link that names their run.
    held_until: Option<Duration>,
    /// Where the next line begins.
    read: u64,
    /// Of the last settled line.
    mark: FileMark,
    /// Of the last line that was read and is not settled, made with it: the file may be cut before it is.
    pending: Option<FileMark>,
    state: ChainState,
    size: u64,
    grown_at: Duration,
    gone_since: Option<Duration>,
}

pub struct LogTail {
    config: Arc<FileLogConfig>,
    checkpoints: Option<CheckpointFile>,
    files: Vec<FollowedFile>,
    /// Marks of an earlier process whose files were not found yet, and of files that went.
    departed: Vec<(FileMark, Duration)>,
    /// There are marks of before, so what is not among them is new.
    resumes: bool,
    scanned: Option<Duration>,
    /// Files that look like a copy in the making, since when.
    young: HashMap<FileId, Duration>,
    told: HashSet<PathBuf>,
    buffer: Vec<u8>,
    turn: usize,
    is_dirty: bool,
    synced: Duration,
    pub counts: TailCounts,
}

impl LogTail {
    /// `before`: the marks of a predecessor in this process; else those on disk count.
    pub fn new(
        config: Arc<FileLogConfig>,
        checkpoints: Option<CheckpointFile>,
        before: Option<Vec<FileMark>>,
    ) -> LogTail {
        let mut counts = TailCounts::default();
        let on_disk = || match checkpoints.as_ref().map(CheckpointFile::read) {
            Some(Ok(marks)) => (marks, None),
            Some(Err(why)) => (None, Some(format!("the checkpoints cannot be read: {why}"))),
            None => (None, None),
        };
        let (marks, said) = if before.is_some() { (before, None) } else { on_disk() };
        counts.said.extend(said); // granted: one line
        let resumes = marks.is_some();
        let departed = marks.unwrap_or_default().into_iter().map(|mark| (mark, Duration::ZERO)).collect();
        LogTail {
            config,
            checkpoints,
            files: Vec::new(),
            departed,
            resumes,
            scanned: None,
            young: HashMap::new(),
            told: HashSet::new(),
            buffer: Vec::new(),
            turn: 0,
            is_dirty: false,
            synced: Duration::ZERO,
            counts,
        }
    }

    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// What each file keeps between two rounds, in bytes.
    #[cfg(test)]
    pub fn held_bytes(&self) -> usize {
        self.files.iter().map(|file| file.state.bytes()).sum()
    }

    /// The settled marks.
    pub fn marks(&self) -> Vec<FileMark> {
        let files = self.files.iter().map(|file| &file.mark);
        files.chain(self.departed.iter().map(|(mark, _)| mark)).filter(|mark| mark.offset > 0).cloned().collect()
    }

    /// The next records, or nothing when no file has more. The ticket pays for them; without memory nothing was read.
    pub fn round(
        &mut self,
        now: Duration,
        observed: UnixNanos,
        ticket: &Ticket,
    ) -> Result<Option<LineBatch>, OverBudget> {
        if self.scanned.is_none_or(|at| now.saturating_sub(at) >= SCAN_EVERY) {
            self.scan((now, observed));
        }
        let mut batch = LineBatch::within(ticket, observed);
        let files = self.files.len();
        for step in 0..files {
            let at = (self.turn + step) % files;
            if let Err(over) = self.read_one(at, now, &mut batch) {
                self.rewind();
                return Err(over);
            }
            if batch.is_full() {
                self.turn = at + 1;
                break;
            }
        }
        self.counts.lines += batch.lines;
        if batch.is_empty() {
            // Lines that were dropped, and pieces of lines: what is behind them is read.
            self.settle(now);
            return Ok(None);
        }
        batch.finish().map(Some).inspect_err(|_| self.rewind())
    }

    /// What was read since the last time has its end.
    pub fn settle(&mut self, now: Duration) {
        for file in &mut self.files {
            if let Some(mark) = file.pending.take() {
                file.mark = mark;
                self.is_dirty = true;
            }
        }
        if self.is_dirty {
            self.save(now, false);
        }
    }

    /// Writes the marks; they are synced once a second, and where `synced` says so.
    pub fn save(&mut self, now: Duration, synced: bool) {
        let Some(checkpoints) = &self.checkpoints else { return };
        let synced = synced || now.saturating_sub(self.synced) >= SCAN_EVERY;
        match checkpoints.write(self.marks(), synced) {
            Ok(()) => self.is_dirty = false,
            Err(why) => self.counts.said.push(format!("the checkpoints cannot be written: {why}")),
        }
        if synced {
            self.synced = now;
        }
    }

    /// What was read and not settled is read again.
    pub fn rewind(&mut self) {
        for file in &mut self.files {
            file.read = file.mark.offset;
            file.pending = None;
            file.state = ChainState::default();
        }
    }

    fn read_one(&mut self, at: usize, now: Duration, batch: &mut LineBatch) -> Result<(), OverBudget> {
        let LogTail { config, files, buffer, counts, departed, .. } = self;
        let Some(file) = files.get_mut(at).filter(|file| file.held_until.is_none_or(|until| now >= until)) else {
            return Ok(());
        };
        let size = match file.file.metadata() {
            Ok(about) => about.len(),
            Err(why) => {
                counts.said.push(format!("{}: {why}", file.path.display()));
                return Ok(());
            }
        };
        if size != file.size {
            file.grown_at = now;
            file.size = size;
            // Cut, or cut and already longer than before.
            if size < file.read || !file.mark.has_head(&file.file).unwrap_or(true) {
                let fresh = FileMark::unread(&file.path, file.id);
                departed.push((std::mem::replace(&mut file.mark, fresh), now));
                file.read = 0;
                file.pending = None;
                file.state = ChainState::default();
                counts.cut += 1;
            }
        }
        let is_quiet = config.flush_after.is_some_and(|after| now.saturating_sub(file.grown_at) >= after);
        let done = read_lines(config, buffer, (&mut *file, is_quiet), now, batch);
        let safe = file.state.held_from().unwrap_or(file.read).min(file.read);
        if safe != file.mark.offset {
            match FileMark::at(&file.file, (&file.path, file.id), safe, config.fingerprint_bytes) {
                Ok(mark) => file.pending = Some(mark),
                Err(why) => counts.said.push(format!("{}: {why}", file.path.display())),
            }
        }
        counts.failed += std::mem::take(&mut file.state.failed);
        counts.dropped += std::mem::take(&mut file.state.dropped);
        counts.said.extend(file.state.last_failure.take()); // granted: one for each file and round
        match done {
            Ok(bytes) => counts.bytes += bytes,
            Err(ReadFault::OverBudget(over)) => return Err(over),
            Err(ReadFault::Io(why)) => counts.said.push(format!("{}: {why}", file.path.display())),
        }
        Ok(())
    }

    /// Looks which files there are.
    fn scan(&mut self, (now, observed): (Duration, UnixNanos)) {
        let is_first = self.scanned.is_none();
        self.scanned = Some(now);
        let mut found = WalkedPaths::default();
        for pattern in &self.config.include {
            pattern.walk(&mut found);
        }
        if let Some((folder, why)) = found.unreadable.take() {
            self.tell(&folder, format!("{} cannot be read: {why}", folder.display()));
        }
        if found.is_cut {
            self.tell(Path::new(""), "the patterns find more files than are looked at".to_owned());
        }
        found.files.sort();
        found.files.dedup();
        let known: HashMap<FileId, usize> = self.files.iter().enumerate().map(|(at, file)| (file.id, at)).collect();
        let mut seen = HashSet::new();
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
                None => self.meet(path, &about, (is_first, now, observed)),
            }
        }
        for file in &mut self.files {
            if !seen.contains(&file.id) {
                file.gone_since.get_or_insert(now);
            }
        }
        self.young.retain(|id, _| seen.contains(id));
        self.link_runs();
        self.forget(now);
    }

    /// A file that is not known.
    fn meet(
        &mut self,
        path: PathBuf,
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
            let most = self.config.files_at_once;
            self.tell(Path::new("/"), format!("more than {most} files: raise `max_concurrent_files`"));
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
            Err(why) => return self.tell(&path, format!("{} cannot be read: {why}", path.display())),
        };
        let size = about.len();
        let at_end = is_first && !self.resumes && self.config.starts_at_end;
        let offset = match self.known_offset(&file, (&path, id), size) {
            Some(offset) => offset,
            None if at_end => size,
            None => 0,
        };
        let mark = match FileMark::at(&file, (&path, id), offset, self.config.fingerprint_bytes) {
            Ok(mark) => mark,
            Err(why) => return self.tell(&path, format!("{} cannot be read: {why}", path.display())),
        };
        let resolved = path.canonicalize().unwrap_or_else(|_| path.clone());
        let log = LogPath::parse(&path).or_else(|| LogPath::parse(&resolved));
        let run = docker_id(&resolved);
        let pod = log.as_ref().map(|log| log.pod(run)).unwrap_or_default();
        let waits = log.as_ref().is_some_and(|log| run.is_none() && log.links().is_dir());
        self.files.push(FollowedFile {
            facts: self.facts(&path, &resolved),
            held_until: waits.then(|| now + LINK_WAIT),
            path,
            id,
            file,
            log,
            pod,
            read: offset,
            mark,
            pending: None,
            state: ChainState::default(),
            size: u64::MAX,
            grown_at: now,
            gone_since: None,
        });
    }

    fn facts(&self, path: &Path, resolved: &Path) -> Vec<(&'static str, String)> {
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

    /// How far a file was read before: by its own mark, or by that of the file which it is a copy of.
    fn known_offset(&mut self, file: &File, (path, id): (&Path, FileId), size: u64) -> Option<u64> {
        let fits = |mark: &FileMark| {
            if mark.may_be(path, id) { mark.offset_in(file, size).ok().flatten() } else { None }
        };
        let own = self.departed.iter().position(|(mark, _)| mark.id == id && fits(mark).is_some());
        let other = || self.departed.iter().position(|(mark, _)| mark.id != id && fits(mark).is_some());
        if let Some(at) = own.or_else(other) {
            return Some(self.departed.swap_remove(at).0.offset);
        }
        self.files.iter().find_map(|known| fits(&known.mark))
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
    fn forget(&mut self, now: Duration) {
        let LogTail { files, departed, .. } = self;
        files.retain(|file| {
            let is_over = |since: Duration| now.saturating_sub(since) >= GONE_WAIT;
            let is_read = file.read >= file.size && file.mark.offset == file.read;
            // What never becomes whole is not waited for without end.
            let is_stale = |since: Duration| now.saturating_sub(since.max(file.grown_at)) >= STALE_WAIT;
            let goes = file.gone_since.is_some_and(|since| (is_read && is_over(since)) || is_stale(since));
            if goes {
                departed.push((file.mark.clone(), now));
            }
            !goes
        });
        // What an earlier process left is kept as long, from this one's start.
        departed.retain(|(_, since)| now.saturating_sub(*since) < DEPARTED_WAIT);
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

enum ReadFault {
    Io(io::Error),
    OverBudget(OverBudget),
}

impl From<io::Error> for ReadFault {
    fn from(error: io::Error) -> ReadFault {
        ReadFault::Io(error)
    }
}

/// Reads what a file has more, until the batch is full; how many bytes it took.
fn read_lines(
    config: &FileLogConfig,
    buffer: &mut Vec<u8>,
    (file, is_quiet): (&mut FollowedFile, bool),
    now: Duration,
    batch: &mut LineBatch,
) -> Result<u64, ReadFault> {
    let (begun, mut wanted) = (file.read, CHUNK_BYTES);
    while file.read < file.size && !batch.is_full() {
        if buffer.len() < wanted {
            buffer.resize(wanted, 0); // granted: one buffer of a line and a chunk for all files
        }
        let Some(room) = buffer.get_mut(..wanted) else { break };
        let read = file.file.read_at(room, file.read)?;
        let is_end = read == 0 || file.read + read as u64 >= file.size;
        let (mut at, start) = (0, file.read);
        let FollowedFile { facts, pod, state, .. } = &mut *file;
        while let Some(rest) = buffer.get(at..read)
            && let Some(line) = next_line(&config.split, rest, config.line_bytes_max, is_end && is_quiet)
        {
            let place = LinePlace { from: start + at as u64, now, observed: batch.observed };
            let text = trimmed(line.text, config.trims);
            batch.line(config, (text, facts), (&*pod, place), state).map_err(ReadFault::OverBudget)?;
            at += line.taken;
            if batch.is_full() {
                break;
            }
        }
        file.read += at as u64;
        if is_end && !batch.is_full() {
            break;
        }
        // A line is longer than what was read.
        wanted = if at == 0 { (2 * wanted).min(config.line_bytes_max + CHUNK_BYTES) } else { CHUNK_BYTES };
    }
    let mut over = None;
    config.chain.flush(&mut file.state, (now, batch.observed), &mut |entry| {
        over = over.or(batch.push(entry, config).err());
    });
    over.map_or(Ok(file.read - begun), |over| Err(ReadFault::OverBudget(over)))
}
