//! Streaming decoders: output grows step by step under the cap and the budget.
//!
//! The first step of a short body is everybody's; whatever is longer waits for a place and is done by a thread of its own.
//! So a short body never queues behind a long one, no body holds up a worker however little comes of its bytes, and only as
//! many long ones as there are cores hold memory for their output. What the bytes mean is not known here.

use std::io::Read;

use bytes::buf::Reader;
use bytes::{Buf, Bytes};

use crate::core::data::budget::Ticket;
use crate::net::compression::output::{Cap, InflateError, Output, corrupt, is_long};

/// Output between two looks at the cap and the budget, the first buffer, and what is done on the worker.
const STEP_BYTES: u64 = 128 << 10;
/// Address space taken at once for a long body.
const AHEAD_BYTES: u64 = 64 << 20;
/// Tables and window of an inflating decoder, about.
const DECODER_BYTES: u64 = 64 << 10;
/// RFC 8878, section 3.1.1.1.2 recommends decoders to support windows of 8 MiB at least; a larger one is memory that
/// the frame asks for before it gives anything.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// Reads `decoder` to its end. `format` names it in errors; `input` is what it reads; `window` tells of the input what it
/// keeps of a long output beside it, of which it has written no more than it has read.
pub(super) async fn read_all(
    decoder: impl Read + Send + 'static,
    (format, input): (&'static str, &Bytes),
    output: &Output<'_>,
    window: fn(&[u8]) -> u64,
) -> Result<Bytes, InflateError> {
    output.ticket.grow(DECODER_BYTES)?;
    let granted = STEP_BYTES.min(output.limit.bytes);
    let bytes = output.exactly(granted)?;
    // The work outlives a caller that stops waiting, and so must what it is charged to.
    let mut reading = Reading { decoder, format, cap: output.limit, ticket: output.ticket.clone(), bytes, granted };
    let mut kept = 0;
    if !is_long(input) {
        kept = window(input).min(STEP_BYTES);
        reading.ticket.grow(kept)?;
        if reading.step()? {
            return Ok(Bytes::from(reading.bytes));
        }
    }
    let input = input.clone();
    let rest = move || -> Result<Bytes, InflateError> {
        reading.ticket.grow(window(&input).saturating_sub(kept))?;
        while !reading.step()? {}
        Ok(Bytes::from(reading.bytes))
    };
    output.aside.run(u64::MAX, rest).await
}

/// A body being inflated. The ticket has grown by `granted`.
struct Reading<D> {
    decoder: D,
    format: &'static str,
    cap: Cap,
    ticket: Ticket,
    bytes: Vec<u8>,
    granted: u64,
}

impl<D: Read> Reading<D> {
    /// Inflates some more; true at the end.
    fn step(&mut self) -> Result<bool, InflateError> {
        self.make_room()?;
        let room = self.granted - self.bytes.len() as u64;
        // One byte more than the cap tells "exactly full" from "too large".
        let at_cap = self.granted == self.cap.bytes;
        let step = room.min(STEP_BYTES) + u64::from(at_cap && room <= STEP_BYTES);
        let read = self.decoder.by_ref().take(step).read_to_end(&mut self.bytes); // granted: within what was reserved
        let read = read.map_err(|error| corrupt(self.format, error))?;
        if self.bytes.len() as u64 > self.cap.bytes {
            return Err(self.cap.error());
        }
        Ok((read as u64) < step)
    }

    fn make_room(&mut self) -> Result<(), InflateError> {
        if (self.bytes.len() as u64) < self.granted || self.granted == self.cap.bytes {
            return Ok(());
        }
        let next = (self.granted * 2).min(self.cap.bytes);
        self.ticket.grow(next - self.granted)?;
        self.granted = next;
        // Addresses ahead, so that growing copies nothing; pages come as they are written.
        let ahead = usize::try_from(self.cap.bytes.min(next.max(AHEAD_BYTES)) + 1).unwrap_or(usize::MAX);
        self.bytes.reserve_exact(ahead.saturating_sub(self.bytes.len())); // granted: the ticket has grown for it
        Ok(())
    }
}

/// The window of a decoder that keeps none beside its tables.
pub(super) fn none(_: &[u8]) -> u64 {
    0
}

/// Every frame of a zstd body (RFC 8878, section 3: frames follow each other). The decoder keeps a window beside the
/// output, which the frame's head states and the ticket covers for as long.
pub(super) async fn zstd(input: &Bytes, output: &Output<'_>) -> Result<Bytes, InflateError> {
    let decoder = zstd::stream::read::Decoder::with_buffer(input.clone().reader());
    let mut decoder = decoder.map_err(|error| corrupt("zstd", error))?;
    decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(|error| corrupt("zstd", error))?;
    read_all(decoder, ("zstd", input), output, zstd_window).await
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
        read_all(Whole(flate2::bufread::ZlibDecoder::new(input.clone().reader())), ("deflate", input), output, none)
            .await
    } else {
        let decoder = flate2::bufread::DeflateDecoder::new(input.clone().reader());
        read_all(Whole(decoder), ("deflate", input), output, none).await
    }
}

/// RFC 1950, section 2.2: method 8 and a header that is a multiple of 31.
fn is_zlib(input: &[u8]) -> bool {
    matches!(input, [cmf, flg, ..] if cmf & 0x0f == 8 && (u16::from(*cmf) << 8 | u16::from(*flg)) % 31 == 0)
}

pub(super) async fn snappy_framed(input: &Bytes, output: &Output<'_>) -> Result<Bytes, InflateError> {
    read_all(snap::read::FrameDecoder::new(input.clone().reader()), ("snappy", input), output, none).await
}

/// A deflate stream that must use up its input: what follows it is garbage.
struct Whole<D>(D);

trait Rest {
    fn rest(&self) -> usize;
}

impl Rest for flate2::bufread::ZlibDecoder<Reader<Bytes>> {
    fn rest(&self) -> usize {
        self.get_ref().get_ref().len()
    }
}

impl Rest for flate2::bufread::DeflateDecoder<Reader<Bytes>> {
    fn rest(&self) -> usize {
        self.get_ref().get_ref().len()
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
