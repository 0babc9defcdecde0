//! A receiver under test: built from YAML as the gateway builds it, in front of a sink that answers by script.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use podgate::core::data::budget::Budget;
use podgate::core::data::payload::{Payload, Signal};
use podgate::core::data::settlement::ItemEnd;
use podgate::core::error::ConsumeError;
use podgate::core::stage::component::Component;
use podgate::core::stage::consumer::{Consumed, Consumer};
use podgate::core::stage::factory::ExtensionFactory;
use podgate::core::stage::host::Host;
use podgate::core::stage::joint::Outputs;
use podgate::extensions::health_check;
use podgate::net::server::listen::BoundAddresses;
use podgate::receivers::otlp::FACTORY;
use podgate::testing::check;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

pub const BOTH: &str = "protocols:\n  grpc:\n    endpoint: 127.0.0.1:0\n  http:\n    endpoint: 127.0.0.1:0\n";

pub const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// What the sink does with the next payload.
pub enum Answer {
    Accept,
    Fail(ConsumeError),
    Panic,
    /// Answers only after so long.
    Wait(Duration),
}

/// Keeps what it is given and answers by script, then with success.
#[derive(Default)]
pub struct Sink {
    pub payloads: Mutex<Vec<Payload>>,
    pub script: Mutex<VecDeque<Answer>>,
    /// Answer of everything after the script.
    pub always: Mutex<Option<ConsumeError>>,
}

impl Sink {
    pub fn items(&self) -> u64 {
        self.payloads.lock().unwrap().iter().map(|payload| payload.items).sum()
    }

    pub fn next(&self, answer: Answer) {
        self.script.lock().unwrap().push_back(answer);
    }
}

impl Consumer for Sink {
    fn consume(&self, mut payload: Payload) -> Consumed<'_> {
        Box::pin(async move {
            let answer = self.script.lock().unwrap().pop_front();
            match answer {
                Some(Answer::Fail(error)) => return Err(error),
                Some(Answer::Panic) => panic!("a stage panics on purpose"),
                Some(Answer::Wait(wait)) => tokio::time::sleep(wait).await,
                Some(Answer::Accept) => {}
                None => {
                    if let Some(error) = self.always.lock().unwrap().clone() {
                        return Err(error);
                    }
                }
            }
            std::mem::take(&mut payload.share).end(ItemEnd::Delivered);
            self.payloads.lock().unwrap().push(payload);
            Ok(())
        })
    }
}

pub struct Running {
    pub host: Arc<Host>,
    pub sink: Arc<Sink>,
    pub receiver: Arc<dyn Component>,
}

impl Running {
    pub async fn start(yaml: &str) -> Running {
        Running::with(yaml, Budget::new(1 << 30, 1 << 30), &Signal::ALL).await
    }

    pub async fn with(yaml: &str, budget: Arc<Budget>, signals: &[Signal]) -> Running {
        Running::on(Host::new(budget), yaml, signals).await
    }

    /// A receiver behind an extension that has started.
    pub async fn behind(factory: &ExtensionFactory, body: &str, yaml: &str) -> (Running, Arc<dyn Component>) {
        let host = Host::new(Budget::new(1 << 30, 1 << 30));
        let extension = check::extension(&host, factory, body);
        extension.start().await.unwrap();
        (Running::on(host, yaml, &Signal::ALL).await, extension)
    }

    async fn on(host: Arc<Host>, yaml: &str, signals: &[Signal]) -> Running {
        let plan = check::sound("receivers::otlp", yaml, FACTORY.check);
        let sink = Arc::new(Sink::default());
        let outputs = Outputs::default();
        for signal in signals {
            outputs.set(*signal, Some(sink.clone()));
        }
        let receiver = plan.build(check::build_context(&host, "receivers::otlp"), outputs);
        receiver.start().await.unwrap();
        Running { host, sink, receiver }
    }

    pub fn address(&self, protocol: &str) -> SocketAddr {
        let bound = self.host.shared(BoundAddresses::KEY, || Arc::new(BoundAddresses::default()));
        bound.get(&format!("receivers::otlp::protocols::{protocol}")).unwrap()
    }

    pub fn grpc(&self) -> SocketAddr {
        self.address("grpc")
    }

    pub fn http(&self) -> SocketAddr {
        self.address("http")
    }

    pub async fn drain(&self, wait: Duration) -> Duration {
        let begun = Instant::now();
        self.receiver.drain(begun + wait).await;
        begun.elapsed()
    }

    /// Probes beside the receiver, as `health_check` serves them: their address and what must be kept for it.
    pub async fn pages(&self) -> (SocketAddr, Arc<dyn Component>) {
        let pages = check::extension(&self.host, &health_check::FACTORY, "endpoint: 0.0.0.0:0");
        pages.start().await.unwrap();
        let bound = self.host.shared(BoundAddresses::KEY, || Arc::new(BoundAddresses::default()));
        (SocketAddr::from(([127, 0, 0, 1], bound.get("extensions::health_check").unwrap().port())), pages)
    }

    pub fn counter(&self, name: &str) -> u64 {
        self.host.stats.total(name)
    }

    /// The counter's series that has this label value.
    pub fn counter_with(&self, name: &str, value: &str) -> u64 {
        use podgate::core::report::stats::Metric;
        let all = self.host.stats.all();
        let matching =
            all.iter().filter(|series| series.name == name && series.labels.iter().any(|(_, label)| label == value));
        matching.map(|series| if let Metric::Counter(counter) = &series.metric { counter.get() } else { 0 }).sum()
    }

    /// What was counted under names that begin so, for whoever reads why a test failed.
    pub fn counted(&self, name: &str) -> Vec<String> {
        use podgate::core::report::stats::Metric;
        let all = self.host.stats.all();
        let named = all.iter().filter(|series| series.name.starts_with(name));
        let counters = named.filter_map(|series| match &series.metric {
            Metric::Counter(counter) if counter.get() > 0 => {
                Some(format!("{} {:?} {}", series.name, series.labels, counter.get()))
            }
            _ => None,
        });
        counters.collect()
    }

    pub fn assert_balance(&self) {
        for signal in Signal::ALL {
            let sheet = self.host.balance.sheet(signal);
            assert!(sheet.holds(0), "{signal:?} {sheet:?}");
        }
    }
}

/// A protobuf request of `count` spans with a distinct id each.
pub fn spans(count: u64) -> Vec<u8> {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
    use prost::Message;
    let spans = (1..=count).map(|number| Span {
        trace_id: u128::from(number).to_be_bytes().to_vec(),
        span_id: number.to_be_bytes().to_vec(),
        name: format!("span {number}"),
        start_time_unix_nano: 1_760_000_000_000_000_000,
        end_time_unix_nano: 1_760_000_000_000_000_001,
        ..Span::default()
    });
    let scope = ScopeSpans { spans: spans.collect(), ..ScopeSpans::default() };
    let resource = ResourceSpans { scope_spans: vec![scope], ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource] }.encode_to_vec()
}

/// A length-delimited protobuf field.
pub fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = value.len();
    while length >= 0x80 {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend(value);
    out
}

/// A gRPC message: flag, length, bytes.
pub fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let mut framed = vec![flag];
    framed.extend((message.len() as u32).to_be_bytes());
    framed.extend(message);
    framed
}

/// An answer as it came.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Bytes,
    pub trailers: Vec<(String, String)>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let both = self.headers.iter().chain(&self.trailers);
        both.into_iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// `grpc-status`, wherever it stands.
    pub fn grpc_status(&self) -> Option<u32> {
        self.header("grpc-status")?.parse().ok()
    }
}

/// One HTTP/1.1 request on a connection of its own, written by hand.
pub async fn http1(to: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    http1_over(TcpStream::connect(to).await.unwrap(), method, path, headers, body).await
}

/// The same on this connection.
pub async fn http1_over<S>(stream: S, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite,
{
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-length")) {
        request.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    request.push_str("\r\n");
    let (mut reader, mut writer) = tokio::io::split(stream);
    let write = async {
        // A refused body may be cut off; the answer tells.
        let _ = writer.write_all(request.as_bytes()).await;
        let _ = writer.write_all(body).await;
    };
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(20), reader.read_to_end(&mut answer));
    let ((), read) = tokio::join!(write, read);
    read.expect("an answer in time").expect("a readable answer");
    parse_http1(&answer)
}

pub fn parse_http1(answer: &[u8]) -> Reply {
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head");
    let head = String::from_utf8_lossy(&answer[..end]);
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
    Reply { status, headers, body: Bytes::copy_from_slice(&answer[end + 4..]), trailers: Vec::new() }
}

/// A client connection over HTTP/2 that sends what it is told.
pub struct H2 {
    pub send: h2::client::SendRequest<Bytes>,
    pub ended: Arc<std::sync::atomic::AtomicBool>,
    _driver: tokio::task::JoinSet<()>,
}

impl H2 {
    pub async fn connect(to: SocketAddr) -> H2 {
        let stream = TcpStream::connect(to).await.unwrap();
        stream.set_nodelay(true).unwrap();
        H2::over(stream).await
    }

    pub async fn over<S>(stream: S) -> H2
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        let ended = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let seen = ended.clone();
        let mut driver = tokio::task::JoinSet::new();
        driver.spawn(async move {
            let _ = connection.await;
            seen.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        H2 { send, ended, _driver: driver }
    }

    pub fn is_ended(&self) -> bool {
        self.ended.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Sends a request and reads the whole answer; the error is what the connection or stream ended with.
    pub async fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Result<Reply, h2::Error> {
        let mut request = http::Request::builder().method(method).uri(format!("http://test{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut ready = self.send.clone().ready().await?;
        let (response, mut stream) = ready.send_request(request.body(()).unwrap(), body.is_empty())?;
        if !body.is_empty() {
            // h2 keeps what the window does not allow yet; an answer that comes first is read below.
            let _ = stream.send_data(Bytes::copy_from_slice(body), true);
        }
        let response = timeout(Duration::from_secs(20), response).await.expect("an answer in time")?;
        read_reply(response).await
    }

    pub async fn grpc(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Reply, h2::Error> {
        let mut all = vec![("te", "trailers")];
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            all.push(("content-type", "application/grpc"));
        }
        all.extend(headers);
        self.request("POST", path, &all, body).await
    }
}

async fn read_reply(response: http::Response<h2::RecvStream>) -> Result<Reply, h2::Error> {
    let (head, mut stream) = response.into_parts();
    let mut body = Vec::new();
    while let Some(chunk) = stream.data().await {
        let chunk = chunk?;
        let _ = stream.flow_control().release_capacity(chunk.len());
        body.extend_from_slice(&chunk);
    }
    let trailers = stream.trailers().await?.unwrap_or_default();
    let texts = |headers: &http::HeaderMap| {
        headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect()
    };
    Ok(Reply {
        status: head.status.as_u16(),
        headers: texts(&head.headers),
        body: body.into(),
        trailers: texts(&trailers),
    })
}

/// `google.rpc.Status` as an independent decoder reads it.
#[derive(Clone, PartialEq, prost::Message)]
pub struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub code: i32,
    #[prost(string, tag = "2")]
    pub message: String,
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<RpcDetail>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RpcDetail {
    #[prost(string, tag = "1")]
    pub type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<RetryDelay>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RetryDelay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

impl RpcStatus {
    /// Whole seconds of RetryInfo.
    pub fn retry_seconds(&self) -> Option<i64> {
        use prost::Message;
        let detail = self.details.iter().find(|detail| detail.type_url.ends_with("google.rpc.RetryInfo"))?;
        let delay = RetryInfo::decode(&detail.value[..]).ok()?.retry_delay?;
        (delay.nanos == 0).then_some(delay.seconds)
    }

    pub fn has_bad_request(&self) -> bool {
        self.details.iter().any(|detail| detail.type_url.ends_with("google.rpc.BadRequest"))
    }

    /// From the JSON mapping, as far as the tests look.
    pub fn from_json(body: &[u8]) -> Option<RpcStatus> {
        use prost::Message;
        let json: serde_json::Value = serde_json::from_slice(body).ok()?;
        let mut status = RpcStatus {
            code: json["code"].as_i64()? as i32,
            message: json["message"].as_str()?.to_owned(),
            details: Vec::new(),
        };
        for detail in json["details"].as_array().into_iter().flatten() {
            let type_url = detail["@type"].as_str()?.to_owned();
            let seconds = detail["retryDelay"].as_str().and_then(|delay| delay.strip_suffix('s')?.parse().ok());
            let retry_delay = seconds.map(|seconds| RetryDelay { seconds, nanos: 0 });
            status.details.push(RpcDetail { type_url, value: RetryInfo { retry_delay }.encode_to_vec() });
        }
        Some(status)
    }
}

impl Reply {
    /// The Status of a failure, wherever the transport puts it.
    pub fn rpc_status(&self) -> Option<RpcStatus> {
        use prost::Message;
        if let Some(details) = self.header("grpc-status-details-bin") {
            return RpcStatus::decode(&unbase64(details)?[..]).ok();
        }
        match self.header("content-type")? {
            "application/json" => RpcStatus::from_json(&self.body),
            "application/x-protobuf" => RpcStatus::decode(self.body.clone()).ok(),
            _ => None,
        }
    }
}

fn unbase64(text: &str) -> Option<Vec<u8>> {
    const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bits = 0u32;
    let mut held = 0;
    let mut bytes = Vec::new();
    for letter in text.trim_end_matches('=').chars() {
        bits = bits << 6 | ALPHABET.find(letter)? as u32;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    Some(bytes)
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}
