//! gzip out (RFC 1952), with compressors that are used again: the tables of one cost more to allocate than a small request
//! costs to compress. What comes out is in pieces, so that no buffer moves while it grows.

use std::io::{self, Write};
use std::sync::Mutex;

use bytes::Bytes;
use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use crate::core::lock::Locked;
use crate::net::compression::deflate::Deflater;

/// Compressors kept for the next request; more requests at once make their own.
const KEPT_MAX: usize = 4;
/// Magic, deflate, no flags, no time, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
/// What is compressed leaves in pieces of at most this length.
const PIECE_BYTES: usize = 64 << 10;

/// The level that requests and answers of OTLP are compressed with: the CPU is dearer than the wire.
pub static QUICK: GzipPacker = GzipPacker::new(1);

/// One packer for each level.
static LEVELS: [GzipPacker; 9] = [
    GzipPacker::new(1),
    GzipPacker::new(2),
    GzipPacker::new(3),
    GzipPacker::new(4),
    GzipPacker::new(5),
    GzipPacker::new(6),
    GzipPacker::new(7),
    GzipPacker::new(8),
    GzipPacker::new(9),
];

/// Makes gzip members, one for each call.
pub struct GzipPacker {
    level: u32,
    // Locked to push and pop only.
    idle: Mutex<Vec<Packer>>,
}

/// What makes the deflate stream of a member.
enum Packer {
    /// Of level 1: quicker than the library's, and smaller for documents that are alike.
    Quick(Box<Deflater>),
    Library(Compress),
}

impl Packer {
    fn of(level: u32) -> Packer {
        match level {
            1 => Packer::Quick(Box::new(Deflater::new())),
            _ => Packer::Library(Compress::new(Compression::new(level), false)),
        }
    }

    /// Takes the next part, and sums it up.
    fn write(&mut self, part: &[u8], sum: &mut Crc, out: &mut Pieces) -> io::Result<()> {
        match self {
            Packer::Quick(deflater) => deflater.write(part, sum, out),
            Packer::Library(compress) => {
                sum.update(part);
                let mut rest = part;
                while !rest.is_empty() {
                    let taken = step(compress, rest, out, FlushCompress::None)?.0;
                    rest = &rest[taken..];
                }
                Ok(())
            }
        }
    }

    /// Ends the stream. The packer is as new then.
    fn finish(&mut self, out: &mut Pieces) -> io::Result<()> {
        match self {
            Packer::Quick(deflater) => deflater.finish(out),
            Packer::Library(compress) => {
                while step(compress, &[], out, FlushCompress::Finish)?.1 != Status::StreamEnd {}
                compress.reset();
                Ok(())
            }
        }
    }
}

impl GzipPacker {
    /// `level` is 1 to 9.
    pub const fn new(level: u32) -> GzipPacker {
        GzipPacker { level, idle: Mutex::new(Vec::new()) }
    }

    /// The one that all clients share.
    pub fn at(level: u32) -> &'static GzipPacker {
        let place = usize::try_from(level.clamp(1, 9) - 1).unwrap_or(0);
        LEVELS.get(place).unwrap_or(&QUICK)
    }

    /// One gzip member of all parts.
    pub fn pack(&self, parts: &[Bytes]) -> io::Result<Vec<Bytes>> {
        let kept = self.idle.locked().pop();
        let mut packer = kept.unwrap_or_else(|| Packer::of(self.level));
        let packed = member(&mut packer, parts)?;
        let mut idle = self.idle.locked();
        if idle.len() < KEPT_MAX {
            idle.push(packer); // granted: KEPT_MAX of them
        }
        Ok(packed)
    }

    /// The same of an answer, as one buffer.
    pub fn pack_answer(&self, answer: &Bytes) -> io::Result<Bytes> {
        let mut packed = self.pack(std::slice::from_ref(answer))?;
        match packed.len() {
            1 => Ok(packed.swap_remove(0)),
            _ => Ok(packed.concat().into()), // granted: an answer of ours
        }
    }
}

fn member(packer: &mut Packer, parts: &[Bytes]) -> io::Result<Vec<Bytes>> {
    let mut out = Pieces::of(parts.iter().map(Bytes::len).sum());
    out.write_all(&HEADER)?;
    let mut sum = Crc::new();
    for part in parts {
        packer.write(part, &mut sum, &mut out)?;
    }
    packer.finish(&mut out)?;
    out.write_all(&sum.sum().to_le_bytes())?;
    out.write_all(&sum.amount().to_le_bytes())?;
    Ok(out.finish())
}

/// Compresses what fits into the open piece; says how much input that took.
fn step(compress: &mut Compress, input: &[u8], out: &mut Pieces, flush: FlushCompress) -> io::Result<(usize, Status)> {
    let before = compress.total_in();
    let status = compress.compress_vec(input, out.open(), flush).map_err(io::Error::other)?;
    let taken = usize::try_from(compress.total_in() - before).unwrap_or(usize::MAX).min(input.len());
    Ok((taken, status))
}

/// Takes what an encoder makes: no more memory than it makes, where one growing buffer took up to three times as much
/// while it moved.
pub struct Pieces {
    full: Vec<Bytes>,
    open: Vec<u8>,
    length: usize,
}

impl Pieces {
    /// For what `size` bytes are compressed to.
    pub fn of(size: usize) -> Pieces {
        let length = (size / 4 + 64).min(PIECE_BYTES);
        // granted: by the transport's `working_bytes`, as all that is compressed
        Pieces { full: Vec::new(), open: Vec::with_capacity(length), length }
    }

    /// The piece that is written to, with room for a byte at least and `length` bytes at most.
    fn open(&mut self) -> &mut Vec<u8> {
        if self.open.len() >= self.length {
            let full = std::mem::replace(&mut self.open, Vec::with_capacity(self.length)); // granted: see above
            self.full.push(full.into()); // granted: see above
        }
        &mut self.open
    }

    pub fn finish(mut self) -> Vec<Bytes> {
        if !self.open.is_empty() {
            self.full.push(self.open.into()); // granted: see above
        }
        self.full
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.length;
        let open = self.open();
        let taken = bytes.len().min(length - open.len());
        open.extend_from_slice(&bytes[..taken]); // granted: within its capacity
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    const SIZES: [usize; 5] = [0, 1, 100, 70_000, 3_000_000];

    #[test]
    fn what_is_packed_inflates_to_the_same_bytes_again_and_again() {
        let mut random = fastrand::Rng::with_seed(7);
        for (gzip, size) in [1, 6].map(GzipPacker::new).iter().flat_map(|gzip| SIZES.map(|size| (gzip, size))) {
            let noise: Vec<u8> = (0..size).map(|_| random.u8(..)).collect();
            let parts = [Bytes::from(noise), Bytes::from(vec![b'x'; size]), Bytes::from_static(b"end")];
            let packed = gzip.pack(&parts).unwrap();
            assert!(packed.iter().all(|piece| piece.len() <= PIECE_BYTES));
            let mut inflated = Vec::new();
            flate2::read::GzDecoder::new(&packed.concat()[..]).read_to_end(&mut inflated).unwrap();
            assert_eq!(inflated, parts.concat(), "{size}, seed 7");
        }
    }
}
