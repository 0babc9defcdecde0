//! A writer of deflate (RFC 1951) for bodies of many alike documents, at the level that asks for speed (issue 22, item 6).
//!
//! A document repeats the one before it but for a few values. So the distance of the last repeat is tried before anything
//! is looked up: behind a value of the same length the text goes on at that distance. Where it does not, a table of the
//! last place of each four bytes is asked, one place for each. Positions count on from the first byte, so that nothing is
//! moved while the window slides. Each block has codes of its own (`codes`), or the fixed ones, or is stored, whichever is
//! shortest (`block`).
//!
//! Linear in the input: each byte is looked at once as itself and once as a part of a repeat. Memory: `ROOM_BYTES` and what
//! stands beside it, some 230 KB for each compressor, whatever the size of the body.

mod bits;
mod block;
mod codes;

use std::io::{self, Write};
use std::ops::Range;

use crate::net::compression::deflate::bits::BitWriter;
use crate::net::compression::deflate::block::{BlockWriter, DeflateToken};

/// How far back a repeat may lie (RFC 1951 2.).
const WINDOW_BYTES: usize = 32 << 10;
/// The window and the part of the body that is being read.
const ROOM_BYTES: usize = 128 << 10;
/// Bytes as they are and repeats of one block.
const TOKENS_MAX: usize = 16 << 10;
const HASH_BITS: u32 = 13;
/// The shortest repeat that is looked for. Three bytes, which the format allows, seldom pay.
const REPEAT_MIN: usize = 4;
/// Positions begin here, so that an empty slot of the table is always too far away.
const FIRST_POSITION: u32 = 2 * WINDOW_BYTES as u32;
/// Beyond this position the table begins anew.
const LAST_POSITION: u32 = 1 << 31;

/// Bytes that are compared at once.
const STRIDE: usize = 32;
/// The room, and bytes behind it, so that a stride can be read at each place of it.
type Room = [u8; ROOM_BYTES + STRIDE];
type Table = [u32; 1 << HASH_BITS];

/// A compressor, used again for the next body.
pub struct Deflater {
    room: Box<Room>,
    /// How much of `room` is filled.
    filled: usize,
    /// Position of `room[0]`.
    base: u32,
    /// Up to where `room` is read.
    at: usize,
    /// Where the block that is open began, while that is still in the room.
    block: Option<usize>,
    /// The distance of the last repeat.
    repeat: usize,
    /// The last position of four bytes, by their hash.
    last: Box<Table>,
    tokens: Vec<DeflateToken>,
    blocks: BlockWriter,
    bits: BitWriter,
}

impl Deflater {
    pub fn new() -> Deflater {
        Deflater {
            // granted: as every compressor, KEPT_MAX of them and those of the requests under way
            room: boxed(),
            filled: 0,
            base: FIRST_POSITION,
            at: 0,
            block: Some(0),
            repeat: 0,
            last: boxed(),
            tokens: Vec::with_capacity(TOKENS_MAX), // granted: see above
            blocks: BlockWriter::default(),
            bits: BitWriter::default(),
        }
    }

    /// Takes the next part of a body.
    pub fn write(&mut self, mut part: &[u8], out: &mut impl Write) -> io::Result<()> {
        while !part.is_empty() {
            if self.filled == ROOM_BYTES {
                self.read(out)?;
                self.slide();
            }
            let (taken, rest) = part.split_at(part.len().min(ROOM_BYTES - self.filled));
            self.room[self.filled..][..taken.len()].copy_from_slice(taken);
            self.filled += taken.len();
            part = rest;
        }
        Ok(())
    }

    /// Ends the body. The compressor is as new then.
    pub fn finish(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.read(out)?;
        self.end_block();
        self.blocks.end(&mut self.bits);
        self.bits.flush(out)?;
        // What comes next begins beyond the reach of all that the table knows.
        self.base += (self.filled + WINDOW_BYTES) as u32;
        self.forget_far_positions();
        (self.filled, self.at, self.block, self.repeat) = (0, 0, Some(0), 0);
        Ok(())
    }

    /// Keeps the window alone.
    fn slide(&mut self) {
        let gone = self.filled - WINDOW_BYTES;
        self.room.copy_within(gone..self.filled, 0);
        (self.filled, self.at) = (WINDOW_BYTES, WINDOW_BYTES);
        self.block = self.block.and_then(|at| at.checked_sub(gone));
        self.base += gone as u32;
        self.forget_far_positions();
    }

    fn forget_far_positions(&mut self) {
        if self.base > LAST_POSITION {
            self.last.fill(0);
            self.base = FIRST_POSITION;
        }
    }

    /// Reads what is in the room, and writes the blocks that are full by then.
    fn read(&mut self, out: &mut impl Write) -> io::Result<()> {
        loop {
            self.read_tokens();
            if self.at == self.filled {
                return Ok(());
            }
            self.end_block();
            self.bits.hand_on(out)?;
        }
    }

    fn end_block(&mut self) {
        if !self.tokens.is_empty() {
            let source = self.block.map(|from| &self.room[from..self.at]);
            self.blocks.write(&self.tokens, source, &mut self.bits);
            self.tokens.clear();
        }
        self.block = Some(self.at);
    }

    /// Makes tokens of the room from `at` on, up to its end or for one block.
    fn read_tokens(&mut self) {
        let Deflater { room, base, last, tokens, .. } = self;
        let (filled, mut at, mut repeat) = (self.filled, self.at, self.repeat);
        while tokens.len() < TOKENS_MAX && at < filled {
            let end = filled.min(at + TOKENS_MAX - tokens.len());
            let words = at..end.min(filled.saturating_sub(REPEAT_MIN - 1));
            let Some((from, distance)) = next_repeat(room, last, *base, words, repeat) else {
                push_literals(tokens, &room[at..end]);
                at = end;
                continue;
            };
            push_literals(tokens, &room[at..from]);
            // The next block takes what this one has no room for.
            let length =
                common(room, from, distance, filled).min((TOKENS_MAX - tokens.len()) * DeflateToken::LENGTH_MAX);
            push_repeat(tokens, length, distance);
            (at, repeat) = (from + length, distance);
        }
        (self.at, self.repeat) = (at, repeat);
    }
}

/// The first place in a range where four bytes repeat earlier ones, and how far before. `repeat` is tried first, unless it
/// is 0.
#[inline(never)]
fn next_repeat(room: &Room, last: &mut Table, base: u32, range: Range<usize>, repeat: usize) -> Option<(usize, usize)> {
    for at in range {
        let word = word_at(room, at);
        let position = base + at as u32;
        let slot = &mut last[(word.wrapping_mul(0x9e37_79b1) >> (32 - HASH_BITS)) as usize];
        let known = position.wrapping_sub(std::mem::replace(slot, position)) as usize;
        let is_there = |distance: usize| word_at(room, at.wrapping_sub(distance)) == word;
        if repeat != 0 && is_there(repeat) {
            return Some((at, repeat));
        }
        if known <= WINDOW_BYTES.min(at) && is_there(known) {
            return Some((at, known));
        }
    }
    None
}

#[inline]
fn push_literals(tokens: &mut Vec<DeflateToken>, bytes: &[u8]) {
    tokens.extend(bytes.iter().map(|byte| DeflateToken::literal(*byte))); // granted: within its capacity
}

/// Zeros, without a copy on the stack.
fn boxed<T: Copy + Default + std::fmt::Debug, const N: usize>() -> Box<[T; N]> {
    vec![T::default(); N].try_into().expect("N of them") // granted: the compressor
}

/// Bytes of the room; what stands behind its end is of no meaning. `N` is a stride at most.
#[inline(always)]
fn bytes_at<const N: usize>(room: &Room, at: usize) -> &[u8; N] {
    room[at % ROOM_BYTES..].first_chunk().unwrap_or(&[0; N])
}

#[inline(always)]
fn word_at(room: &Room, at: usize) -> u32 {
    u32::from_le_bytes(*bytes_at(room, at))
}

/// How many bytes repeat those `distance` before.
#[inline]
fn common(room: &Room, at: usize, distance: usize, filled: usize) -> usize {
    let mut end = at;
    // Most repeats are long.
    while end < filled && bytes_at::<STRIDE>(room, end) == bytes_at::<STRIDE>(room, end - distance) {
        end += STRIDE;
    }
    while end < filled {
        let eight = |at| u64::from_le_bytes(*bytes_at(room, at));
        let differs = eight(end) ^ eight(end - distance);
        if differs != 0 {
            end += differs.trailing_zeros() as usize / 8;
            break;
        }
        end += 8;
    }
    end.min(filled) - at
}

/// A repeat in pieces that the format knows, none of which is shorter than it allows.
#[inline]
fn push_repeat(tokens: &mut Vec<DeflateToken>, mut length: usize, distance: usize) {
    while length > 0 {
        let most = length.min(DeflateToken::LENGTH_MAX);
        let piece = if (1..DeflateToken::LENGTH_MIN).contains(&(length - most)) {
            most - DeflateToken::LENGTH_MIN
        } else {
            most
        };
        tokens.push(DeflateToken::repeat(piece, distance)); // granted: within its capacity
        length -= piece;
    }
}

#[cfg(test)]
mod tests;
