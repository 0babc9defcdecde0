//! A packed segment as the file that it replaced. Reading only; holds one block, and the places of all.
//!
//! Bytes of a damaged block read as ones: no frame begins in them, and unlike zeros they are not taken for room that was
//! reserved and never written. Those of a block that the disk does not give are an error, as in any file.

use std::io;

use crate::wal::disk::{LogDisk, LogFile, read_full};
use crate::wal::format::{ALIGN, BLOCK, Header, Purpose, file_name};
use crate::wal::packed::{BLOCK_BYTES, PACKED_HEAD_BYTES, PackedHead};

/// What is read where nothing whole stands.
const DAMAGED: u8 = 0xff;
/// Bytes that are searched at once for the next head.
const SOUGHT: usize = 64 << 10;

/// A segment of this number as it was written, packed since or not.
pub fn open_segment(disk: &mut dyn LogDisk, number: u64) -> io::Result<Box<dyn LogFile>> {
    let mut medium = disk.open(&file_name(number, Purpose::Log))?;
    let mut block = vec![0u8; BLOCK as usize];
    // What a header does not say, the frames tell, or nobody.
    let read = read_full(&mut *medium, 0, &mut block).unwrap_or(0);
    match Header::decode(&block[..read]) {
        Ok(header) if header.purpose == Purpose::Packed => Ok(Box::new(PackedSegment::over(medium, header.salt)?)),
        _ => Ok(medium),
    }
}

/// Where a block stands.
#[derive(Clone, Copy, Debug)]
struct PackedBlock {
    at: u64,
    head: PackedHead,
}

pub struct PackedSegment {
    medium: Box<dyn LogFile>,
    /// Of the file that it replaced.
    length: u64,
    /// In the order of that file.
    blocks: Vec<PackedBlock>,
    /// Not every head could be read: what is in no block may be in one of those.
    unread: bool,
    /// The block that was read last, by its number, as it was before; `None` where it is damaged.
    held: Option<(usize, Option<Vec<u8>>)>,
}

impl PackedSegment {
    /// Finds the blocks, over damaged heads as well.
    pub fn over(mut medium: Box<dyn LogFile>, salt: u64) -> io::Result<PackedSegment> {
        let end = medium.length()?;
        let (mut blocks, mut at, mut unread) = (Vec::<PackedBlock>::new(), BLOCK, false);
        while at + PACKED_HEAD_BYTES as u64 <= end {
            let mut bytes = [0u8; PACKED_HEAD_BYTES];
            unread |= read_full(&mut *medium, at, &mut bytes).is_err();
            let behind = blocks.last().map_or(0, |last| last.head.offset + u64::from(last.head.plain));
            let head = PackedHead::decode(salt, &bytes).filter(|head| head.offset >= behind);
            at = match head {
                Some(head) => {
                    blocks.push(PackedBlock { at: at + PACKED_HEAD_BYTES as u64, head });
                    at + head.room()
                }
                None => seek(&mut *medium, salt, (at + ALIGN, end), &mut unread),
            };
        }
        let length = blocks.first().map_or(end, |first| first.head.whole);
        Ok(PackedSegment { medium, length, blocks, unread, held: None })
    }

    /// The block that holds this place of the old file; or up to where there is none.
    fn block_at(&self, offset: u64) -> Result<usize, u64> {
        let next = self.blocks.partition_point(|block| block.head.offset <= offset);
        let within = |block: &PackedBlock| offset < block.head.offset + u64::from(block.head.plain);
        match next.checked_sub(1).filter(|before| self.blocks.get(*before).is_some_and(within)) {
            Some(before) => Ok(before),
            None => Err(self.blocks.get(next).map_or(self.length, |block| block.head.offset)),
        }
    }

    /// The bytes of a block; `None` where they are damaged.
    fn plain(&mut self, number: usize) -> io::Result<Option<&[u8]>> {
        if self.held.as_ref().is_none_or(|(held, _)| *held != number) {
            let Some(PackedBlock { at, head }) = self.blocks.get(number).copied() else { return Ok(None) };
            let rest = self.medium.length()?.saturating_sub(at);
            let mut bytes = vec![0u8; u64::from(head.length).min(rest) as usize];
            let read = read_full(&mut *self.medium, at, &mut bytes)?;
            let whole = read == head.length as usize && crc32c::crc32c(&bytes) == head.check;
            let plain = whole.then(|| zstd::bulk::decompress(&bytes, BLOCK_BYTES).ok()).flatten();
            let plain = plain.filter(|plain| plain.len() == head.plain as usize);
            self.held = Some((number, plain));
        }
        Ok(self.held.as_ref().and_then(|(_, plain)| plain.as_deref()))
    }
}

/// The next place from `from` on where a whole head stands, or the end.
fn seek(medium: &mut dyn LogFile, salt: u64, (from, end): (u64, u64), unread: &mut bool) -> u64 {
    let (mut at, mut bytes) = (from, vec![0u8; SOUGHT]);
    while at + PACKED_HEAD_BYTES as u64 <= end {
        let read = read_full(medium, at, &mut bytes).unwrap_or_else(|_| {
            *unread = true;
            0
        });
        let places = (0..read.saturating_sub(PACKED_HEAD_BYTES - 1)).step_by(ALIGN as usize);
        let mut heads = places.filter(|place| PackedHead::decode(salt, &bytes[*place..]).is_some());
        if let Some(place) = heads.next() {
            return at + place as u64;
        }
        // What follows overlaps by a head.
        at += (SOUGHT - PACKED_HEAD_BYTES) as u64;
    }
    end
}

impl LogFile for PackedSegment {
    fn write_at(&mut self, _: u64, _: &[u8]) -> io::Result<usize> {
        Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem))
    }

    fn read_at(&mut self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let rest = self.length.saturating_sub(offset);
        let wanted = u64::try_from(into.len()).unwrap_or(u64::MAX).min(rest) as usize;
        let Some(into) = into.get_mut(..wanted).filter(|into| !into.is_empty()) else { return Ok(0) };
        let number = match self.block_at(offset) {
            Ok(number) => number,
            Err(_) if self.unread => return Err(io::Error::other("the disk does not give a part of the segment")),
            Err(until) => {
                let taken = (until - offset).min(into.len() as u64) as usize;
                into[..taken].fill(DAMAGED);
                return Ok(taken);
            }
        };
        let Some(head) = self.blocks.get(number).map(|block| block.head) else { return Ok(0) };
        let from = (offset - head.offset) as usize;
        let taken = (head.plain as usize - from).min(into.len());
        match self.plain(number)? {
            Some(plain) => into[..taken].copy_from_slice(&plain[from..from + taken]),
            None => into[..taken].fill(DAMAGED),
        }
        Ok(taken)
    }

    fn allocate(&mut self, _: u64) -> io::Result<()> {
        Err(io::Error::from(io::ErrorKind::ReadOnlyFilesystem))
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn length(&mut self) -> io::Result<u64> {
        Ok(self.length)
    }
}
