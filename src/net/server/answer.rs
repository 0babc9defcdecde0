//! The body of an answer: at most one piece of data, then trailers; or, for pages that go on, chunks as they come; or, for
//! gRPC streams, whatever a stream of frames gives.

use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;

use crate::net::server::body::RequestBody;

/// What every answer consists of; only chunks are waited for.
#[derive(Debug, Default)]
pub struct AnswerBody {
    bytes: Option<Bytes>,
    trailers: Option<HeaderMap>,
    chunks: Option<mpsc::Receiver<Bytes>>,
    frames: Option<Frames>,
}

struct Frames(Pin<Box<dyn Stream<Item = Frame<Bytes>> + Send>>);

impl fmt::Debug for Frames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Frames")
    }
}

impl AnswerBody {
    pub fn empty() -> AnswerBody {
        AnswerBody::default()
    }

    /// Empty bytes make an empty body.
    pub fn full(bytes: Bytes) -> AnswerBody {
        AnswerBody { bytes: Some(bytes).filter(|bytes| !bytes.is_empty()), ..AnswerBody::default() }
    }

    pub fn with_trailers(bytes: Bytes, trailers: HeaderMap) -> AnswerBody {
        AnswerBody { bytes: Some(bytes), trailers: Some(trailers), ..AnswerBody::default() }
    }

    /// Chunks until the sender is dropped.
    pub fn stream(chunks: mpsc::Receiver<Bytes>) -> AnswerBody {
        AnswerBody { chunks: Some(chunks), ..AnswerBody::default() }
    }

    /// Frames until the stream ends; it is dropped when the client goes away.
    pub fn frames(frames: impl Stream<Item = Frame<Bytes>> + Send + 'static) -> AnswerBody {
        AnswerBody { frames: Some(Frames(Box::pin(frames))), ..AnswerBody::default() }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(bytes) = self.bytes.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        if let Some(chunks) = &mut self.chunks {
            return chunks.poll_recv(cx).map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes))));
        }
        if let Some(Frames(frames)) = &mut self.frames {
            return frames.as_mut().poll_next(cx).map(|frame| frame.map(Ok));
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none() && self.trailers.is_none() && self.chunks.is_none() && self.frames.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let bytes = self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        // With trailers no length is stated: an exact one would become a content-length.
        if self.trailers.is_some() || self.chunks.is_some() || self.frames.is_some() {
            SizeHint::default()
        } else {
            SizeHint::with_exact(bytes)
        }
    }
}

pub type Responding = Pin<Box<dyn Future<Output = Response<AnswerBody>> + Send>>;

/// Answers requests. Must not panic; may leave the body unread.
pub trait Service: Send + Sync {
    fn respond(&self, request: Request<RequestBody>) -> Responding;

    /// Answers a request whose connection cannot have the memory it needs: retryable, and cheap.
    fn overloaded(&self, request: Request<RequestBody>) -> Responding {
        self.respond(request)
    }
}
