//! One connection being served: sniff, shake hands where TLS is spoken, guard, serve over HTTP/1.1 or HTTP/2, end in time.
//!
//! Connections end gracefully: asked first, cut at the deadline. A connection for which there is no memory is told so
//! over HTTP/1.1 (its requests are answered, with the smallest buffers); over HTTP/2 it is closed, which gRPC calls
//! unavailable too, and requests of an open one are answered as overloaded.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HeaderValue};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::net::server::answer::{AnswerBody, Service};
use crate::net::server::body::RequestBody;
use crate::net::server::connection::cause::CloseCause;
use crate::net::server::connection::facts::Connection;
use crate::net::server::connection::frames::FrameMeter;
use crate::net::server::connection::watched_io::{Guarded, HttpVersion};
use crate::net::server::half_closed::PeerStream;
use crate::net::server::limits::{HTTP1_IDLE, Windows};
use crate::net::server::sniff::{SniffError, SniffedProtocol, sniff};
use crate::net::server::state::{Server, Stop, stopped};
use crate::net::server::tls::handshake::{Replayed, SESSION_BYTES, accept, refuse_plain};
use crate::net::server::tls::source::TlsFiles;

/// A connection that was asked to end and has no open request may answer the GOAWAY for QUIET_GRACE.
const QUIET_GRACE: Duration = Duration::from_millis(300);
/// While stopping, requests wait no longer than this for their clients' bytes ...
const STOP_UNSENT_GRACE: Duration = Duration::from_millis(500);
/// ... and no longer than this for the stages behind: whoever stops the process waits for it. Such calls run to their end
/// without their client, so that their items are accounted for.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// How often a connection that is to end is looked at.
const CLOSING_TICK: Duration = Duration::from_millis(50);
/// How often one of HTTP/1.1 that ends with its next answer is.
const LAST_ANSWER_TICK: Duration = Duration::from_secs(1);

/// Longest wait for the memory of connections that make room, how often it is looked for, and after how many looks in vain
/// another one makes room.
const ROOM_WAIT: Duration = Duration::from_secs(1);
const ROOM_STEP: Duration = Duration::from_millis(10);
const ROOM_STEPS: usize = 5;

type Answering = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, Infallible>> + Send>>;

/// What tells a client that its connection ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Farewell {
    /// GOAWAY of HTTP/2, at any time.
    Frame,
    /// `connection: close` of HTTP/1.1, with an answer.
    Answer,
}

/// Until when the open requests of a connection that is to end may go on, and their bodies may come.
struct LastWait {
    cut_at: Instant,
    unsent_until: Instant,
}

/// One connection being served.
pub(crate) struct Seat {
    pub server: Arc<Server>,
    pub service: Arc<dyn Service>,
    pub connection: Arc<Connection>,
}

impl Seat {
    pub async fn serve<S: PeerStream + Send + 'static>(self, mut stream: S, mut stop: Stop) {
        let Some((protocol, replay)) = self.sniffed(&mut stream, &mut stop).await else { return };
        match (protocol, self.server.tls.clone()) {
            (SniffedProtocol::Tls, Some(tls)) => self.secured(&tls, Replayed::new(stream, replay), stop).await,
            (protocol, Some(_)) => {
                self.connection.set_cause(CloseCause::PlainOnTlsPort);
                if protocol == SniffedProtocol::Http1 {
                    let _ = timeout(self.server.limits.preface, refuse_plain(&mut stream)).await;
                }
            }
            (protocol, None) => self.spoken(stream, protocol, replay, stop).await,
        }
    }

    /// What the connection speaks; `None` when it is over.
    async fn sniffed<S: PeerStream>(&self, stream: &mut S, stop: &mut Stop) -> Option<(SniffedProtocol, Bytes)> {
        let sniffed = tokio::select! {
            _ = stopped(stop) => {
                self.connection.set_cause(CloseCause::Shutdown);
                return None;
            }
            () = self.connection.close_asked.notified() => return None,
            sniffed = sniff(stream, &self.server.limits) => sniffed,
        };
        match sniffed {
            Ok(sniffed) => return Some(sniffed),
            Err(SniffError::Silent) => self.connection.set_cause(CloseCause::Silent),
            Err(SniffError::Slow) => self.connection.set_cause(CloseCause::SlowPreface),
            // Port probes connect and close; nothing of ours.
            Err(SniffError::Closed | SniffError::Io(_)) => {}
        }
        None
    }

    /// Shakes hands, and serves what is inside.
    async fn secured<S: PeerStream + Send + 'static>(self, tls: &TlsFiles, stream: Replayed<S>, mut stop: Stop) {
        let session = || self.server.charges.take(&self.server.budget, SESSION_BYTES);
        let Some(_session) = self.funded(SESSION_BYTES, session).await else {
            return self.connection.set_cause(CloseCause::Memory);
        };
        let accepted = tokio::select! {
            _ = stopped(&mut stop) => return self.connection.set_cause(CloseCause::Shutdown),
            () = self.connection.close_asked.notified() => return,
            accepted = timeout(self.server.limits.preface, accept(tls.current(), stream)) => accepted,
        };
        let mut stream = match accepted {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                self.server.tally.handshake_failed(&error, self.connection.peer);
                return self.connection.set_cause(CloseCause::TlsHandshake);
            }
            Err(_) => return self.connection.set_cause(CloseCause::SlowPreface),
        };
        let Some((protocol, replay)) = self.sniffed(&mut stream, &mut stop).await else { return };
        self.spoken(stream, protocol, replay, stop).await;
    }

    async fn spoken<S>(self, stream: S, protocol: SniffedProtocol, replay: Bytes, stop: Stop)
    where
        S: PeerStream + Send + 'static,
    {
        match protocol {
            SniffedProtocol::Tls => self.connection.set_cause(CloseCause::TlsOnPlainPort),
            SniffedProtocol::Http1 => self.http1(stream, replay, stop).await,
            SniffedProtocol::Http2 => self.http2(stream, replay, stop).await,
        }
    }

    /// What a connection costs. Where connections hold all the memory that they may, unused ones make room for so many bytes.
    async fn funded<T>(&self, bytes: u64, take: impl Fn() -> Option<T>) -> Option<T> {
        let Server { charges, budget, gates, .. } = &*self.server;
        let turn = if charges.is_full(budget, bytes) { charges.newcomer() } else { None };
        let until = Instant::now() + ROOM_WAIT;
        let mut enough = 0;
        while turn.is_some() && charges.is_full(budget, bytes) && Instant::now() < until {
            // One after the other, so that no more are asked than it takes.
            if enough == 0 {
                if !gates.make_room(&self.connection) {
                    break;
                }
                enough = ROOM_STEPS;
            }
            enough -= 1;
            sleep(ROOM_STEP).await;
        }
        take()
    }

    fn guarded<S>(&self, stream: S, replay: Bytes, speech: HttpVersion) -> TokioIo<Guarded<S>> {
        TokioIo::new(Guarded::new(stream, replay, speech, self.connection.clone(), &self.server.limits))
    }

    async fn http1<S: PeerStream + Send + 'static>(self, stream: S, replay: Bytes, stop: Stop) {
        let bytes = self.server.limits.http1_buffer_bytes;
        let charge = self.funded(bytes, || self.server.charges.take(&self.server.budget, bytes)).await;
        let spare = if charge.is_none() { self.server.charges.spare() } else { None };
        if charge.is_none() && spare.is_none() {
            return self.connection.set_cause(CloseCause::Memory);
        }
        let is_funded = charge.is_some();
        let io = self.guarded(stream, replay, HttpVersion::Http1);
        let limits = &self.server.limits;
        let buffer = if is_funded { limits.http1_buffer_bytes } else { Windows::HTTP1_LEAST_BYTES };
        let serving = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            // The guard times heads; this is the wait for the next request.
            .header_read_timeout(limits.idle.unwrap_or(HTTP1_IDLE))
            .keep_alive(limits.keep_alive && is_funded)
            // The guard tells a client that only sends no more from one that has gone.
            .half_close(false)
            .max_buf_size(buffer as usize)
            .serve_connection(io, service_fn(self.call(move || is_funded)));
        let mut serving = std::pin::pin!(serving);
        self.attend(serving.as_mut(), |serving| serving.graceful_shutdown(), stop, Farewell::Answer).await;
        if !is_funded {
            self.connection.set_cause(CloseCause::Memory);
        }
    }

    async fn http2<S: PeerStream + Send + 'static>(self, stream: S, replay: Bytes, stop: Stop) {
        let windows = self.server.charges.windows(&self.server.budget, self.server.gate.open());
        // Where memory is short a connection gets the least, so that its calls find the memory that they need.
        let whole = |windows: Windows| windows.idle() + windows.lease();
        let is_short = self.server.charges.is_full(&self.server.budget, whole(windows));
        let windows = if is_short { Windows::LEAST } else { windows };
        let open = || self.server.charges.open(&self.server.budget, windows);
        let Some(account) = self.funded(whole(windows), open).await else {
            return self.connection.set_cause(CloseCause::Memory);
        };
        let (account, connection) = (Arc::new(account), self.connection.clone());
        let server = self.server.clone();
        let fund = move || {
            let is_funded = connection.lease(|| account.lease());
            // The client comes again; who does not use what is missing goes until then.
            if !is_funded && server.charges.is_full(&server.budget, windows.lease()) {
                server.gates.make_room_for_call(&connection);
            }
            is_funded
        };
        let limits = &self.server.limits;
        let meter = FrameMeter::new(limits.control_frames_per_second);
        let meter = if self.connection.peer.is_none() { meter.local() } else { meter };
        let io = self.guarded(stream, replay, HttpVersion::Http2(meter));
        let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_connection_window_size(windows.connection)
            .initial_stream_window_size(windows.stream)
            .max_frame_size(windows.frame)
            .max_concurrent_streams(limits.streams_max)
            .max_header_list_size(limits.header_list_bytes)
            .max_send_buf_size(64 << 10)
            .keep_alive_interval(limits.ping_interval)
            .keep_alive_timeout(limits.ping_timeout)
            .serve_connection(io, service_fn(self.call(fund)));
        let mut serving = std::pin::pin!(serving);
        self.attend(serving.as_mut(), |serving| serving.graceful_shutdown(), stop, Farewell::Frame).await;
    }

    /// The closure hyper calls for each request. `fund` gets the memory an open request needs, or says that there is none.
    fn call<F: Fn() -> bool>(&self, fund: F) -> impl Fn(Request<Incoming>) -> Answering + use<F> {
        let (server, service, connection) = (self.server.clone(), self.service.clone(), self.connection.clone());
        move |request| {
            let open = connection.request();
            if request.version() == http::Version::HTTP_10 {
                connection.mark_old();
            }
            let request = request.map(|body| RequestBody::new(body, connection.clone(), server.clone()));
            let responding = if fund() { service.respond(request) } else { service.overloaded(request) };
            Box::pin(async move {
                let mut answer = responding.await;
                if open.ends_connection() {
                    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                drop(open);
                Ok(answer)
            })
        }
    }

    /// Drives the connection until it ends, asking it to end when it must and cutting it when asking does not help.
    async fn attend<F: Future>(
        &self,
        mut serving: Pin<&mut F>,
        ask: impl Fn(Pin<&mut F>),
        mut stop: Stop,
        by: Farewell,
    ) {
        let Some(LastWait { cut_at, unsent_until }) = self.until_it_must_end(serving.as_mut(), &mut stop, by).await
        else {
            return;
        };
        let makes_room = self.connection.cause() == Some(CloseCause::Evicted);
        if makes_room && self.connection.requests() == 0 {
            return;
        }
        match by {
            Farewell::Answer if !makes_room => self.connection.end_with_answer(),
            _ => ask(serving.as_mut()),
        }
        let mut quiet_since = Instant::now();
        while Instant::now() < cut_at {
            tokio::select! {
                _ = serving.as_mut() => return,
                () = sleep(CLOSING_TICK) => {}
            }
            if self.connection.open_requests() > 0 {
                quiet_since = Instant::now();
                if self.connection.is_unsent() && quiet_since >= unsent_until {
                    return;
                }
            } else if quiet_since.elapsed() >= QUIET_GRACE {
                break;
            }
        }
        if by == Farewell::Answer && self.connection.open_requests() == 0 {
            ask(serving.as_mut());
            let _ = timeout(CLOSING_TICK, serving).await;
        }
    }

    /// Drives the connection until it must end; `None` when it has ended.
    async fn until_it_must_end<F: Future>(
        &self,
        mut serving: Pin<&mut F>,
        stop: &mut Stop,
        by: Farewell,
    ) -> Option<LastWait> {
        // Past its age: when it last had no open request.
        let mut quiet: Option<Instant> = None;
        loop {
            let look = Instant::now() + quiet.map_or_else(|| self.next_look(), |_| LAST_ANSWER_TICK);
            tokio::select! {
                _ = serving.as_mut() => return None,
                deadline = stopped(stop) => {
                    self.connection.set_cause(CloseCause::Shutdown);
                    let now = Instant::now();
                    return Some(LastWait { cut_at: deadline.min(now + STOP_GRACE), unsent_until: now + STOP_UNSENT_GRACE });
                }
                () = self.connection.close_asked.notified() => return Some(self.age_grace()),
                () = sleep_until(look) => {}
            }
            let Some(cause) = self.overdue() else { continue };
            self.connection.set_cause(cause);
            if by == Farewell::Frame || cause != CloseCause::Age {
                return Some(self.age_grace());
            }
            // It ends with its next answer, or unasked when none comes for as long as an idle connection is kept.
            self.connection.end_with_answer();
            let now = Instant::now();
            let quiet = quiet.get_or_insert(now);
            if self.connection.open_requests() == 0 {
                *quiet = now;
            } else if quiet.elapsed() >= self.server.limits.age_grace {
                return Some(LastWait { cut_at: now, unsent_until: now });
            }
        }
    }

    fn age_grace(&self) -> LastWait {
        let until = Instant::now() + self.server.limits.age_grace;
        LastWait { cut_at: until, unsent_until: until }
    }

    /// Why the connection should end now.
    fn overdue(&self) -> Option<CloseCause> {
        let limits = &self.server.limits;
        let connection = &self.connection;
        let quiet = connection.open_requests() + connection.open_streams() == 0;
        let idle = limits.idle.is_some_and(|idle| quiet && connection.idle() >= idle);
        let aged = limits.age.is_some_and(|age| connection.age() >= self.jittered(age));
        if aged { Some(CloseCause::Age) } else { idle.then_some(CloseCause::Idle) }
    }

    /// A tenth more or less, fixed for each connection, so that clients that came together do not leave together.
    fn jittered(&self, age: Duration) -> Duration {
        let spread = self.connection.number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        age * 9 / 10 + (age / 5).mul_f64(spread as f64 / f64::from(u32::MAX))
    }

    fn next_look(&self) -> Duration {
        let limits = &self.server.limits;
        let connection = &self.connection;
        let to_age = limits.age.map(|age| self.jittered(age).saturating_sub(connection.age()));
        let to_idle = limits.idle.map(|idle| match connection.open_requests() + connection.open_streams() {
            0 => idle.saturating_sub(connection.idle()),
            _ => idle,
        });
        let next = [to_age, to_idle].into_iter().flatten().min().unwrap_or(Duration::from_secs(3600));
        next.max(Duration::from_millis(10))
    }
}
