//! Peers that no library would write: silent, half-open, resetting, of another protocol, endless. Nothing is lost silently,
//! nothing hangs beyond its time, nothing panics.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::harness::{Peer, eventually, request, start, taken};

/// How a raw peer treats every connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// Accepts, reads, never answers.
    Silent,
    /// Accepts and never reads.
    Deaf,
    /// Closes at once.
    Closes,
    /// Reads a little, then resets.
    Resets,
    /// Says HTTP/1.1 400 to whatever comes.
    SpeaksHttp1,
    /// Answers like a TLS server to plaintext: an alert.
    SpeaksTls,
    Garbage,
    /// Settings, then a frame header that claims 16 MiB.
    HugeFrame,
    /// An HTTP/1.1 answer without end.
    EndlessAnswer,
    /// One byte of the answer a second.
    Slow,
}

async fn raw_peer(manner: Manner) -> (SocketAddr, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let address = listener.local_addr().expect("bound");
    let mut set = JoinSet::new();
    set.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(treat(manner, stream));
        }
    });
    (address, set)
}

async fn treat(manner: Manner, mut stream: TcpStream) {
    let mut buffer = vec![0; 64 << 10];
    let answer: &[u8] = match manner {
        Manner::Deaf => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            return;
        }
        Manner::Closes => return,
        Manner::Resets => {
            let _ = stream.read(&mut buffer[..10]).await;
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            return;
        }
        Manner::Silent | Manner::EndlessAnswer | Manner::Slow => b"",
        Manner::SpeaksHttp1 => b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
        Manner::SpeaksTls => b"\x15\x03\x01\x00\x02\x02\x46",
        Manner::Garbage => b"\xde\xad\xbe\xef\xde\xad\xbe\xef\xde\xad\xbe\xef\xde\xad\xbe\xef",
        Manner::HugeFrame => b"\x00\x00\x00\x04\x00\x00\x00\x00\x00\xff\xff\xff\x00\x00\x00\x00\x00\x01",
    };
    let _ = stream.read(&mut buffer).await;
    let _ = stream.write_all(answer).await;
    if manner == Manner::EndlessAnswer {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        let chunk = [&b"10000\r\n"[..], &buffer, b"\r\n"].concat();
        while stream.write_all(&chunk).await.is_ok() {}
        return;
    }
    if manner == Manner::Slow {
        for byte in b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" {
            let _ = stream.write_all(&[*byte]).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}

const MANNERS: [Manner; 10] = [
    Manner::Silent,
    Manner::Deaf,
    Manner::Closes,
    Manner::Resets,
    Manner::SpeaksHttp1,
    Manner::SpeaksTls,
    Manner::Garbage,
    Manner::HugeFrame,
    Manner::EndlessAnswer,
    Manner::Slow,
];

#[tokio::test]
async fn whatever_a_peer_does_every_item_ends_counted_and_in_time() {
    let cases = ["otlp_grpc", "otlp_http"].into_iter().flat_map(|name| MANNERS.map(|manner| (name, manner)));
    futures_util::future::join_all(cases.map(|(name, manner)| ends_in_time(name, manner))).await;
}

async fn ends_in_time(name: &str, manner: Manner) {
    let retry = "retry_on_failure: {initial_interval: 20ms, max_interval: 50ms, max_elapsed_time: 900ms}";
    let (address, _peer) = raw_peer(manner).await;
    let scheme = if name == "otlp_http" { "http://" } else { "" };
    let keys = format!("{{endpoint: '{scheme}{address}', tls: {{insecure: true}}, timeout: 300ms, {retry}}}");
    let bench = start(name, &keys).await;
    let large = "x".repeat(1 << 16);
    bench.send(&request(["a", "b", large.as_str()])).await.expect("accepted");
    let sheet = bench.settled().await;
    assert_eq!(sheet.delivered, 0, "{name} {manner:?}");
    assert_eq!(sheet.dropped_total(), 3, "{name} {manner:?}: {sheet:?}");
    let answers = name == "otlp_http" && matches!(manner, Manner::EndlessAnswer | Manner::SpeaksHttp1);
    let reason = if answers { "permanent" } else { "retries_exhausted" };
    assert!(sheet.dropped.contains_key(reason), "{name} {manner:?}: {sheet:?}");
    bench.drain(Duration::from_secs(2)).await;
}

#[tokio::test]
async fn the_status_page_says_what_is_wrong_and_what_to_do() {
    for (manner, wanted) in [
        (Manner::SpeaksTls, "remove tls.insecure"),
        (Manner::SpeaksHttp1, "use otlp_http"),
        (Manner::Silent, "timeout"),
    ] {
        let (address, _peer) = raw_peer(manner).await;
        let keys = format!("{{endpoint: '{address}', tls: {{insecure: true}}, timeout: 200ms}}");
        let bench = start("otlp_grpc", &keys).await;
        bench.send(&request(["a"])).await.unwrap();
        let status = || bench.host.status.all().get("exporters::otlp_grpc").map(|report| report.message.clone());
        eventually("the status is known", || status().is_some()).await;
        let message = status().unwrap_or_default();
        assert!(message.contains(wanted) && message.contains(&address.to_string()), "{manner:?}: {message}");
        bench.drain(Duration::from_millis(100)).await;
    }
}

/// Hands connections on to `real`, except the first `swallowed`; `cut` ends those under way.
struct Proxy {
    address: SocketAddr,
    cut: std::sync::Arc<tokio::sync::Notify>,
    _tasks: JoinSet<()>,
}

async fn proxy(real: SocketAddr, swallowed: usize) -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let address = listener.local_addr().expect("bound");
    let cut = std::sync::Arc::<tokio::sync::Notify>::default();
    let mut tasks = JoinSet::new();
    let cutter = cut.clone();
    tasks.spawn(async move {
        let (mut connections, mut held) = (JoinSet::new(), Vec::new());
        while let Ok((mut client, _)) = listener.accept().await {
            if held.len() < swallowed {
                held.push(client);
                continue;
            }
            let cut = cutter.clone();
            connections.spawn(async move {
                let mut server = TcpStream::connect(real).await.expect("the peer listens");
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut client, &mut server) => {}
                    () = cut.notified() => {}
                }
            });
        }
    });
    Proxy { address, cut, _tasks: tasks }
}

#[tokio::test]
async fn a_connection_that_went_silent_is_replaced() {
    let peer = Peer::start(|_, _| taken()).await;
    let proxy = proxy(peer.address, 1).await;
    let retry = "retry_on_failure: {initial_interval: 20ms, max_interval: 50ms, max_elapsed_time: 10s}";
    let keys = format!("{{endpoint: '{}', tls: {{insecure: true}}, timeout: 300ms, {retry}}}", proxy.address);
    let bench = start("otlp_grpc", &keys).await;
    bench.send(&request(["a"])).await.unwrap();
    assert_eq!(bench.settled().await.delivered, 1);
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_connection_that_ended_between_requests_costs_no_retry() {
    let peer = Peer::start(|_, _| taken()).await;
    let proxy = proxy(peer.address, 0).await;
    let keys =
        format!("{{endpoint: '{}', tls: {{insecure: true}}, retry_on_failure: {{enabled: false}}}}", proxy.address);
    let bench = start("otlp_grpc", &keys).await;
    for delivered in 1..=3 {
        bench.send(&request(["a"])).await.unwrap();
        assert_eq!(bench.settled().await.delivered, delivered);
        proxy.cut.notify_waiters();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bench.drain(Duration::from_secs(5)).await;
}
