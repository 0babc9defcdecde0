//! Compressed bodies in, compressed answers out.
//!
//! Decoded sizes are capped before anything is allocated for them, output grows under the budget, and long inflations
//! leave the worker, so that one of them never blocks the others. The codecs are libraries; the rules here are ours. It must not
//! know what the bytes mean.

#[cfg(feature = "kafka")]
pub mod batch;
mod deflate;
mod gzip;
mod output;
pub mod pack;
mod snappy;
mod stream;

use std::sync::Arc;

use bytes::Bytes;

use crate::core::offload::Aside;
use crate::net::compression::output::{Cap, Output};
use crate::net::server::body::Gathered;

pub use crate::net::compression::output::InflateError;

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

/// True when compressing an answer is worth its bytes.
pub fn is_worthwhile(answer: &Bytes) -> bool {
    answer.len() >= 1024
}

#[cfg(test)]
mod tests;
