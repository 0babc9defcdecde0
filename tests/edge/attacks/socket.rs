//! The sockets of attackers: TCP whose bytes are counted as they leave, from an address of their own where one is given.

use std::io::{self, IoSlice};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};

/// Bytes that attacks of this process have sent.
pub static SENT: AtomicU64 = AtomicU64::new(0);

/// The address attacks of this process come from; the kernel's choice where it is not set.
pub static SOURCE: OnceLock<IpAddr> = OnceLock::new();

#[derive(Debug)]
pub struct Socket(TcpStream);

impl Socket {
    pub async fn connect(to: SocketAddr) -> io::Result<Socket> {
        let source = SOURCE.get().copied().unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        Socket::from(source, to, None).await
    }

    /// `buffer`: the kernel's for what is received, in bytes.
    pub async fn from(source: IpAddr, to: SocketAddr, buffer: Option<u32>) -> io::Result<Socket> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        // What is left of a closed one must not keep a listener from its port.
        socket.set_reuseaddr(true)?;
        socket.bind((source, 0).into())?;
        let stream = socket.connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Socket(stream))
    }
}

fn counted(wrote: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
    if let Poll::Ready(Ok(bytes)) = &wrote {
        SENT.fetch_add(*bytes as u64, Ordering::Relaxed);
    }
    wrote
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        counted(Pin::new(&mut self.0).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        counted(Pin::new(&mut self.0).poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
