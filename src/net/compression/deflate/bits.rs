//! Bits in deflate's order: the first is the lowest of its byte (RFC 1951 3.1.1).

use std::io::{self, Write};

#[derive(Default)]
pub struct BitWriter {
    /// Whole bytes that are not handed on yet: of one block at most.
    bytes: Vec<u8>,
    open: u64,
    /// Bits of `open`; fewer than eight once they are spilled.
    count: u32,
}

impl BitWriter {
    /// Appends `count` bits, 32 at most.
    #[inline]
    pub fn push(&mut self, bits: u32, count: u32) {
        self.add(bits, count);
        self.spill();
    }

    /// Appends bits that are not spilled yet: 56 at most between two spills.
    #[inline(always)]
    pub fn add(&mut self, bits: u32, count: u32) {
        debug_assert!(self.count + count < u64::BITS, "bits are spilled in time");
        self.open |= u64::from(bits) << self.count;
        self.count += count;
    }

    /// Moves whole bytes out of the way. All eight are written and those that are not whole taken back: how many there are
    /// differs each time, and no processor can guess it.
    #[inline(always)]
    pub fn spill(&mut self) {
        let (end, whole) = (self.bytes.len(), self.count / 8);
        self.bytes.extend_from_slice(&self.open.to_le_bytes()); // granted: one block, no longer than stored
        self.bytes.truncate(end + whole as usize);
        self.open >>= 8 * whole;
        self.count %= 8;
    }

    /// Fills the byte that is open with zeros.
    pub fn align(&mut self) {
        self.push(0, self.count.wrapping_neg() & 7);
    }

    /// Appends whole bytes; the writer is aligned.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes); // granted: see above
    }

    /// Gives the whole bytes away.
    pub fn hand_on(&mut self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.bytes)?;
        self.bytes.clear();
        Ok(())
    }

    /// Gives all away; the last byte is filled with zeros.
    pub fn flush(&mut self, out: &mut impl Write) -> io::Result<()> {
        self.align();
        self.hand_on(out)
    }
}
