//! Senders as SDKs are: what is refused for now is sent again. And what of a gateway stays whatever it is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::trace::v1::Span;
use tokio::task::JoinSet;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::SPANS_A_TRACE;
use crate::config::Ports;
use crate::support::{attribute, post_spans, request, span};

/// Between the two halves of a trace: reloads fall in between.
const HALF: Duration = Duration::from_millis(100);
/// Traces a second and sender: 5,000 spans a second altogether.
const PACE: Duration = Duration::from_millis(20);

pub struct Load {
    over: Arc<AtomicBool>,
    retries: Arc<AtomicU64>,
    senders: JoinSet<Vec<u64>>,
}

pub struct Sent {
    pub accepted: Vec<u64>,
    pub retries: u64,
}

impl Load {
    /// One sender over gRPC on one connection, one over HTTP on a connection for each request.
    pub fn start(ports: Ports) -> Load {
        let (over, retries) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut senders = JoinSet::new();
        for sender in 0..2 {
            senders.spawn(sends(sender, ports, over.clone(), retries.clone()));
        }
        Load { over, retries, senders }
    }

    pub async fn end(self) -> Sent {
        self.over.store(true, Ordering::Relaxed);
        let accepted = self.senders.join_all().await.into_iter().flatten().collect();
        Sent { accepted, retries: self.retries.load(Ordering::Relaxed) }
    }
}

/// Begins a trace at each pace until it is over; the numbers of all spans.
async fn sends(sender: u64, ports: Ports, over: Arc<AtomicBool>, retries: Arc<AtomicU64>) -> Vec<u64> {
    let channel = tonic::transport::Endpoint::from_shared(format!("http://127.0.0.1:{}", ports.grpc));
    let channel = channel.expect("an address").connect_lazy();
    let door = match sender {
        0 => Door::Grpc(TraceServiceClient::new(channel)),
        _ => Door::Http(ports.http),
    };
    let mut halves = JoinSet::new();
    let mut trace = 1_000_000 * (sender + 1);
    // What a busy machine puts off is made up for.
    let mut pace = tokio::time::interval(PACE);
    while !over.load(Ordering::Relaxed) {
        pace.tick().await;
        trace += 1;
        halves.spawn(whole_trace(trace, door.clone(), retries.clone()));
    }
    halves.join_all().await.into_iter().flatten().collect()
}

#[derive(Clone)]
enum Door {
    Grpc(TraceServiceClient<tonic::transport::Channel>),
    Http(u16),
}

/// The numbers of its spans.
async fn whole_trace(trace: u64, door: Door, retries: Arc<AtomicU64>) -> Vec<u64> {
    let numbers: Vec<u64> = (0..SPANS_A_TRACE as u64).map(|at| trace * 100 + at).collect();
    for half in numbers.chunks(SPANS_A_TRACE / 2) {
        let spans = half.iter().map(|number| span(u128::from(trace), *number, 1)).collect();
        let body = request(vec![attribute("service.name", "load")], spans);
        while !is_taken(&door, &body).await {
            retries.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(HALF).await;
    }
    numbers
}

/// False when it may be sent again; anything else that is no success is a fault of the gateway.
async fn is_taken(door: &Door, body: &ExportTraceServiceRequest) -> bool {
    match door {
        Door::Http(port) => match post_spans(*port, body).await {
            200 => true,
            429 | 502 | 503 | 504 => false,
            status => panic!("HTTP {status}"),
        },
        Door::Grpc(client) => match client.clone().export(body.clone()).await {
            Ok(_) => true,
            Err(status) if status.code() == tonic::Code::Unavailable => false,
            Err(status) => panic!("{status:?}"),
        },
    }
}

pub fn number(span: &Span) -> u64 {
    u64::from_be_bytes(span.span_id[..].try_into().expect("8 bytes"))
}

/// The kernel's number of the socket that listens on this port of loopback.
pub fn inode_of(port: u16) -> u64 {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("Linux");
    let local = format!("0100007F:{port:04X}");
    let listening = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>()).find(|fields| {
        fields.get(1).is_some_and(|address| **address == *local) && fields.get(3).is_some_and(|state| *state == "0A")
    });
    listening.and_then(|fields| fields.get(9).and_then(|inode| inode.parse().ok())).expect("somebody listens")
}

/// A stream that stays open as long as its connection and the service do.
pub async fn watch_health(port: u16) -> tonic::Streaming<HealthCheckResponse> {
    let channel = tonic::transport::Endpoint::from_shared(format!("http://127.0.0.1:{port}")).expect("an address");
    let mut client = HealthClient::new(channel.connect().await.expect("it listens"));
    let answer = client.watch(HealthCheckRequest::default()).await.expect("it is served");
    let mut stream = answer.into_inner();
    stream.message().await.expect("a word").expect("the first one");
    stream
}

pub async fn is_open(stream: &mut tonic::Streaming<HealthCheckResponse>) -> bool {
    tokio::time::timeout(Duration::from_millis(200), stream.message()).await.is_err()
}
