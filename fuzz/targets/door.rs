//! The doors: HTTP/2 frame headers, gRPC messages and HTTP/1.1 heads, the last two on a real socket of a receiver.

use std::cell::RefCell;
use std::time::Duration;

use bytes::Bytes;
use podgate::net::grpc;
use podgate::net::server::connection::frames::{FrameMeter, PREFACE};
use podgate::net::server::listen::Endpoint;
use podgate::net::server::sniff::protocol_of;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

#[expect(dead_code, reason = "the edge tests use the rest of it")]
#[path = "../../tests/edge/harness.rs"]
mod harness;

use harness::{H2, Running, TRACES, framed};

const YAML: &str = "\
protocols:
  grpc: {endpoint: '127.0.0.1:0', max_recv_msg_size_mib: 1, podgate: &limits {control_frames_per_second: 1000000}}
  http: {endpoint: '127.0.0.1:0', max_request_body_size: 1MiB, podgate: *limits, cors: {allowed_origins: ['http://*.x']}}
";
const PATIENCE: Duration = Duration::from_secs(5);

/// A receiver that lives as long as the fuzzer.
struct Rig {
    runtime: Runtime,
    running: Running,
    client: Option<H2>,
}

impl Rig {
    fn new() -> Rig {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        let running = runtime.block_on(Running::start(YAML));
        Rig { runtime, running, client: None }
    }

    fn after(&self) {
        self.running.sink.payloads.lock().expect("no panic").clear();
        assert_eq!(self.running.counter("podgate_receiver_panics"), 0, "a request panicked");
        self.running.assert_balance();
    }
}

thread_local! {
    static RIG: RefCell<Rig> = RefCell::new(Rig::new());
}

/// However a stream of frames is cut, the meter says the same of it and mends the same of it.
pub fn frames(data: &[u8]) {
    let verdict = |cut: usize| {
        let (mut meter, mut seen) = (FrameMeter::new(5).local(), data.to_vec());
        meter.read(&mut PREFACE.to_vec(), 1, || false).expect("a preface is no flood");
        let flood = seen.chunks_mut(cut).find_map(|piece| meter.read(piece, 1, || false).err());
        (flood, flood.is_none().then_some((meter.owes_head(), seen)))
    };
    let whole = verdict(data.len().max(1));
    for cut in [1, 2, 7, 9, 64] {
        assert_eq!(verdict(cut), whole, "cut in pieces of {cut}");
    }
    protocol_of(data);
    let text = String::from_utf8_lossy(data);
    _ = Endpoint::parse_tcp(&text);
    let mut headers = http::HeaderMap::new();
    if let Ok(value) = http::HeaderValue::from_bytes(data) {
        headers.insert("grpc-timeout", value.clone());
        headers.insert("grpc-encoding", value);
        _ = grpc::timeout_of(&headers);
        _ = grpc::encoding_of(&headers);
    }
}

/// A call: the first byte chooses the encoding, the second whether the bytes are framed for it and how they are cut.
pub fn grpc(data: &[u8]) {
    let [encoding, shape, rest @ ..] = data else { return };
    const ENCODINGS: [&str; 7] = ["identity", "gzip", "zstd", "deflate", "snappy", "x-snappy-framed", "unheard-of"];
    let encoding = ENCODINGS[usize::from(*encoding) % ENCODINGS.len()];
    let body = if shape & 1 == 0 { framed(shape >> 1 & 1, rest) } else { rest.to_vec() };
    let cut = usize::from(shape >> 2).max(1) * 7;
    RIG.with(|rig| {
        let rig = &mut *rig.borrow_mut();
        let code = rig.runtime.block_on(async {
            let client = match rig.client.take().filter(|client| !client.is_ended()) {
                Some(client) => client,
                None => H2::connect(rig.running.grpc()).await,
            };
            let code = timeout(PATIENCE, call(&client, encoding, &body, cut)).await.expect("an answer in time");
            rig.client = Some(client);
            code
        });
        assert!(matches!(code, 0 | 3 | 8 | 12), "answered {code}");
        rig.after();
    });
}

async fn call(client: &H2, encoding: &str, body: &[u8], cut: usize) -> u32 {
    let request = http::Request::post(format!("http://t{TRACES}"))
        .header("te", "trailers")
        .header("content-type", "application/grpc")
        .header("grpc-encoding", encoding);
    let mut send = client.send.clone().ready().await.expect("the connection stays");
    let (response, mut stream) =
        send.send_request(request.body(()).expect("a request"), false).expect("the connection takes a call");
    for piece in body.chunks(cut.max(body.len() / 50)) {
        // An early answer may have ended the stream.
        let _ = stream.send_data(Bytes::copy_from_slice(piece), false);
    }
    let _ = stream.send_data(Bytes::new(), true);
    let response = response.await.expect("an answer");
    let (head, mut answer) = response.into_parts();
    while let Some(chunk) = answer.data().await {
        let length = chunk.expect("a whole answer").len();
        let _ = answer.flow_control().release_capacity(length);
    }
    let trailers = answer.trailers().await.expect("trailers").unwrap_or_default();
    let status = head.headers.get("grpc-status").or(trailers.get("grpc-status")).expect("a grpc-status");
    status.to_str().ok().and_then(|status| status.parse().ok()).expect("a number")
}

/// Any bytes on a fresh connection to the HTTP port: answered or closed, and never blamed on us.
pub fn http(data: &[u8]) {
    RIG.with(|rig| {
        let rig = &mut *rig.borrow_mut();
        let answer = rig.runtime.block_on(async {
            let mut stream = TcpStream::connect(rig.running.http()).await.expect("the port is open");
            let (mut reader, mut writer) = stream.split();
            let mut answer = Vec::new();
            let write = async {
                let _ = writer.write_all(data).await;
                let _ = writer.shutdown().await;
            };
            let read = timeout(PATIENCE, reader.read_to_end(&mut answer));
            let ((), read) = tokio::join!(write, read);
            // A reset is an end too.
            let _ = read.expect("the connection ends");
            answer
        });
        assert!(!answer.starts_with(b"HTTP/1.1 500"), "{}", String::from_utf8_lossy(&answer));
        rig.after();
    });
}
