//! A client over HTTP/1.1 that has closed its sending side while a request of it waits: has it gone, or does it listen?
//!
//! The same FIN says both. So the server writes an interim answer, which every client has to skip (RFC 9110, section
//! 15.2): who has closed its socket answers that with a reset, who listens does not. HTTP/1.0 knows no interim answers,
//! so such a client is waited for.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::net::client::connect::given::Carried;

const INTERIM: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// An answer that comes so soon spares the client the question.
const FIRST_QUESTION: Duration = Duration::from_millis(20);
/// A client may go later, and its going is only told to who writes.
const NEXT_QUESTION: Duration = Duration::from_secs(5);
/// Waits between looks at the socket: a reset takes one way through the network.
const LOOKS: (Duration, Duration) = (Duration::from_millis(5), Duration::from_millis(500));

/// A stream whose peer may vanish.
pub trait PeerStream: AsyncRead + AsyncWrite + Unpin {
    /// The peer has reset the connection; asking takes the error away.
    fn is_reset(&self) -> bool;
}

impl PeerStream for TcpStream {
    fn is_reset(&self) -> bool {
        !matches!(self.take_error(), Ok(None))
    }
}

impl PeerStream for UnixStream {
    fn is_reset(&self) -> bool {
        !matches!(self.take_error(), Ok(None))
    }
}

impl PeerStream for Carried {
    /// What a given network knows it tells to whoever writes.
    fn is_reset(&self) -> bool {
        false
    }
}

/// The questions to one such client.
pub struct HalfClosed {
    ask_at: Instant,
    wait: Duration,
    sleep: Pin<Box<Sleep>>,
    may_ask: bool,
}

impl HalfClosed {
    /// `may_ask`: the client understands interim answers.
    pub fn new(may_ask: bool) -> HalfClosed {
        let ask_at = Instant::now() + FIRST_QUESTION;
        HalfClosed { ask_at, wait: LOOKS.0, sleep: Box::pin(sleep_until(ask_at)), may_ask }
    }

    /// Ready when the client has gone. `may_write`: no answer is on its way at this moment.
    pub fn poll_gone<S: PeerStream>(&mut self, cx: &mut Context<'_>, io: &mut S, may_write: bool) -> Poll<()> {
        while self.sleep.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            if io.is_reset() || (now >= self.ask_at && may_write && self.may_ask && self.ask(cx, io).is_err()) {
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(now + self.wait);
            self.wait = (self.wait * 2).min(LOOKS.1);
        }
        Poll::Pending
    }

    /// The error is that of a broken connection; one that takes nothing is asked again.
    fn ask<S: PeerStream>(&mut self, cx: &mut Context<'_>, io: &mut S) -> io::Result<()> {
        match Pin::new(io).poll_write(cx, INTERIM) {
            Poll::Pending => return Ok(()),
            Poll::Ready(Ok(count)) if count == INTERIM.len() => {}
            Poll::Ready(Ok(_)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Err(error)) => return Err(error),
        }
        self.ask_at = Instant::now() + NEXT_QUESTION;
        self.wait = LOOKS.0;
        Ok(())
    }
}

#[cfg(test)]
impl PeerStream for tokio::io::DuplexStream {
    fn is_reset(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::time::timeout;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn who_closed_its_socket_is_gone_and_who_listens_is_asked_and_kept() {
        for (listens, may_ask) in [(true, true), (false, true), (false, false)] {
            let (mut client, mut server) = pair().await;
            client.shutdown().await.unwrap();
            let kept = Some(client).filter(|_| listens);
            assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);
            let mut half_closed = HalfClosed::new(may_ask);
            let gone = poll_fn(|cx| half_closed.poll_gone(cx, &mut server, true));
            let gone = timeout(Duration::from_millis(800), gone).await.is_ok();
            assert_eq!(gone, !listens && may_ask);
            if let Some(mut client) = kept {
                let mut seen = vec![0; INTERIM.len()];
                client.read_exact(&mut seen).await.unwrap();
                assert_eq!(seen, INTERIM);
                drop(client);
                let gone = poll_fn(|cx| half_closed.poll_gone(cx, &mut server, true));
                assert!(timeout(Duration::from_secs(20), gone).await.is_ok(), "asked again later");
            }
        }
    }
}
