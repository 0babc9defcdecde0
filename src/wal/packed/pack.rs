//! Writes a segment again, compressed. Blocking; holds one block.

use std::io;

use crate::wal::disk::{LogFile, read_full, write_all};
use crate::wal::format::{ALIGN, BLOCK, Header, Purpose};
use crate::wal::packed::{BLOCK_BYTES, PackedHead};

/// A sixth of what stood there, at some 400 MB a second of one core; more of either is not to be had for less of the other.
const LEVEL: i32 = 1;

/// Copies the segment `from` into the empty file `to`, and syncs it; the bytes of both.
pub fn pack(from: &mut dyn LogFile, to: &mut dyn LogFile) -> io::Result<(u64, u64)> {
    let whole = from.length()?;
    let mut plain = vec![0u8; BLOCK_BYTES];
    let read = read_full(from, 0, &mut plain[..BLOCK as usize])?;
    let header = Header::decode(&plain[..read]).ok().filter(|header| header.purpose == Purpose::Log);
    let header = header.ok_or_else(|| io::Error::other("it is no segment of format 1"))?;
    write_all(to, 0, &Header { purpose: Purpose::Packed, ..header.clone() }.encode())?;
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    let (mut offset, mut end) = (0, BLOCK);
    while offset < whole {
        let wanted = (whole - offset).min(BLOCK_BYTES as u64) as usize;
        if read_full(from, offset, &mut plain[..wanted])? < wanted {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        let body = compressor.compress(&plain[..wanted])?;
        let (length, check) = (body.len() as u32, crc32c::crc32c(&body));
        let head = PackedHead { length, offset, whole, plain: wanted as u32, check };
        let mut bytes = Vec::with_capacity(head.room() as usize);
        bytes.extend_from_slice(&head.encode(header.salt));
        bytes.extend_from_slice(&body);
        bytes.resize(bytes.len().next_multiple_of(ALIGN as usize), 0);
        write_all(to, end, &bytes)?;
        offset += wanted as u64;
        end += bytes.len() as u64;
    }
    to.sync()?;
    Ok((whole, end))
}
