//! The codecs of Kafka's record batches (KIP-110 names the four). Memory is granted step by step, as for bodies; no rule of
//! ratio, because a batch that is refused holds its partition.

use bytes::{Buf, Bytes};

use crate::core::data::budget::Ticket;
use crate::net::compression::output::{Cap, InflateError, Output, corrupt};
use crate::net::compression::{Inflater, gzip, snappy, stream};

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchCodec {
    Gzip,
    /// The framing of snappy-java, or one raw block.
    Snappy,
    /// One frame (LZ4 frame format 1.6).
    Lz4,
    Zstd,
}

impl Inflater {
    /// The records of a batch, at most `limit` bytes. The ticket grows for them and for what decoding takes beside them, and
    /// covers them alone afterwards; it has to be the caller's own.
    pub async fn inflate_batch(
        &self,
        codec: BatchCodec,
        batch: &Bytes,
        ticket: &Ticket,
        limit: u64,
    ) -> Result<Bytes, InflateError> {
        let output = Output { limit: Cap::exact(limit), ticket, aside: &self.aside };
        let bytes = match codec {
            BatchCodec::Gzip => gzip::inflate(batch, &output).await?,
            BatchCodec::Snappy => snappy::java(batch, &output).await?,
            BatchCodec::Lz4 => lz4(batch, &output).await?,
            BatchCodec::Zstd => stream::zstd(batch, &output).await?,
        };
        ticket.shrink_to(bytes.len() as u64);
        Ok(bytes)
    }
}

async fn lz4(input: &Bytes, output: &Output<'_>) -> Result<Bytes, InflateError> {
    if input.is_empty() {
        return Err(corrupt("lz4", "it is empty"));
    }
    let decoder = lz4_flex::frame::FrameDecoder::new(input.clone().reader());
    stream::read_all(decoder, ("lz4", input), output, lz4_window).await
}

/// What a decoder keeps: a block as it comes, and up to two decoded ones with 64 KiB before them.
fn lz4_window(input: &[u8]) -> u64 {
    const MAGIC: [u8; 4] = [0x04, 0x22, 0x4d, 0x18];
    // The descriptor's second byte has the size of blocks in bits 4 to 6: 64 KiB at 4, four times as much at each further one.
    let block = match input {
        [a, b, c, d, _, descriptor, ..] if [*a, *b, *c, *d] == MAGIC => {
            64 << 10 << (2 * u64::from((descriptor >> 4 & 7).saturating_sub(4)))
        }
        // Legacy frames.
        _ => 8 << 20,
    };
    3 * block + (64 << 10)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::core::data::budget::Budget;

    const LARGE: usize = 3 << 20;

    fn packed(codec: BatchCodec, plain: &[u8]) -> Bytes {
        Bytes::from(match codec {
            BatchCodec::Gzip => {
                let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                packer.write_all(plain).unwrap();
                packer.finish().unwrap()
            }
            BatchCodec::Snappy => {
                let mut framed = [&snappy::JAVA_MAGIC[..], &[0, 0, 0, 1, 0, 0, 0, 1]].concat();
                for chunk in plain.chunks(32 << 10) {
                    let block = snap::raw::Encoder::new().compress_vec(chunk).unwrap();
                    framed.extend(u32::try_from(block.len()).unwrap().to_be_bytes());
                    framed.extend(block);
                }
                framed
            }
            BatchCodec::Lz4 => {
                let mut packer = lz4_flex::frame::FrameEncoder::new(Vec::new());
                packer.write_all(plain).unwrap();
                packer.finish().unwrap()
            }
            BatchCodec::Zstd => zstd::encode_all(plain, 3).unwrap(),
        })
    }

    const ALL: [BatchCodec; 4] = [BatchCodec::Gzip, BatchCodec::Snappy, BatchCodec::Lz4, BatchCodec::Zstd];

    #[tokio::test]
    async fn every_codec_gives_back_what_was_packed_and_pays_for_that_alone() {
        for codec in ALL {
            for plain in [Vec::new(), b"records".to_vec(), vec![7; LARGE]] {
                let budget = Budget::new(32 << 20, 32 << 20);
                let ticket = budget.take(0).unwrap();
                let given = Inflater::default().inflate_batch(codec, &packed(codec, &plain), &ticket, 8 << 20).await;
                assert!(given.as_ref().is_ok_and(|given| given[..] == plain[..]), "{codec:?}, {}", plain.len());
                assert_eq!(budget.used(), plain.len() as u64, "{codec:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_bomb_ends_at_its_limit_or_at_the_budgets_and_has_held_no_more() {
        for codec in ALL {
            let bomb = packed(codec, &vec![0; 64 << 20]);
            for (hard, limit) in [(64 << 20, 2 << 20), (6 << 20, 80 << 20)] {
                let budget = Budget::new(hard, hard);
                let ticket = budget.take(0).unwrap();
                let given = Inflater::default().inflate_batch(codec, &bomb, &ticket, limit).await;
                let is_told = match given {
                    Err(InflateError::TooLarge { .. }) => limit < hard,
                    Err(InflateError::OverBudget(_)) => hard < limit,
                    _ => false,
                };
                assert!(is_told && budget.peak() <= hard.min(limit + (14 << 20)), "{codec:?}: {}", budget.peak());
            }
        }
    }

    #[tokio::test]
    async fn what_is_torn_or_no_batch_is_told() {
        for codec in ALL {
            let plain = [7; 100_000];
            let whole = packed(codec, &plain);
            for at in [0, 1, 3, 7, 15, 17, whole.len() / 2, whole.len() - 1] {
                let ticket = Budget::unlimited().take(0).unwrap();
                let given = Inflater::default().inflate_batch(codec, &whole.slice(..at), &ticket, 1 << 20).await;
                // Chunks of snappy-java, frames of zstd and blocks of LZ4 may end anywhere between two of them.
                assert!(given.is_err() || given.is_ok_and(|given| plain.starts_with(&given)), "{codec:?} torn at {at}");
            }
        }
    }
}
