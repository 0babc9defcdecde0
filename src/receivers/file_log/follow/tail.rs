//! All files of one receiver: which there are, how far each was read, and the next batch of records.
//!
//! Blocking, for a thread of its own; the time is an argument. A file is held open until it is gone and read to its end, so
//! that what was written before a rotation is not lost; it is known again by its mark (`mark`). Nothing counts as read before
//! the batch that it is in was settled: until then its place on disk is that of the last settled line.

use std::collections::{HashMap, HashSet};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::core::data::budget::{OverBudget, Ticket};
use crate::core::time::UnixNanos;
use crate::receivers::file_log::audit::AuditLines;
use crate::receivers::file_log::batch::LineBatch;
use crate::receivers::file_log::config::FileLogConfig;
use crate::receivers::file_log::follow::checkpoint::{CheckpointFile, MarkChange};
use crate::receivers::file_log::follow::file::FollowedFile;
use crate::receivers::file_log::follow::handover::Handover;
use crate::receivers::file_log::follow::lines::{next_line, trimmed};
use crate::receivers::file_log::follow::mark::{FileId, FileMark};
use crate::receivers::file_log::operators::room::PieceRoom;
use crate::receivers::file_log::operators::{ChainState, LinePlace};

/// How often folders are looked through; files that are known are looked at by every poll.
pub const SCAN_EVERY: Duration = Duration::from_secs(1);
const CHUNK_BYTES: usize = 64 << 10;

/// What happened since it was asked for last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TailCounts {
    pub lines: u64,
    pub bytes: u64,
    pub failed: u64,
    pub dropped: u64,
    /// Entries that went on in parts, because no memory was left to hold them.
    pub unheld: u64,
    /// Files that went before one of those that are followed made room for them.
    pub unopened: u64,
    /// Audit events that were read before.
    pub duplicates: u64,
    /// Audit events that the API server had cut.
    pub truncated: u64,
    /// Files that were cut and begin anew.
    pub cut: u64,
    /// For the log: what an operator failed on last, files that cannot be read, marks that cannot be written.
    pub said: Vec<String>,
}

pub struct LogTail {
    pub(super) config: Arc<FileLogConfig>,
    pub(super) checkpoints: Option<CheckpointFile>,
    pub(super) files: Vec<FollowedFile>,
    /// Marks of an earlier process whose files were not found yet, and of files that went.
    pub(super) departed: Vec<(FileMark, Duration)>,
    /// There are marks of before, so what is not among them is new.
    pub(super) resumes: bool,
    pub(super) scanned: Option<Duration>,
    /// Memory of pieces of all files.
    pub(super) room: Option<PieceRoom>,
    /// Files that could not be opened, by the bound on them or by the system's.
    pub(super) unopened: HashMap<FileId, PathBuf>,
    /// Files that look like a copy, since when.
    pub(super) young: HashMap<FileId, Duration>,
    pub(super) told: HashSet<PathBuf>,
    /// How many of those that could not be opened were told of.
    pub(super) told_unopened: usize,
    pub(super) buffer: Vec<u8>,
    pub(super) turn: usize,
    /// Lines are audit events.
    pub(super) audit: Option<AuditLines>,
    /// Marks have changed that are not on disk.
    pub(super) is_dirty: bool,
    pub(super) is_unsynced: bool,
    pub(super) synced: Duration,
    pub counts: TailCounts,
}

impl LogTail {
    /// What the next instance goes on with.
    pub fn into_handover(self) -> Handover {
        let marks = self.departed.into_iter().map(|(mark, _)| mark).filter(|mark| mark.offset > 0).collect();
        Handover { marks, files: self.files }
    }

    /// Takes the files of a predecessor over, with this configuration's attributes.
    fn take_over(&mut self, files: Vec<FollowedFile>) {
        let mut ids = HashSet::new();
        for mut file in files.into_iter().filter(|file| ids.insert(file.id)) {
            if file.is_there() {
                file.resolved = file.path.canonicalize().unwrap_or(file.resolved);
            }
            file.facts = self.facts(&file.path, &file.resolved);
            self.files.push(file); // granted: one for each file
        }
    }

    /// `before`: what a predecessor in this process left; else the marks on disk count.
    pub fn new(
        config: Arc<FileLogConfig>,
        mut checkpoints: Option<CheckpointFile>,
        before: Option<Handover>,
    ) -> LogTail {
        let mut counts = TailCounts::default();
        let audit = config.audit.as_ref().map(AuditLines::new);
        let mut on_disk = || match checkpoints.as_mut().map(CheckpointFile::read) {
            Some(Ok(marks)) => (marks, None),
            Some(Err(why)) => (None, Some(format!("the checkpoints cannot be read: {why}"))),
            None => (None, None),
        };
        let (files, marks, said) = match before.map(|before| before.parted(&config)) {
            Some((files, marks, said)) => (files, Some(marks), said),
            None => {
                let (marks, said) = on_disk();
                (Vec::new(), marks, said)
            }
        };
        counts.said.extend(said); // granted: one line
        let resumes = marks.is_some();
        let departed = marks.unwrap_or_default().into_iter().map(|mark| (mark, Duration::ZERO)).collect();
        let mut tail = LogTail {
            config,
            checkpoints,
            files: Vec::new(),
            departed,
            resumes,
            scanned: None,
            room: None,
            unopened: HashMap::new(),
            young: HashMap::new(),
            told: HashSet::new(),
            told_unopened: 0,
            buffer: Vec::new(),
            turn: 0,
            audit,
            is_dirty: false,
            is_unsynced: false,
            synced: Duration::ZERO,
            counts,
        };
        tail.take_over(files);
        tail
    }

    pub fn files(&self) -> usize {
        self.files.len()
    }

    /// Files that fit the patterns and are not read now.
    pub fn unread_files(&self) -> u64 {
        self.unopened.len() as u64
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
        let is_due = self.is_due(now);
        if is_due {
            self.scan((now, observed));
        }
        self.room.get_or_insert_with(|| PieceRoom::beside(ticket));
        self.files.iter_mut().for_each(|file| file.is_at_end = false);
        let mut batch = LineBatch::within(ticket, observed);
        batch.audit = self.audit.take();
        let read = self.read_files(now, &mut batch);
        self.audit = batch.audit.take();
        if let Err(over) = read {
            self.rewind();
            return Err(over);
        }
        self.counts.lines += batch.lines;
        if is_due {
            self.forget(now);
        }
        if batch.is_empty() {
            // Lines that were dropped, and pieces of lines: what is behind them is read.
            self.settle(now);
            return Ok(None);
        }
        batch.finish().map(Some).inspect_err(|_| self.rewind())
    }

    /// Each file in turn, until the batch is full.
    fn read_files(&mut self, now: Duration, batch: &mut LineBatch) -> Result<(), OverBudget> {
        let files = self.files.len();
        for step in 0..files {
            let at = (self.turn + step) % files;
            self.read_one(at, now, batch)?;
            if batch.is_full() {
                self.turn = at + 1;
                break;
            }
        }
        Ok(())
    }

    /// Looks which files there are while a batch waits, and reads none: what is renamed or removed by then is held open.
    pub fn look(&mut self, now: Duration, observed: UnixNanos) {
        // What they have by now is not read.
        self.files.iter_mut().for_each(|file| file.is_at_end = false);
        if self.is_due(now) {
            self.scan((now, observed));
        }
    }

    fn is_due(&self, now: Duration) -> bool {
        self.scanned.is_none_or(|at| now.saturating_sub(at) >= SCAN_EVERY)
    }

    /// What was read since the last time has its end.
    pub fn settle(&mut self, now: Duration) {
        let mut changes = Vec::new();
        for file in &mut self.files {
            if let Some(mark) = file.pending.take() {
                changes.push(MarkChange::of(&file.mark, mark.clone())); // granted: one for each file
                file.mark = mark;
            }
        }
        if let Some(audit) = &mut self.audit {
            audit.settle(true);
            self.counts.duplicates += std::mem::take(&mut audit.duplicates);
            self.counts.truncated += std::mem::take(&mut audit.truncated);
        }
        if let Err(why) = self.keep(&changes, now) {
            self.is_dirty = true;
            self.counts.said.push(format!("the checkpoints cannot be written: {why}"));
        }
    }

    /// Writes what changed, or all marks where that is due; they are synced once a second.
    fn keep(&mut self, changes: &[MarkChange], now: Duration) -> io::Result<()> {
        let Some(checkpoints) = &mut self.checkpoints else { return Ok(()) };
        let is_appended = !self.is_dirty && (changes.is_empty() || checkpoints.append(changes)?);
        if !is_appended {
            return self.save(now, false);
        }
        self.is_unsynced |= !changes.is_empty();
        if self.is_unsynced && now.saturating_sub(self.synced) >= SCAN_EVERY {
            checkpoints.sync()?;
            (self.is_unsynced, self.synced) = (false, now);
        }
        Ok(())
    }

    /// Writes all marks; they are synced once a second, and where `synced` says so.
    pub fn save(&mut self, now: Duration, synced: bool) -> io::Result<()> {
        let (marks, synced) = (self.marks(), synced || now.saturating_sub(self.synced) >= SCAN_EVERY);
        let Some(checkpoints) = &mut self.checkpoints else { return Ok(()) };
        checkpoints.write(marks, synced)?;
        (self.is_dirty, self.is_unsynced) = (false, !synced);
        if synced {
            self.synced = now;
        }
        Ok(())
    }

    /// What was read and not settled is read again.
    pub fn rewind(&mut self) {
        for file in &mut self.files {
            file.read = file.mark.read_from();
            file.pending = None;
            file.state = ChainState::from(file.mark.offset);
        }
        if let Some(audit) = &mut self.audit {
            // They are counted when they are read again.
            (audit.duplicates, audit.truncated) = (0, 0);
            audit.settle(false);
        }
    }

    fn read_one(&mut self, at: usize, now: Duration, batch: &mut LineBatch) -> Result<(), OverBudget> {
        let LogTail { config, files, buffer, counts, departed, room, .. } = self;
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
            if size < file.read || !file.mark.is_of(&file.file).unwrap_or(true) {
                let fresh = FileMark::unread(&file.path, file.id);
                departed.push((std::mem::replace(&mut file.mark, fresh), now));
                file.read = 0;
                file.pending = None;
                file.state = ChainState::default();
                counts.cut += 1;
            }
        }
        file.state.room = room.clone().unwrap_or_default();
        let is_quiet = config.flush_after.is_some_and(|after| now.saturating_sub(file.grown_at) >= after);
        let begun = (file.read, file.size, is_quiet);
        if file.unfinished == Some(begun) && file.state.held_from().is_none() {
            file.is_at_end = !batch.is_full();
            return Ok(());
        }
        let done = read_lines(config, buffer, (&mut *file, is_quiet), now, batch);
        let is_unfinished = done.is_ok() && file.read == begun.0 && file.read < file.size && !batch.is_full();
        file.unfinished = is_unfinished.then_some(begun);
        let goes_on = file.state.held_from().unwrap_or(file.read).min(file.read);
        // Lines behind a piece that is held are delivered, too.
        let delivered_to = file.read.max(file.state.delivered_to);
        let held_from = (goes_on < delivered_to).then_some(goes_on);
        if (delivered_to, held_from) != (file.mark.offset, file.mark.held_from) {
            match FileMark::at(&file.file, (&file.path, file.id), delivered_to, config.fingerprint_bytes) {
                Ok(mark) => file.pending = Some(FileMark { held_from, ..mark }),
                Err(why) => counts.said.push(format!("{}: {why}", file.path.display())),
            }
        }
        counts.failed += std::mem::take(&mut file.state.failed);
        file.is_at_end = !batch.is_full();
        counts.unheld += std::mem::take(&mut file.state.unheld);
        counts.dropped += std::mem::take(&mut file.state.dropped);
        counts.said.extend(file.state.last_failure.take()); // granted: one for each file and round
        match done {
            Ok(bytes) => counts.bytes += bytes,
            Err(ReadFault::OverBudget(over)) => return Err(over),
            Err(ReadFault::Io(why)) => counts.said.push(format!("{}: {why}", file.path.display())),
        }
        Ok(())
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
    config.chain.flush(&mut file.state, &file.pod, (now, batch.observed), &mut |entry| {
        over = over.or(batch.push(entry, config).err());
    });
    over.map_or(Ok(file.read - begun), |over| Err(ReadFault::OverBudget(over)))
}
