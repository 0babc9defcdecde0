//! Honest clients: one of each transport, each a request of ten spans fifty times a second on one connection, open loop;
//! what is refused with a hint they send again, as SDKs do. And a kubelet that asks whether the process is alive.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, interval, sleep, timeout};

use super::gateway::Process;
use crate::bombs::probe;
use crate::harness::{H2, TRACES, framed, parse_http1, spans};

/// A request every 20 ms: with two clients 1,000 spans a second.
const EVERY: Duration = Duration::from_millis(20);
/// An SDK gives up then, repetitions included.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between liveness probes.
const PROBE_EVERY: Duration = Duration::from_millis(100);

/// What the clients felt.
#[derive(Debug, Default)]
pub struct Felt {
    /// From the moment a request was due to its answer.
    latencies: Vec<Duration>,
    /// Requests that were refused with a hint and taken when they were sent again.
    pub put_off: u64,
    /// Requests that never were answered with success.
    pub refused: u64,
    /// The longest of the liveness probes.
    pub probe: Duration,
}

/// How one attempt ended: taken, or the seconds of the hint.
type Attempt = Option<Result<(), u64>>;

impl Felt {
    /// In milliseconds.
    pub fn percentile(&mut self, percent: usize) -> f64 {
        self.latencies.sort_unstable();
        let at = (self.latencies.len() * percent / 100).min(self.latencies.len().saturating_sub(1));
        self.latencies.get(at).map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
    }

    pub fn requests(&self) -> usize {
        self.latencies.len()
    }

    /// Requests when they are due until the time is over; `attempt` is one try of the next.
    async fn send(until: Instant, mut attempt: impl AsyncFnMut() -> Attempt) -> Felt {
        let (mut felt, mut due) = (Felt::default(), interval(EVERY));
        while Instant::now() < until {
            let due = due.tick().await;
            let mut tries = 0;
            let taken = timeout(PATIENCE, async {
                loop {
                    tries += 1;
                    match attempt().await {
                        Some(Ok(())) => return true,
                        Some(Err(seconds)) => sleep(Duration::from_secs(seconds)).await,
                        None => return false,
                    }
                }
            });
            let taken = taken.await.unwrap_or(false);
            felt.refused += u64::from(!taken);
            felt.put_off += u64::from(taken && tries > 1);
            felt.latencies.push(due.elapsed());
        }
        felt
    }
}

/// The connections, kept over all that is done to the gateway.
pub struct Clients {
    grpc: H2,
    http: TcpStream,
    to: SocketAddr,
    request: Vec<u8>,
    pages: SocketAddr,
}

impl Clients {
    pub async fn connect(process: &Process) -> Clients {
        let body = spans(10);
        let head = format!(
            "POST /v1/traces HTTP/1.1\r\nhost: t\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        Clients {
            grpc: H2::connect(process.grpc).await,
            http: connected(process.http).await.unwrap(),
            to: process.http,
            request: [head.as_bytes(), &body].concat(),
            pages: process.pages,
        }
    }

    /// Sends for so long; panics when a liveness probe is not answered within a second.
    pub async fn send(&mut self, how_long: Duration) -> Felt {
        let Clients { grpc, http, to, request, pages } = self;
        let (to, pages) = (*to, *pages);
        let message = framed(0, &spans(10));
        let until = Instant::now() + how_long;
        let first = Felt::send(until, async || {
            let reply = grpc.grpc(TRACES, &[], &message).await.ok()?;
            match reply.grpc_status() {
                Some(0) => Some(Ok(())),
                _ => reply.rpc_status()?.retry_seconds().map(|seconds| Err(seconds as u64)),
            }
        });
        let second = Felt::send(until, async || exchange(http, to, request).await.ok().flatten());
        let probes = async {
            let mut longest = Duration::ZERO;
            while Instant::now() < until {
                let begun = Instant::now();
                probe(pages).await;
                longest = longest.max(begun.elapsed());
                sleep(PROBE_EVERY).await;
            }
            longest
        };
        let (mut felt, over_http, probe) = tokio::join!(first, second, probes);
        felt.latencies.extend(over_http.latencies);
        Felt {
            latencies: felt.latencies,
            put_off: felt.put_off + over_http.put_off,
            refused: felt.refused + over_http.refused,
            probe,
        }
    }
}

async fn connected(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One request over HTTP/1.1; a connection that a refusal ended is replaced.
async fn exchange(http: &mut TcpStream, to: SocketAddr, request: &[u8]) -> io::Result<Attempt> {
    let mut answer = vec![0; 4096];
    http.write_all(request).await?;
    let read = http.read(&mut answer).await?;
    if answer[..read].starts_with(b"HTTP/1.1 200") {
        return Ok(Some(Ok(())));
    }
    if !answer[..read].starts_with(b"HTTP/1.1 503") {
        return Ok(None);
    }
    let reply = parse_http1(&answer[..read]);
    if reply.header("connection") == Some("close") {
        *http = connected(to).await?;
    }
    Ok(reply.header("retry-after").and_then(|after| after.parse().ok()).map(Err))
}
