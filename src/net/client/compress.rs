//! Compression of what is sent, and capped decompression of the answers.
//!
//! gzip runs at level 1 unless told otherwise: higher levels cost three times the CPU for a quarter less bytes (zlib-rs on OTLP).

use std::io::{self, Read, Write};

use bytes::Bytes;

use crate::core::offload::Aside;
use crate::net::client::answer::AnswerBounds;
use crate::net::client::failure::CallFailure;
use crate::net::compression::pack::{GzipPacker, Pieces};

/// How many bytes of protobuf are read while one is compressed, roughly.
const EFFORT: u64 = 4;
/// On the stack while an answer is inflated.
const INFLATED_AT_A_TIME: usize = 8 << 10;

/// A form of compression, with its level where it has levels and its token where it has several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip(u32),
    Zstd(i32),
    Zlib(&'static str, u32),
    SnappyBlock,
    SnappyFramed(&'static str),
}

impl Compression {
    /// gzip and zstd at their quickest.
    pub const GZIP: Compression = Compression::Gzip(1);
    pub const ZSTD: Compression = Compression::Zstd(1);

    /// The token of `content-encoding` and `grpc-encoding`.
    pub fn token(self) -> Option<&'static str> {
        match self {
            Compression::None => None,
            Compression::Gzip(_) => Some("gzip"),
            Compression::Zstd(_) => Some("zstd"),
            Compression::SnappyBlock => Some("snappy"),
            Compression::Zlib(token, _) | Compression::SnappyFramed(token) => Some(token),
        }
    }

    /// Compresses the pieces into one, long ones beside the worker's other tasks; without compression they stay as they
    /// are.
    pub async fn pack(self, parts: Vec<Bytes>) -> io::Result<Vec<Bytes>> {
        if self == Compression::None {
            return Ok(parts);
        }
        let bytes = parts.iter().map(|part| part.len() as u64).sum::<u64>();
        Aside::shared().run(bytes.saturating_mul(EFFORT), move || self.apply(parts)).await
    }

    /// The same at once.
    pub fn apply(self, parts: Vec<Bytes>) -> io::Result<Vec<Bytes>> {
        match self {
            Compression::None => Ok(parts),
            Compression::Gzip(level) => GzipPacker::at(level).pack(&parts),
            Compression::Zstd(level) => {
                let encoder = zstd::stream::write::Encoder::new(pieces(&parts), level)?;
                Ok(written(encoder, &parts)?.finish()?.finish())
            }
            Compression::Zlib(_, level) => {
                let level = flate2::Compression::new(level);
                let encoder = flate2::write::ZlibEncoder::new(pieces(&parts), level);
                Ok(written(encoder, &parts)?.finish()?.finish())
            }
            Compression::SnappyFramed(_) => {
                let encoder = snap::write::FrameEncoder::new(pieces(&parts));
                let pieces = written(encoder, &parts)?.into_inner();
                Ok(pieces.map_err(|error| io::Error::other(error.to_string()))?.finish())
            }
            // Its head states the whole length: there are no pieces of it.
            Compression::SnappyBlock => {
                let joined = parts.concat(); // granted: by the transport's `working_bytes`
                let block = snap::raw::Encoder::new().compress_vec(&joined).map_err(io::Error::other)?;
                Ok(vec![block.into()]) // granted: the list of one piece
            }
        }
    }
}

fn pieces(parts: &[Bytes]) -> Pieces {
    Pieces::of(parts.iter().map(Bytes::len).sum())
}

fn written<W: Write>(mut encoder: W, parts: &[Bytes]) -> io::Result<W> {
    parts.iter().try_for_each(|part| encoder.write_all(part))?;
    Ok(encoder)
}

/// Inflates an answer within its bounds. `encoding` is the header's value. The body as sent goes when the inflated one is
/// there.
pub fn inflate_answer(encoding: &str, body: Bytes, bounds: &AnswerBounds) -> Result<Bytes, CallFailure> {
    match encoding.trim() {
        "" | "identity" => Ok(body),
        _ if body.is_empty() => Ok(body),
        "gzip" => inflated(encoding, &mut flate2::read::MultiGzDecoder::new(&body[..]), bounds),
        "zstd" => {
            let decoder = zstd::stream::read::Decoder::new(&body[..]);
            inflated(encoding, &mut decoder.map_err(|error| CallFailure::Malformed(error.to_string()))?, bounds)
        }
        other => Err(CallFailure::Malformed(format!("its encoding {other:?} was not asked for"))),
    }
}

fn inflated(encoding: &str, reader: &mut dyn Read, bounds: &AnswerBounds) -> Result<Bytes, CallFailure> {
    let (mut whole, mut piece) = (bounds.body(), [0; INFLATED_AT_A_TIME]);
    loop {
        match reader.read(&mut piece) {
            Ok(0) => return Ok(whole.finish()),
            Ok(length) => whole.push(&piece[..length])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(CallFailure::Malformed(format!("its {encoding} body does not inflate: {error}")));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_compressed_inflates_to_the_same_bytes() {
        let parts = vec![Bytes::from(vec![7; 5000]), Bytes::from_static(b"tail")];
        for compression in [Compression::None, Compression::GZIP, Compression::Gzip(9), Compression::Zstd(11)] {
            let packed = compression.apply(parts.clone()).unwrap().concat();
            let encoding = compression.token().unwrap_or_default();
            assert_eq!(
                inflate_answer(encoding, packed.into(), &AnswerBounds::new(5004, None)),
                Ok(Bytes::from(parts.concat())),
                "{compression:?}"
            );
        }
    }

    #[test]
    fn forms_that_only_requests_have_are_read_by_their_own_libraries() {
        let parts = vec![Bytes::from(vec![7; 5000]), Bytes::from_static(b"tail")];
        let packed = |compression: Compression| compression.apply(parts.clone()).unwrap().concat();
        let mut read = Vec::new();
        flate2::read::ZlibDecoder::new(&packed(Compression::Zlib("zlib", 6))[..]).read_to_end(&mut read).unwrap();
        let block = snap::raw::Decoder::new().decompress_vec(&packed(Compression::SnappyBlock)).unwrap();
        let mut framed = Vec::new();
        let frames = packed(Compression::SnappyFramed("snappy"));
        snap::read::FrameDecoder::new(&frames[..]).read_to_end(&mut framed).unwrap();
        assert!([read, block, framed].into_iter().all(|bytes| bytes == parts.concat()));
    }

    #[test]
    fn a_bomb_stops_at_the_limit_and_nonsense_is_an_error() {
        let bomb = Compression::GZIP.apply(vec![Bytes::from(vec![0; 1 << 20])]).unwrap().concat();
        assert!(bomb.len() < 100_000);
        assert_eq!(
            inflate_answer("gzip", bomb.into(), &AnswerBounds::new(4096, None)),
            Err(CallFailure::AnswerTooLarge { limit: 4096 })
        );
        for encoding in ["gzip", "zstd", "br"] {
            let answer = inflate_answer(encoding, Bytes::from_static(b"nonsense"), &AnswerBounds::new(4096, None));
            assert!(matches!(answer, Err(CallFailure::Malformed(_))), "{encoding}");
        }
    }
}
