//! Honest clients: one of each transport, each a request of ten spans fifty times a second on one connection, open loop.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, interval, timeout};

use crate::harness::{H2, TRACES, framed, spans};

/// A request every 20 ms: with two clients 1,000 spans a second.
const EVERY: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(10);

/// What the clients felt.
#[derive(Debug, Default)]
pub struct Felt {
    /// From the moment a request was due to its answer.
    latencies: Vec<Duration>,
    /// Answers other than success, and none at all.
    pub refused: u64,
}

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
}

/// The connections, kept over all that is done to the gateway.
pub struct Clients {
    grpc: H2,
    http: TcpStream,
    request: Vec<u8>,
}

impl Clients {
    pub async fn connect(grpc: SocketAddr, http: SocketAddr) -> Clients {
        let body = spans(10);
        let head = format!(
            "POST /v1/traces HTTP/1.1\r\nhost: t\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let stream = TcpStream::connect(http).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Clients { grpc: H2::connect(grpc).await, http: stream, request: [head.as_bytes(), &body].concat() }
    }

    /// Sends for so long.
    pub async fn send(&mut self, how_long: Duration) -> Felt {
        let (grpc, http, request) = (&mut self.grpc, &mut self.http, &self.request);
        let message = framed(0, &spans(10));
        let until = Instant::now() + how_long;
        let (mut over_grpc, mut over_http) = (Felt::default(), Felt::default());
        let first = async {
            let mut due = interval(EVERY);
            while Instant::now() < until {
                let due = due.tick().await;
                let answer = timeout(PATIENCE, grpc.grpc(TRACES, &[], &message)).await;
                let success = matches!(answer, Ok(Ok(reply)) if reply.grpc_status() == Some(0));
                over_grpc.refused += u64::from(!success);
                over_grpc.latencies.push(due.elapsed());
            }
        };
        let second = async {
            let mut due = interval(EVERY);
            let mut answer = vec![0; 4096];
            while Instant::now() < until {
                let due = due.tick().await;
                let exchange = async {
                    http.write_all(request).await?;
                    http.read(&mut answer).await
                };
                let read = timeout(PATIENCE, exchange).await;
                let success = matches!(read, Ok(Ok(read)) if answer[..read].starts_with(b"HTTP/1.1 200"));
                over_http.refused += u64::from(!success);
                over_http.latencies.push(due.elapsed());
            }
        };
        tokio::join!(first, second);
        over_grpc.latencies.extend(over_http.latencies);
        Felt { latencies: over_grpc.latencies, refused: over_grpc.refused + over_http.refused }
    }
}
