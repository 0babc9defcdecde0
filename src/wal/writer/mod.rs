//! The writer: takes records and marks, gathers them in groups, makes groups last, and says what may be believed.
//!
//! Its decisions take the time as an argument and touch the world through [`LogDisk`] alone, so that a test plays them with
//! a disk that loses, tears and fails. One owner calls it; nothing here waits except the disk.
//!
//! What is written where is `segments.rs`, what leaves again is `freeing.rs`, what becomes smaller is `packing.rs`,
//! what a restart reads is `reading.rs`.

pub mod freeing;
pub mod group;
pub mod packing;
pub mod reading;
pub mod segments;
pub mod stats;

use std::io;
use std::time::Duration;

use bytes::Bytes;

use crate::wal::body::{Description, FramePlace, Mark, What};
use crate::wal::disk::{LogDisk, Removal};
use crate::wal::format::Totals;
use crate::wal::format::{BLOCK, FrameKind, frame_room};
use crate::wal::table::{LogTable, RecordEntry, Verdicts};
use crate::wal::writer::freeing::DeadRecords;
use crate::wal::writer::group::{CommitGroup, GroupMember, Making, Waiting};
use crate::wal::writer::reading::RecordReader;
use crate::wal::writer::segments::Active;
use crate::wal::writer::stats::{Counts, Rate};

/// The time, as far as the log asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogTime {
    /// Since any fixed moment, never going back.
    pub mono: Duration,
    /// Unix nanoseconds: only verdicts' `keep_until` is compared with it.
    pub wall: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Of one file; less where the budget is small: a twentieth of it at most.
    pub segment_bytes: u64,
    /// The budget of the folder.
    pub max_bytes: u64,
    /// Bytes of the file system that stay free for others: with less nothing is appended.
    pub reserve: u64,
    /// A group is written when it has waited this long ...
    pub group_wait: Duration,
    /// ... or is this large.
    pub group_bytes: u64,
    /// As `group_wait` for marks while no group is gathered: less, because what is delivered and not marked comes twice after
    /// a crash.
    pub settle_wait: Duration,
    /// The longest record, description included.
    pub record_bytes: u64,
    /// Unsettled records: what the table of them may cost in memory, some 150 bytes each.
    pub records_max: usize,
    /// Open although the disk does not give every byte: what it does not give is counted, and its files are kept. Without
    /// it such a disk is an error, because it may answer another time.
    pub salvage: bool,
    /// How often a log that cannot write looks whether it can.
    pub probe_wait: Duration,
    /// A segment that is sealed and wanted for so long is compressed; `None` writes format 1 alone.
    pub pack_after: Option<Duration>,
    /// Whether the records that the process before had under way are suspects.
    pub blame: Blame,
}

/// When the end of the process before counts against the records that it had under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Blame {
    /// It died by itself, in order or not.
    Always,
    /// It was killed from outside, or ended as asked.
    Never,
    /// Nothing is known but whether the log was closed in order: then it does not count.
    #[default]
    UnlessClosed,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            segment_bytes: 64 << 20,
            max_bytes: 2 << 30,
            reserve: 0,
            group_wait: Duration::from_millis(5),
            group_bytes: 256 << 10,
            settle_wait: Duration::from_millis(1),
            record_bytes: (64 << 20) + (64 << 10),
            records_max: 500_000,
            salvage: false,
            probe_wait: Duration::from_millis(250),
            pack_after: Some(Duration::from_secs(60)),
            blame: Blame::default(),
        }
    }
}

impl Options {
    /// What one file is allowed to be.
    pub fn segment(&self) -> u64 {
        let most = self.segment_bytes.min(self.max_bytes / 20);
        (most / BLOCK * BLOCK).max(16 * BLOCK)
    }

    /// Appends are refused from here on ...
    pub fn high(&self) -> u64 {
        self.max_bytes / 100 * 95
    }

    /// ... until it is less than this.
    pub fn low(&self) -> u64 {
        self.max_bytes / 100 * 85
    }
}

/// What the caller hands over.
#[derive(Clone, Debug, Default)]
pub struct LogRecord {
    pub description: Description,
    /// Spans, data points, log records; settled one by one.
    pub items: u32,
    /// One after the other they are the record's bytes.
    pub payload: Vec<Bytes>,
    /// The caller keeps nothing of it: it is found again by [`LogWriter::waiting_after`].
    pub parked: bool,
}

/// Why a record was not taken. All but `TooLarge` go away by themselves.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the record has {bytes} bytes, and a record may have {max}: send less at once")]
    TooLarge { bytes: u64, max: u64 },
    #[error(
        "the log on disk holds {bytes} bytes of its budget of {max}: try again when the next hop has accepted some"
    )]
    Full { bytes: u64, max: u64 },
    #[error(
        "{free} bytes are free on the disk and {reserve} of them are reserved for others: try again when there is room"
    )]
    Reserved { free: u64, reserve: u64 },
    #[error("{records} are unsettled and no more may be: try again when the next hop has taken some")]
    TooMany { records: usize },
    #[error("the log on disk is behind: try again in a moment")]
    Busy,
    #[error("the log on disk cannot write ({why}): try again; the log checks by itself when it can")]
    CannotWrite { why: String },
}

impl Refusal {
    /// Sending the same again is of no use.
    pub fn is_final(&self) -> bool {
        matches!(self, Refusal::TooLarge { .. })
    }
}

/// What became of everything that was appended since the last commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Commit {
    /// There was nothing.
    Nothing,
    /// It is on disk.
    Durable,
    /// None of the records and verdicts is believed to be; marks are kept and written later.
    Refused(Refusal),
}

/// The log cannot write.
#[derive(Debug)]
pub(in crate::wal) struct Broken {
    pub why: String,
    pub full: bool,
    /// Not even marks alone find room.
    pub stuck: bool,
    pub next_try: Duration,
}

/// Batches of verdicts that are wanted at once.
const VERDICTS_MAX: usize = 200_000;

/// Marks beyond these are left out and a checkpoint says it all instead, while nothing can be written.
const MARKS_HELD_MAX: usize = 100_000;

pub struct LogWriter {
    pub(in crate::wal) disk: Box<dyn LogDisk>,
    pub(in crate::wal) options: Options,
    pub(in crate::wal) salt: u64,
    pub(in crate::wal) boot: u32,
    pub(in crate::wal) table: LogTable,
    pub(in crate::wal) active: Option<Active>,
    pub(in crate::wal) group: CommitGroup,
    pub(in crate::wal) group_since: Option<Duration>,
    pub(in crate::wal) marks: Vec<Mark>,
    pub(in crate::wal) marks_since: Option<Duration>,
    /// Marks were left out: a checkpoint goes in front of the next group.
    pub(in crate::wal) checkpoint_due: bool,
    /// The number of the last segment that was made, in this life or an earlier one.
    pub(in crate::wal) last_number: u64,
    /// The last segment that holds something: what a header names as its previous.
    pub(in crate::wal) previous: u64,
    /// The segment with the newest durable checkpoint.
    pub(in crate::wal) checkpoint: Option<u64>,
    /// Files that were made in vain and could not be removed.
    pub(in crate::wal) graves: Vec<String>,
    /// Of segments that are gone by name.
    pub(in crate::wal) removals: Vec<Removal>,
    pub(in crate::wal) full: bool,
    /// Bytes that were free on the file system when it was last asked.
    pub(in crate::wal) free: Option<u64>,
    pub(in crate::wal) broken: Option<Broken>,
    pub(in crate::wal) counts: Counts,
    pub(in crate::wal) rate: Rate,
    pub(in crate::wal) reader: RecordReader,
    /// When the last segment was given to be packed, and when the next one may be.
    pub(in crate::wal) pack_began: Duration,
    pub(in crate::wal) pack_not_before: Duration,
    pub(in crate::wal) dead_letters: Option<DeadRecords>,
    /// Records up to this one were there when the log was opened.
    pub(in crate::wal) recovered: u64,
    pub(in crate::wal) _lock: Box<dyn Send>,
}

impl LogWriter {
    /// Takes a record into the group; it is safe when the next commit says so. The answer names the record.
    pub fn append(&mut self, now: LogTime, record: &LogRecord) -> Result<u64, Refusal> {
        // What the budget can never hold will not fit later either.
        let max = self.options.record_bytes.min(self.options.low() / 2);
        let payload = record.payload.iter().map(|part| part.len() as u64).sum::<u64>();
        let Some(description) = record.description.encode().filter(|of| payload + of.len() as u64 <= max) else {
            return Err(Refusal::TooLarge { bytes: payload, max });
        };
        let length = payload + description.len() as u64;
        self.admits(frame_room(length)).inspect_err(|_| self.counts.refused += 1)?;
        let pipeline = self.table.pipeline(&record.description.pipeline);
        let described = description.len() as u16;
        let mut parts = Vec::with_capacity(1 + record.payload.len());
        parts.push(Bytes::from(description));
        parts.extend(record.payload.iter().cloned());
        // A record without items is one thing that can be settled all the same.
        let items = record.items.max(1);
        let making = Making { kind: FrameKind::Payload, origin: None, items, described };
        let (id, offset, length) = self.group.push(self.salt, making, &parts);
        self.group.members.push(Waiting { what: GroupMember::Record(id), offset, length });
        self.group_since.get_or_insert(now.mono);
        let entry = RecordEntry { parked: record.parked, ..RecordEntry::of(items, pipeline, None) };
        self.table.insert(id, entry);
        self.counts.appended += 1;
        Ok(id)
    }

    fn admits(&mut self, room: u64) -> Result<(), Refusal> {
        if let Some(broken) = &self.broken {
            return Err(Refusal::CannotWrite { why: broken.why.clone() });
        }
        let bytes = self.bytes() + room;
        self.full = if self.full { bytes >= self.options.low() } else { bytes >= self.options.high() };
        if self.full {
            return Err(Refusal::Full { bytes, max: self.options.max_bytes });
        }
        if let Some(free) = self.free.filter(|_| self.is_reserved()) {
            return Err(Refusal::Reserved { free, reserve: self.options.reserve });
        }
        if self.table.entries.len() >= self.options.records_max {
            return Err(Refusal::TooMany { records: self.table.entries.len() });
        }
        let waiting = self.group.bytes.len() as u64;
        if waiting > 0 && waiting + room > 4 * self.options.group_bytes.max(self.options.record_bytes / 4) {
            return Err(Refusal::Busy);
        }
        Ok(())
    }

    /// What is free on the file system is others'.
    pub(in crate::wal) fn is_reserved(&self) -> bool {
        self.free.is_some_and(|free| free < self.options.reserve)
    }

    /// Bytes in the folder that the budget counts, the waiting group included.
    pub(in crate::wal) fn bytes(&self) -> u64 {
        self.table.bytes() + self.counts.dead_letter_bytes + self.group.bytes.len() as u64
    }

    /// Takes a batch of verdicts, which is handed out again after a restart until `keep_until` (Unix nanoseconds) is over
    /// and nothing in front of it is unsettled. Safe when the next commit says so.
    pub fn verdicts(&mut self, now: LogTime, keep_until: u64, body: &[u8]) -> Result<u64, Refusal> {
        let max = 1 << 20;
        if body.len() as u64 > max {
            return Err(Refusal::TooLarge { bytes: body.len() as u64, max });
        }
        if let Some(broken) = &self.broken {
            return Err(Refusal::CannotWrite { why: broken.why.clone() });
        }
        if self.table.verdicts.len() >= VERDICTS_MAX {
            return Err(Refusal::TooMany { records: self.table.verdicts.len() });
        }
        if self.group.bytes.len() as u64 > 4 * self.options.group_bytes.max(self.options.record_bytes / 4) {
            return Err(Refusal::Busy);
        }
        let parts = [Bytes::copy_from_slice(&keep_until.to_le_bytes()), Bytes::copy_from_slice(body)];
        let (origin, offset, length) = self.group.push(self.salt, Making::plain(FrameKind::Verdicts), &parts);
        let what = GroupMember::Verdicts { origin, keep_until, copy: false };
        self.group.members.push(Waiting { what, offset, length });
        self.group_since.get_or_insert(now.mono);
        self.table.keep_verdicts(origin, Verdicts { place: None, keep_until });
        Ok(origin)
    }

    /// Says what became of items `from..to` of a record; how many of them were unsettled until now. What is said twice,
    /// or of a record that is gone, changes nothing.
    pub fn mark(&mut self, now: LogTime, mark: Mark) -> u32 {
        if !self.table.entries.contains_key(&mark.record) {
            return 0;
        }
        let fresh = self.table.mark(&mark);
        if fresh == 0 && mark.what.settles() {
            return 0;
        }
        self.counts.settle(mark.what, fresh);
        if self.marks.len() < MARKS_HELD_MAX {
            self.marks.push(mark);
        } else {
            self.checkpoint_due = true;
        }
        self.marks_since.get_or_insert(now.mono);
        fresh
    }

    /// All items of a record.
    pub fn settle_whole(&mut self, now: LogTime, record: u64, what: What) -> u32 {
        self.mark(now, Mark { record, from: 0, to: u32::MAX, what })
    }

    /// How long until [`LogWriter::commit`] should be called; `None` when there is nothing to write.
    pub fn due_in(&self, now: LogTime) -> Option<Duration> {
        if self.is_group_full() {
            return Some(Duration::ZERO);
        }
        // Marks go with a group that is gathered: a sync of their own costs as much as the group's.
        let marks = self.marks_since.filter(|_| self.group_since.is_none());
        let ends = [(self.group_since, self.options.group_wait), (marks, self.settle_wait())];
        let due = ends.into_iter().filter_map(|(since, wait)| Some(since? + wait)).min()?;
        Some(due.saturating_sub(now.mono))
    }

    /// No more is gathered before the next commit.
    pub fn is_group_full(&self) -> bool {
        self.group.bytes.len() as u64 >= self.options.group_bytes
    }

    /// While nothing can be written, marks are tried as often as the disk is.
    fn settle_wait(&self) -> Duration {
        if self.broken.is_some() { self.options.probe_wait } else { self.options.settle_wait }
    }

    /// Makes the group last: one write, one sync; in a new segment when the first one failed.
    pub fn commit(&mut self, now: LogTime) -> Commit {
        if self.group.is_empty() && self.marks.is_empty() && !self.checkpoint_due {
            self.marks_since = None;
            return Commit::Nothing;
        }
        let waited = self.group.has_new();
        let written = self.write_group();
        self.group_since = None;
        self.marks_since = None;
        match written {
            Ok(place) => {
                self.settle_in(place);
                self.counts.groups += 1;
                if let Some(broken) = &mut self.broken {
                    broken.stuck = false;
                }
                self.reclaim();
                Commit::Durable
            }
            Err(error) => {
                let refusal = self.give_back(now, &error, waited);
                if waited { Commit::Refused(refusal) } else { Commit::Nothing }
            }
        }
    }

    /// The group is durable at this place: its frames stand there now.
    fn settle_in(&mut self, at: FramePlace) {
        for Waiting { what, offset, length } in std::mem::take(&mut self.group.members) {
            let place = FramePlace { segment: at.segment, offset: at.offset + offset, length };
            match what {
                GroupMember::Record(record) | GroupMember::Copy(record) => self.table.place(record, place),
                GroupMember::Verdicts { origin, keep_until, .. } => {
                    if self.table.verdicts.contains_key(&origin) {
                        self.table.keep_verdicts(origin, Verdicts { place: Some(place), keep_until });
                    }
                }
            }
        }
        self.group.next();
        self.checkpoint_due = false;
    }

    /// The group could not be written: whoever waits is told, what was true stays to be written.
    fn give_back(&mut self, now: LogTime, error: &io::Error, waited: bool) -> Refusal {
        for Waiting { what, .. } in std::mem::take(&mut self.group.members) {
            match what {
                GroupMember::Record(record) => _ = self.table.forget(record),
                GroupMember::Verdicts { origin, copy: false, .. } => _ = self.table.verdicts.remove(&origin),
                _ => {}
            }
        }
        let mut marks = self.group.take_back();
        marks.append(&mut self.marks);
        marks.retain(|mark| mark.record <= self.group.start.sequence);
        self.checkpoint_due |= marks.len() > MARKS_HELD_MAX;
        marks.truncate(MARKS_HELD_MAX);
        self.marks_since = (!marks.is_empty() || self.checkpoint_due).then_some(now.mono);
        self.marks = marks;
        self.counts.failures += u64::from(waited);
        self.break_off(now, error);
        if let Some(broken) = &mut self.broken {
            broken.stuck = broken.full && !waited;
        }
        Refusal::CannotWrite { why: error.to_string() }
    }

    pub(in crate::wal) fn break_off(&mut self, now: LogTime, error: &io::Error) {
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let next_try = now.mono + self.options.probe_wait;
        let stuck = full && self.broken.as_ref().is_some_and(|broken| broken.stuck);
        self.broken = Some(Broken { why: error.to_string(), full, stuck, next_try });
    }

    /// What is to be done from time to time, each second or more often: looks whether a log that cannot write can, frees
    /// what is settled, copies survivors forward.
    pub fn tend(&mut self, now: LogTime) {
        if self.broken.as_ref().is_some_and(|broken| broken.next_try <= now.mono) {
            self.probe(now);
        }
        self.table.forget_verdicts(now.wall);
        self.reclaim();
        self.copy_forward(now);
        self.rate.sample(now.mono, self.table.bytes());
        self.free = self.disk.free();
    }

    /// Writes what waits and closes the log, so that the next start need not scan. The last call.
    pub fn close(&mut self, now: LogTime) -> Commit {
        let done = self.commit(now);
        if done != Commit::Durable || self.active.is_some() {
            self.seal_active(true);
        }
        self.removals().into_iter().for_each(|removal| removal());
        done
    }

    /// In front of the group.
    pub(in crate::wal) fn durable(&self) -> Totals {
        self.group.start
    }
}
