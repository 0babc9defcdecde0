//! Where groups are written: the active segment, its end, and what happens when the disk says no.
//!
//! A file whose sync has failed is never written nor believed again beyond what was durable before.

use std::io;

use bytes::Bytes;

use crate::wal::body::{self, FramePlace, SEAL_BODY};
use crate::wal::disk::{LogFile, write_all};
use crate::wal::format::{BLOCK, FrameKind, Header, Purpose, file_name, frame_room};
use crate::wal::table::SegmentEntry;
use crate::wal::writer::group::{Making, encode, pad};
use crate::wal::writer::{LogTime, LogWriter};

/// The segment that is written.
pub(in crate::wal) struct Active {
    pub number: u64,
    pub medium: Box<dyn LogFile>,
    /// Where the next group goes; everything in front of it is durable.
    pub end: u64,
    /// Room that was reserved.
    pub capacity: u64,
    /// What the header names as the one before.
    pub previous: u64,
}

impl Active {
    /// Bytes that a group of what is there already may take: a part is left to marks, and to the end of its last block.
    pub fn left(&self) -> u64 {
        (self.capacity - self.capacity / 32).saturating_sub(self.end + BLOCK)
    }
}

/// Files made in vain that could not be removed; with as many nothing more is made.
const GRAVES_MAX: usize = 4;

impl LogWriter {
    /// Writes the group and syncs it; where it begins. Tries one more segment when the first fails.
    pub(in crate::wal) fn write_group(&mut self) -> io::Result<FramePlace> {
        if self.checkpoint_due {
            self.write_checkpoint()?;
            // What is said of records in this very group comes behind them.
            let durable = self.durable().sequence;
            self.marks.retain(|mark| mark.record > durable);
        }
        let marks = std::mem::take(&mut self.marks);
        self.group.push_marks(self.salt, marks);
        self.group.pad();
        let need = self.group.bytes.len() as u64;
        let new = self.group.has_new();
        let mut first = None;
        for _ in 0..2 {
            if !self.fits(need, new) {
                self.rotate(need)?;
            }
            match self.write_active() {
                Ok(place) => return Ok(place),
                Err(error) => {
                    self.counts.syncs_failed += 1;
                    self.abandon();
                    first.get_or_insert(error);
                }
            }
        }
        Err(first.unwrap_or_else(|| io::Error::other("no segment could be written")))
    }

    /// A sixteenth of a segment is for marks alone: they free room, so they must find some when the disk is full.
    pub(in crate::wal) fn fits(&self, need: u64, new: bool) -> bool {
        let Some(active) = &self.active else { return false };
        let reserve = if new { active.capacity / 16 } else { 0 };
        active.end + need + reserve <= active.capacity
            || new && active.end == BLOCK && active.end + need <= active.capacity
    }

    fn write_active(&mut self) -> io::Result<FramePlace> {
        let Some(active) = &mut self.active else { return Err(io::Error::other("there is no segment")) };
        let place = FramePlace { segment: active.number, offset: active.end, length: 0 };
        write_all(&mut *active.medium, active.end, &self.group.bytes)?;
        active.medium.sync()?;
        active.end += self.group.bytes.len() as u64;
        self.counts.written += self.group.bytes.len() as u64;
        if let Some(segment) = self.table.segments.get_mut(&place.segment) {
            segment.bytes = active.end;
        }
        Ok(place)
    }

    /// Makes a new segment, then seals the one before: were it the other way round, a full disk would leave no room for
    /// the marks that free some.
    pub(in crate::wal) fn rotate(&mut self, need: u64) -> io::Result<()> {
        let next = self.create(need)?;
        self.seal_active(false);
        let segment = SegmentEntry::of(next.end, self.salt);
        self.previous = next.number;
        self.table.segments.insert(next.number, segment);
        self.active = Some(next);
        Ok(())
    }

    /// Files made in vain go first; with too many that cannot be removed nothing more is made.
    pub(in crate::wal) fn make_room_for_a_name(&mut self) -> io::Result<()> {
        self.bury();
        if self.graves.len() >= GRAVES_MAX {
            return Err(io::Error::other("files that a failed attempt made cannot be removed"));
        }
        Ok(())
    }

    fn create(&mut self, need: u64) -> io::Result<Active> {
        self.make_room_for_a_name()?;
        let number = self.last_number + 1;
        self.last_number = number;
        let name = file_name(number, Purpose::Log);
        let mut medium = self.disk.create(&name)?;
        match self.begin(&mut *medium, number, need) {
            Ok(capacity) => Ok(Active { number, medium, end: BLOCK, capacity, previous: self.previous }),
            Err(error) => {
                drop(medium);
                self.graves.push(name);
                self.bury();
                Err(error)
            }
        }
    }

    /// Room, header, and the name in the folder; the first group's sync makes the header last.
    fn begin(&mut self, medium: &mut dyn LogFile, number: u64, need: u64) -> io::Result<u64> {
        let capacity = self.reserve(medium, BLOCK + need)?;
        let durable = self.durable();
        let header = Header {
            purpose: Purpose::Log,
            number,
            previous: self.previous,
            first: durable.sequence + 1,
            records: durable.records,
            items: durable.items,
            salt: self.salt,
            boot: self.boot,
        };
        write_all(medium, 0, &header.encode())?;
        self.disk.sync_folder()?;
        Ok(capacity)
    }

    /// Reserves room for a segment of `least` bytes or more; how much. A nearly full disk gives what it has, but no segment
    /// takes more than a quarter of what is free: files for a group each would be as many as there are groups, and each is
    /// pinned by whatever in it is wanted longest.
    fn reserve(&mut self, medium: &mut dyn LogFile, least: u64) -> io::Result<u64> {
        self.free = self.disk.free();
        let quarter = self.free.map_or(u64::MAX, |free| free / 4 / BLOCK * BLOCK);
        let mut wanted = self.options.segment().min(quarter).max((least + least / 8).next_multiple_of(BLOCK));
        loop {
            match medium.allocate(wanted) {
                Ok(()) => return Ok(wanted),
                Err(error) if error.kind() == io::ErrorKind::Unsupported => return Ok(wanted),
                Err(error) if wanted == least => return Err(error),
                Err(_) => wanted = (wanted / 2 / BLOCK * BLOCK).max(least),
            }
        }
    }

    /// Leaves the active segment as it is. One that holds nothing durable goes away.
    pub(in crate::wal) fn abandon(&mut self) {
        let Some(active) = self.active.take() else { return };
        if active.end > BLOCK {
            return;
        }
        self.previous = active.previous;
        self.table.segments.remove(&active.number);
        self.graves.push(file_name(active.number, Purpose::Log));
        drop(active);
        self.bury();
    }

    pub(in crate::wal) fn bury(&mut self) {
        let disk = &mut self.disk;
        self.graves.retain(|name| match disk.unlink(name) {
            Ok(()) => false,
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        });
    }

    /// Ends the active segment with a checkpoint; without one where the disk says no, which costs the next start a scan.
    pub(in crate::wal) fn seal_active(&mut self, clean: bool) {
        let Some(mut active) = self.active.take() else { return };
        let bytes = self.sealing(active.end, clean);
        let written = write_all(&mut *active.medium, active.end, &bytes).and_then(|()| active.medium.sync());
        if written.is_err() {
            self.counts.syncs_failed += 1;
            return;
        }
        let end = active.end + bytes.len() as u64;
        // What was reserved and not used is given back; the seal is found at the file's end.
        let cut = self.disk.cut(&file_name(active.number, Purpose::Log), end);
        self.checkpoint = Some(active.number);
        if let Some(segment) = self.table.segments.get_mut(&active.number) {
            segment.bytes = end;
            segment.sealed = cut.is_ok();
        }
    }

    /// Checkpoint and seal, which ends where the last block ends.
    fn sealing(&self, at: u64, clean: bool) -> Vec<u8> {
        let (mut bytes, frames) = self.checkpoint_frames();
        let seal = frame_room(SEAL_BODY);
        let end = (bytes.len() as u64 + seal).next_multiple_of(BLOCK);
        bytes.resize((end - seal) as usize, 0);
        let body = Bytes::from(body::seal(at, clean));
        encode(&mut bytes, self.salt, (self.durable(), frames), Making::plain(FrameKind::Seal), &[body]);
        bytes
    }

    /// With how many they are.
    fn checkpoint_frames(&self) -> (Vec<u8>, u64) {
        let (mut bytes, mut frames) = (Vec::new(), 0);
        for part in body::checkpoint(self.table.lines()) {
            let making = Making::plain(FrameKind::Checkpoint);
            encode(&mut bytes, self.salt, (self.durable(), frames), making, &[Bytes::from(part)]);
            frames += 1;
        }
        (bytes, frames)
    }

    /// A checkpoint in the middle of a segment, in place of marks that were left out.
    fn write_checkpoint(&mut self) -> io::Result<()> {
        let (mut bytes, _) = self.checkpoint_frames();
        pad(&mut bytes, BLOCK);
        if !self.fits(bytes.len() as u64, false) {
            self.rotate(bytes.len() as u64)?;
        }
        let Some(active) = &mut self.active else { return Ok(()) };
        let done = write_all(&mut *active.medium, active.end, &bytes).and_then(|()| active.medium.sync());
        if let Err(error) = done {
            self.abandon();
            return Err(error);
        }
        active.end += bytes.len() as u64;
        let (number, end) = (active.number, active.end);
        // Segments in front of this one are told by it, as by a seal.
        self.checkpoint = Some(number);
        self.table.segments.entry(number).and_modify(|segment| segment.bytes = end);
        Ok(())
    }

    /// Looks whether a log that could not write can: a new segment, and one sync that succeeds.
    pub(in crate::wal) fn probe(&mut self, now: LogTime) {
        let tried = self.rotate(BLOCK).and_then(|()| match &mut self.active {
            Some(active) => active.medium.sync(),
            None => Ok(()),
        });
        match tried {
            Ok(()) => self.broken = None,
            Err(error) => {
                if self.active.as_ref().is_some_and(|active| active.end == BLOCK) {
                    self.abandon();
                }
                self.break_off(now, &error);
            }
        }
    }
}
