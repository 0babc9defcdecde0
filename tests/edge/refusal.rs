//! Refusing must cost the sender its request and nothing else: no connection, no broken pipe, no double count.

use std::time::Duration;

use podgate::core::data::budget::Budget;
use podgate::core::data::payload::Signal;
use podgate::core::error::{ConsumeError, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::attack;
use super::harness::{BOTH, H2, Running, TRACES, framed, http1, spans};

fn refuse_all(running: &Running) {
    let refusal = ConsumeError::refused(Reason::QUEUE_FULL, "the queue is full");
    *running.sink.always.lock().unwrap() = Some(refusal);
}

/// A budget that lets connections in and bodies not.
async fn starved() -> Running {
    let budget = Budget::new(64 << 20, 64 << 20);
    Running::with(BOTH, budget, &Signal::ALL).await
}

#[tokio::test]
async fn ten_thousand_refusals_before_the_body_is_read_lose_no_http2_connection() {
    let running = starved().await;
    let mut client = H2::connect(running.grpc()).await;
    assert_eq!(client.grpc(TRACES, &[], &framed(0, &spans(1))).await.unwrap().grpc_status(), Some(0));
    let hog = running.host.budget.take(running.host.budget.hard() - running.host.budget.used()).unwrap();
    let body = framed(0, &spans(500));
    for round in 0..10_000 {
        let reply = client.grpc(TRACES, &[], &body).await.unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert_eq!(reply.grpc_status(), Some(14), "round {round}");
    }
    assert!(!client.is_ended());
    drop(hog);
    let reply = client.grpc(TRACES, &[], &body).await.unwrap();
    assert_eq!(reply.grpc_status(), Some(0));
    assert_eq!(running.counter("podgate_receiver_connections"), 1);
}

#[tokio::test]
async fn ten_thousand_refusals_of_a_full_queue_lose_no_http2_connection() {
    let running = Running::start(BOTH).await;
    refuse_all(&running);
    let mut client = H2::connect(running.grpc()).await;
    let body = framed(0, &spans(3));
    for round in 0..10_000 {
        let reply = client.grpc(TRACES, &[], &body).await.unwrap_or_else(|error| panic!("round {round}: {error}"));
        assert_eq!(reply.grpc_status(), Some(14), "round {round}");
    }
    assert!(!client.is_ended());
    let sheet = running.host.balance.sheet(Signal::Traces);
    assert_eq!((sheet.received, sheet.refused, sheet.held), (30_000, 30_000, 0));
    assert_eq!(running.counter("otelcol_receiver_refused_spans"), 30_000);
}

#[tokio::test]
async fn ten_thousand_refusals_before_the_body_is_read_lose_no_http1_connection() {
    let running = starved().await;
    let mut stream = TcpStream::connect(running.http()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let body = spans(500);
    let mut request = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: t\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend(&body);
    stream.write_all(&request).await.unwrap();
    assert!(read_answer(&mut stream).await.starts_with("HTTP/1.1 200"));
    let hog = running.host.budget.take(running.host.budget.hard() - running.host.budget.used()).unwrap();
    for round in 0..10_000 {
        // The answer comes while most of the body is still to be sent.
        let (early, late) = request.split_at(request.len() - body.len() + 10);
        stream.write_all(early).await.unwrap_or_else(|error| panic!("round {round}: {error}"));
        let answer = read_answer(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1"), "round {round}: {answer}");
        stream.write_all(late).await.unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
    drop(hog);
    stream.write_all(&request).await.unwrap();
    assert!(read_answer(&mut stream).await.starts_with("HTTP/1.1 200"));
    assert_eq!(running.counter("podgate_receiver_connections"), 1);
}

/// One answer with a content-length; its head.
pub async fn read_answer(stream: &mut TcpStream) -> String {
    let mut seen = Vec::new();
    let end = loop {
        assert!(stream.read_buf(&mut seen).await.unwrap() > 0, "closed after {}", String::from_utf8_lossy(&seen));
        if let Some(at) = seen.windows(4).position(|window| window == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let head = String::from_utf8_lossy(&seen[..end]).into_owned();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |length| length.parse().unwrap());
    while seen.len() < end + length {
        assert!(stream.read_buf(&mut seen).await.unwrap() > 0);
    }
    assert_eq!(seen.len(), end + length, "nothing but the answer");
    head
}

#[tokio::test]
async fn a_large_refused_body_is_read_to_its_end_so_that_the_sender_sees_the_answer() {
    let running = starved().await;
    let _hog = running.host.budget.take(running.host.budget.hard() - (1 << 20)).unwrap();
    let body = spans(100_000);
    let reply = http1(running.http(), "POST", "/v1/traces", &[("content-type", "application/x-protobuf")], &body).await;
    assert_eq!((reply.status, reply.header("retry-after")), (503, Some("1")));
}

#[tokio::test]
async fn more_unread_refused_bodies_than_allowed_end_the_connection_in_order() {
    let yaml = "protocols:\n  grpc:\n    endpoint: 127.0.0.1:0\n    podgate: {max_refused_bodies: 2}\n";
    let running = Running::start(yaml).await;
    let client = H2::connect(running.grpc()).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let request = http::Request::post(format!("http://t{TRACES}"))
            .header("content-type", "application/grpc")
            .header("grpc-encoding", "unheard-of")
            .body(())
            .unwrap();
        let mut send = client.send.clone().ready().await.unwrap();
        let (response, stream) = send.send_request(request, false).unwrap();
        let reply = tokio::time::timeout(Duration::from_secs(5), response).await.unwrap().unwrap();
        assert_eq!(reply.headers()["grpc-status"], "12");
        held.push(stream);
    }
    let ended = async {
        while !client.is_ended() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), ended).await.expect("the connection was asked to end");
    assert_eq!(running.counter_with("podgate_receiver_connections_closed", "drains_max"), 1);
}

#[tokio::test]
async fn data_that_comes_after_its_refusal_is_not_held_against_the_connection() {
    let running = starved().await;
    let mut stream = attack::raw(running.grpc()).await;
    // One good call first: the connection's own memory is charged by then.
    let mut good = attack::frame(1, 4, 1, &attack::call_head());
    good.extend(attack::frame(0, 1, 1, &[0; 5]));
    stream.write_all(&good).await.unwrap();
    attack::until_stream_ends(&mut stream, 1).await;
    let hog = running.host.budget.take(running.host.budget.hard() - running.host.budget.used()).unwrap();
    for round in 1..=3_000u32 {
        let id = 2 * round + 1;
        let mut early = attack::frame(1, 4, id, &attack::call_head());
        early.extend(attack::frame(0, 0, id, &[0, 0, 0, 0, 100]));
        stream.write_all(&early).await.unwrap_or_else(|error| panic!("round {round}: {error}"));
        attack::until_stream_ends(&mut stream, id).await;
        let late = attack::frame(0, 1, id, &[0; 100]);
        stream.write_all(&late).await.unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
    drop(hog);
    assert_eq!(running.counter("podgate_receiver_connections_closed"), 0);
}
