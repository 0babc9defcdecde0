//! What a gateway touches outside of itself: sockets and files. The operating system's, unless another is given.
//!
//! A value in [`Host`](crate::core::stage::host::Host), so that a simulation runs the product's own code in a world of its own:
//! next hops hang, disks fill up, all by a seed and in no time (`tests/sim`). Whoever needs a TCP socket or a file that is appended to asks here; monotonic time and timers are tokio's, which tests pause.

pub mod disk;
pub mod root;

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::core::outside::disk::{Disk, Files};

/// The world around one gateway. Cheap to clone.
#[derive(Clone, Default)]
pub struct Outside {
    /// `None`: the kernel's TCP.
    pub network: Option<Arc<dyn Network>>,
    pub disk: DiskRef,
}

/// A connected stream of bytes.
pub trait Socket: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Socket for T {}

pub type BoxSocket = Box<dyn Socket>;
pub type PendingIo<'a, T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send + 'a>>;

/// Where connections come from and go to, in place of the kernel's TCP.
pub trait Network: Send + Sync {
    fn listen(&self, at: SocketAddr) -> io::Result<Box<dyn GivenListener>>;

    /// The addresses of a name; `None` where only [`Network::connect`] knows them.
    fn resolve(&self, _host: &str) -> Option<Vec<IpAddr>> {
        None
    }

    /// Resolves the name and connects; the caller bounds the wait.
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> PendingIo<'a, BoxSocket>;

    /// The addresses of a name with this port; the caller bounds the wait.
    fn look_up<'a>(&'a self, host: &'a str, port: u16) -> PendingIo<'a, Vec<SocketAddr>> {
        let unknown = || io::Error::new(io::ErrorKind::NotFound, format!("nobody knows {host} in this world"));
        let found = self.resolve(host).ok_or_else(unknown);
        let found = found.map(|addresses| addresses.into_iter().map(|address| (address, port).into()).collect());
        Box::pin(std::future::ready(found))
    }
}

impl Outside {
    /// The addresses of a name, in no order; the caller bounds the wait.
    pub async fn look_up(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        match &self.network {
            Some(network) => network.look_up(host, port).await,
            None => Ok(tokio::net::lookup_host((host, port)).await?.collect()),
        }
    }
}

/// A listening socket of a given network.
pub trait GivenListener: Send + Sync + fmt::Debug {
    fn local_addr(&self) -> SocketAddr;

    /// The next connection and its peer.
    fn accept(&self) -> PendingIo<'_, (BoxSocket, SocketAddr)>;
}

/// The disk in use.
#[derive(Clone)]
pub struct DiskRef(Arc<dyn Disk>);

impl DiskRef {
    pub fn of(disk: Arc<dyn Disk>) -> DiskRef {
        DiskRef(disk)
    }
}

impl Default for DiskRef {
    fn default() -> DiskRef {
        DiskRef(Arc::new(Files))
    }
}

impl std::ops::Deref for DiskRef {
    type Target = dyn Disk;

    fn deref(&self) -> &(dyn Disk + 'static) {
        &*self.0
    }
}
