//! Opens a folder: finds out what is in the log after whatever has happened to it, and makes a writer that goes on.
//!
//! The newest whole checkpoint says what was unsettled; only what was written after it is scanned, oldest first. Without
//! one everything is. Nothing is held of a payload; records are read one by one afterwards.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use crate::wal::body::{Description, FramePlace, Line, Mark, What, checkpoint_part, of_seal};
use crate::wal::disk::{LogDisk, read_full};
use crate::wal::format::{
    BLOCK, FrameKind, HEAD_BYTES, Head, Header, HeaderFault, Purpose, Totals, file_name, is_unfinished, of_file_name,
};
use crate::wal::packed::view::open_segment;
use crate::wal::scan::{Found, ScanLoss, Scanned, frame_at, scan, seal_of};
use crate::wal::table::{LogTable, Packing, RecordEntry, SegmentEntry, Verdicts};
use crate::wal::writer::group::CommitGroup;
use crate::wal::writer::stats::{Counts, Rate};
use crate::wal::writer::{Blame, LogTime, LogWriter, Options};

/// A record in flight at this many crashes is given up.
const CRASHES_MAX: u8 = 3;

/// With more segments to scan than these, a checkpoint is written at once.
const SCANNED_MANY: usize = 3;

/// Why a folder was not opened. Nothing in it was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("another process holds the log: wait until it ends, or end it")]
    Held,
    #[error("{file}: {fault}")]
    Newer { file: String, fault: HeaderFault },
    #[error("the disk could not read {bytes} bytes of the log: try again, or go on without them")]
    Unreadable { bytes: u64 },
    #[error("the log's folder cannot be {what}: {error}")]
    Disk { what: &'static str, error: io::Error },
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    pub segments: usize,
    /// Segments that were scanned, the others being told by a checkpoint.
    pub scanned: usize,
    /// The log was closed in order.
    pub clean: bool,
    /// Records with unsettled items, and those items.
    pub records: u64,
    pub items: u64,
    /// Records that had been handed to an exporter.
    pub in_doubt: u64,
    /// Frames that could not be read, as far as a scan tells, and records of segments that are gone. A record that was
    /// settled behind the last checkpoint is counted too, because nobody knows any more which one it was: never too few.
    /// Records whose frames turn out damaged when they are read are counted then, with what was unsettled of them
    /// ([`crate::wal::writer::stats::Counts::lost`]).
    pub lost: ScanLoss,
    /// Damaged stretches.
    pub damaged: u64,
    /// Bytes of a torn group that were cut, never acknowledged.
    pub torn: u64,
    /// Frames of it whose heads are whole.
    pub torn_frames: ScanLoss,
    /// Segments whose header says nothing; they stay for a person.
    pub unknown: Vec<String>,
    /// Records of segments that are gone, and their unsettled items.
    pub missing: (u64, u64),
    /// Records that went to the dead letters because they were in flight at three crashes.
    pub quarantined: u64,
    /// Bytes that the disk did not give.
    pub unreadable: u64,
}

/// A file with its header.
struct File {
    header: Result<Header, HeaderFault>,
    length: u64,
}

impl File {
    fn salt(&self, otherwise: u64) -> u64 {
        self.header.as_ref().map_or(otherwise, |header| header.salt)
    }

    fn is_packed(&self) -> bool {
        self.header.as_ref().is_ok_and(|header| header.purpose == Purpose::Packed)
    }
}

/// What a log looks like before anybody writes to it.
pub(in crate::wal) struct Survey {
    pub table: LogTable,
    pub totals: Totals,
    pub report: Report,
    pub salt: Option<u64>,
    pub boot: u32,
    pub last_number: u64,
    pub previous: u64,
    pub checkpoint: Option<u64>,
    pub dead_letter_bytes: u64,
    /// The last segment, and where its last whole block ends, when a torn tail follows.
    pub cut: Option<(u64, u64)>,
    /// Files that a crash left unfinished; the segments that they were made of are there.
    pub unfinished: Vec<String>,
}

/// Opens the log for writing. `random` salts a new log.
pub fn open(
    mut disk: Box<dyn LogDisk>,
    options: Options,
    random: u64,
    now: LogTime,
) -> Result<(LogWriter, Report), OpenError> {
    let failed = |what| move |error| OpenError::Disk { what, error };
    let lock = disk.lock().map_err(failed("locked"))?.ok_or(OpenError::Held)?;
    let found = survey(&mut *disk)?;
    if found.report.unreadable > 0 && !options.salvage {
        return Err(OpenError::Unreadable { bytes: found.report.unreadable });
    }
    if let Some((number, end)) = found.cut {
        // Where it cannot be cut, the next segment's header says that nothing behind was believed.
        _ = disk.cut(&file_name(number, Purpose::Log), end);
    }
    let (totals, mut report) = (found.totals, found.report);
    let counts = Counts { dead_letter_bytes: found.dead_letter_bytes, ..Counts::default() };
    let mut writer = LogWriter {
        disk,
        options,
        salt: found.salt.unwrap_or(random),
        boot: found.boot + 1,
        table: found.table,
        active: None,
        group: CommitGroup::new(totals),
        group_since: None,
        marks: Vec::new(),
        marks_since: None,
        checkpoint_due: false,
        last_number: found.last_number,
        previous: found.previous,
        checkpoint: found.checkpoint,
        graves: found.unfinished,
        removals: Vec::new(),
        full: false,
        free: None,
        broken: None,
        counts,
        rate: Rate::default(),
        reader: Default::default(),
        pack_began: Duration::ZERO,
        pack_not_before: Duration::ZERO,
        dead_letters: None,
        recovered: totals.sequence,
        _lock: lock,
    };
    writer.bury();
    count_crashes(&mut writer, &mut report, now);
    writer.reclaim();
    report.records = writer.table.entries.len() as u64;
    report.items = writer.table.entries.values().map(|entry| u64::from(entry.left)).sum();
    report.in_doubt = writer.table.entries.values().filter(|entry| entry.doubt).count() as u64;
    Ok((writer, report))
}

/// Says durably who was in flight, before anybody is handed out again: a record that ends the process must not do so for
/// ever.
fn count_crashes(writer: &mut LogWriter, report: &mut Report, now: LogTime) {
    let sent: Vec<(u64, u8)> =
        writer.table.entries.iter().filter(|(_, of)| of.sent).map(|(id, of)| (*id, of.crashes)).collect();
    let counts = match writer.options.blame {
        Blame::Always => true,
        Blame::Never => false,
        Blame::UnlessClosed => !report.clean,
    };
    for (record, crashes) in sent {
        let crashes = if counts { crashes.saturating_add(1) } else { crashes };
        writer.mark(now, Mark { record, from: 0, to: u32::MAX, what: What::Crashed(crashes) });
    }
    writer.commit(now);
    let poison = writer.table.entries.iter().filter(|(_, of)| of.crashes >= CRASHES_MAX);
    for record in poison.map(|(id, _)| *id).collect::<Vec<_>>() {
        // Where that fails the record stays, and is handed out with its count.
        report.quarantined += u64::from(writer.dead_letter(now, record).unwrap_or(false));
    }
    // A process that crashes each time seals nothing: its small segments would be read by every start, and be more each time.
    writer.checkpoint_due = report.scanned > SCANNED_MANY;
    writer.commit(now);
}

/// Reads what there is and changes nothing.
pub(in crate::wal) fn survey(disk: &mut dyn LogDisk) -> Result<Survey, OpenError> {
    let failed = |what| move |error| OpenError::Disk { what, error };
    let (mut files, mut found) = (BTreeMap::new(), empty());
    for (name, length) in disk.list().map_err(failed("listed"))? {
        if is_unfinished(&name) {
            found.unfinished.push(name);
            continue;
        }
        let Some((number, purpose)) = of_file_name(&name) else { continue };
        let (header, unreadable) = header_of(disk, &name).map_err(failed("opened"))?;
        found.report.unreadable += unreadable;
        if let Err(fault @ HeaderFault::Newer(_)) = header {
            return Err(OpenError::Newer { file: name, fault });
        }
        found.last_number = found.last_number.max(number);
        if let Ok(header) = &header {
            found.boot = found.boot.max(header.boot);
            found.salt = Some(header.salt);
        }
        match purpose {
            Purpose::Log | Purpose::Packed => _ = files.insert(number, File { header, length }),
            Purpose::DeadLetters => found.dead_letter_bytes += length,
        }
    }
    found.report.segments = files.len();
    let salt = found.salt.unwrap_or(0);
    for (number, file) in &files {
        let unknown = matches!(file.header, Err(HeaderFault::Damaged)) && found.salt.is_none();
        if unknown {
            found.report.unknown.push(file_name(*number, Purpose::Log));
        }
        let packing = if file.is_packed() { Packing::Done } else { Packing::Not };
        let segment = SegmentEntry { damaged: unknown, packing, ..SegmentEntry::of(file.length, file.salt(salt)) };
        found.table.segments.insert(*number, segment);
    }
    begin_at_checkpoint(disk, &files, salt, &mut found);
    scan_rest(disk, &files, salt, &mut found).map_err(failed("read"))?;
    leave_room(&mut found);
    found.report.missing = found.table.forget_missing();
    found.report.lost.records += found.report.missing.0;
    found.report.lost.items += found.report.missing.1;
    Ok(found)
}

fn empty() -> Survey {
    Survey {
        table: LogTable::default(),
        totals: Totals::default(),
        report: Report::default(),
        salt: None,
        boot: 0,
        last_number: 0,
        previous: 0,
        checkpoint: None,
        dead_letter_bytes: 0,
        cut: None,
        unfinished: Vec::new(),
    }
}

/// With how many bytes the disk did not give: the rest of such a segment may be whole.
fn header_of(disk: &mut dyn LogDisk, name: &str) -> io::Result<(Result<Header, HeaderFault>, u64)> {
    let mut block = vec![0u8; BLOCK as usize];
    let mut medium = disk.open(name)?;
    Ok(match read_full(&mut *medium, 0, &mut block) {
        Ok(read) => (Header::decode(&block[..read]), 0),
        Err(_) => (Err(HeaderFault::Damaged), BLOCK),
    })
}

/// Sequences that unreadable frames may have are not given again.
fn leave_room(found: &mut Survey) {
    found.totals.sequence += found.report.unreadable / HEAD_BYTES as u64;
    if !found.report.unknown.is_empty() {
        found.totals.sequence = found.totals.sequence.max(found.last_number << 32);
    }
}

/// Takes the newest checkpoint that is whole. Everything behind it is scanned.
fn begin_at_checkpoint(disk: &mut dyn LogDisk, files: &BTreeMap<u64, File>, salt: u64, found: &mut Survey) {
    for (number, file) in files.iter().rev() {
        // Twice: parts are taken one by one, and only when all of them are whole.
        let salt = file.salt(salt);
        if checkpoint_of(disk, *number, salt, &mut |_| {}).is_none() {
            continue;
        }
        let mut names = BTreeMap::new();
        let table = &mut found.table;
        table.clear();
        let taken = checkpoint_of(disk, *number, salt, &mut |lines| table.add(lines, &mut names));
        let Some((totals, clean)) = taken else {
            // The disk took back what it gave; without a checkpoint everything is scanned.
            table.clear();
            continue;
        };
        found.totals = totals;
        found.checkpoint = Some(*number);
        found.previous = *number;
        found.report.clean = clean;
        if let Some(segment) = found.table.segments.get_mut(number) {
            segment.sealed = true;
        }
        return;
    }
}

/// Hands out the lines of the checkpoint at a segment's end; the totals there, and whether the log was closed by it.
fn checkpoint_of(
    disk: &mut dyn LogDisk,
    number: u64,
    salt: u64,
    visit: &mut dyn FnMut(Vec<Line>),
) -> Option<(Totals, bool)> {
    let mut medium = open_segment(disk, number).ok()?;
    let (mut at, clean) = seal_of(&mut *medium, salt)?;
    let mut expected = 0;
    loop {
        let mut head = [0u8; HEAD_BYTES];
        read_full(&mut *medium, at, &mut head).ok()?;
        let length = Head::decode(salt, &head)?.length;
        let (head, body) = frame_at(&mut *medium, salt, at, length).ok()??;
        let (part, parts, lines) = checkpoint_part(&body).filter(|_| head.kind == FrameKind::Checkpoint)?;
        if part != expected {
            return None;
        }
        visit(lines);
        expected += 1;
        at += head.room();
        if expected == parts {
            let totals = Totals { sequence: head.sequence, records: head.records, items: head.total };
            return Some((totals, clean));
        }
    }
}

/// Scans the segments behind the checkpoint, oldest first.
fn scan_rest(disk: &mut dyn LogDisk, files: &BTreeMap<u64, File>, salt: u64, found: &mut Survey) -> io::Result<()> {
    let from = found.checkpoint.map_or(0, |number| number + 1);
    let rest: Vec<(&u64, &File)> = files.range(from..).collect();
    let mut known = found.checkpoint.map(|_| found.totals);
    for (at, (number, file)) in rest.iter().enumerate() {
        if found.table.segments.get(*number).is_none_or(|segment| segment.damaged) {
            continue;
        }
        let later = rest.get(at + 1..).unwrap_or_default();
        let next = next_of(disk, later, salt)?;
        let limit = next.map(|next| next.first);
        let mut medium = open_segment(disk, **number)?;
        let mut reading =
            Reading { table: &mut found.table, segment: **number, parts: Vec::new(), clean: None, told: false };
        let (start, follows) = start_of(file, files, known, found.checkpoint);
        let mut scanned = scan(&mut *medium, file.salt(salt), start, limit, &mut |frame| reading.take(frame));
        found.report.clean = reading.clean.unwrap_or(found.report.clean);
        let told = reading.told;
        if scanned.frames == 0 {
            // Made in vain, or damaged from end to end: the next segment's header tells.
            scanned.totals = known.unwrap_or_default();
        } else {
            // The end of the segment before, which nothing whole followed there.
            let end = known.zip(start).filter(|_| follows).map(|(before, start)| before.until(start));
            found.report.lost.add(end.unwrap_or_default());
            known = Some(scanned.totals);
            found.previous = **number;
        }
        let crashed = next.is_none_or(|next| file.header.as_ref().map_or(true, |own| own.boot != next.boot));
        if !crashed {
            // The group was acknowledged, or the next segment would begin in it.
            scanned.lost.add(std::mem::take(&mut scanned.last_lost));
            scanned.damaged += std::mem::take(&mut scanned.last_damaged);
        }
        if told {
            found.report.lost = ScanLoss::default();
            scanned.lost = scanned.lost.without(scanned.told);
        }
        account(found, **number, file, later.is_empty(), &scanned);
    }
    Ok(())
}

/// The totals in front of a segment. Where the segment before it is still there (or ends in the checkpoint), they are
/// what the header says and what is missing up to there is lost (`true`); where it is gone, nobody misses it.
fn start_of(
    file: &File,
    files: &BTreeMap<u64, File>,
    known: Option<Totals>,
    checkpoint: Option<u64>,
) -> (Option<Totals>, bool) {
    let Ok(header) = &file.header else { return (known, true) };
    let start = header.totals();
    let follows = files.contains_key(&header.previous) || checkpoint == Some(header.previous);
    // Totals that are ahead of the header's belong to a group that was written again here.
    let ahead = known.filter(|known| follows && known.sequence > start.sequence);
    (ahead.or(Some(start)), follows)
}

/// The next segment whose first frame is there: one whose first group never came has no say.
fn next_of<'a>(disk: &mut dyn LogDisk, later: &[(&u64, &'a File)], salt: u64) -> io::Result<Option<&'a Header>> {
    for (number, file) in later {
        let Ok(header) = &file.header else { continue };
        let mut medium = open_segment(disk, **number)?;
        let mut head = [0u8; HEAD_BYTES];
        // Unreadable bytes are counted when the segment itself is read.
        let read = read_full(&mut *medium, BLOCK, &mut head).is_ok();
        let head = Head::decode(file.salt(salt), &head).filter(|_| read);
        if head.is_some_and(|head| head.sequence == header.first) {
            return Ok(Some(header));
        }
    }
    Ok(None)
}

fn account(found: &mut Survey, number: u64, file: &File, last: bool, scanned: &Scanned) {
    let report = &mut found.report;
    report.scanned += 1;
    report.lost.add(scanned.lost);
    report.damaged += scanned.damaged;
    report.unreadable += scanned.unreadable;
    report.torn_frames.add(scanned.torn);
    report.torn_frames.add(scanned.last_lost);
    report.torn += scanned.last_damaged;
    found.totals = scanned.totals;
    if last {
        report.torn += scanned.tail;
        // A packed segment ends where it was sealed.
        let reaches = file.length > scanned.end && scanned.unreadable == 0 && !file.is_packed();
        found.cut = (reaches && scanned.end > BLOCK).then_some((number, scanned.end));
    } else if scanned.superseded == 0 {
        // What follows in the next segment tells whether it was acknowledged.
        report.torn += scanned.tail;
    }
    if let Some(segment) = found.table.segments.get_mut(&number) {
        segment.damaged |= scanned.unreadable > 0;
        segment.bytes = if last && !file.is_packed() { scanned.end } else { file.length };
    }
}

/// Puts the frames of one segment into the table.
struct Reading<'a> {
    table: &'a mut LogTable,
    segment: u64,
    /// Of a checkpoint whose last part is not there yet.
    parts: Vec<Line>,
    /// Whether the last frame is a seal that closed the log; `None` without a frame.
    clean: Option<bool>,
    /// A checkpoint stands in the segment: what was missing in front of it is found missing when it is read, or was
    /// settled.
    told: bool,
}

impl Reading<'_> {
    fn take(&mut self, frame: Found<'_>) {
        let Found { head, offset, body } = frame;
        let place = FramePlace { segment: self.segment, offset, length: head.length };
        self.clean = Some(head.kind == FrameKind::Seal && of_seal(body).is_some_and(|(_, clean)| clean));
        match head.kind {
            FrameKind::Payload => {
                let name = Description::decode(body).map_or("(of a later version)".to_owned(), |of| of.pipeline);
                let (pipeline, items) = (self.table.pipeline(&name), head.items);
                self.table.insert(head.origin, RecordEntry::of(items, pipeline, Some(place)));
            }
            FrameKind::Verdicts => {
                let keep_until = body.try_into().map_or(u64::MAX, u64::from_le_bytes);
                self.table.keep_verdicts(head.origin, Verdicts { place: Some(place), keep_until });
            }
            FrameKind::Settled => Mark::decode_all(body).for_each(|mark| _ = self.table.mark(&mark)),
            FrameKind::Checkpoint => self.checkpoint(body),
            FrameKind::Seal => {}
        }
    }

    fn checkpoint(&mut self, body: &[u8]) {
        let Some((part, parts, lines)) = checkpoint_part(body) else { return };
        if part == 0 {
            self.parts.clear();
        }
        self.parts.extend(lines);
        if part + 1 == parts {
            self.table.clear();
            self.table.add(std::mem::take(&mut self.parts), &mut BTreeMap::new());
            self.told = true;
        }
    }
}
