//! The bytes of a segment's header and of a frame (docs/wal-format.md). Knows no file and no policy.
//!
//! All numbers are little-endian. A header fills the first block of a file and stands there twice, so that one rotten
//! byte does not take a whole segment. A frame begins at a multiple of eight; a group of frames begins at a block.

use bytes::Bytes;

/// The unit that groups are padded to, so that a torn group never touches an earlier one.
pub const BLOCK: u64 = 4096;
/// The newest format. Segments that grow and dead letters are of format 1; a packed segment is of format 2, and everything
/// else in a folder with one means what it did.
pub const VERSION: u32 = 2;
const MAGIC: [u8; 8] = *b"PGWALSEG";
/// Where the header's second copy stands.
const HEADER_COPY: usize = 2048;
pub const HEADER_BYTES: usize = 128;
pub const FRAME_MAGIC: [u8; 4] = *b"PGf1";
pub const HEAD_BYTES: usize = 56;
/// Frames begin at multiples of this.
pub const ALIGN: u64 = 8;
/// A longer body is damage: the largest request (64 MiB, decoded) and its description fit.
const BODY_MAX: u64 = 80 << 20;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Log,
    /// Records that were given up, kept for a person.
    DeadLetters,
    /// As `Log`, compressed since ([`crate::wal::packed`]).
    Packed,
}

impl Purpose {
    /// The format that a file of this purpose is of, and its number there.
    fn written(self) -> (u32, u32) {
        match self {
            Purpose::Log => (1, 0),
            Purpose::DeadLetters => (1, 1),
            Purpose::Packed => (2, 2),
        }
    }

    /// The readers: one line for each purpose of each format.
    fn read(version: u32, purpose: u32) -> Option<Purpose> {
        Some(match (version, purpose) {
            (1, 0) => Purpose::Log,
            (1, 1) => Purpose::DeadLetters,
            (2, 2) => Purpose::Packed,
            _ => return None,
        })
    }
}

/// Running totals at a place of the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The last frame's sequence.
    pub sequence: u64,
    /// Payload frames so far.
    pub records: u64,
    /// Items in them.
    pub items: u64,
}

/// The first block of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    pub purpose: Purpose,
    pub number: u64,
    /// The segment written before this one; 0 for the first.
    pub previous: u64,
    /// The sequence of the first frame. Frames of earlier segments with this sequence or a later one are not believed:
    /// their group failed and was written again here.
    pub first: u64,
    /// Payload frames of the log before this segment, ever.
    pub records: u64,
    /// Items in them.
    pub items: u64,
    /// Stands at the head of every checksum, random, the same for all segments of a log: bytes of a payload that look
    /// like a frame do not become one.
    pub salt: u64,
    /// How often the log was opened for writing.
    pub boot: u32,
}

/// Why a header says nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    #[error("the header is all zeros: the file was created and never written")]
    Empty,
    #[error("neither copy of the header is whole")]
    Damaged,
    #[error(
        "it has format {0}, and this version reads formats 1 to {VERSION}: run the version that wrote it, or move the folder away"
    )]
    Newer(u32),
}

impl Header {
    /// The totals in front of the segment.
    pub fn totals(&self) -> Totals {
        Totals { sequence: self.first.saturating_sub(1), records: self.records, items: self.items }
    }

    /// One block.
    pub fn encode(&self) -> Vec<u8> {
        let mut copy = [0u8; HEADER_BYTES];
        put(&mut copy, 0, &MAGIC);
        let (version, purpose) = self.purpose.written();
        put(&mut copy, 8, &version.to_le_bytes());
        put(&mut copy, 12, &purpose.to_le_bytes());
        let numbers = [self.number, self.previous, self.first, self.records, self.items, self.salt];
        for (at, number) in numbers.iter().enumerate() {
            put(&mut copy, 16 + 8 * at, &number.to_le_bytes());
        }
        put(&mut copy, 64, &self.boot.to_le_bytes());
        let check = crc32c::crc32c(&copy[..HEADER_BYTES - 4]);
        put(&mut copy, HEADER_BYTES - 4, &check.to_le_bytes());
        let mut block = vec![0u8; BLOCK as usize];
        put(&mut block, 0, &copy);
        put(&mut block, HEADER_COPY, &copy);
        block
    }

    /// Reads the first block of a file, or as much of it as there is.
    pub fn decode(block: &[u8]) -> Result<Header, HeaderFault> {
        let copies = [0, HEADER_COPY].map(|at| block.get(at..at + HEADER_BYTES));
        let mut fault = HeaderFault::Damaged;
        for copy in copies.into_iter().flatten() {
            // Magic, version and check stand where they do in every format, so a newer one is told from a rotten byte.
            let whole = copy.starts_with(&MAGIC) && crc32c::crc32c(&copy[..HEADER_BYTES - 4]) == u32_at(copy, 124);
            let version = u32_at(copy, 8);
            match (whole, Purpose::read(version, u32_at(copy, 12))) {
                (true, Some(purpose)) => {
                    let [number, previous, first, records, items, salt] =
                        [16, 24, 32, 40, 48, 56].map(|at| u64_at(copy, at));
                    let boot = u32_at(copy, 64);
                    return Ok(Header { purpose, number, previous, first, records, items, salt, boot });
                }
                (true, _) if version > VERSION => fault = HeaderFault::Newer(version),
                _ => {}
            }
        }
        if fault == HeaderFault::Damaged && block.iter().all(|byte| *byte == 0) {
            fault = HeaderFault::Empty;
        }
        Err(fault)
    }
}

/// What a frame's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// A record: its description, then its bytes.
    Payload = 1,
    /// Verdicts, opaque.
    Verdicts = 2,
    /// What became of items ([`crate::wal::body::Mark`]).
    Settled = 3,
    /// All that is unsettled, so that nothing before it need be read.
    Checkpoint = 4,
    /// The last frame of a sealed segment, at the end of the file: where the checkpoint begins.
    Seal = 5,
}

impl FrameKind {
    fn of(number: u8) -> Option<FrameKind> {
        Some(match number {
            1 => FrameKind::Payload,
            2 => FrameKind::Verdicts,
            3 => FrameKind::Settled,
            4 => FrameKind::Checkpoint,
            5 => FrameKind::Seal,
            _ => return None,
        })
    }
}

/// The first bytes of a frame. Totals run through all segments, so that a hole tells exactly what it swallowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    pub kind: FrameKind,
    /// Bytes of the body.
    pub length: u32,
    /// One more for each frame of the log.
    pub sequence: u64,
    /// The sequence under which the frame was first written; differs from `sequence` when it was copied forward.
    pub origin: u64,
    /// Payload frames so far, this one included.
    pub records: u64,
    /// Items in payload frames so far, this one's included.
    pub total: u64,
    /// Items of this payload; 0 for other kinds.
    pub items: u32,
    /// Bytes of the description at the body's beginning.
    pub described: u16,
    /// How many frames of its group stand in front of it; 255 for that many and more. Damage in the last group before a
    /// crash cannot be told from a torn write, so a reader has to know where groups end.
    pub index: u8,
    /// CRC32C of the body.
    pub check: u32,
}

impl Head {
    pub fn encode(&self, salt: u64) -> [u8; HEAD_BYTES] {
        let mut head = [0u8; HEAD_BYTES];
        put(&mut head, 0, &FRAME_MAGIC);
        put(&mut head, 4, &self.length.to_le_bytes());
        for (at, number) in [self.sequence, self.origin, self.records, self.total].iter().enumerate() {
            put(&mut head, 8 + 8 * at, &number.to_le_bytes());
        }
        put(&mut head, 40, &self.items.to_le_bytes());
        put(&mut head, 44, &self.described.to_le_bytes());
        head[46] = self.kind as u8;
        head[47] = self.index;
        put(&mut head, 48, &self.check.to_le_bytes());
        let check = checked(salt, &head[..HEAD_BYTES - 4]);
        put(&mut head, HEAD_BYTES - 4, &check.to_le_bytes());
        head
    }

    /// `None` when the bytes are no whole head of this log.
    pub fn decode(salt: u64, bytes: &[u8]) -> Option<Head> {
        let head = bytes.get(..HEAD_BYTES)?;
        if !head.starts_with(&FRAME_MAGIC) || checked(salt, &head[..HEAD_BYTES - 4]) != u32_at(head, HEAD_BYTES - 4) {
            return None;
        }
        let [sequence, origin, records, total] = [8, 16, 24, 32].map(|at| u64_at(head, at));
        let described = u16::from_le_bytes([head[44], head[45]]);
        let (length, items, check) = (u32_at(head, 4), u32_at(head, 40), u32_at(head, 48));
        let kind = FrameKind::of(head[46])?;
        let sound = u64::from(length) <= BODY_MAX && u32::from(described) <= length;
        sound.then_some(Head {
            kind,
            length,
            sequence,
            origin,
            records,
            total,
            items,
            described,
            index: head[47],
            check,
        })
    }

    /// Bytes that the frame takes in a segment.
    pub fn room(&self) -> u64 {
        frame_room(u64::from(self.length))
    }
}

/// Bytes that a frame with a body of this length takes, up to where the next may begin.
pub fn frame_room(body: u64) -> u64 {
    (HEAD_BYTES as u64 + body).next_multiple_of(ALIGN)
}

pub(in crate::wal) fn checked(salt: u64, head: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), head)
}

/// CRC32C over the parts of a body.
pub fn check_of(parts: &[Bytes]) -> u32 {
    parts.iter().fold(0, |check, part| crc32c::crc32c_append(check, part))
}

/// `000000000000002a.wal`; dead letters end in `.dead`. Numbers are written in hexadecimal so that names sort.
pub fn file_name(number: u64, purpose: Purpose) -> String {
    let end = if purpose == Purpose::DeadLetters { "dead" } else { "wal" };
    format!("{number:016x}.{end}")
}

/// A packed segment that has not taken the name of the one it replaces.
pub fn unfinished_name(number: u64) -> String {
    format!("{number:016x}.new")
}

/// Whether a file is one that a crash left unfinished.
pub fn is_unfinished(name: &str) -> bool {
    let number = name.strip_suffix(".new").and_then(|number| u64::from_str_radix(number, 16).ok());
    number.is_some_and(|number| unfinished_name(number) == name)
}

/// The number and purpose of a file that the log wrote; `None` for a stranger's.
pub fn of_file_name(name: &str) -> Option<(u64, Purpose)> {
    let (number, end) = name.split_once('.')?;
    let purpose = match end {
        "wal" => Purpose::Log,
        "dead" => Purpose::DeadLetters,
        _ => return None,
    };
    let hexadecimal = number.len() == 16 && number.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let number = u64::from_str_radix(number, 16).ok().filter(|_| hexadecimal)?;
    Some((number, purpose))
}

fn put(into: &mut [u8], at: usize, bytes: &[u8]) {
    into[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Zero behind the end, which no caller asks for.
pub(in crate::wal) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_le_bytes)
}

pub(in crate::wal) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|eight| eight.try_into().ok()).map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        purpose: Purpose::Log,
        number: 7,
        previous: 6,
        first: 100,
        records: 40,
        items: 900,
        salt: 0x0123_4567_89ab_cdef,
        boot: 3,
    };

    const HEAD: Head = Head {
        kind: FrameKind::Payload,
        length: 9,
        sequence: 101,
        origin: 55,
        records: 41,
        total: 905,
        items: 5,
        described: 4,
        index: 2,
        check: 0xdead_beef,
    };

    #[test]
    fn a_header_survives_any_one_rotten_byte() {
        let block = HEADER.encode();
        for at in 0..block.len() {
            let mut rotten = block.clone();
            rotten[at] ^= 0x40;
            assert_eq!(Header::decode(&rotten), Ok(HEADER), "byte {at}");
        }
        assert_eq!(Header::decode(&vec![0; 4096]), Err(HeaderFault::Empty));
        assert_eq!(Header::decode(b"short"), Err(HeaderFault::Damaged));
    }

    #[test]
    fn a_head_with_any_flipped_bit_or_another_logs_salt_is_none() {
        let bytes = HEAD.encode(9);
        assert_eq!(Head::decode(9, &bytes), Some(HEAD));
        assert_eq!(Head::decode(8, &bytes), None);
        for bit in 0..bytes.len() * 8 {
            let mut rotten = bytes;
            rotten[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Head::decode(9, &rotten), None, "bit {bit}");
        }
    }

    #[test]
    fn names_of_files_are_read_back_and_strangers_are_not() {
        let name = file_name(42, Purpose::Log);
        assert_eq!((name.as_str(), of_file_name(&name)), ("000000000000002a.wal", Some((42, Purpose::Log))));
        assert_eq!(of_file_name(&file_name(1, Purpose::DeadLetters)), Some((1, Purpose::DeadLetters)));
        assert!(is_unfinished(&unfinished_name(42)) && !is_unfinished("2a.new") && !is_unfinished(&name));
        for stranger in ["lock", "2a.wal", "+00000000000002a.wal", "000000000000002A.wal", "000000000000002a.bak"] {
            assert_eq!(of_file_name(stranger), None, "{stranger}");
        }
    }
}
