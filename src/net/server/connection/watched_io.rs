//! A connection's I/O under watch: replays the sniffed bytes, times heads and stalled writes, counts HTTP/2 frames.
//!
//! It sits between the socket (or TLS) and hyper, because hyper has no setting for any of this. A breach becomes an I/O
//! error, which ends the connection, and its cause is noted on the [`Connection`]; who floods by HTTP/2 is told by a
//! GOAWAY. It must not know requests.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::net::server::connection::cause::CloseCause;
use crate::net::server::connection::facts::Connection;
use crate::net::server::connection::frames::FrameMeter;
use crate::net::server::connection::sent::{SentFrames, calm_down};
use crate::net::server::half_closed::{HalfClosed, PeerStream};
use crate::net::server::limits::{ServerLimits, Windows};

/// What the client speaks; only HTTP/2 has frames to count.
#[derive(Debug)]
pub enum HttpVersion {
    Http1,
    Http2(FrameMeter),
}

/// The guarded stream.
pub struct Guarded<S> {
    io: S,
    replay: Bytes,
    speech: HttpVersion,
    sent: SentFrames,
    connection: Arc<Connection>,
    head: Patience,
    /// Requests seen when the head now being read began: a new one means the head is complete.
    requests_at_head: u64,
    stall: Patience,
    /// A read was held back while a write was stalled; its task must be woken when the write moves.
    read_held_back: bool,
    /// Over HTTP/1.1: the client sends no more, and a request of it waits for its answer.
    half_closed: Option<HalfClosed>,
    /// Bytes read since this connection's task last let others run.
    turn: usize,
}

impl<S> Guarded<S> {
    /// `replay` are bytes already read from `io`.
    pub fn new(
        io: S,
        replay: Bytes,
        speech: HttpVersion,
        connection: Arc<Connection>,
        limits: &ServerLimits,
    ) -> Guarded<S> {
        Guarded {
            io,
            replay,
            speech,
            sent: SentFrames::default(),
            connection,
            head: Patience::new(limits.head),
            requests_at_head: 0,
            stall: Patience::new(limits.write_stall),
            read_held_back: false,
            half_closed: None,
            turn: 0,
        }
    }

    fn breach(&self, cause: CloseCause) -> io::Error {
        self.connection.set_cause(cause);
        io::Error::new(io::ErrorKind::TimedOut, cause.name())
    }

    /// Reads the frames of what went out: what a client may react to depends on it.
    fn wrote(&mut self, bytes: &[u8]) {
        if let HttpVersion::Http2(meter) = &mut self.speech {
            meter.sent(self.sent.wrote(bytes));
        }
    }

    /// Looks at bytes just read and keeps the head's time.
    fn inspect(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        let head_open = match &mut self.speech {
            HttpVersion::Http1 => {
                let begun = self.head.is_running() && self.requests_at_head == self.connection.requests();
                !bytes.is_empty() && (begun || self.connection.open_requests() == 0)
            }
            HttpVersion::Http2(meter) => {
                let connection = &self.connection;
                let read = meter.read(bytes, connection.age().as_secs(), || connection.forgive_reset());
                read.map_err(|flood| {
                    connection.set_cause(flood.cause());
                    io::Error::new(io::ErrorKind::InvalidData, flood)
                })?;
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
        if matches!(self.speech, HttpVersion::Http1) && self.requests_at_head != self.connection.requests() {
            self.head.stop();
        }
        match self.head.poll_over(cx) {
            Poll::Ready(()) => Poll::Ready(Err(self.breach(CloseCause::SlowHead))),
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
            Poll::Ready(()) => Poll::Ready(Err(self.breach(CloseCause::WriteStall))),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: PeerStream> Guarded<S> {
    /// The client's end of stream, held back while a request of it waits: hyper would take it for the client's going.
    fn poll_half_closed(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.connection.open_requests() == 0 || self.connection.is_unsent() {
            return Poll::Ready(Ok(()));
        }
        let may_ask = !self.connection.is_old();
        let half_closed = self.half_closed.get_or_insert_with(|| HalfClosed::new(may_ask));
        let gone = half_closed.poll_gone(cx, &mut self.io, !self.stall.is_running());
        gone.map(|()| Err(io::ErrorKind::ConnectionReset.into()))
    }

    /// Says by GOAWAY why the connection ends, if that can be said at once; the end does not wait for it.
    fn say_farewell(&mut self, cx: &mut Context<'_>) {
        let HttpVersion::Http2(meter) = &self.speech else { return };
        let Some(cause) = self.connection.cause().filter(|_| self.sent.is_at_border()) else { return };
        let frame = calm_down(meter.last_stream(), cause.name());
        let _ = Pin::new(&mut self.io).poll_write(cx, &frame);
    }
}

impl<S: PeerStream> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = &mut *self;
        // hyper goes on reading pipelined requests and buffers their answers without limit while the client reads none.
        if me.stall.is_running() && matches!(me.speech, HttpVersion::Http1) {
            me.read_held_back = true;
            return Poll::Pending;
        }
        if me.half_closed.is_some() {
            return me.poll_half_closed(cx);
        }
        if me.turn >= Windows::TURN_BYTES {
            // What was read is taken by the requests' tasks, under their tickets, before more is.
            me.turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buf.filled().len();
        if me.replay.has_remaining() {
            let taken = me.replay.len().min(buf.remaining());
            buf.put_slice(&me.replay.split_to(taken));
        } else if Pin::new(&mut me.io).poll_read(cx, buf)?.is_pending() {
            me.turn = 0;
            return me.poll_head_time(cx);
        } else if buf.filled().len() == before && buf.remaining() > 0 && matches!(me.speech, HttpVersion::Http1) {
            me.head.stop();
            return me.poll_half_closed(cx);
        }
        me.turn += buf.filled().len() - before;
        let inspected = me.inspect(&mut buf.filled_mut()[before..]);
        if inspected.is_err() {
            me.say_farewell(cx);
        }
        Poll::Ready(inspected)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        if let Poll::Ready(Ok(count)) = &written {
            self.wrote(&bytes[..*count]);
        }
        self.stalled(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        if let Poll::Ready(Ok(mut left)) = written {
            for slice in slices {
                let of_slice = left.min(slice.len());
                self.wrote(&slice[..of_slice]);
                left -= of_slice;
            }
        }
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

    fn guarded(speech: HttpVersion) -> (DuplexStream, Guarded<DuplexStream>, Arc<Connection>) {
        let (client, server) = duplex(64);
        let connection = Connection::new(None, UnixNanos(0));
        let replay = Bytes::from_static(b"PO");
        let guarded = Guarded::new(server, replay, speech, connection.clone(), &ServerLimits::default());
        (client, guarded, connection)
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_drips_is_cut_after_ten_seconds_and_replayed_bytes_count() {
        let (mut client, mut guarded, connection) = guarded(HttpVersion::Http1);
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
        assert_eq!((error.kind(), connection.cause()), (io::ErrorKind::TimedOut, Some(CloseCause::SlowHead)));
        assert!(begun.elapsed() < Duration::from_secs(13));
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_connection_after_a_request_is_not_a_slow_head() {
        let (_client, mut guarded, connection) = guarded(HttpVersion::Http1);
        guarded.read_exact(&mut [0u8; 2]).await.unwrap();
        drop(connection.request());
        let waited = tokio::time::timeout(Duration::from_secs(60), guarded.read(&mut [0u8; 1])).await;
        assert!(waited.is_err(), "still open after a minute");
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_more_is_read_while_answers_are_stuck_and_reading_goes_on_when_they_move() {
        let (client, guarded, _) = guarded(HttpVersion::Http1);
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
    async fn a_flood_is_ended_by_a_goaway_that_names_it() {
        let (client, server) = duplex(1 << 16);
        let (mut client_reader, mut client_writer) = tokio::io::split(client);
        let connection = Connection::new(None, UnixNanos(0));
        let speech = HttpVersion::Http2(FrameMeter::new(10));
        let limits = ServerLimits::default();
        let mut guarded = Guarded::new(server, Bytes::new(), speech, connection.clone(), &limits);
        let ping = [&[0, 0, 8, 6, 0, 0, 0, 0, 0][..], b"hello ok"].concat();
        let headers = [0, 0, 0, 1, 4, 0, 0, 0, 5];
        let flood = [&crate::net::server::connection::frames::PREFACE[..], &headers, &ping.repeat(11)].concat();
        client_writer.write_all(&flood).await.unwrap();
        let error = tokio::io::copy(&mut guarded, &mut tokio::io::sink()).await.unwrap_err();
        assert_eq!((error.kind(), connection.cause()), (io::ErrorKind::InvalidData, Some(CloseCause::PingFlood)));
        drop(guarded);
        let mut seen = Vec::new();
        client_reader.read_to_end(&mut seen).await.unwrap();
        assert_eq!(seen, calm_down(5, "ping_flood"));
    }

    /// Over the sockets' own code: each answer that went out lets one PING more in, however long it goes on.
    #[tokio::test(start_paused = true)]
    async fn pings_that_answer_what_was_sent_are_let_through() {
        let (client, server) = duplex(1 << 16);
        let (mut client_reader, mut client_writer) = tokio::io::split(client);
        let connection = Connection::new(None, UnixNanos(0));
        let limits = ServerLimits::default();
        let speech = HttpVersion::Http2(FrameMeter::new(limits.control_frames_per_second));
        let mut guarded = Guarded::new(server, Bytes::new(), speech, connection.clone(), &limits);
        client_writer.write_all(crate::net::server::connection::frames::PREFACE).await.unwrap();
        guarded.read_exact(&mut [0; 24]).await.unwrap();
        let ping = [&[0, 0, 8, 6, 0, 0, 0, 0, 0][..], b"hello ok"].concat();
        let answer = [0, 0, 5, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0];
        let mut seen = [0; 17];
        for _ in 0..10_000 {
            guarded.write_all(&answer).await.unwrap();
            client_reader.read_exact(&mut seen[..14]).await.unwrap();
            client_writer.write_all(&ping).await.unwrap();
            guarded.read_exact(&mut seen).await.unwrap();
        }
        assert_eq!(connection.cause(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_read_is_cut() {
        let (_client, mut guarded, connection) = guarded(HttpVersion::Http1);
        let error = guarded.write_all(&[0; 1000]).await.unwrap_err();
        assert_eq!((error.kind(), connection.cause()), (io::ErrorKind::TimedOut, Some(CloseCause::WriteStall)));
    }
}
