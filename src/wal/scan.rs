//! Reads one segment from its first frame to its last byte, whatever has become of it. Never fails, never panics.
//!
//! Holds one window of the file, and of a frame no more than its description or one batch of marks. Damage is skipped to
//! the next frame that is whole; what it swallowed is told by the running totals of the frames around it.

use crate::wal::disk::{LogFile, read_full};
use crate::wal::format::{ALIGN, BLOCK, FRAME_MAGIC, FrameKind, HEAD_BYTES, Head, Totals};

/// Bytes read at once.
const WINDOW: usize = 256 << 10;
/// A batch of marks or a part of a checkpoint that is longer was not written by this program.
const BATCH_MAX: u64 = 2 << 20;

/// What lies between two places of the log and could not be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScanLoss {
    pub frames: u64,
    pub records: u64,
    pub items: u64,
}

impl ScanLoss {
    pub fn add(&mut self, other: ScanLoss) {
        self.frames += other.frames;
        self.records += other.records;
        self.items += other.items;
    }
}

impl ScanLoss {
    /// Without what another place tells.
    pub fn without(self, other: ScanLoss) -> ScanLoss {
        ScanLoss {
            frames: self.frames.saturating_sub(other.frames),
            records: self.records.saturating_sub(other.records),
            items: self.items.saturating_sub(other.items),
        }
    }
}

impl Totals {
    pub fn until(self, later: Totals) -> ScanLoss {
        ScanLoss {
            frames: later.sequence.saturating_sub(self.sequence),
            records: later.records.saturating_sub(self.records),
            items: later.items.saturating_sub(self.items),
        }
    }
}

/// A whole frame.
pub struct Found<'a> {
    pub head: Head,
    pub offset: u64,
    /// A payload's description, a verdict batch's first eight bytes, the whole body of all else.
    pub body: &'a [u8],
}

/// What a segment is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scanned {
    /// Where the last whole frame's block ends.
    pub end: u64,
    pub totals: Totals,
    pub frames: u64,
    pub records: u64,
    pub items: u64,
    /// In front of the last group.
    pub lost: ScanLoss,
    /// Damaged stretches in front of the last group, bytes.
    pub damaged: u64,
    /// The same within the last group, which may have been torn.
    pub last_lost: ScanLoss,
    pub last_damaged: u64,
    /// What was missing in front of the last checkpoint: it tells which records those were.
    pub told: ScanLoss,
    /// Frames of a group that failed and was written again in the next segment.
    pub superseded: u64,
    /// Behind the last whole frame: bytes that are not zero. A torn group, or damage at the end.
    pub tail: u64,
    /// Frames in the tail whose head is whole.
    pub torn: ScanLoss,
    /// The bytes that the disk did not give.
    pub unreadable: u64,
}

/// Reads the segment. `start` are the totals in front of it, where they are known; frames from the sequence `limit` on
/// are not believed.
pub fn scan(
    medium: &mut dyn LogFile,
    salt: u64,
    start: Option<Totals>,
    limit: Option<u64>,
    visit: &mut dyn FnMut(Found<'_>),
) -> Scanned {
    let length = medium.length();
    let unreadable = if length.is_ok() { 0 } else { BLOCK };
    let length = length.unwrap_or(0);
    let window = Window { medium, length, start: 0, bytes: Vec::new(), unreadable };
    let totals = start.unwrap_or_default();
    let result = Scanned { end: BLOCK.min(length), totals, ..Scanned::default() };
    let mut scan = Scan { window, salt, limit, group: 0, is_known: start.is_some(), result, tail: 0, torn: totals };
    let mut at = BLOCK;
    while at + HEAD_BYTES as u64 <= length {
        at = scan.step(at, visit);
    }
    scan.result.tail = scan.tail;
    scan.result.torn = scan.result.totals.until(scan.torn);
    scan.result.unreadable = scan.window.unreadable;
    scan.result
}

struct Scan<'a> {
    window: Window<'a>,
    salt: u64,
    limit: Option<u64>,
    /// The sequence of the present group's first frame.
    group: u64,
    /// Whether the totals in front of the next frame are.
    is_known: bool,
    result: Scanned,
    /// Bytes that are not zero since the last whole frame.
    tail: u64,
    /// The latest totals that a head told, its body whole or not.
    torn: Totals,
}

impl Scan<'_> {
    /// Looks at one place; where to look next.
    fn step(&mut self, at: u64, visit: &mut dyn FnMut(Found<'_>)) -> u64 {
        let Some(head) = Head::decode(self.salt, self.window.get(at, HEAD_BYTES)) else {
            let (next, dirt) = self.window.seek(at);
            self.tail += dirt;
            return next;
        };
        let next = at + head.room();
        let totals = Totals { sequence: head.sequence, records: head.records, items: head.total };
        if self.limit.is_some_and(|limit| head.sequence >= limit) {
            self.result.superseded += 1;
            return next;
        }
        if !self.is_whole(at, &head) {
            self.tail += head.room();
            self.torn = totals;
            return next;
        }
        self.take(at, head, totals);
        let wanted = match head.kind {
            FrameKind::Payload => u64::from(head.described),
            FrameKind::Verdicts => u64::from(head.length).min(8),
            _ => u64::from(head.length).min(BATCH_MAX),
        };
        let body = self.window.get(at + HEAD_BYTES as u64, wanted as usize);
        visit(Found { head, offset: at, body });
        next
    }

    fn is_whole(&mut self, at: u64, head: &Head) -> bool {
        let end = at + HEAD_BYTES as u64 + u64::from(head.length);
        if end > self.window.length {
            return false;
        }
        let (mut from, mut check) = (at + HEAD_BYTES as u64, 0);
        while from < end {
            let piece = self.window.get(from, ((end - from) as usize).min(WINDOW));
            if piece.is_empty() {
                return false;
            }
            check = crc32c::crc32c_append(check, piece);
            from += piece.len() as u64;
        }
        check == head.check
    }

    /// Accounts for a whole frame, and for what is missing in front of it.
    fn take(&mut self, at: u64, head: Head, totals: Totals) {
        let result = &mut self.result;
        // A checkpoint and its seal count for nothing: they repeat the totals of the frame before them.
        let counts = !matches!(head.kind, FrameKind::Checkpoint | FrameKind::Seal);
        let payload = head.kind == FrameKind::Payload;
        let before = Totals {
            sequence: totals.sequence.saturating_sub(u64::from(counts)),
            records: totals.records.saturating_sub(u64::from(payload)),
            items: totals.items.saturating_sub(u64::from(head.items)),
        };
        let begins = totals.sequence.saturating_sub(u64::from(head.index));
        let new = if counts { head.index < u8::MAX && begins > self.group } else { head.index == 0 };
        let gap =
            if std::mem::replace(&mut self.is_known, true) { result.totals.until(before) } else { ScanLoss::default() };
        let tail = std::mem::take(&mut self.tail);
        if new {
            self.group = begins;
            result.lost.add(std::mem::take(&mut result.last_lost));
            result.damaged += std::mem::take(&mut result.last_damaged);
        }
        // A hole in front of a group's first frame is none of that group's.
        if new && head.index == 0 {
            result.lost.add(gap);
            result.damaged += tail;
        } else {
            result.last_lost.add(gap);
            result.last_damaged += tail;
        }
        if head.kind == FrameKind::Checkpoint {
            result.told = result.lost;
            result.told.add(result.last_lost);
        }
        result.totals = totals;
        self.torn = totals;
        result.frames += u64::from(counts);
        result.records += u64::from(payload);
        result.items += u64::from(head.items);
        result.end = (at + head.room()).next_multiple_of(BLOCK).min(self.window.length);
    }
}

/// The first place of a block, which begins at `start`, behind `at` where a frame may begin; and the bytes in front of it
/// that are not zero, in eights.
fn within(block: &[u8], start: u64, at: u64) -> (Option<u64>, u64) {
    let mut dirt = 0;
    for (number, eight) in block.chunks(ALIGN as usize).enumerate() {
        let place = start + ALIGN * number as u64;
        if place > at && eight.starts_with(&FRAME_MAGIC) {
            return (Some(place), dirt);
        }
        dirt += if eight.iter().all(|byte| *byte == 0) { 0 } else { ALIGN };
    }
    (None, dirt)
}

static ZEROS: [u8; BLOCK as usize] = [0; BLOCK as usize];

/// A part of a file. What the disk does not give reads as zeros.
struct Window<'a> {
    medium: &'a mut dyn LogFile,
    length: u64,
    start: u64,
    bytes: Vec<u8>,
    unreadable: u64,
}

impl Window<'_> {
    /// `wanted` bytes from `at` on, fewer at the end of the file.
    fn get(&mut self, at: u64, wanted: usize) -> &[u8] {
        let wanted = wanted.min(usize::try_from(self.length.saturating_sub(at)).unwrap_or(usize::MAX));
        let held = self.start + self.bytes.len() as u64;
        if at < self.start || at + wanted as u64 > held {
            self.fill(at, wanted.max(WINDOW));
        }
        let from = (at - self.start) as usize;
        self.bytes.get(from..from + wanted).unwrap_or_default()
    }

    fn fill(&mut self, at: u64, wanted: usize) {
        let wanted = wanted.min(usize::try_from(self.length.saturating_sub(at)).unwrap_or(usize::MAX));
        self.bytes.clear();
        self.bytes.resize(wanted, 0);
        self.start = at;
        if read_full(self.medium, at, &mut self.bytes).is_ok() {
            return;
        }
        self.bytes.fill(0);
        for (number, block) in self.bytes.chunks_mut(BLOCK as usize).enumerate() {
            if read_full(self.medium, at + number as u64 * BLOCK, block).is_err() {
                block.fill(0);
                self.unreadable += block.len() as u64;
            }
        }
    }

    /// The next place behind `at` where a frame may begin, and how many bytes in between are not zero (in eights).
    fn seek(&mut self, at: u64) -> (u64, u64) {
        let (mut from, mut dirt) = (at, 0);
        while from < self.length {
            let piece = self.get(from, WINDOW);
            let taken = piece.len() as u64;
            for (number, block) in piece.chunks(ZEROS.len()).enumerate() {
                // What was reserved and never written: most of what is ever sought through.
                if *block == ZEROS[..block.len()] {
                    continue;
                }
                let start = from + (number * ZEROS.len()) as u64;
                let (found, more) = within(block, start, at);
                dirt += more;
                if let Some(found) = found {
                    return (found, dirt);
                }
            }
            from += taken;
            if taken == 0 {
                break;
            }
        }
        (self.length, dirt)
    }
}

/// The last bytes of a sealed segment's file, where they are whole: where the checkpoint begins, and whether the log
/// was closed by it.
pub fn seal_of(medium: &mut dyn LogFile, salt: u64) -> Option<(u64, bool)> {
    use crate::wal::body::{SEAL_BODY, of_seal};
    let length = medium.length().ok()?;
    let room = HEAD_BYTES as u64 + SEAL_BODY;
    let mut bytes = [0u8; HEAD_BYTES + SEAL_BODY as usize];
    let at = length.checked_sub(room).filter(|_| length.is_multiple_of(BLOCK))?;
    let read = read_full(medium, at, &mut bytes).ok()?;
    let head = Head::decode(salt, &bytes).filter(|head| head.kind == FrameKind::Seal && read == bytes.len())?;
    let body = &bytes[HEAD_BYTES..];
    let sound = crc32c::crc32c(body) == head.check && u64::from(head.length) == SEAL_BODY;
    sound.then(|| of_seal(body)).flatten()
}

/// The frame at a place, whole and of this log; `Ok(None)` when it is damaged.
pub fn frame_at(
    medium: &mut dyn LogFile,
    salt: u64,
    offset: u64,
    length: u32,
) -> std::io::Result<Option<(Head, Vec<u8>)>> {
    // The lengths were told by a checked frame or checkpoint; the file is the last word on what there is.
    let rest = medium.length()?.saturating_sub(offset);
    let wanted = HEAD_BYTES as u64 + u64::from(length);
    if wanted > rest {
        return Ok(None);
    }
    let mut bytes = vec![0u8; wanted as usize];
    if read_full(medium, offset, &mut bytes)? < bytes.len() {
        return Ok(None);
    }
    let Some(head) = Head::decode(salt, &bytes).filter(|head| head.length == length) else { return Ok(None) };
    let body = bytes.split_off(HEAD_BYTES);
    Ok((crc32c::crc32c(&body) == head.check).then_some((head, body)))
}
