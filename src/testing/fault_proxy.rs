//! A TCP relay that spoils what passes: late, slow, cut, silent or damaged, changed while connections are open.
//!
//! It exists because no kernel module for network faults can be counted on where tests run. Loopback only, bounded in
//! connections, buffers and time. It must not know what the bytes mean.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const CONNECTIONS_MAX: usize = 256;
const CHUNK_BYTES: usize = 16 << 10;
/// A forgotten proxy ends by itself.
const LIFE: Duration = Duration::from_secs(600);

/// What happens to bytes, in both directions where nothing else is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyFault {
    None,
    /// Each piece comes so much later.
    Delay(Duration),
    /// At most so many bytes a second and direction.
    Throttle(u64),
    /// Connections are reset, open and new ones.
    Reset,
    /// Nothing passes and nothing ends: what a host that vanished looks like.
    HalfOpen,
    /// One byte in so many is replaced, beginning with the first.
    Garbage(usize),
    /// The same in what the server answers alone.
    GarbageAnswers(usize),
}

/// Running until it is dropped.
#[derive(Debug)]
pub struct FaultProxy {
    address: SocketAddr,
    fault: watch::Sender<ProxyFault>,
    connections: Arc<AtomicU64>,
    _accepting: JoinSet<()>,
}

impl FaultProxy {
    /// Listens on a free port of the loopback; every connection becomes one to `upstream`, which must be there too.
    pub async fn start(upstream: SocketAddr) -> io::Result<FaultProxy> {
        if !upstream.ip().is_loopback() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a fault proxy stays on the loopback"));
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (fault, seen) = watch::channel(ProxyFault::None);
        let connections = Arc::<AtomicU64>::default();
        let (count, mut accepting) = (connections.clone(), JoinSet::new());
        accepting.spawn(async move {
            // Ends the connections too: they are in a set of its own.
            let _ = timeout(LIFE, accept(listener, upstream, seen, count)).await;
        });
        Ok(FaultProxy { address, fault, connections, _accepting: accepting })
    }

    /// How many were accepted since the start.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on, for open connections too.
    pub fn set(&self, fault: ProxyFault) {
        self.fault.send_replace(fault);
    }
}

async fn accept(
    listener: TcpListener,
    upstream: SocketAddr,
    fault: watch::Receiver<ProxyFault>,
    count: Arc<AtomicU64>,
) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        count.fetch_add(1, Ordering::Relaxed);
        while connections.try_join_next().is_some() {}
        if connections.len() < CONNECTIONS_MAX {
            connections.spawn(relay(client, upstream, fault.clone()));
        }
    }
}

async fn relay(mut client: TcpStream, upstream: SocketAddr, mut fault: watch::Receiver<ProxyFault>) {
    let Ok(mut server) = TcpStream::connect(upstream).await else { return reset(&client) };
    // Without it small pieces wait for each other; failure only costs that.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (there, back) = (fault.clone(), fault.clone());
    let is_reset = {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        tokio::select! {
            biased;
            changed = fault.wait_for(|fault| *fault == ProxyFault::Reset) => changed.is_ok(),
            _ = async { tokio::join!(pass(from_client, to_server, there, false), pass(from_server, to_client, back, true)) } => false,
        }
    };
    if is_reset {
        reset(&client);
        reset(&server);
    }
}

/// The socket's end becomes a reset instead of an orderly close.
fn reset(stream: &TcpStream) {
    let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// One direction until its end, which the other side is told.
async fn pass(mut from: ReadHalf<'_>, mut to: WriteHalf<'_>, mut fault: watch::Receiver<ProxyFault>, answers: bool) {
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut passed = 0;
    loop {
        let whole = match *fault.borrow_and_update() {
            // A small piece at a time, so that the rate is held within a second.
            ProxyFault::Throttle(rate) => usize::try_from(rate / 20).unwrap_or(CHUNK_BYTES).clamp(1, CHUNK_BYTES),
            _ => CHUNK_BYTES,
        };
        let Ok(read @ 1..) = from.read(&mut buffer[..whole]).await else { break };
        let now = *fault.borrow_and_update();
        match now {
            ProxyFault::Delay(wait) => sleep(wait).await,
            ProxyFault::Throttle(rate) => sleep(Duration::from_secs_f64(read as f64 / rate.max(1) as f64)).await,
            ProxyFault::Garbage(every) => spoil(&mut buffer[..read], passed, every.max(1)),
            ProxyFault::GarbageAnswers(every) if answers => spoil(&mut buffer[..read], passed, every.max(1)),
            ProxyFault::None | ProxyFault::Reset | ProxyFault::HalfOpen | ProxyFault::GarbageAnswers(_) => {}
        }
        // A vanished host is vanished until it is back; the bytes wait as they would in the network.
        if fault.wait_for(|fault| *fault != ProxyFault::HalfOpen).await.is_err()
            || to.write_all(&buffer[..read]).await.is_err()
        {
            return;
        }
        passed += read;
    }
    let _ = fault.wait_for(|fault| *fault != ProxyFault::HalfOpen).await;
    let _ = to.shutdown().await;
}

/// Replaces every byte whose place in the stream is a multiple of `every`.
fn spoil(bytes: &mut [u8], passed: usize, every: usize) {
    let first = (every - passed % every) % every;
    bytes.iter_mut().skip(first).step_by(every).for_each(|byte| *byte = !*byte);
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    /// A server that sends back what it gets, a proxy before it, and a connection through both.
    async fn echo() -> (FaultProxy, TcpStream, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream = listener.local_addr().unwrap();
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.spawn(async move {
                    let (mut reader, mut writer) = stream.split();
                    let _ = tokio::io::copy(&mut reader, &mut writer).await;
                });
            }
        });
        let proxy = FaultProxy::start(upstream).await.unwrap();
        let client = TcpStream::connect(proxy.address()).await.unwrap();
        (proxy, client, server)
    }

    async fn exchange(client: &mut TcpStream, text: &[u8]) -> io::Result<Vec<u8>> {
        client.write_all(text).await?;
        let mut answer = vec![0; text.len()];
        client.read_exact(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn without_a_fault_bytes_and_ends_pass() {
        let (_proxy, mut client, _server) = echo().await;
        let long = vec![7; 100_000];
        let (mut reader, mut writer) = client.split();
        let mut answer = Vec::new();
        let write = async {
            writer.write_all(&long).await.unwrap();
            writer.shutdown().await.unwrap();
        };
        let ((), read) = tokio::join!(write, reader.read_to_end(&mut answer));
        assert_eq!((read.unwrap(), answer == long), (100_000, true));
    }

    #[tokio::test]
    async fn delay_and_throttle_take_their_time() {
        let (proxy, mut client, _server) = echo().await;
        for (fault, at_least) in
            [(ProxyFault::Delay(Duration::from_millis(50)), 100), (ProxyFault::Throttle(1_000), 200)]
        {
            proxy.set(fault);
            let begun = Instant::now();
            assert_eq!(exchange(&mut client, &[1; 110]).await.unwrap(), [1; 110]);
            assert!(begun.elapsed() >= Duration::from_millis(at_least), "{fault:?}: {:?}", begun.elapsed());
        }
    }

    #[tokio::test]
    async fn a_half_open_connection_is_silent_until_the_fault_is_mended() {
        let (proxy, mut client, _server) = echo().await;
        proxy.set(ProxyFault::HalfOpen);
        let silent = timeout(Duration::from_millis(100), exchange(&mut client, b"hello")).await;
        assert!(silent.is_err());
        proxy.set(ProxyFault::None);
        let mut answer = [0; 5];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"hello");
    }

    #[tokio::test]
    async fn a_reset_ends_open_and_new_connections() {
        let (proxy, mut client, _server) = echo().await;
        exchange(&mut client, b"a").await.unwrap();
        proxy.set(ProxyFault::Reset);
        assert!(exchange(&mut client, b"b").await.is_err());
        let mut second = TcpStream::connect(proxy.address()).await.unwrap();
        assert!(exchange(&mut second, b"c").await.is_err());
    }

    #[tokio::test]
    async fn garbage_replaces_one_byte_in_so_many_wherever_pieces_end() {
        let (proxy, mut client, _server) = echo().await;
        proxy.set(ProxyFault::Garbage(4));
        // Spoiled on the way there and again on the way back: the same bytes, so they are whole again.
        for _ in 0..3 {
            assert_eq!(exchange(&mut client, &[0; 4]).await.unwrap(), [0; 4]);
        }
        let mut bytes = [0; 10];
        spoil(&mut bytes, 6, 4);
        assert_eq!(bytes, [0, 0, 255, 0, 0, 0, 255, 0, 0, 0]);
        let mut answers = echo().await;
        answers.0.set(ProxyFault::GarbageAnswers(4));
        assert_eq!(exchange(&mut answers.1, &[0; 4]).await.unwrap(), [255, 0, 0, 0]);
        assert_eq!(answers.0.connections(), 1);
        assert!(FaultProxy::start(SocketAddr::from(([8, 8, 8, 8], 53))).await.is_err());
    }
}
