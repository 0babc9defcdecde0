//! What a peer answered.

use ::http::HeaderMap;
use bytes::Bytes;

/// A whole answer: body and trailers read, within the limit.
pub(crate) struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    pub trailers: HeaderMap,
}
