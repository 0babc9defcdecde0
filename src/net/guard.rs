//! A connection's I/O under watch: replays the sniffed bytes, times heads and stalled writes, counts HTTP/2 frames.
//!
//! It sits between the socket (or TLS) and hyper, because hyper has no setting for any of this. A breach becomes an I/O
//! error, which ends the connection, and its cause is noted on the [`Connection`]. It must not know requests.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::net::connection::Connection;
use crate::net::frames::FrameMeter;
use crate::net::limits::ServerLimits;

/// What the client speaks; only HTTP/2 has frames to count.
#[derive(Debug)]
pub enum Speech {
    Http1,
    Http2(FrameMeter),
}

/// The guarded stream.
pub struct Guarded<S> {
    io: S,
    replay: Bytes,
    speech: Speech,
    connection: Arc<Connection>,
    head: Patience,
    /// Requests seen when the head now being read began: a new one means the head is complete.
    requests_at_head: u64,
    stall: Patience,
    /// A read was held back while a write was stalled; its task must be woken when the write moves.
    read_held_back: bool,
}

impl<S> Guarded<S> {
    /// `replay` are bytes already read from `io`.
    pub fn new(io: S, replay: Bytes, speech: Speech, connection: Arc<Connection>, limits: &ServerLimits) -> Guarded<S> {
        Guarded {
            io,
            replay,
            speech,
            connection,
            head: Patience::new(limits.head),
            requests_at_head: 0,
            stall: Patience::new(limits.write_stall),
            read_held_back: false,
        }
    }

    fn breach(&self, cause: &'static str) -> io::Error {
        self.connection.set_cause(cause);
        io::Error::new(io::ErrorKind::TimedOut, cause)
    }

    /// Looks at bytes just read and keeps the head's time.
    fn inspect(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        let head_open = match &mut self.speech {
            Speech::Http1 => {
                let begun = self.head.is_running() && self.requests_at_head == self.connection.requests();
                !bytes.is_empty() && (begun || self.connection.open_requests() == 0)
            }
            Speech::Http2(meter) => {
                let connection = &self.connection;
                let read = meter.read(bytes, connection.age().as_secs(), || connection.forgive_reset());
                if let Err(flood) = read {
                    connection.set_cause(flood.cause());
                    return Err(io::Error::new(io::ErrorKind::InvalidData, flood));
                }
                meter.owes_head()
            }
        };
        if !head_open {
            self.head.stop();
        } else if !self.head.is_running() {
            self.requests_at_head = self.connection.requests();
            self.head.start();
        }
        Ok(())
    }

    fn poll_head_time(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if matches!(self.speech, Speech::Http1) && self.requests_at_head != self.connection.requests() {
            self.head.stop();
        }
        match self.head.poll_over(cx) {
            Poll::Ready(()) => Poll::Ready(Err(self.breach("slow_head"))),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Wraps the outcome of a write: a pending one starts the clock, progress stops it.
    fn stalled<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stall.stop();
            if std::mem::take(&mut self.read_held_back) {
                cx.waker().wake_by_ref();
            }
            return written;
        }
        if !self.stall.is_running() {
            self.stall.start();
        }
        match self.stall.poll_over(cx) {
            Poll::Ready(()) => Poll::Ready(Err(self.breach("write_stall"))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = &mut *self;
        // hyper goes on reading pipelined requests and buffers their answers without limit while the client reads none.
        if me.stall.is_running() && matches!(me.speech, Speech::Http1) {
            me.read_held_back = true;
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if me.replay.has_remaining() {
            let taken = me.replay.len().min(buf.remaining());
            buf.put_slice(&me.replay.split_to(taken));
        } else if Pin::new(&mut me.io).poll_read(cx, buf)?.is_pending() {
            return me.poll_head_time(cx);
        }
        Poll::Ready(me.inspect(&mut buf.filled_mut()[before..]))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.stalled(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.stalled(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        self.stalled(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.io).poll_shutdown(cx);
        self.stalled(cx, shut)
    }
}

/// A clock that runs only while something is owed.
struct Patience {
    limit: Duration,
    until: Option<Instant>,
    // Made when first needed and reused: most connections never wait long enough.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    fn new(limit: Duration) -> Patience {
        Patience { limit, until: None, sleep: None }
    }

    fn is_running(&self) -> bool {
        self.until.is_some()
    }

    fn start(&mut self) {
        self.until = Some(Instant::now() + self.limit);
    }

    fn stop(&mut self) {
        self.until = None;
    }

    fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(until) = self.until else { return Poll::Pending };
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(until)));
        if sleep.deadline() != until {
            sleep.as_mut().reset(until);
        }
        sleep.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::core::time::UnixNanos;

    fn guarded(speech: Speech) -> (DuplexStream, Guarded<DuplexStream>, Arc<Connection>) {
        let (client, server) = duplex(64);
        let connection = Connection::new(None, UnixNanos(0));
        let replay = Bytes::from_static(b"PO");
        let guarded = Guarded::new(server, replay, speech, connection.clone(), &ServerLimits::default());
        (client, guarded, connection)
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_drips_is_cut_after_ten_seconds_and_replayed_bytes_count() {
        let (mut client, mut guarded, connection) = guarded(Speech::Http1);
        let mut byte = [0u8; 2];
        guarded.read_exact(&mut byte).await.unwrap();
        assert_eq!(&byte, b"PO");
        let begun = Instant::now();
        let error = loop {
            client.write_all(b"x").await.unwrap();
            tokio::time::sleep(Duration::from_secs(3)).await;
            match guarded.read(&mut [0u8; 1]).await {
                Ok(_) if begun.elapsed() > Duration::from_secs(60) => panic!("never cut"),
                Ok(_) => match tokio::time::timeout(Duration::from_millis(1), guarded.read(&mut byte)).await {
                    Ok(answer) => break answer.unwrap_err(),
                    Err(_) => continue,
                },
                Err(error) => break error,
            }
        };
        assert_eq!((error.kind(), connection.cause()), (io::ErrorKind::TimedOut, Some("slow_head")));
        assert!(begun.elapsed() < Duration::from_secs(13));
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_connection_after_a_request_is_not_a_slow_head() {
        let (_client, mut guarded, connection) = guarded(Speech::Http1);
        guarded.read_exact(&mut [0u8; 2]).await.unwrap();
        drop(connection.request());
        let waited = tokio::time::timeout(Duration::from_secs(60), guarded.read(&mut [0u8; 1])).await;
        assert!(waited.is_err(), "still open after a minute");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_more_is_read_while_answers_are_stuck_and_reading_goes_on_when_they_move() {
        let (client, guarded, _) = guarded(Speech::Http1);
        let (mut client_reader, mut client_writer) = tokio::io::split(client);
        let (mut reader, mut writer) = tokio::io::split(guarded);
        reader.read_exact(&mut [0u8; 2]).await.unwrap();
        client_writer.write_all(b"next").await.unwrap();
        let stuck = async {
            writer.write_all(&[0; 100]).await.unwrap();
            writer
        };
        let held = async {
            tokio::task::yield_now().await;
            let mut next = [0u8; 4];
            let early = tokio::time::timeout(Duration::from_secs(1), reader.read_exact(&mut next)).await;
            assert!(early.is_err(), "read while the answer was stuck");
            client_reader.read_exact(&mut [0u8; 100]).await.unwrap();
            reader.read_exact(&mut next).await.unwrap();
            assert_eq!(&next, b"next");
        };
        tokio::join!(stuck, held);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_cut() {
        let (_client, mut guarded, connection) = guarded(Speech::Http1);
        let error = guarded.write_all(&[0; 1000]).await.unwrap_err();
        assert_eq!((error.kind(), connection.cause()), (io::ErrorKind::TimedOut, Some("write_stall")));
    }
}
