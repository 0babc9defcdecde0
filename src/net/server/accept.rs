//! The accept loop of every listener, be it for telemetry or for pages: accept, admit, hand to a seat, stop in time.
//!
//! It exists because the ready-made loops wait for silent clients without end and spin when file descriptors run out.
//! What a request means is the [`Service`]'s business.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::task::{JoinSet, yield_now};
use tokio::time::{Instant, sleep, timeout_at};

use crate::core::outside::BoxSocket;
use crate::core::stage::tasks::Pulse;
use crate::core::time::UnixNanos;
use crate::net::client::connect::given::Carried;
use crate::net::server::connection::cause::CloseCause;
use crate::net::server::connection::facts::Connection;
use crate::net::server::listen::Listener;
use crate::net::server::seat::Seat;
use crate::net::server::state::stopped;

pub use crate::net::server::answer::{Responding, Service};
pub use crate::net::server::state::{Server, Stop};

/// First and longest wait after a failed accept.
const ACCEPT_BACKOFF: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));
/// Answers are short: a client that does not read them shall not hold megabytes of the kernel's memory, which the cgroup
/// pays for too.
const SEND_BUFFER_BYTES: usize = 128 << 10;

/// By what connections are served that are accepted from now on; a reload puts another in its place, and those that are
/// open keep what they came with.
pub struct Serving {
    pub server: Arc<Server>,
    pub service: Arc<dyn Service>,
}

impl Serving {
    pub fn new(server: Server, service: Arc<dyn Service>) -> Serving {
        server.gates.add(&server.gate);
        Serving { server: Arc::new(server), service }
    }

    /// The same, for another to be put in its place.
    pub fn by(server: Server, service: Arc<dyn Service>) -> Arc<ArcSwap<Serving>> {
        Arc::new(ArcSwap::from_pointee(Serving::new(server, service)))
    }
}

/// Serves one listener until told to stop; returns when its connections have ended, at the latest at the deadline.
pub async fn run(serving: Arc<ArcSwap<Serving>>, listener: Arc<Listener>, mut stop: Stop, pulse: Arc<Pulse>) {
    let mut connections = JoinSet::new();
    let mut backoff = ACCEPT_BACKOFF.0;
    pulse.waits_for("a connection to accept");
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
                let serving = serving.load_full();
                admit(&serving, &stop, accepted, &mut connections);
                if serving.server.gate.is_crowded() {
                    // Each newcomer takes somebody's place now: who came before shall be read first, if it has sent something.
                    yield_now().await;
                }
            }
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                // No file descriptors or no memory: the queue stays readable, so without a wait this loop would spin.
                serving.load().server.tally.accept_failed(&error);
                tokio::select! {
                    deadline = stopped(&mut stop) => break deadline,
                    () = sleep(backoff) => backoff = (backoff * 2).min(ACCEPT_BACKOFF.1),
                }
            }
        }
    };
    drop(listener);
    pulse.waits_for("connections to end, until the drain's deadline");
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
    Given(BoxSocket, SocketAddr),
}

async fn accept(listener: &Listener) -> std::io::Result<Socket> {
    match listener {
        Listener::Tcp(listener) => listener.accept().await.map(|(stream, peer)| Socket::Tcp(stream, peer)),
        Listener::Unix(listener) => listener.accept().await.map(|(stream, _)| Socket::Unix(stream)),
        Listener::Given(listener) => listener.accept().await.map(|(stream, peer)| Socket::Given(stream, peer)),
    }
}

/// Errors of a connection that died in the queue; the next one may be fine.
fn is_of_the_client(error: &std::io::Error) -> bool {
    use std::io::ErrorKind;
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused)
}

fn admit(serving: &Serving, stop: &Stop, accepted: Socket, connections: &mut JoinSet<()>) {
    let Serving { server, service } = serving;
    let (peer, local) = match &accepted {
        Socket::Tcp(stream, peer) => {
            (Some(SocketAddr::new(peer.ip().to_canonical(), peer.port())), stream.local_addr().ok())
        }
        Socket::Given(_, peer) => (Some(SocketAddr::new(peer.ip().to_canonical(), peer.port())), None),
        Socket::Unix(_) => (None, None),
    };
    let of_node = peer.is_some_and(|peer| server.home.holds(peer.ip(), local.map(|local| local.ip())));
    let connection = Connection::new(peer, UnixNanos::now());
    let place = match server.gate.enter(&connection, of_node) {
        Ok(place) => place,
        Err(closed) => return server.tally.refused(closed.cause(), peer),
    };
    let (server, service, stop) = (server.clone(), service.clone(), stop.clone());
    connections.spawn(async move {
        let _place = place;
        server.tally.opened();
        let seat = Seat { server: server.clone(), service, connection: connection.clone() };
        match accepted {
            Socket::Tcp(stream, _) => {
                // Answers are small: waiting for the peer's delayed acknowledgement would add 40 ms. Failure only costs that.
                let _ = stream.set_nodelay(true);
                let _ = socket2::SockRef::from(&stream).set_send_buffer_size(SEND_BUFFER_BYTES);
                seat.serve(stream, stop).await;
            }
            Socket::Unix(stream) => seat.serve(stream, stop).await,
            Socket::Given(stream, _) => seat.serve(Carried(stream), stop).await,
        }
        server.tally.closed(connection.cause().unwrap_or(CloseCause::Client), peer);
    });
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{IpAddr, TcpStream};

    use super::*;
    use crate::core::data::budget::Budget;
    use crate::core::stage::host::Host;
    use crate::net::pages::page::PageResponse;
    use crate::net::pages::router::Pages;
    use crate::net::server::limits::ServerLimits;
    use crate::net::server::node_addresses::Home;
    use tokio::sync::watch;

    const PLACES: usize = 8;

    /// Opened without this runtime, which does nothing meanwhile: they all wait to be accepted at once.
    fn opened(source: [u8; 4], to: SocketAddr) -> TcpStream {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(IpAddr::from(source), 0).into()).unwrap();
        socket.connect(&to.into()).unwrap();
        socket.into()
    }

    #[tokio::test]
    async fn who_has_sent_something_is_read_before_a_burst_of_newcomers_takes_its_place() {
        let host = Host::new(Budget::unlimited());
        let limits = ServerLimits { connections_max: PLACES, ..ServerLimits::of_pages() };
        let server = Server::of_pages(&host.stats, "x", limits, Home::default(), Budget::unlimited());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = listener.local_addr().unwrap();
        let mut first = opened([127, 0, 0, 1], to);
        first.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
        let newcomers: Vec<_> = (0..10 * PLACES as u8).map(|number| opened([127, 0, 1, number + 1], to)).collect();
        let service = Pages::new(|_| PageResponse::text(200, "well")).into_service();
        let (stop, stopped) = watch::channel(None);
        let serving = host
            .tasks
            .spawn("x", |pulse| run(Serving::by(server, service), Arc::new(Listener::Tcp(listener)), stopped, pulse));
        let read = tokio::task::spawn_blocking(move || {
            let mut answer = String::new();
            first.read_to_string(&mut answer).map(|_| answer)
        });
        let answer = read.await.unwrap().expect("no reset");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        drop(newcomers);
        stop.send_replace(Some(Instant::now()));
        serving.await.unwrap();
    }
}
