//! The group that is being gathered: frames one after the other, in memory until one write and one sync make them last.
//!
//! Pure. A group that failed is either written again byte for byte, or taken back as if it had never been.

use bytes::Bytes;

use crate::wal::body::{MARKS_MAX, Mark};
use crate::wal::format::Totals;
use crate::wal::format::{ALIGN, BLOCK, FrameKind, HEAD_BYTES, Head, check_of};

/// A frame whose place is known once the group is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    pub what: GroupMember,
    /// In the group.
    pub offset: u64,
    /// Bytes of the body.
    pub length: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupMember {
    /// A record that nobody has been told is safe.
    Record(u64),
    /// A record that stands elsewhere too.
    Copy(u64),
    Verdicts {
        origin: u64,
        keep_until: u64,
        copy: bool,
    },
}

/// What a frame is made of, apart from its parts.
#[derive(Clone, Copy, Debug)]
pub struct Making {
    pub kind: FrameKind,
    /// `None` for a frame that is new.
    pub origin: Option<u64>,
    pub items: u32,
    pub described: u16,
}

impl Making {
    pub fn plain(kind: FrameKind) -> Making {
        Making { kind, origin: None, items: 0, described: 0 }
    }
}

#[derive(Debug, Default)]
pub struct CommitGroup {
    pub bytes: Vec<u8>,
    pub members: Vec<Waiting>,
    /// In front of the group.
    pub start: Totals,
    /// Behind it.
    pub totals: Totals,
    frames: u64,
    /// Marks that are encoded already; kept in case the group is taken back.
    pub marks: Vec<Mark>,
}

impl CommitGroup {
    pub fn new(start: Totals) -> CommitGroup {
        CommitGroup { start, totals: start, ..CommitGroup::default() }
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// True when somebody waits to hear that it is durable.
    pub fn has_new(&self) -> bool {
        self.members
            .iter()
            .any(|member| matches!(member.what, GroupMember::Record(_) | GroupMember::Verdicts { copy: false, .. }))
    }

    /// Appends a frame; its sequence and where it begins in the group.
    pub fn push(&mut self, salt: u64, making: Making, parts: &[Bytes]) -> (u64, u64, u32) {
        let offset = self.bytes.len() as u64;
        self.totals.sequence += 1;
        if making.kind == FrameKind::Payload {
            self.totals.records += 1;
            self.totals.items += u64::from(making.items);
        }
        let length = encode(&mut self.bytes, salt, (self.totals, self.frames), making, parts);
        self.frames += 1;
        (self.totals.sequence, offset, length)
    }

    /// Appends the marks as frames of bounded length.
    pub fn push_marks(&mut self, salt: u64, marks: Vec<Mark>) {
        for some in marks.chunks(MARKS_MAX) {
            let mut body = Vec::new();
            some.iter().for_each(|mark| mark.encode(&mut body));
            self.push(salt, Making::plain(FrameKind::Settled), &[Bytes::from(body)]);
        }
        self.marks.extend(marks);
    }

    /// Zeros up to the next block.
    pub fn pad(&mut self) {
        pad(&mut self.bytes, BLOCK);
    }

    /// Empty again, behind what it held; keeps its buffer unless that is large.
    pub fn next(&mut self) {
        self.start = self.totals;
        self.clear();
    }

    /// Empty again, as if nothing had been appended; the marks are handed back.
    pub fn take_back(&mut self) -> Vec<Mark> {
        self.totals = self.start;
        let marks = std::mem::take(&mut self.marks);
        self.clear();
        marks
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(1 << 20);
        self.members.clear();
        self.marks.clear();
        self.frames = 0;
    }
}

/// Appends one frame with these totals in its head, and with so many frames of its group in front of it; the bytes of
/// its body.
pub fn encode(into: &mut Vec<u8>, salt: u64, at: (Totals, u64), making: Making, parts: &[Bytes]) -> u32 {
    let (totals, index) = at;
    let length = parts.iter().map(Bytes::len).sum::<usize>() as u32;
    let head = Head {
        kind: making.kind,
        length,
        sequence: totals.sequence,
        origin: making.origin.unwrap_or(totals.sequence),
        records: totals.records,
        total: totals.items,
        items: making.items,
        described: making.described,
        index: index.min(255) as u8,
        check: check_of(parts),
    };
    into.reserve(HEAD_BYTES + length as usize + ALIGN as usize);
    into.extend_from_slice(&head.encode(salt));
    parts.iter().for_each(|part| into.extend_from_slice(part));
    pad(into, ALIGN);
    length
}

pub fn pad(bytes: &mut Vec<u8>, to: u64) {
    let length = (bytes.len() as u64).next_multiple_of(to);
    bytes.resize(length as usize, 0);
}
