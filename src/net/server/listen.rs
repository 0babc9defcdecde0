//! Listening endpoints: what `endpoint` means, and how it becomes a bound socket.
//!
//! Parsing is pure, so that a bad endpoint is found before anything starts; binding does the I/O. What is served behind
//! a listener is not known here.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, UnixListener, lookup_host};
use tokio::time::Instant;

use crate::core::lock::Locked;
use crate::core::outside::{GivenListener, Network};
use crate::core::report::status::{State, is_below};
use crate::core::stage::host::Host;

/// Length of the kernel's queue of connections not accepted yet.
const BACKLOG: i32 = 1024;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Every interface: an empty host, `0.0.0.0` stays IPv4.
    All {
        port: u16,
    },
    Address(SocketAddr),
    /// A name, resolved when the listener is bound.
    Name {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::All { port } => write!(f, ":{port}"),
            Endpoint::Address(address) => write!(f, "{address}"),
            Endpoint::Name { host, port } => write!(f, "{host}:{port}"),
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Endpoint {
    /// `host:port` as Go's net.Listen takes it; the error is a sentence. An empty host (also from an unset variable)
    /// means every interface.
    pub fn parse_tcp(text: &str) -> Result<Endpoint, String> {
        if text.contains("://") {
            return Err(format!("{text:?} has a scheme; a listener takes host:port alone"));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| format!("{text:?} has no port"))?;
        let port: u16 = port.parse().map_err(|_| format!("{port:?} is not a port"))?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if bare.is_none() && host.contains(':') {
            return Err(format!("{text:?} has too many colons; an IPv6 address stands in brackets"));
        }
        let host = bare.unwrap_or(host);
        if host.is_empty() {
            return Ok(Endpoint::All { port });
        }
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(Endpoint::Address(SocketAddr::new(address, port)));
        }
        let name_like = host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
        if bare.is_some() || !name_like {
            return Err(format!("{host:?} is neither an address nor a host name"));
        }
        Ok(Endpoint::Name { host: host.to_owned(), port })
    }

    /// The path of a unix socket, with or without `unix:`.
    pub fn parse_unix(text: &str) -> Result<Endpoint, String> {
        let path = text.strip_prefix("unix://").or_else(|| text.strip_prefix("unix:")).unwrap_or(text);
        if path.is_empty() {
            return Err("the path of the socket is empty".to_owned());
        }
        Ok(Endpoint::Unix(PathBuf::from(path)))
    }

    /// The address another listener would clash with, when it is fixed and known before start.
    pub fn fixed_address(&self) -> Option<SocketAddr> {
        match self {
            Endpoint::Address(address) => Some(*address),
            Endpoint::All { port } => Some(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), *port)),
            Endpoint::Name { host, port } if host == "localhost" => {
                Some(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), *port))
            }
            Endpoint::Name { .. } | Endpoint::Unix(_) => None,
        }
        .filter(|address| address.port() != 0)
    }

    /// Binds in a given network, else with the kernel. Unix sockets are the kernel's always.
    async fn bind_in(&self, network: Option<&dyn Network>) -> io::Result<Listener> {
        let Some(network) = network else { return self.bind().await };
        let address = match self {
            Endpoint::Unix(_) => return self.bind().await,
            Endpoint::Address(address) => *address,
            Endpoint::All { port } => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), *port),
            Endpoint::Name { port, .. } => SocketAddr::new(Ipv4Addr::LOCALHOST.into(), *port),
        };
        network.listen(address).map(Listener::Given)
    }

    /// Binds in the host's network, else with the kernel. Where a component of the same gateway listens there, which a reload
    /// puts another in the place of, it is the very socket: no connection meets a closed port. `path` is the component's.
    pub async fn bind_or_take_over(&self, host: &Host, path: &str) -> io::Result<Arc<Listener>> {
        let port = match self {
            Endpoint::All { port } | Endpoint::Name { port, .. } => Some(*port),
            Endpoint::Address(address) => Some(address.port()),
            Endpoint::Unix(_) => None,
        };
        // Port 0 is another one for each who asks.
        let key = if port == Some(0) { format!("{self} of {path}") } else { self.to_string() };
        let sockets = host.shared("net::listen::OpenSockets", || Arc::new(OpenSockets::default()));
        let open = sockets.by_endpoint.locked().get(&key).and_then(Weak::upgrade);
        if let Some(listener) = open {
            return Ok(listener);
        }
        let listener = Arc::new(self.bind_in(host.outside.network.as_deref()).await?);
        let mut known = sockets.by_endpoint.locked();
        known.retain(|_, listener| listener.strong_count() > 0);
        known.insert(key, Arc::downgrade(&listener));
        Ok(listener)
    }

    /// As [`Endpoint::bind_or_take_over`], and waits while another process holds the port (`core/ports.rs`).
    /// `path` is the component's, for `/status` and the log.
    pub async fn bind_when_free(&self, host: &Host, path: &str) -> io::Result<Arc<Listener>> {
        let (since, mut told) = (Instant::now(), false);
        loop {
            let bound = self.bind_or_take_over(host, path).await;
            let held = bound.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse);
            if !held || !host.ports.again(since).await {
                if told && bound.is_ok() {
                    host.status.set(path, State::Ok, "");
                }
                return bound;
            }
            if !told {
                told = true;
                let longest = host.ports.longest();
                host.status.set(path, State::Starting, format!("another process holds {self}: waiting for it to end"));
                tracing::warn!(component = path, endpoint = %self, ?longest, "another process holds the port; podgate is not ready until it is free");
            }
        }
    }

    pub async fn bind(&self) -> io::Result<Listener> {
        match self {
            Endpoint::Address(address) => tcp(*address).map(Listener::Tcp),
            // A node without IPv6 has no dual-stack socket to give.
            Endpoint::All { port } => tcp(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), *port))
                .or_else(|_| tcp(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), *port)))
                .map(Listener::Tcp),
            Endpoint::Name { host, port } => {
                let mut addresses: Vec<SocketAddr> = lookup_host((host.as_str(), *port)).await?.collect();
                // Go listens on the IPv4 address of a name that has both.
                addresses.sort_by_key(SocketAddr::is_ipv6);
                let mut answer = Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
                for address in addresses {
                    answer = tcp(address).map(Listener::Tcp);
                    if answer.is_ok() {
                        break;
                    }
                }
                answer
            }
            Endpoint::Unix(path) => unix(path),
        }
    }
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

fn unix(path: &PathBuf) -> io::Result<Listener> {
    match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_stale(path) => {
            std::fs::remove_file(path)?;
            UnixListener::bind(path).map(Listener::Unix)
        }
        bound => bound.map(Listener::Unix),
    }
}

/// A socket file nobody answers on, left by a process that was killed.
fn is_stale(path: &PathBuf) -> bool {
    use std::os::unix::fs::FileTypeExt;
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    is_socket && std::os::unix::net::UnixStream::connect(path).is_err()
}

/// Sockets that somebody in the gateway accepts from, by endpoint.
#[derive(Debug, Default)]
struct OpenSockets {
    // Locked when a listener is bound.
    by_endpoint: Mutex<BTreeMap<String, Weak<Listener>>>,
}

/// A bound socket.
#[derive(Debug)]
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
    Given(Box<dyn GivenListener>),
}

impl Listener {
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(_) => None,
            Listener::Given(listener) => Some(listener.local_addr()),
        }
    }
}

/// Addresses that were really bound, by configuration path: with port 0 the kernel chooses.
#[derive(Debug, Default)]
pub struct BoundAddresses {
    addresses: Mutex<BTreeMap<String, SocketAddr>>,
}

impl BoundAddresses {
    /// Key of [`crate::core::stage::host::Host::shared`] under which all listeners of a gateway are found.
    pub const KEY: &'static str = "net::listen::Bound";

    pub fn set(&self, path: &str, address: SocketAddr) {
        self.addresses.locked().insert(path.to_owned(), address);
    }

    /// `path` as in diagnostics: `receivers::otlp::protocols::grpc`.
    pub fn get(&self, path: &str) -> Option<SocketAddr> {
        self.addresses.locked().get(path).copied()
    }

    pub fn all(&self) -> BTreeMap<String, SocketAddr> {
        self.addresses.locked().clone()
    }

    /// Nobody listens below this path any more.
    pub fn forget(&self, path: &str) {
        self.addresses.locked().retain(|listener, _| !is_below(listener, path));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_read_as_go_reads_them() {
        for (text, expected) in [
            (":4317", Endpoint::All { port: 4317 }),
            ("0.0.0.0:4317", Endpoint::Address("0.0.0.0:4317".parse().unwrap())),
            ("[::]:4317", Endpoint::Address("[::]:4317".parse().unwrap())),
            ("localhost:4318", Endpoint::Name { host: "localhost".to_owned(), port: 4318 }),
            ("my-host.example:1", Endpoint::Name { host: "my-host.example".to_owned(), port: 1 }),
        ] {
            assert_eq!(Endpoint::parse_tcp(text), Ok(expected), "{text}");
        }
        for text in ["", "4317", "localhost", "::1:4317", "http://a:1", "a:b", "a:65536", "[x]:1", "a b:1"] {
            assert!(Endpoint::parse_tcp(text).is_err(), "{text}");
        }
        assert_eq!(Endpoint::parse_unix("unix:///run/x.sock"), Ok(Endpoint::Unix("/run/x.sock".into())));
    }

    #[tokio::test]
    async fn a_socket_file_left_by_a_dead_process_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("otlp.sock");
        let endpoint = Endpoint::Unix(path.clone());
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let live = endpoint.bind().await.unwrap();
        assert!(endpoint.bind().await.is_err());
        drop(live);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "a file").unwrap();
        assert!(endpoint.bind().await.is_err());
    }
}
