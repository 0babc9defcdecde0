//! Segments that nobody has taken for a while are compressed, one at a time: an outage lasts longer on the same disk.
//!
//! The writer says which, and puts the packed one in place; the work between is a [`PackJob`], which touches two files of its
//! own and may run anywhere. At most half of one core is spent, because a job is followed by as long a pause.

use std::io;
use std::time::Duration;

use crate::wal::disk::LogFile;
use crate::wal::format::{Purpose, file_name, unfinished_name};
use crate::wal::packed::pack::pack;
use crate::wal::table::Packing;
use crate::wal::writer::{LogTime, LogWriter};

/// With less than this part of a segment wanted, it goes soon, or what is wanted is copied forward.
const WORTH: u64 = 10;
/// A packed segment that is smaller by less than this part is not worth the reading.
const GAIN: u64 = 16;
/// What the disk did not do is tried again after this time.
const AGAIN: Duration = Duration::from_secs(60);

/// A segment to be packed.
pub struct PackJob {
    number: u64,
    from: Box<dyn LogFile>,
    to: Box<dyn LogFile>,
}

/// What became of it.
pub struct PackResult {
    number: u64,
    /// Bytes before and after; the packed file is synced.
    bytes: io::Result<(u64, u64)>,
}

impl PackJob {
    /// Blocks: reads, compresses, writes and syncs.
    pub fn run(mut self) -> PackResult {
        let bytes = pack(&mut *self.from, &mut *self.to);
        PackResult { number: self.number, bytes }
    }
}

impl LogWriter {
    /// The next segment to be packed, if there is one; [`LogWriter::packed`] hears what became of it.
    pub fn next_to_pack(&mut self, now: LogTime) -> Option<PackJob> {
        let after = self.options.pack_after?;
        // A disk that cannot write, or is another's, is left alone.
        if self.broken.is_some() || self.is_reserved() || now.mono < self.pack_not_before {
            return None;
        }
        // With half of the budget gone age is no matter.
        let after = if self.bytes() >= self.options.max_bytes / 2 { Duration::ZERO } else { after };
        let (checkpoint, mut due) = (self.checkpoint.unwrap_or(0), None);
        for (number, segment) in self.table.segments.range_mut(..checkpoint) {
            let since = *segment.looked_at.get_or_insert(now.mono);
            let wanted = segment.live_bytes > 0 && segment.live_bytes >= segment.bytes / WORTH;
            let plain = segment.packing == Packing::Not && !segment.damaged && !segment.unlinked;
            if wanted && plain && now.mono.saturating_sub(since) >= after {
                due.get_or_insert(*number);
            }
        }
        let number = due?;
        self.pack_began = now.mono;
        let job = self.begin_packing(number);
        if job.is_err() {
            self.pack_not_before = now.mono + AGAIN;
        }
        job.ok()
    }

    fn begin_packing(&mut self, number: u64) -> io::Result<PackJob> {
        self.make_room_for_a_name()?;
        let from = self.disk.open(&file_name(number, Purpose::Log))?;
        let name = unfinished_name(number);
        let to = self.disk.create(&name).inspect_err(|_| self.graves.push(name))?;
        Ok(PackJob { number, from, to })
    }

    /// Puts the packed segment in the place of the old one. Its name need not be synced: after a power cut either of them
    /// stands there, and they say the same.
    pub fn packed(&mut self, now: LogTime, result: PackResult) {
        let PackResult { number, bytes } = result;
        self.pack_not_before = now.mono + now.mono.saturating_sub(self.pack_began);
        let unfinished = unfinished_name(number);
        let wanted =
            self.table.segments.get(&number).is_some_and(|segment| segment.live_bytes > 0 && !segment.unlinked);
        let gain = bytes.map(|(before, after)| (before, after, after + before / GAIN <= before));
        let packing = match gain {
            Ok((_, _, false)) => Packing::Useless,
            Ok((before, after, true)) if wanted => {
                match self.disk.rename(&unfinished, &file_name(number, Purpose::Log)) {
                    Ok(()) => {
                        self.reader.close(number);
                        self.counts.packed += 1;
                        self.counts.saved += before - after;
                        self.table.segments.entry(number).and_modify(|segment| {
                            (segment.bytes, segment.packing) = (after, Packing::Done);
                        });
                        return;
                    }
                    Err(_) => Packing::Not,
                }
            }
            _ => Packing::Not,
        };
        if packing == Packing::Not && wanted {
            self.pack_not_before = now.mono + AGAIN;
        }
        self.table.segments.entry(number).and_modify(|segment| segment.packing = packing);
        self.graves.push(unfinished);
        self.bury();
    }
}
