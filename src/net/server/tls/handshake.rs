//! One connection from its first TLS record to a stream of what is inside; and the words for a client that speaks plainly.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::net::server::half_closed::PeerStream;

/// What a connection's session costs beside HTTP's buffers: a record each way, and room for records that wait to be written.
pub const SESSION_BYTES: u64 = 48 << 10;
/// Plain text that waits inside the session for the socket, at most.
const UNSENT_BYTES_MAX: usize = 16 << 10;

/// A stream whose first bytes were read already.
pub struct Replayed<S> {
    first: Bytes,
    io: S,
}

impl<S> Replayed<S> {
    pub fn new(io: S, first: Bytes) -> Replayed<S> {
        Replayed { first, io }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Replayed<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.first.has_remaining() {
            let count = self.first.remaining().min(buf.remaining());
            buf.put_slice(&self.first.split_to(count));
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Replayed<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl<S: PeerStream> PeerStream for TlsStream<Replayed<S>> {
    fn is_reset(&self) -> bool {
        self.get_ref().0.io.is_reset()
    }
}

/// Shakes hands. The error says what the two do not agree on.
pub async fn accept<S: PeerStream>(
    config: Arc<ServerConfig>,
    stream: Replayed<S>,
) -> io::Result<TlsStream<Replayed<S>>> {
    TlsAcceptor::from(config).accept_with(stream, |session| session.set_buffer_limit(Some(UNSENT_BYTES_MAX))).await
}

/// Tells a client that speaks HTTP/1.1 to a TLS port so, in its own words; whether it reads them is its own business.
pub async fn refuse_plain<S: AsyncWrite + Unpin>(stream: &mut S) {
    const ANSWER: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n\
        this port speaks TLS: use https:// in the endpoint\n";
    if stream.write_all(ANSWER).await.is_ok() {
        let _ = stream.shutdown().await;
    }
}
