//! The attacks, one function each, written on raw sockets where a library would refuse to. They return when the
//! connection was ended by the other side, or when they got the answer they assert.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::sleep;

use super::harness::{H2, Reply, TRACES, field, framed, gzip, http1_over};
use super::socket::{SOURCE, Socket};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const PROTOBUF: [(&str, &str); 1] = [("content-type", "application/x-protobuf")];

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// HPACK of a gRPC call, without indexing (RFC 7541, appendix A for the numbers).
pub fn call_head() -> Vec<u8> {
    let mut block = vec![0x83, 0x86, 0x04, TRACES.len() as u8];
    block.extend(TRACES.as_bytes());
    block.extend(b"\x01\x01t\x0f\x10\x10application/grpc");
    block
}

/// A client of HTTP/2 that keeps its rules.
pub async fn connect(to: SocketAddr) -> H2 {
    H2::over(Socket::connect(to).await.unwrap()).await
}

/// One request for traces over HTTP/1.1, on a connection of its own.
pub async fn post(to: SocketAddr, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    http1_over(Socket::connect(to).await.unwrap(), "POST", "/v1/traces", headers, body).await
}

/// A raw HTTP/2 connection after its preface and settings.
pub async fn raw(to: SocketAddr) -> Socket {
    let mut stream = Socket::connect(to).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).await.unwrap();
    stream
}

/// Reads frames until the stream's last one; the connection must stay.
pub async fn until_stream_ends(stream: &mut Socket, id: u32) {
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap_or_else(|error| panic!("stream {id}: {error}"));
        let [a, b, c, kind, flags, d, e, f, g] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await.unwrap();
        assert_ne!(kind, 7, "stream {id}: GOAWAY {}", String::from_utf8_lossy(&payload));
        if u32::from_be_bytes([d, e, f, g]) == id && kind == 1 && flags & 1 == 1 {
            return;
        }
    }
}

/// Reads until the other side ends the connection.
async fn until_ended(stream: &mut Socket) {
    let mut buffer = vec![0; 64 << 10];
    while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
}

/// Writes the same bytes, reading answers meanwhile, until the other side ends the connection.
pub async fn flood(stream: Socket, bytes: Vec<u8>, pause: Duration) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let read = async {
        let mut buffer = vec![0; 64 << 10];
        while reader.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
    };
    let write = async {
        while writer.write_all(&bytes).await.is_ok() {
            sleep(pause).await;
        }
    };
    tokio::select! { () = read => {}, () = write => {} }
}

const DRIP: Duration = Duration::from_millis(100);
pub const AT_ONCE: Duration = Duration::from_millis(1);

pub async fn silent(grpc: SocketAddr, http: SocketAddr) {
    for to in [grpc, http] {
        until_ended(&mut Socket::connect(to).await.unwrap()).await;
    }
}

pub async fn slow_preface(grpc: SocketAddr, _http: SocketAddr) {
    let mut stream = Socket::connect(grpc).await.unwrap();
    for byte in PREFACE {
        if stream.write_all(&[*byte]).await.is_err() {
            return;
        }
        sleep(DRIP).await;
    }
    until_ended(&mut stream).await;
}

pub async fn slow_head(_grpc: SocketAddr, http: SocketAddr) {
    let mut stream = Socket::connect(http).await.unwrap();
    stream.write_all(b"POST /v1/traces HTTP/1.1\r\nx: ").await.unwrap();
    flood(stream, b"a".to_vec(), DRIP).await;
}

pub async fn open_header_block(grpc: SocketAddr, _http: SocketAddr) {
    let mut stream = raw(grpc).await;
    stream.write_all(&frame(1, 0, 1, &[0x83])).await.unwrap();
    until_ended(&mut stream).await;
}

pub async fn slow_body_http1(_grpc: SocketAddr, http: SocketAddr) {
    let mut stream = Socket::connect(http).await.unwrap();
    let head =
        b"POST /v1/traces HTTP/1.1\r\nhost: t\r\ncontent-type: application/x-protobuf\r\ncontent-length: 9999\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let mut seen = [0; 12];
    stream.read_exact(&mut seen).await.unwrap();
    assert_eq!(&seen, b"HTTP/1.1 408");
}

pub async fn slow_body_http2(grpc: SocketAddr, _http: SocketAddr) {
    let client = connect(grpc).await;
    let request = http::Request::post(format!("http://t{TRACES}")).header("content-type", "application/grpc");
    let mut send = client.send.clone().ready().await.unwrap();
    let (response, mut body) = send.send_request(request.body(()).unwrap(), false).unwrap();
    body.send_data(vec![0, 0, 0, 0xff].into(), false).unwrap();
    assert_eq!(response.await.unwrap().headers()["grpc-status"], "4");
}

pub async fn slow_reader(_grpc: SocketAddr, http: SocketAddr) {
    let source = SOURCE.get().copied().unwrap_or(std::net::Ipv4Addr::UNSPECIFIED.into());
    let mut stream = Socket::from(source, http, Some(4096)).await.unwrap();
    // Small requests with long answers, never read, until the kernel's buffers are full.
    let one = b"GET /nowhere HTTP/1.1\r\nhost: t\r\n\r\n".repeat(200);
    while tokio::time::timeout(Duration::from_secs(3), stream.write_all(&one)).await.is_ok_and(|wrote| wrote.is_ok()) {}
}

pub async fn ping_flood(grpc: SocketAddr, _http: SocketAddr) {
    flood(raw(grpc).await, frame(6, 0, 0, &[1; 8]).repeat(100), AT_ONCE).await;
}

pub async fn settings_flood(grpc: SocketAddr, _http: SocketAddr) {
    flood(raw(grpc).await, frame(4, 0, 0, &[]).repeat(100), AT_ONCE).await;
}

pub async fn priority_flood(grpc: SocketAddr, _http: SocketAddr) {
    flood(raw(grpc).await, frame(2, 0, 1, &[0, 0, 0, 0, 9]).repeat(100), AT_ONCE).await;
}

pub async fn empty_data_flood(grpc: SocketAddr, _http: SocketAddr) {
    let mut stream = raw(grpc).await;
    stream.write_all(&frame(1, 4, 1, &call_head())).await.unwrap();
    flood(stream, frame(0, 0, 1, &[]).repeat(50), AT_ONCE).await;
}

pub async fn continuation_flood(grpc: SocketAddr, _http: SocketAddr) {
    let mut stream = raw(grpc).await;
    stream.write_all(&frame(1, 0, 1, &[0x83])).await.unwrap();
    flood(stream, frame(9, 0, 1, &[0x83; 100]).repeat(50), AT_ONCE).await;
}

pub async fn rapid_reset(grpc: SocketAddr, _http: SocketAddr) {
    let mut stream = raw(grpc).await;
    let mut burst = Vec::new();
    for number in 0..5_000u32 {
        burst.extend(frame(1, 4, 2 * number + 1, &call_head()));
        burst.extend(frame(3, 0, 2 * number + 1, &[0, 0, 0, 8]));
    }
    let _ = stream.write_all(&burst).await;
    until_ended(&mut stream).await;
}

pub async fn stream_fan_out(grpc: SocketAddr, _http: SocketAddr) {
    let mut stream = raw(grpc).await;
    for number in 0..1_000u32 {
        if stream.write_all(&frame(1, 4, 2 * number + 1, &call_head())).await.is_err() {
            return;
        }
    }
    // Streams beyond the limit are reset one by one; the first ones are answered when their time is up.
    let mut answered = 0;
    let mut buffer = vec![0; 64 << 10];
    let begun = tokio::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(4) {
        match tokio::time::timeout(Duration::from_secs(2), stream.read(&mut buffer)).await {
            Ok(Ok(read)) if read > 0 => answered += read,
            _ => break,
        }
    }
    assert!(answered > 0);
}

pub async fn hoard(grpc: SocketAddr, _http: SocketAddr) {
    let mut held = Vec::new();
    for _ in 0..30 {
        let mut stream = raw(grpc).await;
        let _ = stream.write_all(&frame(6, 0, 0, &[0; 8])).await;
        held.push(stream);
    }
    // The honest client keeps its place; those beyond the limit are closed at once.
    for _ in 0..20 {
        held.push(Socket::connect(grpc).await.unwrap());
    }
    sleep(Duration::from_millis(200)).await;
    let mut last = held.pop().unwrap();
    until_ended(&mut last).await;
}

pub async fn tls_hello(grpc: SocketAddr, http: SocketAddr) {
    for to in [grpc, http] {
        let mut stream = Socket::connect(to).await.unwrap();
        stream.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await.unwrap();
        until_ended(&mut stream).await;
    }
}

pub async fn garbage(grpc: SocketAddr, http: SocketAddr) {
    let seed = 11;
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..100 {
        let to = if round % 2 == 0 { grpc } else { http };
        let mut stream = Socket::connect(to).await.unwrap();
        let mut bytes: Vec<u8> = (0..random.usize(1..2_000)).map(|_| random.u8(..)).collect();
        if round % 4 < 2 {
            bytes = [PREFACE, &bytes].concat();
        }
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        until_ended(&mut stream).await;
    }
}

pub async fn lying_lengths(grpc: SocketAddr, _http: SocketAddr) {
    // 60 calls that each claim the full 8 MiB and send nothing of it: the claims must hold next to nothing.
    let client = connect(grpc).await;
    let mut calls = Vec::new();
    for _ in 0..60 {
        let request = http::Request::post(format!("http://t{TRACES}")).header("content-type", "application/grpc");
        let mut send = client.send.clone().ready().await.unwrap();
        let (response, mut body) = send.send_request(request.body(()).unwrap(), false).unwrap();
        body.send_data(vec![0, 0, 0x80, 0, 0].into(), false).unwrap();
        calls.push((response, body));
    }
    for (response, _body) in calls {
        assert_eq!(response.await.unwrap().headers()["grpc-status"], "4");
    }
}

pub async fn bomb(grpc: SocketAddr, http: SocketAddr) {
    let bomb = gzip(&vec![0; 60 << 20]);
    let mut client = connect(grpc).await;
    for _ in 0..10 {
        let reply = client.grpc(TRACES, &[("grpc-encoding", "gzip")], &framed(1, &bomb)).await.unwrap();
        assert_eq!(reply.grpc_status(), Some(8));
        let headers = [PROTOBUF[0], ("content-encoding", "gzip")];
        assert_eq!(post(http, &headers, &bomb).await.status, 413);
    }
}

pub async fn deep_nesting(_grpc: SocketAddr, http: SocketAddr) {
    let mut value = vec![0x0a, 0x01, b'x'];
    for _ in 0..1_000 {
        value = field(5, &field(1, &value));
    }
    let span = field(9, &field(2, &value));
    let body = field(1, &field(2, &field(2, &span)));
    assert_eq!(post(http, &PROTOBUF, &body).await.status, 400);
    let json = r#"{"a":"#.repeat(10_000);
    let headers = [("content-type", "application/json")];
    assert_eq!(post(http, &headers, json.as_bytes()).await.status, 400);
}

pub async fn giant_head(_grpc: SocketAddr, http: SocketAddr) {
    let value = "x".repeat(1 << 20);
    let mut stream = Socket::connect(http).await.unwrap();
    let head = format!("POST /v1/traces HTTP/1.1\r\nhost: t\r\nx: {value}\r\n\r\n");
    let _ = stream.write_all(head.as_bytes()).await;
    until_ended(&mut stream).await;
}

pub async fn smuggling(_grpc: SocketAddr, http: SocketAddr) {
    let mut stream = Socket::connect(http).await.unwrap();
    let request =
        b"POST /v1/traces HTTP/1.1\r\nhost: t\r\ncontent-type: application/x-protobuf\r\ncontent-length: 5\r\n\
        content-length: 6\r\n\r\nGET /v1/x HTTP/1.1\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut seen = Vec::new();
    let _ = stream.read_to_end(&mut seen).await;
    let answers = seen.windows(9).filter(|window| *window == b"HTTP/1.1 ").count();
    assert!(answers <= 1 && seen.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&seen));
}
