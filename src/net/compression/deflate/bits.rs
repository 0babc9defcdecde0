//! Bits in deflate's order: the first is the lowest of its byte (RFC 1951 3.1.1).

use std::io::{self, Write};

#[derive(Default)]
pub struct BitWriter {
    /// Whole bytes that are not handed on yet: of one block at most.
    bytes: Vec<u8>,
    open: u64,
    /// Bits of `open`, fewer than 32.
    count: u32,
}

impl BitWriter {
    /// Appends `count` bits, 32 at most.
    #[inline]
    pub fn push(&mut self, bits: u32, count: u32) {
        self.open |= u64::from(bits) << self.count;
        self.count += count;
        if self.count >= 32 {
            self.bytes.extend_from_slice(&(self.open as u32).to_le_bytes()); // granted: one block, no longer than stored
            self.open >>= 32;
            self.count -= 32;
        }
    }

    /// Fills the byte that is open with zeros.
    pub fn align(&mut self) {
        self.push(0, self.count.wrapping_neg() & 7);
    }

    /// Appends whole bytes; the writer is aligned.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        while self.count > 0 {
            self.bytes.push(self.open as u8); // granted: four bytes
            self.open >>= 8;
            self.count = self.count.saturating_sub(8);
        }
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
        self.push_bytes(&[]);
        self.hand_on(out)
    }
}
