//! Streaming decoders: output grows step by step under the cap and the budget, yielding between steps.

use std::io::Read;

use bytes::Bytes;
use tokio::task::yield_now;

use crate::net::compression::{InflateError, Output, corrupt};

/// First output buffer; doubles from there.
const START_BYTES: u64 = 64 << 10;
/// Output between two yields to other tasks, about half a millisecond of work.
const STEP_BYTES: u64 = 512 << 10;
/// RFC 8878, section 3.1.1.1.2 recommends decoders to support windows of 8 MiB at least; a larger one is memory that
/// the frame asks for before it gives anything.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Reads `decoder` to its end. `format` names it in errors.
pub(super) async fn read_all(
    mut decoder: impl Read,
    format: &'static str,
    output: &Output<'_>,
) -> Result<Bytes, InflateError> {
    let mut granted = START_BYTES.min(output.limit.bytes);
    let mut bytes = output.exactly(granted)?;
    loop {
        let length = bytes.len() as u64;
        let room = granted - length;
        // One byte more than the cap tells "exactly full" from "too large".
        let at_cap = granted == output.limit.bytes;
        let step = room.min(STEP_BYTES) + u64::from(at_cap && room <= STEP_BYTES);
        let read = decoder.by_ref().take(step).read_to_end(&mut bytes).map_err(|error| corrupt(format, error))?;
        if bytes.len() as u64 > output.limit.bytes {
            return Err(output.limit.error());
        }
        if (read as u64) < step {
            return Ok(Bytes::from(bytes));
        }
        if bytes.len() as u64 == granted && !at_cap {
            let next = (granted * 2).min(output.limit.bytes);
            output.ticket.grow(next - granted)?;
            bytes.reserve_exact(usize::try_from(next - granted).unwrap_or(usize::MAX));
            granted = next;
        }
        yield_now().await;
    }
}

/// Every frame of a zstd body (RFC 8878, section 3: frames follow each other).
pub(super) async fn zstd(input: &Bytes, output: &Output<'_>) -> Result<Bytes, InflateError> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(&input[..]).map_err(|error| corrupt("zstd", error))?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|error| corrupt("zstd", error))?;
    read_all(decoder, "zstd", output).await
}

/// zlib where the header says so, else the raw stream.
pub(super) async fn deflate(input: &Bytes, output: &Output<'_>) -> Result<Bytes, InflateError> {
    if is_zlib(input) {
        read_all(Whole(flate2::bufread::ZlibDecoder::new(&input[..])), "deflate", output).await
    } else {
        read_all(Whole(flate2::bufread::DeflateDecoder::new(&input[..])), "deflate", output).await
    }
}

/// RFC 1950, section 2.2: method 8 and a header that is a multiple of 31.
fn is_zlib(input: &[u8]) -> bool {
    matches!(input, [cmf, flg, ..] if cmf & 0x0f == 8 && (u16::from(*cmf) << 8 | u16::from(*flg)) % 31 == 0)
}

pub(super) async fn snappy_framed(input: &Bytes, output: &Output<'_>) -> Result<Bytes, InflateError> {
    read_all(snap::read::FrameDecoder::new(&input[..]), "snappy", output).await
}

/// A deflate stream that must use up its input: what follows it is garbage.
struct Whole<D>(D);

trait Rest {
    fn rest(&self) -> usize;
}

impl Rest for flate2::bufread::ZlibDecoder<&[u8]> {
    fn rest(&self) -> usize {
        self.get_ref().len()
    }
}

impl Rest for flate2::bufread::DeflateDecoder<&[u8]> {
    fn rest(&self) -> usize {
        self.get_ref().len()
    }
}

impl<D: Read + Rest> Read for Whole<D> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.0.read(buffer)?;
        if read == 0 && !buffer.is_empty() && self.0.rest() > 0 {
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "bytes after the end of the stream"));
        }
        Ok(read)
    }
}
