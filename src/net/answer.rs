//! The body of an answer: at most one piece of data, then trailers.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

/// What every answer of a receiver consists of; never waits.
#[derive(Debug, Default)]
pub struct AnswerBody {
    bytes: Option<Bytes>,
    trailers: Option<HeaderMap>,
}

impl AnswerBody {
    pub fn empty() -> AnswerBody {
        AnswerBody::default()
    }

    /// Empty bytes make an empty body.
    pub fn full(bytes: Bytes) -> AnswerBody {
        AnswerBody { bytes: Some(bytes).filter(|bytes| !bytes.is_empty()), trailers: None }
    }

    pub fn with_trailers(bytes: Bytes, trailers: HeaderMap) -> AnswerBody {
        AnswerBody { bytes: Some(bytes), trailers: Some(trailers) }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(bytes) = self.bytes.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let bytes = self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        // With trailers no length is stated: an exact one would become a content-length.
        if self.trailers.is_some() { SizeHint::default() } else { SizeHint::with_exact(bytes) }
    }
}
