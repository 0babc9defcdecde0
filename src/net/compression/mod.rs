//! Compressed bodies in, compressed answers out.
//!
//! Decoded sizes are capped before anything is allocated for them, output grows under the budget, and long inflations
//! leave the worker, so that one of them never blocks the others. The codecs are libraries; the rules here are ours. It must not
//! know what the bytes mean.

mod gzip;
mod snappy;
mod stream;

use std::sync::Arc;

use bytes::Bytes;

use crate::core::data::budget::{OverBudget, Ticket};
use crate::core::limits::LONG_WORK_BYTES;
use crate::core::offload::Aside;
use crate::net::server::body::Gathered;

pub use gzip::deflate_gzip;

/// A body that grows more than a hundredfold and beyond this is an attack, not telemetry.
const RATIO_MAX: u64 = 100;
const RATIO_FREE_BYTES: u64 = 8 << 20;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    Identity,
    Gzip,
    Zstd,
    /// RFC 1950 (zlib) as HTTP means it, and the raw RFC 1951 stream some clients send.
    Deflate,
    /// The block format as gRPC and Prometheus use it.
    Snappy,
    SnappyFramed,
}

impl Encoding {
    /// Of a `content-encoding` or `grpc-encoding`; `None` when unknown or more than one.
    pub fn parse(name: &str) -> Option<Encoding> {
        let name = name.trim();
        let known = [
            ("", Encoding::Identity),
            ("identity", Encoding::Identity),
            ("gzip", Encoding::Gzip),
            ("x-gzip", Encoding::Gzip),
            ("zstd", Encoding::Zstd),
            ("deflate", Encoding::Deflate),
            ("zlib", Encoding::Deflate),
            ("snappy", Encoding::Snappy),
            ("x-snappy-framed", Encoding::SnappyFramed),
        ];
        known.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, encoding)| encoding)
    }

    /// What a server of ours says it takes, in `accept-encoding` and `grpc-accept-encoding`.
    pub const ACCEPTED: &'static str = "identity,gzip,zstd,deflate,snappy";
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    #[error("the decompressed request is larger than the limit of {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("the request decompresses to more than {RATIO_MAX} times its size")]
    Ratio,
    #[error(transparent)]
    OverBudget(#[from] OverBudget),
    /// The name of the format and what is wrong.
    #[error("the body is not valid {0}: {1}")]
    Corrupt(&'static str, String),
}

/// Inflates bodies, as many long ones at once as there are cores.
#[derive(Clone, Debug, Default)]
pub struct Inflater {
    aside: Arc<Aside>,
}

impl Inflater {
    pub fn new(at_once: usize) -> Inflater {
        Inflater { aside: Arc::new(Aside::new(at_once)) }
    }

    /// The decoded body, at most `limit` bytes; its ticket covers it, the compressed one is given back.
    pub async fn inflate(&self, encoding: Encoding, body: Gathered, limit: u64) -> Result<Gathered, InflateError> {
        if encoding == Encoding::Identity {
            return Ok(body);
        }
        let limit = Cap::of(body.bytes.len() as u64, limit);
        let output = Output { limit, ticket: &body.ticket, aside: &self.aside };
        let bytes = match encoding {
            Encoding::Identity => body.bytes.clone(),
            Encoding::Gzip => gzip::inflate(&body.bytes, &output).await?,
            Encoding::Zstd => stream::zstd(&body.bytes, &output).await?,
            Encoding::Deflate => stream::deflate(&body.bytes, &output).await?,
            Encoding::Snappy => snappy::block(&body.bytes, &output).await?,
            Encoding::SnappyFramed => stream::snappy_framed(&body.bytes, &output).await?,
        };
        let Gathered { bytes: compressed, ticket } = body;
        drop(compressed);
        ticket.shrink_to(bytes.len() as u64);
        Ok(Gathered { bytes, ticket })
    }
}

/// The largest output allowed, and which rule set it.
#[derive(Clone, Copy, Debug)]
struct Cap {
    bytes: u64,
    by_ratio: bool,
    limit: u64,
}

impl Cap {
    fn of(compressed: u64, limit: u64) -> Cap {
        let ratio = compressed.saturating_mul(RATIO_MAX).max(RATIO_FREE_BYTES);
        Cap { bytes: limit.min(ratio), by_ratio: ratio < limit, limit }
    }

    fn error(self) -> InflateError {
        if self.by_ratio { InflateError::Ratio } else { InflateError::TooLarge { limit: self.limit } }
    }
}

/// What a decoder may produce: the cap, and the ticket that grows with it.
struct Output<'a> {
    limit: Cap,
    ticket: &'a Ticket,
    aside: &'a Aside,
}

/// How many bytes of protobuf are read while one compressed byte is inflated, at most: twenty bytes can state codes that
/// take microseconds to set up, and give nothing.
const EFFORT: u64 = 8;

/// Whether so many compressed bytes are inflated beside the worker's other tasks whatever comes of them.
fn is_long(input: &Bytes) -> bool {
    input.len() as u64 * EFFORT >= LONG_WORK_BYTES
}

impl Output<'_> {
    /// Room for a size that is known beforehand.
    fn exactly(&self, bytes: u64) -> Result<Vec<u8>, InflateError> {
        if bytes > self.limit.bytes {
            return Err(self.limit.error());
        }
        self.ticket.grow(bytes)?;
        // granted: the ticket has grown for it
        Ok(Vec::with_capacity(usize::try_from(bytes).unwrap_or(usize::MAX)))
    }
}

/// Adds the format's name to a decoder's complaint.
fn corrupt(format: &'static str, error: impl ToString) -> InflateError {
    InflateError::Corrupt(format, error.to_string())
}

/// True when compressing an answer is worth its bytes.
pub fn is_worthwhile(answer: &Bytes) -> bool {
    answer.len() >= 1024
}

#[cfg(test)]
mod tests;
