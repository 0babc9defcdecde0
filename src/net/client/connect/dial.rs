//! Opening one connection: name, TCP, TLS, HTTP handshake, all within one timeout.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

use crate::core::outside::Network;
use crate::net::client::chunks::Outgoing;
use crate::net::client::connect::spawner::Spawner;
use crate::net::client::connect::stream::{ByteTransport, ClientStream, FirstBytes};
use crate::net::client::connect::tls::{TlsSource, handshake_failure};
use crate::net::client::connect::tunnel;
use crate::net::client::failure::CallFailure;
use crate::net::client::http2;
use crate::net::client::settings::{Balancer, ClientHttp, ClientSettings};
use crate::net::client::target::Target;

/// Addresses of one name that are tried in one attempt.
const TRIED_MAX: usize = 8;
/// Addresses of one name that have connections at a time.
pub const ADDRESSES_MAX: usize = 16;

/// The sending half of a fresh connection.
pub enum DialedSender {
    Http1(http1::SendRequest<Outgoing>),
    Http2(http2::Http2Sender),
}

/// What a dial needs beside the settings.
pub struct DialContext<'a> {
    pub tls: Option<&'a TlsSource>,
    /// For a connection to a proxy.
    pub proxy_tls: Option<&'a TlsSource>,
    /// `None`: the kernel's.
    pub network: Option<&'a dyn Network>,
    pub spawner: &'a Spawner,
}

/// A fresh connection.
pub struct Dialed {
    pub sender: DialedSender,
    pub first: FirstBytes,
    pub found: Resolved,
}

/// What a dial learnt of the target's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// How many addresses it has, as far as they are used.
    pub addresses: usize,
    /// The connection leads to the address whose turn it was.
    pub in_turn: bool,
}

impl Resolved {
    /// The name is somebody else's to resolve.
    const ONE: Resolved = Resolved { addresses: 1, in_turn: true };
}

/// Dials the target. `turn` rotates through the addresses of a name, so that parallel connections spread over them.
pub async fn dial(settings: &ClientSettings, line: DialContext<'_>, turn: usize) -> Result<Dialed, CallFailure> {
    let attempt = async {
        let (transport, found) = match &settings.proxy {
            None => reach(&settings.target, settings, &line, turn).await?,
            Some(proxy) => {
                let reached = reach(&proxy.target, settings, &line, turn).await.map(|(transport, _)| transport);
                (tunnel::open(proxy, settings, line.proxy_tls, reached).await?, Resolved::ONE)
            }
        };
        let first = FirstBytes::default();
        let (stream, http2) = secure(settings, line.tls, transport, &first).await?;
        let sender = shake_hands(settings, line.spawner, stream, http2).await?;
        Ok(Dialed { sender, first, found })
    };
    tokio::time::timeout(settings.connect_timeout, attempt).await.unwrap_or_else(|_| {
        Err(CallFailure::ConnectTimeout {
            address: settings.target.authority().to_string(),
            after: settings.connect_timeout,
        })
    })
}

/// A connection to one of the addresses of a target, before anything is said on it.
async fn reach(
    target: &Target,
    settings: &ClientSettings,
    line: &DialContext<'_>,
    turn: usize,
) -> Result<(ByteTransport, Resolved), CallFailure> {
    let (host, port) = (target.host.as_str(), target.port);
    let unresolved = |why: String| CallFailure::Resolve { host: host.to_owned(), why };
    let addresses = match line.network {
        None => lookup_host((host, port)).await.map_err(|error| unresolved(error.to_string()))?.collect(),
        Some(network) => match network.resolve(host) {
            Some(found) => found.into_iter().map(|ip| SocketAddr::new(ip, port)).collect(),
            None => return connect_in(network, host, target).await.map(|transport| (transport, Resolved::ONE)),
        },
    };
    let (addresses, count) = in_order(addresses, settings.balance, turn);
    let mut last = unresolved("the name has no address".to_owned());
    // A silent address must leave time for the next one.
    let each = settings.connect_timeout / u32::try_from(addresses.len().max(1)).unwrap_or(1);
    for (at, address) in addresses.into_iter().enumerate() {
        let connecting = async {
            match line.network {
                None => connect(address).await.map(ByteTransport::Tcp),
                Some(network) => connect_in(network, &address.ip().to_string(), target).await,
            }
        };
        match tokio::time::timeout(each, connecting).await {
            Ok(Ok(transport)) => return Ok((transport, Resolved { addresses: count, in_turn: at == 0 })),
            Ok(Err(failure)) => last = failure,
            Err(_) => last = CallFailure::ConnectTimeout { address: address.to_string(), after: each },
        }
    }
    Err(last)
}

/// The addresses that one attempt tries, and how many there are to choose from. Those to be used in turn are sorted, for
/// each connection asks for them anew and resolvers shuffle them.
fn in_order(mut addresses: Vec<SocketAddr>, balance: Balancer, turn: usize) -> (Vec<SocketAddr>, usize) {
    if balance == Balancer::RoundRobin {
        addresses.sort_unstable();
        addresses.dedup();
        let shift = turn.checked_rem(addresses.len()).unwrap_or(0);
        addresses.rotate_left(shift);
    }
    let count = addresses.len().min(ADDRESSES_MAX);
    addresses.truncate(TRIED_MAX);
    (addresses, count)
}

async fn connect_in(network: &dyn Network, host: &str, target: &Target) -> Result<ByteTransport, CallFailure> {
    network.connect(host, target.port).await.map(ByteTransport::Given).map_err(|error| {
        let address = target.authority().to_string();
        match error.kind() {
            io::ErrorKind::ConnectionRefused => CallFailure::Refused { address },
            io::ErrorKind::NotFound => CallFailure::Resolve { host: target.host.clone(), why: error.to_string() },
            _ => CallFailure::Connect { address, why: error.to_string() },
        }
    })
}

async fn connect(address: SocketAddr) -> Result<TcpStream, CallFailure> {
    let failed = |error: io::Error| CallFailure::Connect { address: address.to_string(), why: error.to_string() };
    match TcpStream::connect(address).await {
        Ok(tcp) => tune(&tcp).map(|()| tcp).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            Err(CallFailure::Refused { address: address.to_string() })
        }
        Err(error) => Err(failed(error)),
    }
}

fn tune(tcp: &TcpStream) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(30));
    socket2::SockRef::from(tcp).set_tcp_keepalive(&keepalive)
}

/// Says beside the stream whether HTTP/2 is spoken on it.
async fn secure(
    settings: &ClientSettings,
    tls: Option<&TlsSource>,
    transport: ByteTransport,
    first: &FirstBytes,
) -> Result<(ClientStream, bool), CallFailure> {
    let Some(source) = tls else {
        return Ok((ClientStream::Plain(transport, first.clone()), settings.speech == ClientHttp::Http2));
    };
    let name = source.server_name(&settings.target.host)?;
    let connector = TlsConnector::from(source.current().await?);
    let stream = connector.connect(name, transport).await.map_err(|error| handshake_failure(&error))?;
    let agreed_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    // A gRPC server behind an old proxy may not answer ALPN at all; gRPC is HTTP/2 whatever it says.
    let http2 = agreed_http2 || settings.speech == ClientHttp::Http2;
    Ok((ClientStream::Tls(Box::new(stream)), http2))
}

async fn shake_hands(
    settings: &ClientSettings,
    spawner: &Spawner,
    stream: ClientStream,
    http2: bool,
) -> Result<DialedSender, CallFailure> {
    if http2 {
        return http2::shake_hands(stream, settings.keepalive, spawner).await.map(DialedSender::Http2);
    }
    let handshake = http1::Builder::new().writev(true).handshake(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(|error| CallFailure::Broken(error.to_string()))?;
    spawner.spawn(async move {
        // The request on the connection gets the error; there is nobody else to tell.
        let _ = connection.await;
    });
    Ok(DialedSender::Http1(sender))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(last: &[u8]) -> Vec<SocketAddr> {
        last.iter().map(|last| SocketAddr::from(([10, 0, 0, *last], 4317))).collect()
    }

    #[test]
    fn addresses_in_turn_do_not_depend_on_the_resolvers_order_and_the_first_one_does() {
        let (shuffled, again) = (addresses(&[3, 1, 2, 2]), addresses(&[2, 3, 1]));
        for turn in 0..7 {
            let first = in_order(shuffled.clone(), Balancer::RoundRobin, turn);
            assert_eq!(first, in_order(again.clone(), Balancer::RoundRobin, turn));
            assert_eq!((first.0[0], first.1), (addresses(&[1, 2, 3])[turn % 3], 3));
            assert_eq!(in_order(again.clone(), Balancer::PickFirst, turn), (again.clone(), 3));
        }
        assert_eq!(in_order(Vec::new(), Balancer::RoundRobin, 5), (Vec::new(), 0));
        let many: Vec<u8> = (0..40).collect();
        let (tried, count) = in_order(addresses(&many), Balancer::RoundRobin, 39);
        assert_eq!((tried.len(), count), (TRIED_MAX, ADDRESSES_MAX));
        assert_eq!(tried[..2], addresses(&[39, 0]));
    }
}
