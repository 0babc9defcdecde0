//! Opening one connection: name, TCP, TLS, HTTP handshake, all within one timeout.

use std::io;
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
use crate::net::client::failure::CallFailure;
use crate::net::client::http2;
use crate::net::client::settings::{ClientHttp, ClientSettings};

/// Addresses of one name that are tried in one attempt.
const ADDRESSES_MAX: usize = 8;

/// The sending half of a fresh connection.
pub enum DialedSender {
    Http1(http1::SendRequest<Outgoing>),
    Http2(http2::Http2Sender),
}

/// What a dial needs beside the settings.
pub struct DialContext<'a> {
    pub tls: Option<&'a TlsSource>,
    /// `None`: the kernel's.
    pub network: Option<&'a dyn Network>,
    pub spawner: &'a Spawner,
}

/// Dials the target. `turn` rotates through the addresses of a name, so that parallel connections spread over them.
pub async fn dial(
    settings: &ClientSettings,
    line: DialContext<'_>,
    turn: usize,
) -> Result<(DialedSender, FirstBytes), CallFailure> {
    let attempt = async {
        let transport = match line.network {
            Some(network) => connect_in(network, settings).await?,
            None => ByteTransport::Tcp(connect(settings, turn).await?),
        };
        let first = FirstBytes::default();
        let (stream, http2) = secure(settings, line.tls, transport, &first).await?;
        let sender = shake_hands(settings, line.spawner, stream, http2).await?;
        Ok((sender, first))
    };
    tokio::time::timeout(settings.connect_timeout, attempt).await.unwrap_or_else(|_| {
        Err(CallFailure::ConnectTimeout {
            address: settings.target.authority().to_string(),
            after: settings.connect_timeout,
        })
    })
}

async fn connect_in(network: &dyn Network, settings: &ClientSettings) -> Result<ByteTransport, CallFailure> {
    let target = &settings.target;
    network.connect(&target.host, target.port).await.map(ByteTransport::Given).map_err(|error| {
        let address = target.authority().to_string();
        match error.kind() {
            io::ErrorKind::ConnectionRefused => CallFailure::Refused { address },
            io::ErrorKind::NotFound => CallFailure::Resolve { host: target.host.clone(), why: error.to_string() },
            _ => CallFailure::Connect { address, why: error.to_string() },
        }
    })
}

async fn connect(settings: &ClientSettings, turn: usize) -> Result<TcpStream, CallFailure> {
    let (host, port) = (settings.target.host.as_str(), settings.target.port);
    let unresolved = |why: String| CallFailure::Resolve { host: host.to_owned(), why };
    let found = lookup_host((host, port)).await.map_err(|error| unresolved(error.to_string()))?;
    let mut addresses: Vec<_> = found.take(ADDRESSES_MAX).collect();
    if addresses.is_empty() {
        return Err(unresolved("the name has no address".to_owned()));
    }
    let shift = turn % addresses.len();
    addresses.rotate_left(shift);
    let mut last = unresolved("the name has no address".to_owned());
    // A silent address must leave time for the next one.
    let each = settings.connect_timeout / u32::try_from(addresses.len()).unwrap_or(1);
    for address in addresses {
        match tokio::time::timeout(each, TcpStream::connect(address)).await {
            Ok(Ok(tcp)) => {
                let tuned = tune(&tcp);
                return tuned
                    .map(|()| tcp)
                    .map_err(|error| CallFailure::Connect { address: address.to_string(), why: error.to_string() });
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                last = CallFailure::Refused { address: address.to_string() };
            }
            Ok(Err(error)) => last = CallFailure::Connect { address: address.to_string(), why: error.to_string() },
            Err(_) => last = CallFailure::ConnectTimeout { address: address.to_string(), after: each },
        }
    }
    Err(last)
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
