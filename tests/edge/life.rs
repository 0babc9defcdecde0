//! How requests and the receiver end: panics, cancelled calls, deadlines, drains.

use std::time::Duration;

use podgate::core::data::payload::Signal;
use podgate::core::error::{ConsumeError, Reason};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::harness::{Answer, BOTH, H2, Running, TRACES, framed, http1, spans};

const PROTOBUF: [(&str, &str); 1] = [("content-type", "application/x-protobuf")];

async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn a_panic_answers_its_own_request_is_counted_and_the_next_request_works() {
    let running = Running::start(BOTH).await;
    let mut client = H2::connect(running.grpc()).await;
    running.sink.next(Answer::Panic);
    assert_eq!(client.grpc(TRACES, &[], &framed(0, &spans(2))).await.unwrap().grpc_status(), Some(13));
    running.sink.next(Answer::Panic);
    let reply = http1(running.http(), "POST", "/v1/traces", &PROTOBUF, &spans(3)).await;
    assert_eq!((reply.status, reply.header("retry-after")), (500, None));
    assert_eq!(client.grpc(TRACES, &[], &framed(0, &spans(1))).await.unwrap().grpc_status(), Some(0));
    assert_eq!(running.counter("podgate_receiver_panics"), 2);
    let sheet = running.host.balance.sheet(Signal::Traces);
    assert_eq!((sheet.received, sheet.delivered, sheet.dropped["internal"]), (6, 1, 5));
}

#[tokio::test]
async fn a_call_whose_sender_goes_away_still_ends_in_the_balance() {
    let running = Running::start(BOTH).await;
    running.sink.next(Answer::Wait(Duration::from_millis(200)));
    running.sink.next(Answer::Wait(Duration::from_millis(200)));
    {
        let client = H2::connect(running.grpc()).await;
        let request = http::Request::post(format!("http://t{TRACES}")).header("content-type", "application/grpc");
        let mut send = client.send.clone().ready().await.unwrap();
        let (response, mut stream) = send.send_request(request.body(()).unwrap(), false).unwrap();
        stream.send_data(framed(0, &spans(7)).into(), true).unwrap();
        assert!(timeout(Duration::from_millis(100), response).await.is_err());
        let mut plain = TcpStream::connect(running.http()).await.unwrap();
        let body = spans(4);
        let head = format!(
            "POST /v1/traces HTTP/1.1\r\nhost: t\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        plain.write_all(head.as_bytes()).await.unwrap();
        plain.write_all(&body).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    until("both calls end", || running.host.balance.sheet(Signal::Traces).delivered == 11).await;
    running.assert_balance();
}

#[tokio::test]
async fn a_callers_deadline_is_answered_and_the_call_still_counted() {
    let running = Running::start(BOTH).await;
    let mut client = H2::connect(running.grpc()).await;
    running.sink.next(Answer::Wait(Duration::from_millis(300)));
    let reply = client.grpc(TRACES, &[("grpc-timeout", "50m")], &framed(0, &spans(3))).await.unwrap();
    assert_eq!(reply.grpc_status(), Some(4));
    until("the call ends", || running.host.balance.sheet(Signal::Traces).delivered == 3).await;
    running.assert_balance();
}

#[tokio::test]
async fn every_answer_of_the_pipeline_is_counted_once() {
    let running = Running::start(BOTH).await;
    let mut client = H2::connect(running.grpc()).await;
    running.sink.next(Answer::Fail(ConsumeError::refused(Reason::UNAVAILABLE, "away")));
    running.sink.next(Answer::Fail(ConsumeError::rejected(Reason::PERMANENT, "never")));
    running.sink.next(Answer::Accept);
    for expected in [14, 13, 0] {
        let reply = client.grpc(TRACES, &[], &framed(0, &spans(5))).await.unwrap();
        assert_eq!(reply.grpc_status(), Some(expected));
    }
    let sheet = running.host.balance.sheet(Signal::Traces);
    assert_eq!((sheet.received, sheet.delivered, sheet.refused, sheet.dropped_total()), (15, 5, 5, 5));
    for outcome in ["accepted", "refused", "failed"] {
        assert_eq!(running.counter(&format!("otelcol_receiver_{outcome}_spans")), 5, "{outcome}");
    }
    assert_eq!(running.counter("otelcol_receiver_requests"), 3);
}

/// Over a connection that is kept; the head of the answer, whose body is empty.
async fn post_over(kept: &mut TcpStream) -> String {
    let body = spans(1);
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: t\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    kept.write_all(&[head.as_bytes(), &body].concat()).await.expect("the connection is open");
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        assert!(kept.read_buf(&mut answer).await.expect("it is answered") > 0, "the connection ends before an answer");
    }
    String::from_utf8(answer).expect("a head is text")
}

/// Many clients do not send a request again that broke with its connection.
#[tokio::test]
async fn a_connection_over_http1_ends_with_an_answer_and_not_between_two_requests() {
    const AGED: &str = "endpoint: 127.0.0.1:0\n    keepalive: {server_parameters: {max_connection_age: 300ms}}\n";
    let running = Running::start(&BOTH.replacen("endpoint: 127.0.0.1:0\n", AGED, 1)).await;
    let mut kept = TcpStream::connect(running.grpc()).await.unwrap();
    let first = post_over(&mut kept).await;
    assert!(first.starts_with("HTTP/1.1 200") && !first.contains("connection: close"), "{first}");
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    let last = post_over(&mut kept).await;
    assert!(last.starts_with("HTTP/1.1 200") && last.contains("connection: close"), "past its age: {last}");
    assert_eq!(kept.read(&mut [0]).await.unwrap(), 0, "and then it is closed");

    let running = Running::start(BOTH).await;
    let mut kept = TcpStream::connect(running.http()).await.unwrap();
    post_over(&mut kept).await;
    let (answer, took) = tokio::join!(
        async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            post_over(&mut kept).await
        },
        running.drain(Duration::from_secs(20))
    );
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "as it stops: {answer}");
    assert!(took < Duration::from_secs(2), "{took:?}");
}

#[tokio::test]
async fn silent_and_half_open_connections_do_not_hold_up_the_drain() {
    let running = Running::start(BOTH).await;
    let _silent = TcpStream::connect(running.grpc()).await.unwrap();
    let mut half = TcpStream::connect(running.grpc()).await.unwrap();
    half.write_all(b"PRI * HTTP/2.0\r\n\r\n").await.unwrap();
    let mut head = TcpStream::connect(running.http()).await.unwrap();
    head.write_all(b"POST /v1/traces HTTP/1.1\r\n").await.unwrap();
    // Never reads, so that it never answers the GOAWAY's ping.
    let mut deaf = TcpStream::connect(running.grpc()).await.unwrap();
    deaf.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut idle = H2::connect(running.grpc()).await;
    idle.grpc(TRACES, &[], &framed(0, &spans(1))).await.unwrap();
    until("all are open", || running.counter("podgate_receiver_connections") == 5).await;
    let took = running.drain(Duration::from_secs(20)).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(TcpStream::connect(running.grpc()).await.is_err(), "the port is closed");
}

#[tokio::test]
async fn a_request_in_flight_is_answered_by_the_drain_and_a_stuck_one_ends_at_its_deadline() {
    let running = Running::start(BOTH).await;
    running.sink.next(Answer::Wait(Duration::from_millis(400)));
    let mut client = H2::connect(running.grpc()).await;
    let body = framed(0, &spans(2));
    let (reply, took) = tokio::join!(client.grpc(TRACES, &[], &body), async {
        until("the call is open", || running.host.balance.sheet(Signal::Traces).received == 2).await;
        running.drain(Duration::from_secs(20)).await
    });
    assert_eq!(reply.unwrap().grpc_status(), Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");

    let stuck = Running::start(BOTH).await;
    stuck.sink.next(Answer::Wait(Duration::from_secs(3600)));
    let mut client = H2::connect(stuck.grpc()).await;
    let (reply, took) = tokio::join!(client.grpc(TRACES, &[], &body), async {
        until("the call is open", || stuck.host.balance.sheet(Signal::Traces).received == 2).await;
        stuck.drain(Duration::from_millis(500)).await
    });
    assert!(reply.is_err() && took < Duration::from_secs(3), "{reply:?} {took:?}");
}

#[tokio::test]
async fn a_half_sent_request_and_a_call_that_never_returns_do_not_hold_up_the_drain() {
    let running = Running::start(BOTH).await;
    let mut half = TcpStream::connect(running.http()).await.unwrap();
    half.write_all(b"POST /v1/traces HTTP/1.1\r\nhost: t\r\ncontent-type: application/x-protobuf\r\n").await.unwrap();
    half.write_all(b"content-length: 100\r\n\r\nx").await.unwrap();
    running.sink.next(Answer::Wait(Duration::from_secs(3)));
    let mut client = H2::connect(running.grpc()).await;
    let body = framed(0, &spans(2));
    let (reply, took) = tokio::join!(client.grpc(TRACES, &[], &body), async {
        until("the call is open", || running.host.balance.sheet(Signal::Traces).received == 2).await;
        running.drain(Duration::from_secs(20)).await
    });
    assert!(reply.is_err() && took < Duration::from_secs(3), "{reply:?} {took:?}");
    until("the call ends without its client", || running.host.balance.sheet(Signal::Traces).delivered == 2).await;
}

#[tokio::test]
async fn a_client_that_closes_its_sending_side_gets_its_answer() {
    let running = Running::start(BOTH).await;
    running.sink.next(Answer::Wait(Duration::from_millis(200)));
    let mut stream = TcpStream::connect(running.http()).await.unwrap();
    let body = spans(2);
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: t\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    // It may be asked whether it is still there.
    let last = answer.strip_prefix(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(&answer);
    assert!(last.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
}

#[tokio::test]
async fn draining_twice_or_without_start_is_harmless() {
    let running = Running::start(BOTH).await;
    running.drain(Duration::from_secs(1)).await;
    running.drain(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn a_unix_socket_serves_both_protocols() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("otlp.sock");
    let yaml = format!("protocols:\n  grpc:\n    transport: unix\n    endpoint: {}\n", path.display());
    let running = Running::start(&yaml).await;
    let stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    let mut client = H2::over(stream).await;
    assert_eq!(client.grpc(TRACES, &[], &framed(0, &spans(1))).await.unwrap().grpc_status(), Some(0));
    let reply = client.request("POST", "/v1/traces", &PROTOBUF, &spans(1)).await.unwrap();
    assert_eq!(reply.status, 200);
    assert_eq!(running.sink.payloads.lock().unwrap()[0].origin.peer, None);
}

#[tokio::test]
async fn damaged_bodies_are_answered_and_never_with_an_internal_error() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let running = Running::start(BOTH).await;
    let mut client = H2::connect(running.grpc()).await;
    let good = spans(20);
    for round in 0..500 {
        let mut body = good.clone();
        for _ in 0..=random.usize(..4) {
            let at = random.usize(..body.len());
            body[at] = random.u8(..);
        }
        body.truncate(random.usize(..=body.len()));
        let reply = client.grpc(TRACES, &[], &framed(random.u8(..2), &body)).await.unwrap();
        assert!(matches!(reply.grpc_status(), Some(0 | 3)), "seed {seed} round {round}: {reply:?}");
        let reply = client.request("POST", "/v1/traces", &PROTOBUF, &body).await.unwrap();
        assert!(matches!(reply.status, 200 | 400), "seed {seed} round {round}: {reply:?}");
    }
    assert_eq!(running.counter("podgate_receiver_panics"), 0);
    running.assert_balance();
}
