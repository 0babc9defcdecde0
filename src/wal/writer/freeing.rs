//! How room comes back: segments without unsettled records go, a few survivors that pin an old one are copied forward,
//! what cannot be delivered goes to a file of dead letters.
//!
//! The order is the promise: what settles a record is durable before its segment goes, a segment's marks stand in a later
//! checkpoint before it goes, and a segment is forgotten when its folder was synced.

use std::io;

use bytes::Bytes;

use crate::wal::body::{FramePlace, Mark, What};
use crate::wal::disk::{LogFile, Removal, write_all};
use crate::wal::format::Totals;
use crate::wal::format::{BLOCK, FrameKind, Header, Purpose, file_name, frame_room, unfinished_name};
use crate::wal::writer::group::{CommitGroup, GroupMember, Making, Waiting};
use crate::wal::writer::{LogTime, LogWriter};

/// A segment is old when this many were begun after it ...
const HELD_SEGMENTS: u64 = 4;
/// ... and its survivors are few when they are less than one part in ten.
const FEW: u64 = 10;
/// Where room is scarce: less than a half.
const FEW_WHEN_TIGHT: u64 = 2;
/// Removals that wait to be run; more are run at once.
const REMOVALS_MAX: usize = 16;
/// Bytes that are copied forward in one group.
const COPIED_AT_ONCE: u64 = 1 << 20;

/// The file of dead letters that is written.
pub(in crate::wal) struct DeadRecords {
    name: String,
    medium: Box<dyn LogFile>,
    end: u64,
    totals: Totals,
}

impl LogWriter {
    /// Unlinks segments that nobody needs. Safe to repeat.
    pub(in crate::wal) fn reclaim(&mut self) {
        // With no room for marks at all, settled segments go without: a crash before there is room counts their records
        // as missing. Waiting for ever would be worse.
        let stuck = self.broken.as_ref().is_some_and(|broken| broken.stuck || broken.full && self.active.is_none());
        if !(self.marks.is_empty() && !self.checkpoint_due || stuck) {
            return;
        }
        let checkpoint = self.checkpoint.filter(|_| !stuck).unwrap_or(0);
        let behind: Vec<u64> = self.table.segments.range(..checkpoint).map(|(number, _)| *number).collect();
        let behind: Vec<u64> = behind.into_iter().filter(|number| self.is_dead(*number)).collect();
        self.unlink(&behind);
        // The oldest one's marks are about itself alone, so it needs no checkpoint.
        for _ in 0..8 {
            let Some(oldest) = self.table.segments.keys().next().copied().filter(|oldest| self.is_dead(*oldest)) else {
                break;
            };
            if !self.unlink(&[oldest]) {
                break;
            }
        }
        self.full &= self.bytes() >= self.options.low();
    }

    fn is_dead(&self, number: u64) -> bool {
        let active = self.active.as_ref().is_some_and(|active| active.number == number);
        let segment = self.table.segments.get(&number);
        !active && segment.is_some_and(|segment| segment.live == 0 && segment.live_bytes == 0 && !segment.damaged)
    }

    /// Takes their names away, then syncs the folder; whether they are gone for good. Their room comes back a little later,
    /// because nobody who waits for a group waits for that.
    fn unlink(&mut self, numbers: &[u64]) -> bool {
        if numbers.is_empty() {
            return true;
        }
        for number in numbers {
            let gone = self.set_aside(*number);
            self.reader.close(*number);
            if let Some(segment) = self.table.segments.get_mut(number) {
                segment.unlinked = gone;
            }
        }
        if self.disk.sync_folder().is_err() {
            self.counts.syncs_failed += 1;
            return false;
        }
        let before = self.table.segments.len();
        self.table.segments.retain(|number, segment| !(segment.unlinked && numbers.contains(number)));
        self.counts.freed += (before - self.table.segments.len()) as u64;
        before - self.table.segments.len() == numbers.len()
    }

    /// Unlinks a segment, or gives it a name that every start removes, where the unlink is left to others; whether it has its
    /// own no more.
    fn set_aside(&mut self, number: u64) -> bool {
        let (name, aside) = (file_name(number, Purpose::Log), unfinished_name(number));
        let removal = self.disk.removal(&aside).filter(|_| self.removals.len() < REMOVALS_MAX);
        let renamed = removal.filter(|_| self.disk.rename(&name, &aside).is_ok());
        if let Some(removal) = renamed {
            self.removals.push(removal);
            return true;
        }
        self.disk.unlink(&name).map_or_else(|error| error.kind() == io::ErrorKind::NotFound, |()| true)
    }

    /// What is to be run, in any order and anywhere.
    pub fn removals(&mut self) -> Vec<Removal> {
        std::mem::take(&mut self.removals)
    }

    /// Takes the survivors of one old segment into the group. Where the disk has less left than the log takes, no segment is
    /// too young: a few survivors pin more than they weigh. On a full one they go where there is room in the segment that
    /// is written.
    pub(in crate::wal) fn copy_forward(&mut self, now: LogTime) {
        let Some((active, left)) = self.active.as_ref().map(|active| (active.number, active.left())) else { return };
        let full = self.broken.as_ref().map(|broken| broken.full);
        let tight = full == Some(true) || self.free.is_some_and(|free| free < self.table.bytes());
        let (held, few) = if tight { (0, FEW_WHEN_TIGHT) } else { (HELD_SEGMENTS, FEW) };
        let most = match full {
            None => COPIED_AT_ONCE,
            Some(true) => COPIED_AT_ONCE.min(left),
            Some(false) => return,
        };
        let copying =
            |member: &Waiting| matches!(member.what, GroupMember::Copy(_) | GroupMember::Verdicts { copy: true, .. });
        if self.group.members.iter().any(copying) {
            return;
        }
        let pinned = self.table.segments.iter().find(|(number, segment)| {
            let is_few = segment.live_bytes > 0 && segment.live_bytes * few < segment.bytes;
            **number + held < active && is_few && !segment.damaged
        });
        let Some(pinned) = pinned.map(|(number, _)| *number) else { return };
        let within = |place: &Option<FramePlace>| place.filter(|place| place.segment == pinned);
        let records = self.table.entries.iter().filter_map(|(id, entry)| Some((*id, within(&entry.place)?)));
        let verdicts = self.table.verdicts.iter().filter_map(|(id, of)| Some((*id, within(&of.place)?)));
        let mut room = 0;
        let mut some = |(_, place): &(u64, FramePlace)| {
            room += frame_room(u64::from(place.length));
            room <= most || full.is_none() && room == frame_room(u64::from(place.length))
        };
        let records: Vec<_> = records.take_while(&mut some).collect();
        let verdicts: Vec<_> = verdicts.take_while(&mut some).collect();
        records.into_iter().for_each(|(record, place)| self.copy_record(now, record, place));
        verdicts.into_iter().for_each(|(origin, place)| self.copy_verdicts(now, origin, place));
    }

    fn copy_record(&mut self, now: LogTime, record: u64, place: FramePlace) {
        let (head, body) = match self.frame(place) {
            Ok(Some(frame)) => frame,
            Ok(None) => return self.lose(now, record),
            // The disk may answer another time.
            Err(_) => return,
        };
        let making =
            Making { kind: FrameKind::Payload, origin: Some(record), items: head.items, described: head.described };
        let (_, offset, length) = self.group.push(self.salt, making, &[Bytes::from(body)]);
        self.group.members.push(Waiting { what: GroupMember::Copy(record), offset, length });
        self.group_since.get_or_insert(now.mono);
        self.counts.copied += 1;
        // What is known of it may stand in the segment that goes.
        let whole = |what| Mark { record, from: 0, to: u32::MAX, what };
        if let Some(entry) = self.table.entries.get(&record) {
            if entry.doubt {
                self.marks.push(whole(What::Crashed(entry.crashes)));
            }
            if entry.sent {
                self.marks.push(whole(What::Sent));
            }
        }
        let settled = self.table.partial.get(&record).into_iter().flat_map(|ranges| ranges.iter());
        self.marks.extend(settled.map(|(from, to)| Mark { record, from, to, what: What::Delivered }));
    }

    fn copy_verdicts(&mut self, now: LogTime, origin: u64, place: FramePlace) {
        let Ok(frame) = self.frame(place) else { return };
        let Some((_, body)) = frame else {
            self.table.forget_verdict(origin);
            self.counts.verdicts_lost += 1;
            return;
        };
        let keep_until = self.table.verdicts.get(&origin).map_or(0, |of| of.keep_until);
        let making = Making { origin: Some(origin), ..Making::plain(FrameKind::Verdicts) };
        let (_, offset, length) = self.group.push(self.salt, making, &[Bytes::from(body)]);
        let what = GroupMember::Verdicts { origin, keep_until, copy: true };
        self.group.members.push(Waiting { what, offset, length });
        self.group_since.get_or_insert(now.mono);
    }

    /// A record whose frame is damaged: counted, and settled so that it pins nothing.
    pub(in crate::wal) fn lose(&mut self, now: LogTime, record: u64) {
        let items = self.settle_whole(now, record, What::Lost);
        self.counts.lost.records += 1;
        self.counts.lost.items += u64::from(items);
        self.counts.lost.frames += 1;
    }

    /// Writes a record's frame to the file of dead letters and settles what was left of it. `false` when there is no such
    /// record, or no room: dead letters take a tenth of the budget at most.
    pub fn dead_letter(&mut self, now: LogTime, record: u64) -> io::Result<bool> {
        let Some(place) = self.table.entries.get(&record).and_then(|entry| entry.place) else { return Ok(false) };
        let Some((head, body)) = self.frame(place)? else {
            self.lose(now, record);
            return Ok(true);
        };
        let mut group = CommitGroup::new(self.dead_letters.as_ref().map(|file| file.totals).unwrap_or_default());
        let making =
            Making { kind: FrameKind::Payload, origin: Some(record), items: head.items, described: head.described };
        group.push(self.salt, making, &[Bytes::from(body)]);
        group.pad();
        let room = group.bytes.len() as u64;
        if self.counts.dead_letter_bytes + BLOCK + room > self.options.max_bytes / 10 {
            return Ok(false);
        }
        let mut file = match self.dead_letters.take() {
            Some(file) => file,
            None => self.begin_dead_letters()?,
        };
        let written = write_all(&mut *file.medium, file.end, &group.bytes).and_then(|()| file.medium.sync());
        if let Err(error) = written {
            // As with a segment: what was durable stays, the file is not written again.
            if file.end == BLOCK {
                self.counts.dead_letter_bytes -= BLOCK;
                self.graves.push(file.name);
            }
            return Err(error);
        }
        (file.end, file.totals) = (file.end + room, group.totals);
        self.dead_letters = Some(file);
        self.counts.dead_letter_bytes += room;
        self.settle_whole(now, record, What::DeadLettered);
        Ok(true)
    }

    fn begin_dead_letters(&mut self) -> io::Result<DeadRecords> {
        self.make_room_for_a_name()?;
        self.last_number += 1;
        let number = self.last_number;
        let name = file_name(number, Purpose::DeadLetters);
        let header = Header {
            purpose: Purpose::DeadLetters,
            number,
            previous: 0,
            first: 1,
            records: 0,
            items: 0,
            salt: self.salt,
            boot: self.boot,
        };
        let mut medium = self.disk.create(&name)?;
        let begun = write_all(&mut *medium, 0, &header.encode()).and_then(|()| self.disk.sync_folder());
        if let Err(error) = begun {
            self.graves.push(name);
            return Err(error);
        }
        self.counts.dead_letter_bytes += BLOCK;
        Ok(DeadRecords { name, medium, end: BLOCK, totals: Totals::default() })
    }
}
