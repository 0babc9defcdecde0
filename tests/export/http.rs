//! `otlp_http` against a server that answers by a script: paths, statuses, Retry-After, capped answers, partial success.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::harness::{Bench, names, request, start};

/// One request as it stood on the wire.
#[derive(Clone, Debug)]
pub struct Wire {
    at: Instant,
    pub head: String,
    pub body: Vec<u8>,
}

type Script = Arc<dyn Fn(usize, &Wire) -> Vec<u8> + Send + Sync>;

pub struct HttpPeer {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Wire>>>,
    _tasks: JoinSet<()>,
}

impl HttpPeer {
    pub async fn start(script: impl Fn(usize, &Wire) -> Vec<u8> + Send + Sync + 'static) -> HttpPeer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
        let address = listener.local_addr().expect("bound");
        let seen = Arc::<Mutex<Vec<Wire>>>::default();
        let (script, remembered): (Script, _) = (Arc::new(script), seen.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, script.clone(), remembered.clone()));
            }
        });
        HttpPeer { address, seen, _tasks: tasks }
    }

    pub fn seen(&self) -> Vec<Wire> {
        self.seen.lock().expect("not poisoned").clone()
    }

    async fn exporter(&self, more: &str) -> Bench {
        let quick = "retry_on_failure: {initial_interval: 20ms, max_interval: 50ms, max_elapsed_time: 5s}";
        let retry = if more.contains("retry_on_failure") { "headers: {}" } else { quick };
        start("otlp_http", &format!("{{endpoint: 'http://{}', compression: none, {retry}, {more}}}", self.address))
            .await
    }
}

async fn serve(mut stream: TcpStream, script: Script, seen: Arc<Mutex<Vec<Wire>>>) {
    let mut read = Vec::new();
    while let Some(wire) = next_request(&mut stream, &mut read).await {
        let at = {
            let mut seen = seen.lock().expect("not poisoned");
            seen.push(wire.clone());
            seen.len() - 1
        };
        if stream.write_all(&script(at, &wire)).await.is_err() {
            return;
        }
    }
}

pub async fn next_request(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<Wire> {
    let end = loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        (stream.read_buf(read).await.ok()? > 0).then_some(())?;
    };
    let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
    let length: usize = head.split("content-length: ").nth(1)?.split("\r\n").next()?.parse().ok()?;
    while read.len() < end + length {
        (stream.read_buf(read).await.ok()? > 0).then_some(())?;
    }
    let body = read[end..end + length].to_vec();
    read.drain(..end + length);
    Some(Wire { at: Instant::now(), head, body })
}

pub fn answer(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status} Reason\r\n{headers}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

pub fn ok() -> Vec<u8> {
    answer(200, "content-type: application/x-protobuf\r\n", b"")
}

#[tokio::test]
async fn requests_go_to_the_signals_path_with_the_right_headers() {
    for (endpoint, path) in [("", "/v1/traces"), ("/", "/v1/traces"), ("/otlp/", "/otlp/v1/traces")] {
        let peer = HttpPeer::start(|_, _| ok()).await;
        let keys =
            format!("{{endpoint: 'http://{}{endpoint}', compression: none, headers: {{x-key: v}}}}", peer.address);
        let bench = start("otlp_http", &keys).await;
        let sent = request(["a", "b"]);
        bench.send(&sent).await.unwrap();
        assert_eq!(bench.drain(Duration::from_secs(5)).await.delivered, 2);
        let seen = peer.seen();
        assert!(seen[0].head.starts_with(&format!("post {path} http/1.1\r\n")), "{}", seen[0].head);
        assert!(
            seen[0].head.contains("content-type: application/x-protobuf\r\n") && seen[0].head.contains("x-key: v\r\n")
        );
        assert_eq!(ExportTraceServiceRequest::decode(&seen[0].body[..]), Ok(sent));
    }
}

#[tokio::test]
async fn a_signals_own_endpoint_is_used_as_it_stands() {
    let peer = HttpPeer::start(|_, _| ok()).await;
    let keys = format!("{{endpoint: 'http://127.0.0.1:1', traces_endpoint: 'http://{}/intake?'}}", peer.address);
    let bench = start("otlp_http", &keys.replace('?', "")).await;
    bench.send(&request(["a"])).await.unwrap();
    assert_eq!(bench.drain(Duration::from_secs(5)).await.delivered, 1);
    assert!(peer.seen()[0].head.starts_with("post /intake http/1.1\r\n"));
    assert!(peer.seen()[0].head.contains("content-encoding: gzip\r\n"), "gzip is the default");
}

#[tokio::test]
async fn only_429_502_503_and_504_are_tried_again() {
    for status in [400, 401, 403, 404, 405, 408, 415, 429, 500, 501, 502, 503, 504, 301] {
        let peer = HttpPeer::start(move |at, _| if at == 0 { answer(status, "", b"why") } else { ok() }).await;
        let bench = peer.exporter("").await;
        bench.send(&request(["a"])).await.unwrap();
        let sheet = bench.settled().await;
        let retryable = [429, 502, 503, 504].contains(&status);
        assert_eq!((sheet.delivered == 1, peer.seen().len()), (retryable, 1 + usize::from(retryable)), "{status}");
        bench.drain(Duration::from_secs(5)).await;
    }
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let peer = HttpPeer::start(|at, _| if at == 0 { answer(503, "retry-after: 1\r\n", b"") } else { ok() }).await;
    let bench = peer.exporter("").await;
    bench.send(&request(["a"])).await.unwrap();
    assert_eq!(bench.settled().await.delivered, 1);
    let seen = peer.seen();
    assert!(seen[1].at - seen[0].at >= Duration::from_millis(990), "{:?}", seen[1].at - seen[0].at);
    bench.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_bad_span_is_isolated_after_a_400() {
    let peer = HttpPeer::start(|_, wire| {
        let request = ExportTraceServiceRequest::decode(&wire.body[..]).expect("valid");
        if names(&request).iter().any(|name| name == "poison") { answer(400, "", b"bad") } else { ok() }
    });
    let peer = peer.await;
    let bench = peer.exporter("").await;
    bench.send(&request((0..64).map(|at| if at == 17 { "poison" } else { "good" }))).await.unwrap();
    let sheet = bench.drain(Duration::from_secs(5)).await;
    assert_eq!((sheet.delivered, sheet.dropped["permanent"]), (63, 1));
    assert!(peer.seen().len() <= 8, "{}", peer.seen().len());
}

#[tokio::test]
async fn partial_success_in_a_200_is_counted() {
    let peer = HttpPeer::start(|_, _| {
        let partial = ExportTracePartialSuccess { rejected_spans: 1, error_message: "one".to_owned() };
        let body = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
        answer(200, "content-type: application/x-protobuf\r\n", &body)
    });
    let peer = peer.await;
    let bench = peer.exporter("").await;
    bench.send(&request(["a", "b", "c"])).await.unwrap();
    let sheet = bench.drain(Duration::from_secs(5)).await;
    assert_eq!((sheet.delivered, sheet.dropped["partial_success"]), (2, 1));
}

#[tokio::test]
async fn partial_success_in_json_is_counted_too() {
    let body = br#"{"partialSuccess":{"rejectedSpans":"1","errorMessage":"no detector matches"}}"#;
    let peer = HttpPeer::start(|_, _| answer(200, "content-type: application/json\r\n", body)).await;
    let bench = peer.exporter("").await;
    bench.send(&request(["a", "b", "c"])).await.unwrap();
    let sheet = bench.drain(Duration::from_secs(5)).await;
    assert_eq!((sheet.delivered, sheet.dropped["partial_success"]), (2, 1));
}

#[tokio::test]
async fn a_next_hop_that_cannot_decompress_gets_the_same_data_plain_and_the_next_at_once() {
    for (status, words) in [(415, ""), (400, "invalid content-encoding: gzip")] {
        let peer = HttpPeer::start(move |_, wire| match wire.head.contains("content-encoding: gzip") {
            true => answer(status, "", words.as_bytes()),
            false => ok(),
        });
        let peer = peer.await;
        let more = format!("{{endpoint: 'http://{}', compression: gzip}}", peer.address);
        let bench = start("otlp_http", &more).await;
        bench.send(&request(["a"])).await.unwrap();
        let learnt = async {
            while peer.seen().len() < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(5), learnt).await.expect("sent again");
        tokio::time::sleep(Duration::from_millis(100)).await;
        bench.send(&request(["b"])).await.unwrap();
        let sheet = bench.drain(Duration::from_secs(5)).await;
        assert_eq!((sheet.delivered, peer.seen().len()), (2, 3), "{status}");
    }
}

#[tokio::test]
async fn redirects_are_followed_on_the_same_host_and_credentials_go_to_no_other() {
    let other = HttpPeer::start(|_, _| ok()).await;
    let elsewhere = format!("location: http://{}/v1/traces\r\n", other.address);
    let peer = HttpPeer::start(move |_, wire| {
        let first = wire.head.lines().next().unwrap_or_default().to_owned();
        if first.contains("/moved") { ok() } else { answer(308, "location: /moved/v1/traces\r\n", b"") }
    });
    let peer = peer.await;
    let bench = peer.exporter("").await;
    bench.send(&request(["a"])).await.unwrap();
    assert_eq!(bench.drain(Duration::from_secs(5)).await.delivered, 1);
    let peer = HttpPeer::start(move |_, _| answer(307, &elsewhere, b"")).await;
    let bench = peer.exporter("").await;
    bench.send(&request(["a"])).await.unwrap();
    let sheet = bench.drain(Duration::from_secs(5)).await;
    assert_eq!((sheet.dropped["permanent"], other.seen().len()), (1, 0));
}

#[tokio::test]
async fn an_answer_that_inflates_beyond_the_limit_is_a_final_error() {
    let bomb = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(9));
        std::io::Write::write_all(&mut encoder, &vec![0; 16 << 20]).expect("memory");
        encoder.finish().expect("memory")
    };
    let peer = HttpPeer::start(move |_, _| answer(200, "content-encoding: gzip\r\n", &bomb)).await;
    let bench = peer.exporter("").await;
    bench.send(&request(["a", "b"])).await.unwrap();
    let sheet = bench.drain(Duration::from_secs(5)).await;
    assert_eq!((sheet.dropped["permanent"], peer.seen().len()), (2, 1));
}

#[tokio::test]
async fn connections_are_reused_and_a_closed_one_costs_nothing() {
    let peer = HttpPeer::start(|at, _| if at == 2 { answer(200, "connection: close\r\n", b"") } else { ok() }).await;
    let bench = peer.exporter("sending_queue: {enabled: false}, retry_on_failure: {enabled: false}").await;
    for _ in 0..6 {
        bench.send(&request(["a"])).await.unwrap();
    }
    assert_eq!(bench.drain(Duration::from_secs(5)).await.delivered, 6);
}
