//! gzip (RFC 1952) with a compressor that is used again: its tables cost more to allocate than a small request to compress.

use std::io;
use std::sync::{Mutex, MutexGuard};

use bytes::Bytes;
use flate2::{Compress, Compression, Crc, FlushCompress, Status};

use crate::core::lock::Locked;

/// Compressors kept for the next request; more requests at once make their own.
const KEPT_MAX: usize = 4;
/// Magic, deflate, no flags, no time, unknown system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
const ROOM: usize = 32 << 10;

pub struct Gzip {
    level: Compression,
    // Locked to push and pop only.
    idle: Mutex<Vec<Compress>>,
}

impl Gzip {
    /// `level` is 1 to 9.
    pub fn new(level: u32) -> Gzip {
        Gzip { level: Compression::new(level), idle: Mutex::default() }
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Compress>> {
        self.idle.locked()
    }

    /// One gzip member of all parts.
    pub fn pack(&self, parts: &[Bytes]) -> io::Result<Bytes> {
        let kept = self.idle().pop();
        let mut compress = kept.unwrap_or_else(|| Compress::new(self.level, false));
        compress.reset();
        let size: usize = parts.iter().map(Bytes::len).sum();
        let mut out = Vec::with_capacity(size / 12 + 256);
        out.extend_from_slice(&HEADER);
        let mut crc = Crc::new();
        for part in parts {
            crc.update(part);
            let mut rest = &part[..];
            while !rest.is_empty() {
                let taken = step(&mut compress, rest, &mut out, FlushCompress::None)?.0;
                rest = &rest[taken..];
            }
        }
        while step(&mut compress, &[], &mut out, FlushCompress::Finish)?.1 != Status::StreamEnd {}
        out.extend_from_slice(&crc.sum().to_le_bytes());
        out.extend_from_slice(&crc.amount().to_le_bytes());
        let mut idle = self.idle();
        if idle.len() < KEPT_MAX {
            idle.push(compress);
        }
        Ok(Bytes::from(out))
    }
}

/// Compresses what fits into the output's room; says how much input that took.
fn step(compress: &mut Compress, input: &[u8], out: &mut Vec<u8>, flush: FlushCompress) -> io::Result<(usize, Status)> {
    if out.capacity() - out.len() < ROOM / 4 {
        out.reserve(ROOM.max(out.len() / 2));
    }
    let before = compress.total_in();
    let status = compress.compress_vec(input, out, flush).map_err(io::Error::other)?;
    let taken = usize::try_from(compress.total_in() - before).unwrap_or(usize::MAX).min(input.len());
    Ok((taken, status))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn what_is_packed_inflates_to_the_same_bytes_again_and_again() {
        let mut random = fastrand::Rng::with_seed(7);
        let gzip = Gzip::new(1);
        for size in [0usize, 1, 100, 70_000, 3_000_000] {
            let noise: Vec<u8> = (0..size).map(|_| random.u8(..)).collect();
            let parts = [Bytes::from(noise), Bytes::from(vec![b'x'; size]), Bytes::from_static(b"end")];
            let packed = gzip.pack(&parts).unwrap();
            let mut inflated = Vec::new();
            flate2::read::GzDecoder::new(&packed[..]).read_to_end(&mut inflated).unwrap();
            assert_eq!(inflated, parts.concat(), "{size}, seed 7");
        }
    }
}
