//! A double of APM Server's OTLP intake: gRPC and HTTP/1.1 on one plain port, answers as recorded (`habits`), everything
//! acknowledged kept item by item (`seen`).
//!
//! Tests run it in their process; `tests/real/apm/main.rs` runs it by itself. It knows nothing of podgate, and reads by the
//! published classes.

#![allow(dead_code)] // each of its users takes its part

pub mod habits;
pub mod seen;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server;
use prost::Message;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use self::habits::{Conduct, Habits, Refusal, Transport, Verdict};
use self::seen::{Item, Signal};

/// Items that are remembered; a test that sends more asks too much of it.
const ITEMS_MAX: usize = 1_000_000;

type Body = BoxBody<Bytes, Infallible>;

/// `google.rpc.Status`, as far as it is used.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

#[derive(Default)]
struct Seen {
    items: Vec<Item>,
    acknowledged: u64,
    /// How many answers of each kind were given: `OK`, `grpc 8`, `HTTP 500`, `silence`.
    answers: BTreeMap<String, u64>,
    /// The largest message that was acknowledged, in bytes.
    largest: usize,
}

pub struct ApmServer {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

struct Shared {
    habits: watch::Sender<Habits>,
    seen: Mutex<Seen>,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl ApmServer {
    /// Listens at the address; port 0 is any.
    #[expect(clippy::disallowed_methods, reason = "whoever starts it owns it, and its drop ends it")]
    pub async fn at(address: SocketAddr) -> std::io::Result<ApmServer> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared { habits: watch::Sender::new(Habits::default()), seen: Mutex::default() });
        let server = tokio::spawn(listen(shared.clone(), address, listener));
        Ok(ApmServer { address, shared, server })
    }

    /// From now on.
    pub fn behave(&self, habits: Habits) {
        self.shared.habits.send_replace(habits);
    }

    pub fn conduct(&self, conduct: Conduct) {
        self.shared.habits.send_modify(|habits| habits.conduct = conduct);
    }

    /// Everything acknowledged so far.
    pub fn items(&self) -> Vec<Item> {
        self.shared.seen().items.clone()
    }

    pub fn answers(&self) -> BTreeMap<String, u64> {
        self.shared.seen().answers.clone()
    }

    pub fn largest(&self) -> usize {
        self.shared.seen().largest
    }
}

impl Drop for ApmServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn listen(shared: Arc<Shared>, address: SocketAddr, first: TcpListener) {
    let (mut listener, mut open) = (Some(first), JoinSet::new());
    let mut habits = shared.habits.subscribe();
    loop {
        let away = habits.borrow_and_update().conduct == Conduct::Away;
        if away {
            listener = None;
            open.abort_all();
        } else if listener.is_none() {
            listener = TcpListener::bind(address).await.ok();
        }
        let accepted = async {
            match &listener {
                Some(listener) => listener.accept().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            accepted = accepted => {
                if let Ok((stream, _)) = accepted {
                    open.spawn(serve(shared.clone(), stream));
                }
            }
            changed = habits.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            Some(_) = open.join_next(), if !open.is_empty() => {}
        }
    }
}

/// HTTP/2 with prior knowledge is gRPC, everything else HTTP/1.1.
async fn serve(shared: Arc<Shared>, stream: TcpStream) {
    let mut start = [0u8; 3];
    while let Ok(read) = stream.peek(&mut start).await {
        match read {
            0 => return,
            3 => break,
            _ => tokio::time::sleep(std::time::Duration::from_millis(1)).await,
        }
    }
    let service = service_fn(move |request| {
        let shared = shared.clone();
        async move { Ok::<_, Infallible>(shared.answer(request).await) }
    });
    // A client that goes away is no fault of this side.
    let _ = if start == *b"PRI" {
        hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .max_frame_size(1 << 20)
            .initial_stream_window_size(8 << 20)
            .initial_connection_window_size(16 << 20)
            .serve_connection(TokioIo::new(stream), service)
            .await
    } else {
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
    };
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let Ok(body) = body.collect().await else { return plain(400, "text/plain", Bytes::new()) };
        let body = body.to_bytes();
        let (path, headers) = (head.uri.path(), &head.headers);
        let grpc = headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
        if grpc {
            return self.grpc(path, headers, &body).await;
        }
        if path == "/" {
            return plain(200, "application/json", Bytes::from_static(br#"{"publish_ready":true,"version":"9.6.0"}"#));
        }
        let Some(signal) = of_path(path) else {
            return plain(404, "text/plain", Bytes::from_static(b"404 page not found"));
        };
        // Recorded: a GET and an empty POST are 200.
        let body = if head.method == Method::POST { body } else { Bytes::new() };
        self.http(signal, headers, &body).await
    }

    async fn grpc(&self, path: &str, headers: &HeaderMap, body: &[u8]) -> Response<Body> {
        let Some(signal) = of_method(path) else {
            return grpc_refusal(&Refusal::new(habits::UNIMPLEMENTED, 404, format!("unknown service {path}")));
        };
        let outcome = match grpc_message(headers, body) {
            Ok(message) => self.take(signal, Transport::Grpc, headers, &message).await,
            Err(refusal) => Err(refusal),
        };
        match outcome {
            Ok(answer) => {
                self.count("OK");
                grpc_success(&answer)
            }
            Err(refusal) => {
                self.count(&format!("grpc {}", refusal.code));
                grpc_refusal(&refusal)
            }
        }
    }

    async fn http(&self, signal: Signal, headers: &HeaderMap, body: &[u8]) -> Response<Body> {
        let message = unpacked_by_content(body);
        match self.take(signal, Transport::Http, headers, &message).await {
            Ok(answer) => {
                self.count("OK");
                plain(200, "application/x-protobuf", answer.into())
            }
            Err(refusal) => {
                self.count(&format!("HTTP {}", refusal.status));
                let code = if refusal.status == 500 { habits::UNKNOWN } else { refusal.code };
                let status = Status { code: i32::try_from(code).unwrap_or(0), message: refusal.message };
                plain(refusal.status, "application/x-protobuf", status.encode_to_vec().into())
            }
        }
    }

    /// The body of the success, or the refusal; never an end where there is no answer.
    async fn take(
        &self,
        signal: Signal,
        transport: Transport,
        headers: &HeaderMap,
        message: &[u8],
    ) -> Result<Vec<u8>, Refusal> {
        let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let habits = self.habits.borrow().clone();
        match habits.verdict(transport, authorization, message.len()) {
            Verdict::Read => {}
            Verdict::Refused(refusal) => return Err(refusal),
            Verdict::Silence => {
                self.count("silence");
                std::future::pending::<()>().await;
            }
        }
        let mut read = seen::read(signal, message)
            .map_err(|why| Refusal::new(habits::INVALID_ARGUMENT, 400, format!("invalid request: {why}")))?;
        let mut seen = self.seen();
        for item in &mut read.items {
            item.kept = habits.keeps(seen.acknowledged);
            seen.acknowledged += 1;
        }
        assert!(seen.items.len() + read.items.len() <= ITEMS_MAX, "the double keeps {ITEMS_MAX} items at most");
        seen.items.append(&mut read.items);
        seen.largest = seen.largest.max(message.len());
        Ok(seen::answer(signal, read.unsupported))
    }

    fn count(&self, answer: &str) {
        *self.seen().answers.entry(answer.to_owned()).or_default() += 1;
    }
}

fn of_path(path: &str) -> Option<Signal> {
    match path {
        "/v1/traces" => Some(Signal::Traces),
        "/v1/metrics" => Some(Signal::Metrics),
        "/v1/logs" => Some(Signal::Logs),
        _ => None,
    }
}

fn of_method(path: &str) -> Option<Signal> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let signal = match service {
        trace_service_server::SERVICE_NAME => Signal::Traces,
        "opentelemetry.proto.collector.metrics.v1.MetricsService" => Signal::Metrics,
        "opentelemetry.proto.collector.logs.v1.LogsService" => Signal::Logs,
        _ => return None,
    };
    (method == "Export").then_some(signal)
}

/// The one message of a unary call. grpc-go brings gzip and nothing else.
fn grpc_message(headers: &HeaderMap, body: &[u8]) -> Result<Vec<u8>, Refusal> {
    let broken = || Refusal::new(13, 400, "broken message");
    let (prefix, rest) = body.split_at_checked(5).ok_or_else(broken)?;
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    let message = rest.get(..length).ok_or_else(broken)?;
    if prefix[0] == 0 {
        return Ok(message.to_vec());
    }
    match headers.get("grpc-encoding").and_then(|value| value.to_str().ok()) {
        Some("gzip") => inflated(flate2::read::GzDecoder::new(message)).ok_or_else(broken),
        other => {
            let name = other.unwrap_or_default();
            let message = format!("grpc: Decompressor is not installed for grpc-encoding \"{name}\"");
            Err(Refusal::new(habits::UNIMPLEMENTED, 415, message))
        }
    }
}

/// gzip and deflate are known by their first bytes; everything else, zstd too, is read as protobuf.
fn unpacked_by_content(body: &[u8]) -> Vec<u8> {
    let inflated = match body {
        [0x1f, 0x8b, ..] => inflated(flate2::read::GzDecoder::new(body)),
        [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] => inflated(flate2::read::ZlibDecoder::new(body)),
        _ => None,
    };
    inflated.unwrap_or_else(|| body.to_vec())
}

fn inflated(mut from: impl std::io::Read) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    from.by_ref().take(256 << 20).read_to_end(&mut out).ok()?;
    Some(out)
}

fn plain(status: u16, kind: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Full::new(body).boxed());
    *response.status_mut() = http::StatusCode::from_u16(status).expect("a status");
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn grpc_success(message: &[u8]) -> Response<Body> {
    let length = u32::try_from(message.len()).expect("an answer is short");
    let framed = [&[0][..], &length.to_be_bytes(), message].concat();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(Bytes::from(framed)).with_trailers(std::future::ready(Some(Ok(trailers)))).boxed();
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// Status in the head, no message: what grpc-go sends where nothing was answered.
fn grpc_refusal(refusal: &Refusal) -> Response<Body> {
    let mut response = plain(200, "application/grpc", Bytes::new());
    response.headers_mut().insert("grpc-status", refusal.code.into());
    let message = HeaderValue::from_str(&refusal.message).unwrap_or(HeaderValue::from_static("?"));
    response.headers_mut().insert("grpc-message", message);
    response
}
