//! The exporters behind a network that is late, slow, cut, silent or damaged for a while: nothing is lost while the queue has
//! room, what was sent twice was sent for a reason, and nobody is besieged meanwhile.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use podgate::testing::fault_proxy::{FaultProxy, ProxyFault};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::harness::{Bench, Peer, names, request, start, taken};
use crate::http::{HttpPeer, answer};

/// Senders at once, and the shortest pause between two tries of one: 100 ms, less half by jitter.
const CONSUMERS: u64 = 4;
const PAUSE_MIN: Duration = Duration::from_millis(50);
const FAULTY: Duration = Duration::from_millis(1500);

enum BackEnd {
    Grpc(Peer),
    Http(HttpPeer),
    Elastic(Cluster),
}

impl BackEnd {
    async fn start(exporter: &str) -> BackEnd {
        match exporter {
            "otlp_grpc" => BackEnd::Grpc(Peer::start(|_, _| taken()).await),
            "otlp_http" => BackEnd::Http(HttpPeer::start(|_, _| answer(200, "", b"")).await),
            _ => BackEnd::Elastic(Cluster::healthy().await),
        }
    }

    fn address(&self) -> SocketAddr {
        match self {
            BackEnd::Grpc(peer) => peer.address,
            BackEnd::Http(peer) => peer.address,
            BackEnd::Elastic(cluster) => cluster.address,
        }
    }

    /// What arrived, each name once; a request that the network damaged holds none.
    fn names(&self) -> BTreeSet<String> {
        let requests = match self {
            BackEnd::Grpc(peer) => peer.requests(),
            BackEnd::Http(peer) => {
                let seen = peer.seen();
                seen.iter().filter_map(|wire| ExportTraceServiceRequest::decode(&wire.body[..]).ok()).collect()
            }
            BackEnd::Elastic(cluster) => return cluster.names().into_iter().collect(),
        };
        requests.iter().flat_map(names).collect()
    }
}

async fn exporter(name: &str, to: SocketAddr) -> Bench {
    let intervals = "initial_interval: 100ms, max_interval: 200ms";
    let common = format!(
        "compression: none, timeout: 400ms, sending_queue: {{num_consumers: {CONSUMERS}, batch: {{flush_timeout: 10ms, min_size: 1, max_size: 2, sizer: items}}}}"
    );
    let keys = match name {
        "otlp_grpc" => format!(
            "{{endpoint: '{to}', tls: {{insecure: true}}, {common}, retry_on_failure: {{{intervals}, max_elapsed_time: 0}}}}"
        ),
        "otlp_http" => {
            format!("{{endpoint: 'http://{to}', {common}, retry_on_failure: {{{intervals}, max_elapsed_time: 0}}}}")
        }
        _ => format!("{{endpoints: ['http://{to}'], {common}, retry: {{{intervals}, max_retries: 1000}}}}"),
    };
    start(name, &keys).await
}

/// What goes wrong, one after the other; the network is whole before and after.
#[derive(Clone, Copy, Debug)]
struct Trouble {
    name: &'static str,
    faults: &'static [ProxyFault],
}

const TROUBLES: [Trouble; 7] = [
    Trouble { name: "late", faults: &[ProxyFault::Delay(Duration::from_millis(150))] },
    Trouble { name: "too late", faults: &[ProxyFault::Delay(Duration::from_millis(600))] },
    Trouble { name: "slow", faults: &[ProxyFault::Throttle(20_000)] },
    // Slow first, so that the reset meets requests half sent.
    Trouble {
        name: "cut in the middle",
        faults: &[ProxyFault::Throttle(20_000), ProxyFault::Reset, ProxyFault::Throttle(20_000), ProxyFault::Reset],
    },
    Trouble { name: "half open", faults: &[ProxyFault::HalfOpen] },
    Trouble { name: "garbage", faults: &[ProxyFault::Garbage(1)] },
    Trouble { name: "garbage for an answer", faults: &[ProxyFault::GarbageAnswers(1)] },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_to_a_network_that_recovers_while_the_queue_has_room() {
    let exporters = ["otlp_grpc", "otlp_http", "elasticsearch"];
    let cases = exporters.into_iter().flat_map(|name| TROUBLES.map(|trouble| (name, trouble)));
    futures_util::future::join_all(cases.map(|(name, trouble)| survives(name, trouble))).await;
}

async fn survives(name: &str, trouble: Trouble) {
    let case = format!("{name}, {}", trouble.name);
    let back_end = BackEnd::start(name).await;
    let proxy = FaultProxy::start(back_end.address()).await.expect("loopback has ports");
    let bench = exporter(name, proxy.address()).await;
    let mut sent = BTreeSet::new();
    let mut send = async |round: usize| {
        // Long enough to be cut in two.
        let long = |at: usize| format!("{round:03} {at} {}", "x".repeat(4_000));
        let all = [long(0), long(1)];
        bench.send(&request(all.iter().map(String::as_str))).await.expect("queued");
        sent.extend(all);
    };
    for round in 0..4 {
        send(round).await;
    }
    let each = FAULTY / trouble.faults.len() as u32;
    for (at, fault) in trouble.faults.iter().enumerate() {
        proxy.set(*fault);
        for round in 0..8 {
            send(100 * (at + 1) + round).await;
            sleep(each / 8).await;
        }
    }
    let connections = proxy.connections();
    // Each try may need a connection of its own, and one more when the kept one turns out dead.
    let tries = 2 * CONSUMERS * (FAULTY.as_millis() / PAUSE_MIN.as_millis()) as u64;
    assert!(connections <= tries, "{case}: {connections} connections in {FAULTY:?}");
    proxy.set(ProxyFault::None);
    let sheet = bench.settled().await;
    assert_eq!((sheet.delivered, sheet.dropped_total()), (sent.len() as u64, 0), "{case}: {sheet:?}");
    let missing: Vec<_> = sent.difference(&back_end.names()).map(|name| name[..5].to_owned()).collect();
    assert!(missing.is_empty(), "{case}: counted as delivered and never arrived: {missing:?}");
    bench.drain(Duration::from_secs(5)).await;
}

/// What sockets buffer of an answer that nobody reads.
const SOCKETS_MAX: u64 = 16 << 20;
const GIBIBYTE: u64 = 1 << 30;

/// What was taken of a peer's answers.
#[derive(Default)]
struct Taken {
    answers: AtomicU64,
    bytes: AtomicU64,
}

impl Taken {
    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

/// A peer whose every answer is a gibibyte, in the words of the protocol.
async fn endless_peer(grpc: bool) -> (SocketAddr, Arc<Taken>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let address = listener.local_addr().expect("bound");
    let taken = Arc::<Taken>::default();
    let (counter, mut set) = (taken.clone(), JoinSet::new());
    set.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let counter = counter.clone();
            connections.spawn(async move {
                if grpc { endless_grpc(stream, counter).await } else { endless_http(stream, counter).await }
            });
        }
    });
    (address, taken, set)
}

async fn endless_http(mut stream: TcpStream, taken: Arc<Taken>) {
    let mut buffer = vec![b' '; 64 << 10];
    let _ = stream.read(&mut buffer).await;
    taken.answers.fetch_add(1, Ordering::Relaxed);
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {GIBIBYTE}\r\n\r\n");
    let _ = stream.write_all(head.as_bytes()).await;
    while stream.write_all(&buffer).await.is_ok() {
        taken.add(buffer.len());
    }
}

async fn endless_grpc(stream: TcpStream, taken: Arc<Taken>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let mut answers = JoinSet::new();
    while let Some(Ok((_request, mut respond))) = connection.accept().await {
        let head = http::Response::builder().header("content-type", "application/grpc");
        let Ok(body) = respond.send_response(head.body(()).expect("a head"), false) else { return };
        taken.answers.fetch_add(1, Ordering::Relaxed);
        answers.spawn(endless_message(body, taken.clone()));
    }
}

/// A message that claims a gibibyte, piece by piece as the client grants room.
async fn endless_message(mut body: h2::SendStream<Bytes>, taken: Arc<Taken>) {
    let mut piece = Bytes::from_static(&[0, 0x40, 0, 0, 0]);
    loop {
        body.reserve_capacity(piece.len());
        let Some(Ok(room)) = std::future::poll_fn(|cx| body.poll_capacity(cx)).await else { return };
        let part = piece.split_to(room.min(piece.len()));
        taken.add(part.len());
        if body.send_data(part, false).is_err() {
            return;
        }
        if piece.is_empty() {
            piece = Bytes::from_static(&[0; 16 << 10]);
        }
    }
}

#[tokio::test]
async fn an_answer_of_a_gibibyte_is_read_to_the_limit_and_costs_its_own_items_at_most() {
    // OTLP 1.11 advises 4 MiB; a bulk answer has a line for each document.
    for (name, limit) in [("otlp_grpc", 4 << 20), ("otlp_http", 4 << 20), ("elasticsearch", 64 << 20)] {
        let (address, taken, _peer) = endless_peer(name == "otlp_grpc").await;
        let bench = exporter(name, address).await;
        bench.send(&request(["a", "b"])).await.expect("queued");
        sleep(Duration::from_secs(2)).await;
        let (answers, bytes) = (taken.answers.load(Ordering::Relaxed), taken.bytes.load(Ordering::Relaxed));
        assert!(answers > 0 && bytes <= answers * (limit + SOCKETS_MAX), "{name}: {bytes} bytes of {answers} answers");
        let sheet = bench.drain(Duration::from_secs(2)).await;
        assert_eq!((sheet.delivered, sheet.dropped_total()), (0, 2), "{name}: an answer nobody read is no success");
    }
}

/// HTTP/2: settings, and a goodbye that says that no stream was looked at.
const GOODBYE: &[u8] =
    b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x08\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
/// HTTP/2: settings, and the head of an answer that ends in the middle.
const HALF_HEAD: &[u8] = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x30\x01\x04\x00\x00\x00\x01\x88";

/// Answers of connections that never reach the back end: exactly these requests are sent again, and nothing arrives twice.
const SCRIPTS: [(&str, &[&[u8]]); 3] = [
    ("otlp_grpc", &[GOODBYE, HALF_HEAD, b"", b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"]),
    ("otlp_http", OVER_HTTP),
    ("elasticsearch", OVER_HTTP),
];
const OVER_HTTP: &[&[u8]] = &[
    b"HTTP/1.1 429 Slow Down\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    b"HTTP/1.1 503 Busy\r\nretry-after: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-length: 4\r\nconnection: close\r\n\r\nbusy",
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{\"items\":[",
    b"HTTP/1.1 2",
    b"",
];

/// Treats the first connections that carry data by a script, hands on the others.
async fn front(real: SocketAddr, script: &'static [&'static [u8]]) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let address = listener.local_addr().expect("bound");
    let mut set = JoinSet::new();
    set.spawn(async move {
        let (mut open, used) = (JoinSet::new(), Arc::<AtomicU64>::default());
        while let Ok((mut client, _)) = listener.accept().await {
            let used = used.clone();
            open.spawn(async move {
                let mut first = vec![0; 64 << 10];
                let Ok(read) = client.read(&mut first).await else { return };
                // What Elasticsearch is asked at the start is answered as it is.
                let is_data = read > 0 && !first[..read].starts_with(b"GET ");
                let at = if is_data { used.fetch_add(1, Ordering::Relaxed) as usize } else { usize::MAX };
                if let Some(says) = script.get(at) {
                    let _ = client.write_all(says).await;
                    let _ = client.shutdown().await;
                    return;
                }
                let mut server = TcpStream::connect(real).await.expect("the back end listens");
                let _ = server.write_all(&first[..read]).await;
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (address, set)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn throttles_goodbyes_and_answers_cut_short_cost_no_item_and_none_arrives_twice() {
    for (name, script) in SCRIPTS {
        let back_end = BackEnd::start(name).await;
        let (address, _front) = front(back_end.address(), script).await;
        let bench = exporter(name, address).await;
        let sent: Vec<String> = (0..2 * script.len()).map(|at| format!("item {at}")).collect();
        for name in &sent {
            bench.send(&request([name.as_str()])).await.expect("queued");
        }
        let sheet = bench.settled().await;
        assert_eq!((sheet.delivered, sheet.dropped_total()), (sent.len() as u64, 0), "{name}: {sheet:?}");
        assert_eq!(back_end.names(), sent.into_iter().collect(), "{name}");
        bench.drain(Duration::from_secs(5)).await;
    }
}
