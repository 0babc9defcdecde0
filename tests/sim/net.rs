//! A network in memory: names and ports, addresses of peers, and wires that go silent or break.
//!
//! A wire that is silent keeps what is written (as much as a kernel would) and delivers it when it is mended; a wire that
//! is cut answers with a reset. Nothing here waits: bytes arrive at once, delays belong to the peers' scripts.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use podgate::core::outside::{BoxSocket, GivenListener, Network, PendingIo};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// What a kernel takes before a writer has to wait.
const SOCKET_BYTES: usize = 256 << 10;

/// How the way to a listener is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    #[default]
    Open,
    /// Connections are refused; open ones are reset.
    Refused,
    /// Nobody answers: connects hang, open connections are silent both ways until the way is open again.
    Silent,
}

type Door = mpsc::UnboundedSender<(BoxSocket, SocketAddr)>;

#[derive(Default)]
struct State {
    /// By port: whoever listens.
    doors: BTreeMap<u16, Door>,
    ways: BTreeMap<u16, Way>,
    wires: Vec<(u16, Arc<Wire>)>,
    /// By port: when the way was opened again, and when the first of the bytes were written that it had held until then.
    held: BTreeMap<u16, (Instant, Instant)>,
    /// Wakes connects that hang.
    hanging: Vec<Waker>,
    next_port: u16,
}

/// Everything that is connected in one simulation. Ports name listeners; names of hosts are not looked at.
#[derive(Clone, Default)]
pub struct Net(Arc<Mutex<State>>);

impl Net {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Changes the way to a port; open connections feel it at once.
    pub fn set(&self, port: u16, way: Way) {
        let mut state = self.lock();
        state.ways.insert(port, way);
        state.wires.retain(|(_, wire)| Arc::strong_count(wire) > 1);
        let wires: Vec<Arc<Wire>> =
            state.wires.iter().filter(|(of, _)| *of == port).map(|(_, wire)| wire.clone()).collect();
        if let Some(first) = wires.iter().filter_map(|wire| wire.held()).min()
            && way == Way::Open
        {
            state.held.insert(port, (Instant::now(), first));
        }
        let hanging = std::mem::take(&mut state.hanging);
        drop(state);
        wires.iter().for_each(|wire| wire.set(way));
        hanging.into_iter().for_each(Waker::wake);
    }

    /// Since when what arrives at a port now may have been on its way: a wire that was silent until now had it.
    pub fn written(&self, port: u16) -> Instant {
        let now = Instant::now();
        self.lock().held.get(&port).filter(|(opened, _)| *opened == now).map_or(now, |(_, first)| *first)
    }

    pub fn is_open(&self, port: u16) -> bool {
        self.lock().ways.get(&port).copied().unwrap_or_default() == Way::Open
    }

    /// Resets every open connection to a port; new ones find the way as it is.
    pub fn reset(&self, port: u16) {
        let wires: Vec<Arc<Wire>> =
            self.lock().wires.iter().filter(|(of, _)| *of == port).map(|(_, wire)| wire.clone()).collect();
        wires.iter().for_each(|wire| wire.set(Way::Refused));
    }

    #[expect(clippy::disallowed_methods, reason = "a client that connects cannot wait for the one that accepts")]
    pub fn door(&self, port: u16) -> mpsc::UnboundedReceiver<(BoxSocket, SocketAddr)> {
        let (door, knocks) = mpsc::unbounded_channel();
        self.lock().doors.insert(port, door);
        knocks
    }

    /// Connects from an address, as a pod does.
    pub async fn connect_from(&self, from: IpAddr, port: u16) -> io::Result<BoxSocket> {
        std::future::poll_fn(|cx| self.poll_way(port, cx)).await?;
        let mut state = self.lock();
        let Some(door) = state.doors.get(&port).filter(|door| !door.is_closed()).cloned() else {
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        state.next_port = state.next_port % 20_000 + 1;
        let peer = SocketAddr::new(from, 40_000 + state.next_port);
        let wire = Arc::<Wire>::default();
        state.wires.push((port, wire.clone()));
        if state.wires.len().is_multiple_of(256) {
            state.wires.retain(|(_, wire)| Arc::strong_count(wire) > 1);
        }
        let (near, far) = tokio::io::duplex(SOCKET_BYTES);
        let (near, far) = (End { io: near, wire: wire.clone() }, End { io: far, wire });
        let _ = door.send((Box::new(far), peer));
        Ok(Box::new(near))
    }

    fn poll_way(&self, port: u16, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.lock();
        match state.ways.get(&port).copied().unwrap_or_default() {
            Way::Open => Poll::Ready(Ok(())),
            Way::Refused => Poll::Ready(Err(io::ErrorKind::ConnectionRefused.into())),
            Way::Silent => {
                state.hanging.push(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// The gateway's own address, as next hops see it.
const GATEWAY: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

impl Network for Net {
    fn listen(&self, at: SocketAddr) -> io::Result<Box<dyn GivenListener>> {
        let knocks = tokio::sync::Mutex::new(self.door(at.port()));
        Ok(Box::new(Listening { at, knocks }))
    }

    fn connect<'a>(&'a self, _: &'a str, port: u16) -> PendingIo<'a, BoxSocket> {
        Box::pin(self.connect_from(GATEWAY, port))
    }
}

struct Listening {
    at: SocketAddr,
    knocks: tokio::sync::Mutex<mpsc::UnboundedReceiver<(BoxSocket, SocketAddr)>>,
}

impl std::fmt::Debug for Listening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Listening({})", self.at)
    }
}

impl GivenListener for Listening {
    fn local_addr(&self) -> SocketAddr {
        self.at
    }

    fn accept(&self) -> PendingIo<'_, (BoxSocket, SocketAddr)> {
        Box::pin(async {
            // The net keeps the sender as long as the simulation runs.
            match self.knocks.lock().await.recv().await {
                Some(knock) => Ok(knock),
                None => std::future::pending().await,
            }
        })
    }
}

/// What both ends of a connection share.
#[derive(Default)]
struct Wire(Mutex<Strand>);

#[derive(Default)]
struct Strand {
    way: Way,
    wakers: Vec<Waker>,
    /// When the first bytes were written that it has not delivered.
    held: Option<Instant>,
}

impl Wire {
    fn lock(&self) -> MutexGuard<'_, Strand> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn set(&self, way: Way) {
        let wakers = {
            let mut state = self.lock();
            // A reset connection stays so.
            if state.way != Way::Refused {
                state.way = way;
            }
            state.held = state.held.filter(|_| way == Way::Silent);
            std::mem::take(&mut state.wakers)
        };
        wakers.into_iter().for_each(Waker::wake);
    }

    fn look(&self, cx: &Context<'_>) -> Way {
        let mut state = self.lock();
        if !state.wakers.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.wakers.push(cx.waker().clone());
        }
        state.way
    }

    /// Bytes are written to it while it is silent.
    fn hold(&self) {
        self.lock().held.get_or_insert_with(Instant::now);
    }

    fn held(&self) -> Option<Instant> {
        self.lock().held
    }
}

struct End {
    io: DuplexStream,
    wire: Arc<Wire>,
}

fn reset<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
}

impl AsyncRead for End {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.wire.look(cx) {
            Way::Open => Pin::new(&mut self.io).poll_read(cx, buf),
            Way::Silent => Poll::Pending,
            Way::Refused => reset(),
        }
    }
}

impl AsyncWrite for End {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.wire.look(cx) {
            Way::Refused => reset(),
            way => {
                if way == Way::Silent {
                    self.wire.hold();
                }
                Pin::new(&mut self.io).poll_write(cx, buf)
            }
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
