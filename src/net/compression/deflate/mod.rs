//! A writer of deflate (RFC 1951) for bodies of many alike documents, at the level that asks for speed (issue 22, item 6).
//!
//! A document repeats the one before it but for a few values. So the distance of the last repeat is tried before anything
//! is looked up: behind a value of the same length the text goes on at that distance. Where it does not, a table of the
//! last place of each six bytes is asked, one place for each. Positions count on from the first byte, so that nothing is
//! moved while the window slides. A long part is read where it stands, short ones are put together in a room first. Each
//! block has codes of its own (`codes`), or the fixed ones, or is stored, whichever is shortest (`block`).
//!
//! Linear in the input: each byte is looked at once as itself and once as a part of a repeat. Memory: `ROOM_BYTES` and what
//! stands beside it, some 230 KB for each compressor, whatever the size of the body.

mod bits;
mod block;
mod codes;

use std::io::{self, Write};
use std::ops::Range;

use flate2::Crc;

use crate::net::compression::deflate::bits::BitWriter;
use crate::net::compression::deflate::block::{Block, LENGTH_MAX};

/// How far back a repeat may lie (RFC 1951 2.).
const WINDOW_BYTES: usize = 32 << 10;
/// The window and the part of the body that is being read.
const ROOM_BYTES: usize = 128 << 10;
/// Parts from this size on are read where they stand, in pieces of which each begins with an empty window.
const IN_PLACE_MIN: usize = 64 << 10;
const PIECE_BYTES: usize = 16 << 20;
/// So much is summed up and then searched, so that memory is waited for once.
const STRETCH_BYTES: usize = 32 << 10;
const HASH_BITS: u32 = 13;
/// The shortest repeat that is looked for. The format allows three bytes; but of the digits of ids four are the same by
/// chance so often that such repeats take more bits, and more time, than they save.
const REPEAT_MIN: usize = 6;
/// Positions begin here, so that an empty slot of the table is always too far away.
const FIRST_POSITION: u32 = 2 * WINDOW_BYTES as u32;
/// Beyond this position the table begins anew.
const LAST_POSITION: u32 = 1 << 31;

/// Bytes that are compared at once: so many stand behind whatever is searched.
const STRIDE: usize = 32;
type Room = [u8; ROOM_BYTES + STRIDE];
type Table = [u32; 1 << HASH_BITS];

/// A compressor, used again for the next body.
pub struct Deflater {
    room: Box<Room>,
    /// How much of `room` is filled, and up to where it is read.
    filled: usize,
    at: usize,
    packing: Packing,
}

impl Deflater {
    pub fn new() -> Deflater {
        Deflater {
            room: boxed(), // granted: as every compressor, KEPT_MAX of them and those of the requests under way
            filled: 0,
            at: 0,
            packing: Packing::new(),
        }
    }

    /// Takes the next part of a body, and sums it up.
    pub fn write(&mut self, part: &[u8], sum: &mut Crc, out: &mut impl Write) -> io::Result<()> {
        part.chunks(PIECE_BYTES).try_for_each(|piece| self.write_piece(piece, sum, out))
    }

    fn write_piece(&mut self, piece: &[u8], sum: &mut Crc, out: &mut impl Write) -> io::Result<()> {
        // The last stride goes through the room, for what stands behind it is not ours to read.
        let in_place = if piece.len() < IN_PLACE_MIN { 0 } else { piece.len() - STRIDE };
        if in_place > 0 {
            self.read_room(out)?;
            self.slide(0);
            self.packing.read_piece(piece, in_place, sum, out)?;
        }
        let mut rest = &piece[in_place..];
        while !rest.is_empty() {
            if self.filled == ROOM_BYTES {
                self.read_room(out)?;
                self.slide(WINDOW_BYTES);
            }
            let (taken, behind) = rest.split_at(rest.len().min(ROOM_BYTES - self.filled));
            self.room[self.filled..][..taken.len()].copy_from_slice(taken);
            self.filled += taken.len();
            sum.update(taken);
            rest = behind;
        }
        Ok(())
    }

    /// Ends the body. The compressor is as new then.
    pub fn finish(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.read_room(out)?;
        self.slide(0);
        self.packing.finish(out)
    }

    /// Reads what is in the room.
    fn read_room(&mut self, out: &mut impl Write) -> io::Result<()> {
        let range = self.at..self.filled;
        self.at = self.filled;
        self.packing.from = range.start;
        self.packing.read(&self.room[..], range, self.filled, out)?;
        self.packing.end_block(&self.room[..], self.filled, out)
    }

    /// Keeps so much of the room.
    fn slide(&mut self, kept: usize) {
        let gone = self.filled - kept;
        self.room.copy_within(gone..self.filled, 0);
        (self.filled, self.at) = (kept, kept);
        self.packing.search.pass(gone);
        if kept == 0 {
            self.packing.search.begin();
        }
    }
}

/// From bytes to blocks.
struct Packing {
    search: Search,
    block: Block,
    /// Where the block that is open began in the bytes that are read.
    from: usize,
    bits: BitWriter,
}

impl Packing {
    fn new() -> Packing {
        let search = Search { base: FIRST_POSITION, repeat: 0, last: boxed() }; // granted: as the room
        Packing { search, block: Block::new(), from: 0, bits: BitWriter::default() }
    }

    /// Reads a piece of a body up to `end`, without a look at what came before it.
    fn read_piece(&mut self, piece: &[u8], end: usize, sum: &mut Crc, out: &mut impl Write) -> io::Result<()> {
        self.from = 0;
        let (mut at, mut summed) = (0, 0);
        while summed < end {
            let next = end.min(summed + STRETCH_BYTES);
            sum.update(&piece[summed..next]);
            summed = next;
            at = self.read(piece, at..next, end, out)?;
        }
        self.end_block(piece, end, out)?;
        self.search.pass(end);
        self.search.begin();
        Ok(())
    }

    /// Reads `source` from the range's start to its end, or beyond it to the end of a repeat, which lies within `filled`.
    /// Returns where it came to.
    fn read(&mut self, source: &[u8], range: Range<usize>, filled: usize, out: &mut impl Write) -> io::Result<usize> {
        let (mut at, until) = (range.start, range.end);
        while at < until {
            let end = until.min(at + self.block.left());
            let words = at..end.min(filled.saturating_sub(REPEAT_MIN - 1));
            let Some((from, distance)) = self.search.next(source, words) else {
                self.block.push(&source[at..end], 0, 0);
                at = end;
                if self.block.left() == 0 {
                    self.end_block(source, at, out)?;
                }
                continue;
            };
            // The next block takes what this one has no room for.
            let left = self.block.left() - (from - at);
            let length = common(source, from, distance, filled).min(left * LENGTH_MAX);
            self.block.push(&source[at..from], length, distance);
            at = from + length;
            if self.block.left() == 0 {
                self.end_block(source, at, out)?;
            }
        }
        Ok(at)
    }

    /// Writes the block that is open, which ends here.
    fn end_block(&mut self, source: &[u8], at: usize, out: &mut impl Write) -> io::Result<()> {
        self.block.write(&source[self.from..at], &mut self.bits);
        self.from = at;
        self.bits.hand_on(out)
    }

    fn finish(&mut self, out: &mut impl Write) -> io::Result<()> {
        block::end(&mut self.bits);
        self.bits.flush(out)
    }
}

/// What is known of the bytes so far.
struct Search {
    /// Position of the first byte that is read at present.
    base: u32,
    /// The distance of the last repeat.
    repeat: usize,
    /// The last position of a word, by its hash.
    last: Box<Table>,
}

impl Search {
    /// What is read next stands alone: no distance reaches into what came before.
    fn begin(&mut self) {
        self.repeat = 0;
    }

    /// So many bytes are read no more.
    fn pass(&mut self, gone: usize) {
        self.base += gone as u32;
        if self.base > LAST_POSITION {
            self.last.fill(0);
            self.base = FIRST_POSITION;
        }
    }

    /// The first place in a range where a word repeats an earlier one, and how far before. The last distance is tried
    /// first, unless it is 0.
    #[inline(never)]
    fn next(&mut self, source: &[u8], range: Range<usize>) -> Option<(usize, usize)> {
        for at in range {
            let word = word_at(source, at);
            let position = self.base + at as u32;
            let slot = &mut self.last[(word.wrapping_mul(0x9e37_79b1_7f4a_7c15) >> (64 - HASH_BITS)) as usize];
            let known = position.wrapping_sub(std::mem::replace(slot, position)) as usize;
            let is_there = |distance: usize| word_at(source, at.wrapping_sub(distance)) == word;
            if self.repeat != 0 && is_there(self.repeat) {
                return Some((at, self.repeat));
            }
            if known <= WINDOW_BYTES.min(at) && is_there(known) {
                self.repeat = known;
                return Some((at, known));
            }
        }
        None
    }
}

/// Zeros, without a copy on the stack.
fn boxed<T: Copy + Default + std::fmt::Debug, const N: usize>() -> Box<[T; N]> {
    vec![T::default(); N].try_into().expect("N of them") // granted: the compressor
}

/// Bytes at a place; nobody asks for any that are not there.
#[inline(always)]
fn bytes_at<const N: usize>(source: &[u8], at: usize) -> &[u8; N] {
    source.get(at..).and_then(<[u8]>::first_chunk).unwrap_or(&[0; N])
}

/// The bytes that a repeat begins with.
#[inline(always)]
fn word_at(source: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*bytes_at(source, at)) << (64 - 8 * REPEAT_MIN)
}

/// How many bytes repeat those `distance` before.
#[inline]
fn common(source: &[u8], at: usize, distance: usize, filled: usize) -> usize {
    let mut end = at;
    // Most repeats are long.
    while end < filled && bytes_at::<STRIDE>(source, end) == bytes_at::<STRIDE>(source, end - distance) {
        end += STRIDE;
    }
    while end < filled {
        let eight = |at| u64::from_le_bytes(*bytes_at(source, at));
        let differs = eight(end) ^ eight(end - distance);
        if differs != 0 {
            end += differs.trailing_zeros() as usize / 8;
            break;
        }
        end += 8;
    }
    end.min(filled) - at
}

#[cfg(test)]
mod tests;
