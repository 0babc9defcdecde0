//! gzip (RFC 1952): every member of a body is read, and one proven member takes the fast path.

use std::io::Read;

use bytes::buf::Reader;
use bytes::{Buf, Bytes};
use flate2::bufread::GzDecoder;
use libdeflater::{DecompressionError, Decompressor};

use crate::net::compression::output::{InflateError, Output, is_long};
use crate::net::compression::stream::{none, read_all};

/// Larger outputs are inflated in steps, all but the first by another thread.
const ONE_SHOT_MAX: u64 = 512 << 10;
/// Fixed head and trailer of a member.
const MEMBER_BYTES_MIN: usize = 18;
/// Empty members cost time and yield nothing.
const MEMBERS_MAX: usize = 10_000;

pub(super) async fn inflate(input: &Bytes, output: &Output<'_>) -> Result<Bytes, InflateError> {
    if !is_long(input)
        && let Some(bytes) = one_member(input, output)
    {
        return Ok(bytes);
    }
    read_all(Members::new(input.clone()), ("gzip", input), output, none).await
}

/// The whole output when the body is one member whose trailer states its true length and checksum; the claimed length
/// is granted before it is allocated. Anything else is left to the streaming decoder, which also names the fault.
fn one_member(input: &[u8], output: &Output<'_>) -> Option<Bytes> {
    if input.len() < MEMBER_BYTES_MIN {
        return None;
    }
    let claimed = u64::from(u32::from_le_bytes(input[input.len() - 4..].try_into().ok()?));
    // Deflate cannot exceed 1032:1 (zlib technical details); a larger claim is not this member's.
    if claimed > ONE_SHOT_MAX || claimed / 1032 > input.len() as u64 {
        return None;
    }
    let mut bytes = output.exactly(claimed).ok()?;
    bytes.resize(usize::try_from(claimed).ok()?, 0); // granted: the ticket has grown for it
    let written: Result<usize, DecompressionError> = Decompressor::new().gzip_decompress(input, &mut bytes);
    if written == Ok(bytes.len()) && is_single(input, &bytes) {
        return Some(Bytes::from(bytes));
    }
    output.ticket.shrink_to(output.ticket.bytes().saturating_sub(claimed));
    None
}

/// libdeflate stops after the first member without saying where. The body is one member when its very end holds the
/// checksum of what was decoded, and no further member, which could be an equal one, begins anywhere in it. (Garbage
/// that repeats the trailer passes; it changes nothing.)
fn is_single(input: &[u8], decoded: &[u8]) -> bool {
    let trailer = &input[input.len() - 8..input.len() - 4];
    let rest = &input[MEMBER_BYTES_MIN..];
    // Written so that it compiles to vector code. A magic that stands in the compressed bytes by chance only costs the
    // slow path.
    let triples = rest.iter().zip(rest.iter().skip(1)).zip(rest.iter().skip(2));
    let second = triples.fold(false, |found, ((a, b), c)| found | ((*a == 0x1f) & (*b == 0x8b) & (*c == 0x08)));
    !second && libdeflater::crc32(decoded).to_le_bytes() == trailer
}

/// Reads member after member; bytes that are no member are an error, as in the Collector.
struct Members {
    decoder: GzDecoder<Reader<Bytes>>,
    left: usize,
}

impl Members {
    fn new(input: Bytes) -> Members {
        Members { decoder: GzDecoder::new(input.reader()), left: MEMBERS_MAX }
    }
}

impl Read for Members {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        loop {
            let read = self.decoder.read(buffer)?;
            let rest = self.decoder.get_ref().get_ref();
            if read > 0 || buffer.is_empty() || rest.is_empty() {
                return Ok(read);
            }
            self.left -= 1;
            if self.left == 0 {
                return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "too many members"));
            }
            self.decoder = GzDecoder::new(rest.clone().reader());
        }
    }
}
