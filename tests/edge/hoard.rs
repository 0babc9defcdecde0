//! Connections that are held: idle ones are cheap and stay, unused ones make room, closed ones are noticed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use podgate::core::data::budget::Budget;
use podgate::core::data::payload::Signal;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use super::harness::{Answer, BOTH, H2, Running, TRACES, framed, http1, parse_http1, spans};
use super::tls;

/// What payloads have in a pod of 256 MiB with `limit_percentage: 75` and `spike_limit_percentage: 15`.
fn shipped() -> Arc<Budget> {
    let process = (192u64 - 16) << 20;
    Budget::new(process / 8 * 7, (process - (38 << 20)) / 8 * 7)
}

/// A connection from another address of loopback.
async fn from(source: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(IpAddr::from(source), 0)).unwrap();
    socket.connect(to).await.unwrap()
}

/// Waits until the condition holds, at most so long.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("{what}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_idle_grpc_connections_of_twenty_addresses_stay_alive_and_take_requests() {
    let running = Running::with(BOTH, shipped(), &Signal::ALL).await;
    let mut clients = Vec::new();
    for number in 0..1_000u32 {
        clients.push(H2::over(from([127, 0, 1, (number % 20) as u8 + 1], running.grpc()).await).await);
    }
    let one = framed(0, &spans(1));
    for round in 0..2 {
        for (number, client) in clients.iter_mut().enumerate() {
            let reply =
                client.grpc(TRACES, &[], &one).await.unwrap_or_else(|error| panic!("{round} {number}: {error}"));
            assert_eq!(reply.grpc_status(), Some(0), "{round} {number}");
        }
        running.sink.payloads.lock().unwrap().clear();
    }
    assert!(clients.iter().all(|client| !client.is_ended()));
    assert_eq!(running.counter("podgate_receiver_connections_closed"), 0);
    let (held, soft) = (running.host.budget.used(), running.host.budget.soft());
    assert!(held < soft / 2, "idle connections hold {held} of {soft}");
}

#[tokio::test]
async fn without_memory_for_a_connection_http1_is_told_to_come_back_and_grpc_is_unavailable() {
    let running = Running::with(BOTH, Budget::new(64 << 20, 64 << 20), &Signal::ALL).await;
    let mut early = H2::connect(running.grpc()).await;
    let one = framed(0, &spans(1));
    assert_eq!(early.grpc(TRACES, &[], &one).await.unwrap().grpc_status(), Some(0));
    let hog = running.host.budget.take(running.host.budget.soft() - running.host.budget.used()).unwrap();
    let headers = [("content-type", "application/x-protobuf")];
    let reply = http1(running.http(), "POST", "/v1/traces", &headers, &spans(1)).await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")), "{reply:?}");
    assert_eq!(reply.header("connection"), Some("close"));
    let reply = early.grpc(TRACES, &[], &one).await.unwrap();
    let seconds = reply.rpc_status().and_then(|status| status.retry_seconds());
    assert_eq!((reply.grpc_status(), seconds), (Some(14), Some(1)));
    until("counted", || running.counter_with("podgate_receiver_connections_closed", "memory") == 1).await;
    drop(hog);
    assert_eq!(early.grpc(TRACES, &[], &one).await.unwrap().grpc_status(), Some(0));
}

/// The status of a request over a connection that is kept; 0 where it ends.
async fn answered(kept: &mut (impl AsyncRead + AsyncWrite + Unpin)) -> u16 {
    let mut answer = Vec::new();
    if kept.write_all(&request("1.1")).await.is_err() {
        return 0;
    }
    while !answer.ends_with(b"\r\n\r\n") {
        if kept.read_buf(&mut answer).await.unwrap_or(0) == 0 {
            return 0;
        }
    }
    parse_http1(&answer).status
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unused_connections_make_room_for_a_handshake_too() {
    let config = tls::secured(&tls::pair());
    let running = Running::with(&config, Budget::new(16 << 20, 16 << 20), &Signal::ALL).await;
    let mut hoard = Vec::new();
    loop {
        let stream = from([127, 0, 1, 1], running.http()).await;
        let Ok(mut one) = tls::ANY.over(stream).await else { break };
        if answered(&mut one).await != 200 {
            break;
        }
        hoard.push(one);
        assert!(hoard.len() < 200, "memory does not end");
    }
    for number in 2..6 {
        let newcomer = from([127, 0, 3, number], running.http()).await;
        let mut newcomer = tls::ANY.over(newcomer).await.expect("a handshake");
        assert_eq!(answered(&mut newcomer).await, 200, "newcomer {number}");
    }
}

/// A pod that holds all the memory connections may have, with connections that it does not use, keeps nobody out; and
/// who has few connections keeps them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unused_connections_of_whoever_has_most_make_room_for_another_one() {
    let running = Running::with(BOTH, Budget::new(16 << 20, 16 << 20), &Signal::ALL).await;
    let mut few = from([127, 0, 2, 1], running.http()).await;
    assert_eq!(answered(&mut few).await, 200);
    let mut hoard = Vec::new();
    for _ in 0..200 {
        let mut one = from([127, 0, 1, 1], running.http()).await;
        if answered(&mut one).await != 200 {
            break;
        }
        hoard.push(one);
    }
    assert!((50..200).contains(&hoard.len()), "{} connections hold all memory that they may", hoard.len());
    for number in 2..20 {
        let mut newcomer = from([127, 0, 3, number], running.http()).await;
        assert_eq!(answered(&mut newcomer).await, 200, "newcomer {number}");
        let mut newcomer = H2::over(from([127, 0, 4, number], running.grpc()).await).await;
        // The first call may be told to come again.
        let mut statuses = Vec::new();
        for _ in 0..3 {
            let reply = newcomer.grpc(TRACES, &[], &framed(0, &spans(1))).await.expect("it is answered");
            statuses.push(reply.grpc_status());
            if reply.grpc_status() == Some(0) {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
        assert_eq!(statuses.last(), Some(&Some(0)), "newcomer {number} over gRPC: {statuses:?}");
    }
    assert_eq!(answered(&mut few).await, 200, "who has one connection keeps it");
    let evicted = running.counter_with("podgate_receiver_connections_closed", "evicted");
    assert!(evicted > 0 && evicted < 80, "{evicted}");
}

fn request(version: &str) -> Vec<u8> {
    let body = spans(1);
    let head = format!(
        "POST /v1/traces HTTP/{version}\r\nhost: t\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), &body].concat()
}

/// Places are few here, so that a place which is kept shows at once.
const FEW: &str = "protocols:\n  http:\n    endpoint: 127.0.0.1:0\n    podgate: {max_connections_per_address: 8}\n";

#[tokio::test]
async fn sockets_that_were_closed_while_their_request_waited_give_their_places_back_at_once() {
    let running = Running::start(FEW).await;
    for _ in 0..40 {
        running.sink.next(Answer::Wait(Duration::from_secs(5)));
    }
    for round in 0..5 {
        for number in 1..=8 {
            let mut stream = TcpStream::connect(running.http()).await.unwrap();
            stream.write_all(&request("1.1")).await.unwrap();
            let received = || running.host.balance.sheet(Signal::Traces).received;
            until("received", || received() == 8 * round + number).await;
        }
        let closed = || running.counter_with("podgate_receiver_connections_closed", "client");
        until("noticed", || closed() == 8 * (round + 1)).await;
    }
    assert_eq!(running.counter("podgate_receiver_connections_refused"), 0);
}

#[tokio::test]
async fn a_client_that_only_stops_sending_gets_its_answer_however_long_it_takes() {
    for version in ["1.1", "1.0"] {
        let running = Running::start(BOTH).await;
        running.sink.next(Answer::Wait(Duration::from_secs(1)));
        let mut stream = TcpStream::connect(running.http()).await.unwrap();
        stream.write_all(&request(version)).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
        let interim = b"HTTP/1.1 100 Continue\r\n\r\n";
        let rest = answer.strip_prefix(interim).unwrap_or(&answer);
        assert_eq!(rest.len() < answer.len(), version == "1.1", "an old client is not asked");
        assert_eq!(parse_http1(rest).status, 200, "{}", String::from_utf8_lossy(&answer));
    }
}
