//! What stands in frames: a record's description, marks (what became of items), and the parts of a checkpoint.
//!
//! Pure bytes. A decoder answers `None` for what no version wrote; a checksum stood in front of it.

use crate::wal::ranges::Ranges;

/// Where a record comes from: what late binding and routing need after a restart. Version 1 of its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// Which pipeline took it, as `traces/apm`; at most 255 bytes are kept.
    pub pipeline: String,
    /// The signal, as the caller numbers them.
    pub signal: u8,
    /// When the first byte arrived, and when the connection was accepted; Unix nanoseconds.
    pub arrival: u64,
    pub accepted: u64,
    pub connection: u64,
    /// The sender's address, opaque.
    pub peer: Vec<u8>,
    pub tenant: Vec<u8>,
    /// Whatever else the caller needs.
    pub more: Vec<u8>,
}

/// The longest of `peer`, `tenant` and `more` together that a frame can name.
const DESCRIBED_MAX: usize = 60_000;

impl Description {
    /// `None` when its parts are longer together than 60,000 bytes.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let parts = [self.peer.as_slice(), &self.tenant, &self.more];
        if parts.iter().map(|part| part.len()).sum::<usize>() > DESCRIBED_MAX {
            return None;
        }
        let mut end = self.pipeline.len().min(255);
        while !self.pipeline.is_char_boundary(end) {
            end -= 1;
        }
        let mut bytes = vec![1, self.signal, end as u8];
        bytes.extend_from_slice(&self.pipeline.as_bytes()[..end]);
        for number in [self.arrival, self.accepted, self.connection] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        for part in parts {
            put(&mut bytes, part.len() as u64);
            bytes.extend_from_slice(part);
        }
        Some(bytes)
    }

    /// `None` for bytes of a later version, or of none.
    pub fn decode(bytes: &[u8]) -> Option<Description> {
        let mut rest = bytes;
        if byte(&mut rest)? != 1 {
            return None;
        }
        let signal = byte(&mut rest)?;
        let length = usize::from(byte(&mut rest)?);
        let pipeline = std::str::from_utf8(take(&mut rest, length)?).ok()?.to_owned();
        let mut fixed = || take(&mut rest, 8).and_then(|eight| eight.try_into().ok()).map(u64::from_le_bytes);
        let (arrival, accepted, connection) = (fixed()?, fixed()?, fixed()?);
        let mut part = || {
            let length = usize::try_from(get(&mut rest)?).ok()?;
            take(&mut rest, length).map(<[u8]>::to_vec)
        };
        let (peer, tenant, more) = (part()?, part()?, part()?);
        rest.is_empty().then_some(Description { pipeline, signal, arrival, accepted, connection, peer, tenant, more })
    }
}

/// What is said of items of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    Delivered,
    SampledOut,
    /// For a reason that the caller numbers.
    Dropped(u8),
    DeadLettered,
    /// Its frame was found damaged.
    Lost,
    /// Handed to an exporter: not settled, in doubt after a crash.
    Sent,
    /// In flight at this many crashes: not settled.
    Crashed(u8),
}

impl What {
    /// Whether the items are done with.
    pub fn settles(self) -> bool {
        !matches!(self, What::Sent | What::Crashed(_))
    }

    fn code(self) -> [u8; 2] {
        match self {
            What::Delivered => [1, 0],
            What::SampledOut => [2, 0],
            What::Dropped(reason) => [3, reason],
            What::DeadLettered => [4, 0],
            What::Lost => [5, 0],
            What::Sent => [16, 0],
            What::Crashed(times) => [17, times],
        }
    }

    fn of(code: [u8; 2]) -> Option<What> {
        Some(match code {
            [1, _] => What::Delivered,
            [2, _] => What::SampledOut,
            [3, reason] => What::Dropped(reason),
            [4, _] => What::DeadLettered,
            [5, _] => What::Lost,
            [16, _] => What::Sent,
            [17, times] => What::Crashed(times),
            _ => return None,
        })
    }
}

/// One line of a settled batch: 20 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The record, by the sequence of its first frame.
    pub record: u64,
    /// Its items `from..to`.
    pub from: u32,
    pub to: u32,
    pub what: What,
}

pub const MARK_BYTES: usize = 20;
/// Marks in one frame: 64 KiB.
pub const MARKS_MAX: usize = 3_276;

impl Mark {
    pub fn encode(&self, into: &mut Vec<u8>) {
        into.extend_from_slice(&self.record.to_le_bytes());
        into.extend_from_slice(&self.from.to_le_bytes());
        into.extend_from_slice(&self.to.to_le_bytes());
        into.extend_from_slice(&self.what.code());
        into.extend_from_slice(&[0, 0]);
    }

    /// All marks of a body. What is said by a code of a later version is left out: it settles nothing.
    pub fn decode_all(body: &[u8]) -> impl Iterator<Item = Mark> + '_ {
        body.chunks_exact(MARK_BYTES).filter_map(|line| {
            let record = u64::from_le_bytes(line[..8].try_into().ok()?);
            let from = u32::from_le_bytes(line[8..12].try_into().ok()?);
            let to = u32::from_le_bytes(line[12..16].try_into().ok()?);
            Some(Mark { record, from, to, what: What::of([line[16], line[17]])? })
        })
    }
}

/// Where a frame's body stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramePlace {
    pub segment: u64,
    /// Of the frame's head.
    pub offset: u64,
    /// Bytes of the body.
    pub length: u32,
}

/// One line of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// The name that records refer to by number.
    Pipeline { number: u16, name: String },
    /// A record with unsettled items.
    Record {
        record: u64,
        place: FramePlace,
        items: u32,
        pipeline: u16,
        sent: bool,
        doubt: bool,
        crashes: u8,
        settled: Ranges,
    },
    /// A batch of verdicts that is still wanted.
    Verdicts { origin: u64, place: FramePlace, keep_until: u64 },
}

impl Line {
    pub fn encode(&self, into: &mut Vec<u8>) {
        let place = |into: &mut Vec<u8>, place: &FramePlace| {
            [place.segment, place.offset, u64::from(place.length)].iter().for_each(|number| put(into, *number));
        };
        match self {
            Line::Pipeline { number, name } => {
                into.push(1);
                put(into, u64::from(*number));
                put(into, name.len() as u64);
                into.extend_from_slice(name.as_bytes());
            }
            Line::Record { record, place: at, items, pipeline, sent, doubt, crashes, settled } => {
                into.push(2);
                put(into, *record);
                place(into, at);
                put(into, u64::from(*items));
                put(into, u64::from(*pipeline));
                into.extend_from_slice(&[u8::from(*sent) | u8::from(*doubt) << 1, *crashes]);
                put(into, settled.len() as u64);
                for (from, to) in settled.iter() {
                    put(into, u64::from(from));
                    put(into, u64::from(to));
                }
            }
            Line::Verdicts { origin, place: at, keep_until } => {
                into.push(3);
                put(into, *origin);
                place(into, at);
                put(into, *keep_until);
            }
        }
    }

    /// The next line; `None` at the end and where no line is.
    fn decode(rest: &mut &[u8]) -> Option<Line> {
        let tag = byte(rest)?;
        Some(match tag {
            1 => {
                let number = u16::try_from(get(rest)?).ok()?;
                let length = usize::try_from(get(rest)?).ok()?;
                let name = std::str::from_utf8(take(rest, length)?).ok()?.to_owned();
                Line::Pipeline { number, name }
            }
            2 => {
                let (record, place) = (get(rest)?, place(rest)?);
                let (items, pipeline) = (u32::try_from(get(rest)?).ok()?, u16::try_from(get(rest)?).ok()?);
                let (flags, crashes) = (byte(rest)?, byte(rest)?);
                let mut settled = Ranges::default();
                for _ in 0..get(rest)? {
                    settled.add(u32::try_from(get(rest)?).ok()?, u32::try_from(get(rest)?).ok()?);
                }
                let (sent, doubt) = (flags & 1 != 0, flags & 2 != 0);
                Line::Record { record, place, items, pipeline, sent, doubt, crashes, settled }
            }
            3 => Line::Verdicts { origin: get(rest)?, place: place(rest)?, keep_until: get(rest)? },
            _ => return None,
        })
    }
}

fn place(rest: &mut &[u8]) -> Option<FramePlace> {
    Some(FramePlace { segment: get(rest)?, offset: get(rest)?, length: u32::try_from(get(rest)?).ok()? })
}

/// A part's number and how many parts the checkpoint has, in front of its lines.
const PART_HEAD: usize = 8;
/// Parts are cut at this length, before the last line.
const PART_BYTES: usize = 256 << 10;

/// The bodies of a checkpoint's frames; always at least one.
pub fn checkpoint(lines: impl Iterator<Item = Line>) -> Vec<Vec<u8>> {
    let mut parts = vec![vec![0u8; PART_HEAD]];
    for line in lines {
        if parts.last().is_none_or(|part| part.len() >= PART_BYTES) {
            parts.push(vec![0u8; PART_HEAD]);
        }
        if let Some(part) = parts.last_mut() {
            line.encode(part);
        }
    }
    let total = parts.len() as u32;
    for (at, part) in parts.iter_mut().enumerate() {
        part[..4].copy_from_slice(&(at as u32).to_le_bytes());
        part[4..PART_HEAD].copy_from_slice(&total.to_le_bytes());
    }
    parts
}

/// `(part, parts, lines)` of one frame.
pub fn checkpoint_part(body: &[u8]) -> Option<(u32, u32, Vec<Line>)> {
    let part = u32::from_le_bytes(body.get(..4)?.try_into().ok()?);
    let parts = u32::from_le_bytes(body.get(4..PART_HEAD)?.try_into().ok()?);
    let mut rest = &body[PART_HEAD..];
    let mut lines = Vec::new();
    while !rest.is_empty() {
        lines.push(Line::decode(&mut rest)?);
    }
    Some((part, parts, lines))
}

/// The body of a seal: where the checkpoint's first frame stands, and whether the log was closed by it.
pub fn seal(checkpoint: u64, clean: bool) -> Vec<u8> {
    let mut body = checkpoint.to_le_bytes().to_vec();
    body.extend_from_slice(&u64::from(clean).to_le_bytes());
    body
}

pub const SEAL_BODY: u64 = 16;

pub fn of_seal(body: &[u8]) -> Option<(u64, bool)> {
    let checkpoint = u64::from_le_bytes(body.get(..8)?.try_into().ok()?);
    Some((checkpoint, body.get(8..16)?.first() == Some(&1)))
}

fn put(into: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

fn get(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let next = byte(rest)?;
        number |= u64::from(next & 0x7f) << shift;
        if next < 0x80 {
            return Some(number);
        }
    }
    None
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    take(rest, 1).map(|one| one[0])
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_is_read_back_and_no_cut_of_it_panics() {
        let full = Description {
            pipeline: "traces/apm".to_owned(),
            signal: 2,
            arrival: 5,
            accepted: 4,
            connection: 9,
            peer: b"10.0.0.7:443".to_vec(),
            tenant: b"blue".to_vec(),
            more: vec![7; 300],
        };
        let bytes = full.encode().expect("short");
        assert_eq!(Description::decode(&bytes), Some(full.clone()));
        for end in 0..bytes.len() {
            assert_eq!(Description::decode(&bytes[..end]), None, "cut at {end}");
        }
        assert_eq!(Description { more: vec![0; DESCRIBED_MAX + 1], ..full.clone() }.encode(), None);
        let long = Description { pipeline: "\u{e9}".repeat(200), ..full };
        let kept = Description::decode(&long.encode().expect("cut")).expect("read").pipeline;
        assert_eq!(kept.len(), 254, "cut between characters");
    }

    #[test]
    fn a_checkpoint_is_read_back_from_its_parts() {
        let mut settled = Ranges::default();
        settled.add(2, 5);
        let place = FramePlace { segment: 3, offset: 4096, length: 70 };
        let mut lines = vec![
            Line::Pipeline { number: 1, name: "logs".to_owned() },
            Line::Verdicts { origin: 12, place, keep_until: u64::MAX },
        ];
        lines.extend((0..40_000).map(|record| Line::Record {
            record,
            place,
            items: 9,
            pipeline: 1,
            sent: record % 2 == 0,
            doubt: record % 3 == 0,
            crashes: 2,
            settled: settled.clone(),
        }));
        let parts = checkpoint(lines.iter().cloned());
        assert!(parts.len() > 1, "{} parts", parts.len());
        let read: Vec<Line> = parts.iter().flat_map(|part| checkpoint_part(part).expect("whole").2).collect();
        assert_eq!(read, lines);
        assert_eq!(checkpoint(std::iter::empty()).len(), 1);
    }

    #[test]
    fn marks_are_read_back_and_a_later_versions_code_settles_nothing() {
        use What::*;
        let all = [Delivered, SampledOut, Dropped(7), DeadLettered, Lost, Sent, Crashed(2)];
        let marks = all.map(|what| Mark { record: 77, from: 1, to: 4, what });
        let mut body = Vec::new();
        marks.iter().for_each(|mark| mark.encode(&mut body));
        assert_eq!(Mark::decode_all(&body).collect::<Vec<_>>(), marks);
        body[16] = 200;
        assert_eq!(Mark::decode_all(&body).count(), marks.len() - 1);
    }
}
