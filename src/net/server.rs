//! The accept loop and the life of a connection: admit, sniff, serve, end in time.
//!
//! It exists because the ready-made loops wait for silent clients without end and spin when file descriptors run out.
//! What a request means is the [`Service`]'s business. Connections end gracefully: asked first, cut at the deadline.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};

use crate::core::budget::Budget;
use crate::core::tasks::Pulse;
use crate::core::time::UnixNanos;
use crate::net::answer::AnswerBody;
use crate::net::body::RequestBody;
use crate::net::charges::{Charge, Charges};
use crate::net::connection::Connection;
use crate::net::frames::FrameMeter;
use crate::net::gate::Gate;
use crate::net::guard::{Guarded, Speech};
use crate::net::leftovers::Leftovers;
use crate::net::limits::{ServerLimits, Windows};
use crate::net::listen::Listener;
use crate::net::shares::Shares;
use crate::net::sniff::{Protocol, SniffError, sniff};
use crate::net::tally::Tally;

/// First and longest wait after a failed accept.
const ACCEPT_BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// A connection that was asked to end and has no open request may answer the GOAWAY for so long.
const QUIET_GRACE: Duration = Duration::from_millis(300);
/// While stopping, requests wait no longer than this for their clients' bytes ...
const STOP_UNSENT_GRACE: Duration = Duration::from_millis(500);
/// ... and no longer than this for the stages behind: whoever stops the process waits for it. Such calls run to their end
/// without their client, so that their items are accounted for.
const STOP_GRACE: Duration = Duration::from_secs(1);
/// How often a connection that is to end is looked at.
const CLOSING_TICK: Duration = Duration::from_millis(50);

/// Answers are short: a client that does not read them shall not hold megabytes of the kernel's memory, which the cgroup
/// pays for too.
const SEND_BUFFER_BYTES: usize = 128 << 10;

pub type Responding = Pin<Box<dyn Future<Output = Response<AnswerBody>> + Send>>;

/// Answers requests. Must not panic; may leave the body unread.
pub trait Service: Send + Sync {
    fn respond(&self, request: Request<RequestBody>) -> Responding;
}

/// `None` while serving; then the moment at which everything must have ended.
pub type Stop = watch::Receiver<Option<Instant>>;

/// What the listeners of one receiver share.
pub struct Server {
    pub limits: ServerLimits,
    pub budget: Arc<Budget>,
    pub gate: Arc<Gate>,
    pub tally: Tally,
    pub leftovers: Arc<Leftovers>,
    pub shares: Arc<Shares>,
    pub charges: Arc<Charges>,
    /// Any moment before the first request: the clock of `shares`.
    pub opened: Instant,
}

/// Serves one listener until told to stop; returns when its connections have ended, at the latest at the deadline.
pub async fn run(
    server: Arc<Server>,
    listener: Listener,
    service: Arc<dyn Service>,
    mut stop: Stop,
    pulse: Arc<Pulse>,
) {
    let mut connections = JoinSet::new();
    let mut backoff = ACCEPT_BACKOFF.0;
    let deadline = loop {
        pulse.beat();
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            deadline = stopped(&mut stop) => break deadline,
            () = sleep(Pulse::INTERVAL) => continue,
            accepted = accept(&listener) => accepted,
        };
        match accepted {
            Ok(accepted) => {
                backoff = ACCEPT_BACKOFF.0;
                admit(&server, &service, &stop, accepted, &mut connections);
            }
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                // No file descriptors or no memory: the queue stays readable, so without a wait this loop would spin.
                server.tally.accept_failed(&error);
                tokio::select! {
                    deadline = stopped(&mut stop) => break deadline,
                    () = sleep(backoff) => backoff = (backoff * 2).min(ACCEPT_BACKOFF.1),
                }
            }
        }
    };
    drop(listener);
    end_all(connections, deadline, &pulse).await;
}

async fn end_all(mut connections: JoinSet<()>, deadline: Instant, pulse: &Pulse) {
    while !connections.is_empty() && Instant::now() < deadline {
        let tick = (Instant::now() + Pulse::INTERVAL).min(deadline);
        let _ = timeout_at(tick, connections.join_next()).await;
        pulse.beat();
    }
    connections.shutdown().await;
}

enum Socket {
    Tcp(tokio::net::TcpStream, SocketAddr),
    Unix(tokio::net::UnixStream),
}

async fn accept(listener: &Listener) -> std::io::Result<Socket> {
    match listener {
        Listener::Tcp(listener) => listener.accept().await.map(|(stream, peer)| Socket::Tcp(stream, peer)),
        Listener::Unix(listener) => listener.accept().await.map(|(stream, _)| Socket::Unix(stream)),
    }
}

/// Errors of a connection that died in the queue; the next one may be fine.
fn is_of_the_client(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused)
}

fn admit(
    server: &Arc<Server>,
    service: &Arc<dyn Service>,
    stop: &Stop,
    accepted: Socket,
    connections: &mut JoinSet<()>,
) {
    let peer = match &accepted {
        Socket::Tcp(_, peer) => Some(SocketAddr::new(peer.ip().to_canonical(), peer.port())),
        Socket::Unix(_) => None,
    };
    let place = match server.gate.enter(peer.map(|peer| peer.ip())) {
        Ok(place) => place,
        Err(closed) => return server.tally.refused(closed.cause(), peer),
    };
    let connection = Connection::new(peer, UnixNanos::now());
    let (server, service, stop) = (server.clone(), service.clone(), stop.clone());
    connections.spawn(async move {
        let _place = place;
        server.tally.opened();
        let seat = Seat { server: &server, service, connection: connection.clone() };
        match accepted {
            Socket::Tcp(stream, _) => {
                // Answers are small: waiting for the peer's delayed acknowledgement would add 40 ms. Failure only costs that.
                let _ = stream.set_nodelay(true);
                let _ = socket2::SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER_BYTES);
                seat.serve(stream, stop).await;
            }
            Socket::Unix(stream) => seat.serve(stream, stop).await,
        }
        server.tally.closed(connection.cause().unwrap_or("client"));
    });
}

/// Resolves with the deadline once the server is to stop; a vanished owner means now.
async fn stopped(stop: &mut Stop) -> Instant {
    loop {
        if let Some(deadline) = *stop.borrow_and_update() {
            return deadline;
        }
        if stop.changed().await.is_err() {
            return Instant::now();
        }
    }
}

/// One connection being served.
struct Seat<'a> {
    server: &'a Arc<Server>,
    service: Arc<dyn Service>,
    connection: Arc<Connection>,
}

impl Seat<'_> {
    async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, mut stream: S, mut stop: Stop) {
        let sniffed = tokio::select! {
            _ = stopped(&mut stop) => return self.connection.set_cause("shutdown"),
            sniffed = sniff(&mut stream, &self.server.limits) => sniffed,
        };
        match sniffed {
            Ok((Protocol::Tls, _)) => {
                self.connection.set_cause("tls_on_plain_port");
                self.server.tally.tls_hello(self.connection.peer);
            }
            Ok((Protocol::Http1, replay)) => self.http1(stream, replay, stop).await,
            Ok((Protocol::Http2, replay)) => self.http2(stream, replay, stop).await,
            Err(SniffError::Silent) => self.connection.set_cause("silent"),
            Err(SniffError::Slow) => self.connection.set_cause("slow_preface"),
            // Port probes connect and close; nothing of ours.
            Err(SniffError::Closed | SniffError::Io(_)) => {}
        }
    }

    fn guarded<S>(&self, stream: S, replay: Bytes, speech: Speech) -> TokioIo<Guarded<S>> {
        TokioIo::new(Guarded::new(stream, replay, speech, self.connection.clone(), &self.server.limits))
    }

    /// Takes the connection's memory out of the budget, or ends it.
    fn charge(&self, bytes: u64) -> Option<Charge> {
        let charge = self.server.charges.take(&self.server.budget, bytes);
        if charge.is_none() {
            self.connection.set_cause("memory");
        }
        charge
    }

    async fn http1<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S, replay: Bytes, stop: Stop) {
        let Some(_charge) = self.charge(Windows::HTTP1_BYTES) else { return };
        let io = self.guarded(stream, replay, Speech::Http1);
        let limits = &self.server.limits;
        let serving = hyper::server::conn::http1::Builder::new()
            .timer(TokioTimer::new())
            // The guard times heads; this is the wait for the next request.
            .header_read_timeout(limits.idle.unwrap_or(Duration::from_secs(60)))
            .keep_alive(limits.keep_alive)
            // A client that sends no more may still wait for its answer.
            .half_close(true)
            .max_buf_size(Windows::HTTP1_BYTES as usize)
            .serve_connection(io, service_fn(self.call()));
        let mut serving = std::pin::pin!(serving);
        self.attend(serving.as_mut(), |serving| serving.graceful_shutdown(), stop).await;
    }

    async fn http2<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(self, stream: S, replay: Bytes, stop: Stop) {
        let windows = self.server.charges.windows(&self.server.budget, self.server.gate.open());
        let Some(_charge) = self.charge(windows.charge()) else { return };
        let limits = &self.server.limits;
        let meter = FrameMeter::new(limits.control_frames_per_second);
        let meter = if self.connection.peer.is_none() { meter.local() } else { meter };
        let io = self.guarded(stream, replay, Speech::Http2(meter));
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
            .serve_connection(io, service_fn(self.call()));
        let mut serving = std::pin::pin!(serving);
        self.attend(serving.as_mut(), |serving| serving.graceful_shutdown(), stop).await;
    }

    /// The closure hyper calls for each request.
    fn call(&self) -> impl Fn(Request<Incoming>) -> Answering + use<> {
        let (server, service, connection) = (self.server.clone(), self.service.clone(), self.connection.clone());
        move |request| {
            let open = connection.request();
            let request = request.map(|body| RequestBody::new(body, connection.clone(), server.clone()));
            let responding = service.respond(request);
            Box::pin(async move {
                let _open = open;
                Ok(responding.await)
            })
        }
    }

    /// Drives the connection until it ends, asking it to end when it must and cutting it when asking does not help.
    async fn attend<F: Future>(&self, mut serving: Pin<&mut F>, ask: impl Fn(Pin<&mut F>), mut stop: Stop) {
        let (cut_at, unsent_until) = loop {
            let look = Instant::now() + self.next_look();
            tokio::select! {
                _ = serving.as_mut() => return,
                deadline = stopped(&mut stop) => {
                    self.connection.set_cause("shutdown");
                    let now = Instant::now();
                    break (deadline.min(now + STOP_GRACE), now + STOP_UNSENT_GRACE);
                }
                () = self.connection.close_asked.notified() => break self.age_grace(),
                () = sleep_until(look) => {}
            }
            if let Some(cause) = self.overdue() {
                self.connection.set_cause(cause);
                break self.age_grace();
            }
        };
        ask(serving.as_mut());
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
                return;
            }
        }
    }

    /// Until when the open requests of a connection that is asked to end may go on, and their bodies may come.
    fn age_grace(&self) -> (Instant, Instant) {
        let until = Instant::now() + self.server.limits.age_grace;
        (until, until)
    }

    /// Why the connection should end now.
    fn overdue(&self) -> Option<&'static str> {
        let limits = &self.server.limits;
        let connection = &self.connection;
        let idle = limits.idle.is_some_and(|idle| connection.open_requests() == 0 && connection.idle() >= idle);
        let aged = limits.age.is_some_and(|age| connection.age() >= self.jittered(age));
        if aged { Some("age") } else { idle.then_some("idle") }
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
        let to_idle = limits.idle.map(|idle| match connection.open_requests() {
            0 => idle.saturating_sub(connection.idle()),
            _ => idle,
        });
        let next = [to_age, to_idle].into_iter().flatten().min().unwrap_or(Duration::from_secs(3600));
        next.max(Duration::from_millis(10))
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<AnswerBody>, Infallible>> + Send>>;
