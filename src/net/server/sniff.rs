//! What a new connection speaks, told by its first bytes: both ports answer every protocol.
//!
//! Pure apart from the reading; what follows from the answer is `server`'s business.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use crate::net::server::connection::frames::PREFACE;
use crate::net::server::limits::ServerLimits;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SniffedProtocol {
    Http1,
    Http2,
    /// A TLS ClientHello.
    Tls,
}

/// Why the first bytes did not tell.
#[derive(Debug, thiserror::Error)]
pub enum SniffError {
    #[error("no byte came")]
    Silent,
    #[error("the first bytes came too slowly")]
    Slow,
    #[error("the connection ended before it sent anything")]
    Closed,
    #[error("reading failed: {0}")]
    Io(#[from] io::Error),
}

/// The protocol of these first bytes; `None` while more are needed.
pub fn protocol_of(bytes: &[u8]) -> Option<SniffedProtocol> {
    match bytes {
        [] => None,
        // Handshake record of TLS 1.0 to 1.3 (RFC 8446, section 5.1).
        [0x16] => None,
        [0x16, 0x03, ..] => Some(SniffedProtocol::Tls),
        bytes if bytes.starts_with(PREFACE) => Some(SniffedProtocol::Http2),
        bytes if PREFACE.starts_with(bytes) => None,
        _ => Some(SniffedProtocol::Http1),
    }
}

/// Reads until the protocol is clear; the bytes read come back to be replayed.
pub async fn sniff<S: AsyncRead + Unpin>(
    io: &mut S,
    limits: &ServerLimits,
) -> Result<(SniffedProtocol, Bytes), SniffError> {
    let mut bytes = BytesMut::with_capacity(PREFACE.len()); // granted: a preface
    let first = timeout(limits.first_byte, io.read_buf(&mut bytes)).await.map_err(|_| SniffError::Silent)??;
    if first == 0 {
        return Err(SniffError::Closed);
    }
    let rest = async {
        loop {
            if let Some(protocol) = protocol_of(&bytes) {
                return Ok(protocol);
            }
            if io.read_buf(&mut bytes).await? == 0 {
                return Err(SniffError::Closed);
            }
        }
    };
    let protocol = timeout(limits.preface, rest).await.map_err(|_| SniffError::Slow)??;
    Ok((protocol, bytes.freeze()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncWriteExt, duplex};

    use super::*;

    #[test]
    fn first_bytes_tell_the_protocol() {
        for (bytes, protocol) in [
            (&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], Some(SniffedProtocol::Http2)),
            (b"PRI * HTTP/2.0\r\n", None),
            (b"P", None),
            (b"PO", Some(SniffedProtocol::Http1)),
            (b"PRI * HTTP/1.1\r\n", Some(SniffedProtocol::Http1)),
            (b"GET /", Some(SniffedProtocol::Http1)),
            (b"\x16\x03\x01\x02", Some(SniffedProtocol::Tls)),
            (b"\x16", None),
            (b"\0", Some(SniffedProtocol::Http1)),
        ] {
            assert_eq!(protocol_of(bytes), protocol, "{bytes:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_and_a_dripping_preface_are_told_apart() {
        let limits = ServerLimits::default();
        let (mut client, mut server) = duplex(64);
        assert!(matches!(sniff(&mut server, &limits).await, Err(SniffError::Silent)));
        client.write_all(b"PRI").await.unwrap();
        let begun = tokio::time::Instant::now();
        assert!(matches!(sniff(&mut server, &limits).await, Err(SniffError::Slow)));
        assert_eq!(begun.elapsed(), Duration::from_secs(5));
        drop(client);
        assert!(matches!(sniff(&mut server, &limits).await, Err(SniffError::Closed)));
    }
}
