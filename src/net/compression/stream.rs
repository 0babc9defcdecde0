//! Streaming decoders: output grows step by step under the cap and the budget, yielding between steps.
//!
//! The first step is everybody's; only what is longer waits for a place. So a short body never queues behind a long one,
//! and only as many long ones as there are cores hold memory for their output. What the bytes mean is not known here.

use std::io::Read;

use bytes::Bytes;
use tokio::task::yield_now;

use crate::net::compression::{InflateError, Output, corrupt};

/// Output between two yields to other tasks, and the first buffer.
const STEP_BYTES: u64 = 128 << 10;
/// Address space taken at once for a long body.
const AHEAD_BYTES: u64 = 64 << 20;
/// Tables and window of an inflating decoder, about.
const DECODER_BYTES: u64 = 64 << 10;
/// RFC 8878, section 3.1.1.1.2 recommends decoders to support windows of 8 MiB at least; a larger one is memory that
/// the frame asks for before it gives anything.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Reads `decoder` to its end. `format` names it in errors; `window` is what it keeps of a long output beside it, of which
/// it has written no more than it has read.
pub(super) async fn read_all(
    mut decoder: impl Read,
    format: &'static str,
    output: &Output<'_>,
    window: u64,
) -> Result<Bytes, InflateError> {
    output.ticket.grow(DECODER_BYTES + window.min(STEP_BYTES))?;
    let mut place = None;
    let mut granted = STEP_BYTES.min(output.limit.bytes);
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
        if place.is_none() {
            place = output.place().await;
            output.ticket.grow(window.saturating_sub(STEP_BYTES))?;
        }
        if bytes.len() as u64 == granted && !at_cap {
            let next = (granted * 2).min(output.limit.bytes);
            output.ticket.grow(next - granted)?;
            granted = next;
            // Addresses ahead, so that growing copies nothing; pages come as they are written.
            let ahead = output.limit.bytes.min(granted.max(AHEAD_BYTES)) + 1;
            bytes.reserve_exact(usize::try_from(ahead).unwrap_or(usize::MAX).saturating_sub(bytes.len()));
        }
        yield_now().await;
    }
}

/// Every frame of a zstd body (RFC 8878, section 3: frames follow each other). The decoder keeps a window beside the
/// output, which the frame's head states and the ticket covers for as long.
pub(super) async fn zstd(input: &Bytes, output: &Output<'_>) -> Result<Bytes, InflateError> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(&input[..]).map_err(|error| corrupt("zstd", error))?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|error| corrupt("zstd", error))?;
    read_all(decoder, "zstd", output, zstd_window(input)).await
}

/// The largest window that a frame of the body asks for, as far as a decoder would grant it.
fn zstd_window(input: &[u8]) -> u64 {
    let (mut rest, mut largest) = (input, 0);
    while let Some(window) = frame_window(rest) {
        largest = window.max(largest);
        // A torn or damaged frame ends the walk as it will end the decoding.
        let Ok(length) = zstd::zstd_safe::find_frame_compressed_size(rest) else { break };
        rest = rest.get(length.max(1)..).unwrap_or_default();
    }
    largest.min(1 << ZSTD_WINDOW_LOG_MAX)
}

/// Window of the frame at the head of `input`, skippable frames 0 (RFC 8878, sections 3.1.1.1 and 3.1.2).
fn frame_window(input: &[u8]) -> Option<u64> {
    let (magic, rest) = input.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*magic) != zstd::zstd_safe::MAGICNUMBER {
        return Some(0);
    }
    let (descriptor, rest) = rest.split_first()?;
    if descriptor & 0x20 == 0 {
        let window = rest.first()?;
        let base = 1u64 << (10 + (window >> 3));
        return Some(base + base / 8 * u64::from(window & 7));
    }
    // A single segment: the window is the content, whose size comes after the dictionary id.
    let rest = rest.get([0, 1, 2, 4][usize::from(descriptor & 3)]..)?;
    let size = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |size, byte| size << 8 | u64::from(*byte));
    Some(match descriptor >> 6 {
        0 => size(rest.get(..1)?),
        1 => size(rest.get(..2)?) + 256,
        2 => size(rest.get(..4)?),
        _ => size(rest.get(..8)?),
    })
}

/// zlib where the header says so, else the raw stream.
pub(super) async fn deflate(input: &Bytes, output: &Output<'_>) -> Result<Bytes, InflateError> {
    if is_zlib(input) {
        read_all(Whole(flate2::bufread::ZlibDecoder::new(&input[..])), "deflate", output, 0).await
    } else {
        read_all(Whole(flate2::bufread::DeflateDecoder::new(&input[..])), "deflate", output, 0).await
    }
}

/// RFC 1950, section 2.2: method 8 and a header that is a multiple of 31.
fn is_zlib(input: &[u8]) -> bool {
    matches!(input, [cmf, flg, ..] if cmf & 0x0f == 8 && (u16::from(*cmf) << 8 | u16::from(*flg)) % 31 == 0)
}

pub(super) async fn snappy_framed(input: &Bytes, output: &Output<'_>) -> Result<Bytes, InflateError> {
    read_all(snap::read::FrameDecoder::new(&input[..]), "snappy", output, 0).await
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_of_every_frame_is_read_as_the_encoder_wrote_it() {
        use std::io::Write;
        let frame = |log: u32, length: usize, streamed: bool| {
            let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
            encoder.window_log(log).unwrap();
            if !streamed {
                encoder.set_pledged_src_size(Some(length as u64)).unwrap();
            }
            encoder.write_all(&vec![7; length]).unwrap();
            encoder.finish().unwrap()
        };
        assert_eq!(zstd_window(&frame(20, 5_000_000, true)), 1 << 20);
        assert_eq!(zstd_window(&frame(20, 200, false)), 200);
        assert_eq!(zstd_window(&frame(20, 60_000, false)), 60_000);
        assert_eq!(zstd_window(&[frame(11, 9_000, true), frame(22, 10_000_000, true)].concat()), 1 << 22);
        let skippable = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3][..], &frame(21, 9_000_000, true)].concat();
        assert_eq!(zstd_window(&skippable), 1 << 21);
        assert_eq!(zstd_window(&frame(24, 30_000_000, true)), 1 << 23, "more than that the decoder refuses");
        for torn in 0..12 {
            zstd_window(&skippable[..torn]);
            zstd_window(&frame(20, 200, false)[..torn]);
        }
    }
}
