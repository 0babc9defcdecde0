//! Segments that were compressed after a while, because nobody has taken what is in them: format 2 (docs/wal-format.md).
//!
//! A packed segment has the name, the number and the frames of the one it replaces, so that places, checkpoints and counts
//! of damage mean the same: read through [`view`], it is that file byte by byte. [`pack`] writes it beside the old one; it
//! takes the name when it is synced. Knows no policy: `writer/packing.rs` says which segment, and when.

pub mod pack;
pub mod view;

use crate::wal::format::{u32_at, u64_at};

/// Bytes of the old file in one block: more would make a single record dear to read, and win a few percent of room.
pub const BLOCK_BYTES: usize = 256 << 10;
/// In front of each block.
pub const PACKED_HEAD_BYTES: usize = 40;
const PACKED_MAGIC: [u8; 4] = *b"PGz1";

/// The head of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedHead {
    /// Compressed bytes that follow.
    pub length: u32,
    /// Where they stand in the old file.
    pub offset: u64,
    /// How long the old file is.
    pub whole: u64,
    /// Bytes of the old file.
    pub plain: u32,
    /// CRC32C of the compressed bytes.
    pub check: u32,
}

impl PackedHead {
    pub fn encode(&self, salt: u64) -> [u8; PACKED_HEAD_BYTES] {
        let mut head = [0u8; PACKED_HEAD_BYTES];
        head[..4].copy_from_slice(&PACKED_MAGIC);
        head[4..8].copy_from_slice(&self.length.to_le_bytes());
        head[8..16].copy_from_slice(&self.offset.to_le_bytes());
        head[16..24].copy_from_slice(&self.whole.to_le_bytes());
        head[24..28].copy_from_slice(&self.plain.to_le_bytes());
        head[28..32].copy_from_slice(&self.check.to_le_bytes());
        let check = crate::wal::format::checked(salt, &head[..PACKED_HEAD_BYTES - 4]);
        head[PACKED_HEAD_BYTES - 4..].copy_from_slice(&check.to_le_bytes());
        head
    }

    /// `None` when the bytes are no whole head of this log.
    pub fn decode(salt: u64, bytes: &[u8]) -> Option<PackedHead> {
        let head = bytes.get(..PACKED_HEAD_BYTES)?;
        let check = crate::wal::format::checked(salt, &head[..PACKED_HEAD_BYTES - 4]);
        if !head.starts_with(&PACKED_MAGIC) || check != u32_at(head, PACKED_HEAD_BYTES - 4) {
            return None;
        }
        let [length, plain, check] = [4, 24, 28].map(|at| u32_at(head, at));
        let [offset, whole] = [8, 16].map(|at| u64_at(head, at));
        let end = offset.checked_add(u64::from(plain))?;
        (plain as usize <= BLOCK_BYTES && end <= whole).then_some(PackedHead { length, offset, whole, plain, check })
    }

    /// Bytes of the head, of what it tells of, and up to where the next may begin.
    pub fn room(&self) -> u64 {
        (PACKED_HEAD_BYTES as u64 + u64::from(self.length)).next_multiple_of(crate::wal::format::ALIGN)
    }
}

#[cfg(test)]
mod tests;
