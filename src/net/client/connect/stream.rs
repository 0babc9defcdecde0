//! One socket under a client: plaintext or TLS, remembering the first bytes the peer sent.
//!
//! Those bytes tell the commonest mix-ups apart: a TLS port dialled in plaintext, an HTTP/1 server dialled as gRPC.

use std::io::{self, Read};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::core::outside::BoxSocket;
use crate::net::client::failure::CallFailure;

/// The first seven bytes the peer sent, with their count in the top byte.
#[derive(Clone, Debug, Default)]
pub struct FirstBytes(Arc<AtomicU64>);

impl FirstBytes {
    fn note(&self, bytes: &[u8]) {
        let mut known = self.0.load(Ordering::Relaxed).to_be_bytes();
        for byte in bytes {
            let count = usize::from(known[0]);
            if count == 7 {
                break;
            }
            known[count + 1] = *byte;
            known[0] += 1;
        }
        self.0.store(u64::from_be_bytes(known), Ordering::Relaxed);
    }

    fn full(&self) -> bool {
        self.0.load(Ordering::Relaxed) >> 56 == 7
    }

    /// What the peer speaks, when that is plainly not what we asked for over plaintext HTTP.
    pub fn mix_up(&self, we_spoke_http2: bool) -> Option<CallFailure> {
        let known = self.0.load(Ordering::Relaxed).to_be_bytes();
        let bytes = &known[1..=usize::from(known[0])];
        // A TLS alert record: type 21, version 3.x.
        if bytes.len() >= 2 && bytes[0] == 21 && bytes[1] == 3 {
            return Some(CallFailure::PeerIsTls);
        }
        (we_spoke_http2 && bytes.starts_with(b"HTTP/1")).then_some(CallFailure::PeerIsHttp1)
    }
}

impl FirstBytes {
    /// A write failed before anything was read: what the peer said before it hung up still waits in the socket.
    fn last_words(&self, transport: &ByteTransport) {
        let mut bytes = [0; 8];
        if !self.full()
            && let ByteTransport::Tcp(tcp) = transport
            && let Ok(read) = (&*socket2::SockRef::from(tcp)).read(&mut bytes)
        {
            self.note(&bytes[..read]);
        }
    }
}

/// What carries the bytes.
pub enum ByteTransport {
    Tcp(TcpStream),
    /// Of a network that was given in place of the kernel's.
    Given(BoxSocket),
}

pub enum ClientStream {
    Plain(ByteTransport, FirstBytes),
    Tls(Box<TlsStream<ByteTransport>>),
}

impl AsyncRead for ByteTransport {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ByteTransport::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buf),
            ByteTransport::Given(socket) => Pin::new(socket).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for ByteTransport {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            ByteTransport::Tcp(tcp) => Pin::new(tcp).poll_write(cx, buf),
            ByteTransport::Given(socket) => Pin::new(socket).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            ByteTransport::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            ByteTransport::Given(socket) => Pin::new(socket).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            ByteTransport::Tcp(tcp) => tcp.is_write_vectored(),
            ByteTransport::Given(socket) => socket.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ByteTransport::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            ByteTransport::Given(socket) => Pin::new(socket).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ByteTransport::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            ByteTransport::Given(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ClientStream::Tls(tls) => Pin::new(tls.as_mut()).poll_read(cx, buf),
            ClientStream::Plain(tcp, first) => {
                let before = buf.filled().len();
                let polled = Pin::new(tcp).poll_read(cx, buf);
                if !first.full() {
                    first.note(&buf.filled()[before..]);
                }
                polled
            }
        }
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            ClientStream::Plain(tcp, first) => {
                let polled = Pin::new(&mut *tcp).poll_write(cx, buf);
                if matches!(polled, Poll::Ready(Err(_))) {
                    first.last_words(tcp);
                }
                polled
            }
            ClientStream::Tls(tls) => Pin::new(tls.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            ClientStream::Plain(tcp, first) => {
                let polled = Pin::new(&mut *tcp).poll_write_vectored(cx, slices);
                if matches!(polled, Poll::Ready(Err(_))) {
                    first.last_words(tcp);
                }
                polled
            }
            ClientStream::Tls(tls) => Pin::new(tls.as_mut()).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ClientStream::Plain(tcp, _) => Pin::new(tcp).poll_flush(cx),
            ClientStream::Tls(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            ClientStream::Plain(tcp, _) => Pin::new(tcp).poll_shutdown(cx),
            ClientStream::Tls(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peers_first_bytes_tell_mix_ups_apart() {
        for (arrived, http2, wanted) in [
            (&[&b"\x15"[..], b"\x03\x01\x00\x02\x02\x46"][..], true, Some(CallFailure::PeerIsTls)),
            (&[&b"HTTP/1.1 400 Bad Request"[..]][..], true, Some(CallFailure::PeerIsHttp1)),
            (&[&b"HTTP/1.1 200 OK"[..]][..], false, None),
            (&[&b"\x00\x00\x12\x04\x00\x00\x00"[..]][..], true, None),
            (&[][..], true, None),
        ] {
            let first = FirstBytes::default();
            arrived.iter().for_each(|bytes| first.note(bytes));
            assert_eq!(first.mix_up(http2), wanted, "{arrived:?}");
        }
    }
}
