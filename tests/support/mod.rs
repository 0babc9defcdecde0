//! What integration tests share: a gateway from YAML text, a sink that speaks OTLP by stock code, and a plain client.

#![allow(dead_code)] // each test crate uses its part of this module

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use podgate::cli::sources::{ConfigArgs, check_with};
use podgate::core::data::balance::Sheet;
use podgate::core::data::payload::Signal;
use podgate::core::stage::factory::Environment;
use podgate::gateway::Gateway;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

mod ports;
#[allow(unused_imports)] // each test crate uses its part of this module
pub use ports::{free_port, free_ports};

/// Starts a gateway from YAML text, through the same check as the command line.
pub async fn start(yaml: &str) -> Gateway {
    let args = ConfigArgs { config: vec![format!("yaml:{yaml}")], ..ConfigArgs::default() };
    let checked = check_with(&args, Environment::of(|_| None));
    let findings = podgate::config::show::diagnose::render(&checked.findings, &checked.sources, false);
    let plan = checked.plan.unwrap_or_else(|| panic!("the configuration is sound:\n{findings}"));
    Gateway::start(&plan).await.unwrap_or_else(|error| panic!("the gateway starts: {error}"))
}

/// Drains and asserts that every item is accounted for; returns the account.
pub async fn drain(gateway: Gateway) -> BTreeMap<&'static str, Sheet> {
    let sheets = gateway.drain(Duration::from_secs(10)).await;
    for (signal, sheet) in &sheets {
        assert!(sheet.holds(0) && sheet.held == 0, "{signal} balances after a drain: {sheet:?}");
    }
    sheets
}

/// Waits until `ready` is true, at most ten seconds.
pub async fn eventually(what: &str, mut ready: impl FnMut() -> bool) {
    for _ in 0..1_000 {
        if ready() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("ten seconds passed before: {what}");
}

pub fn sheet(gateway: &Gateway) -> Sheet {
    gateway.host().balance.sheet(Signal::Traces)
}

/// An OTLP/gRPC trace sink by tonic and opentelemetry-proto, the oracle side.
pub struct Sink {
    pub address: SocketAddr,
    received: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
    server: JoinHandle<()>,
}

#[derive(Clone)]
struct Recorder {
    received: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

#[tonic::async_trait]
impl TraceService for Recorder {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        self.received.lock().expect("not poisoned").push(request.into_inner());
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Sink {
    pub async fn start() -> Sink {
        Sink::at(([127, 0, 0, 1], 0).into()).await
    }

    #[expect(clippy::disallowed_methods, reason = "the test owns this server and aborts it on drop")]
    pub async fn at(address: SocketAddr) -> Sink {
        let listener = TcpListener::bind(address).await.expect("loopback has ports");
        let address = listener.local_addr().expect("bound");
        let received = Arc::<Mutex<Vec<ExportTraceServiceRequest>>>::default();
        let service = TraceServiceServer::new(Recorder { received: received.clone() })
            .accept_compressed(tonic::codec::CompressionEncoding::Gzip)
            .max_decoding_message_size(64 << 20);
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let server = tokio::spawn(async move {
            let served = tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await;
            served.expect("the sink serves");
        });
        Sink { address, received, server }
    }

    /// The requests that came, one after the other.
    pub fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        self.received.lock().expect("not poisoned").clone()
    }

    pub fn spans(&self) -> Vec<(Resource, Span)> {
        let received = self.received.lock().expect("not poisoned");
        let groups = received.iter().flat_map(|request| &request.resource_spans);
        let pairs = groups.flat_map(|group| {
            let resource = group.resource.clone().unwrap_or_default();
            group.scope_spans.iter().flat_map(|scope| &scope.spans).map(move |span| (resource.clone(), span.clone()))
        });
        pairs.collect()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.server.abort();
    }
}

pub fn text(value: &str) -> AnyValue {
    AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) }
}

pub fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(text(value)), ..KeyValue::default() }
}

/// The string value of a resource's attribute.
pub fn attribute_of<'a>(resource: &'a Resource, key: &str) -> Option<&'a str> {
    let value = resource.attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?;
    match value.value.as_ref()? {
        any_value::Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// A span of one trace; `trace` and `span` become the ids, `status` is the OTLP code.
pub fn span(trace: u128, span: u64, status: i32) -> Span {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos() as u64;
    Span {
        trace_id: trace.to_be_bytes().to_vec(),
        span_id: span.to_be_bytes().to_vec(),
        name: format!("span {span}"),
        start_time_unix_nano: now - 5_000_000,
        end_time_unix_nano: now,
        status: Some(Status { code: status, ..Status::default() }),
        ..Span::default()
    }
}

pub fn request(resource: Vec<KeyValue>, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let resource = Resource { attributes: resource, ..Resource::default() };
    let scope = ScopeSpans { spans, ..ScopeSpans::default() };
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(resource),
            scope_spans: vec![scope],
            ..ResourceSpans::default()
        }],
    }
}

/// One HTTP/1.1 exchange by hand: status and body.
pub async fn post(port: u16, path: &str, content_type: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the port listens");
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.write_all(body).await.expect("sent");
    exchange(stream).await
}

pub async fn get(port: u16, path: &str) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the port listens");
    let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("sent");
    exchange(stream).await
}

async fn exchange(mut stream: TcpStream) -> (u16, Vec<u8>) {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n").expect("a head");
    let status = std::str::from_utf8(&answer[9..12]).ok().and_then(|text| text.parse().ok()).expect("a status");
    (status, answer[end + 4..].to_vec())
}

pub async fn post_spans(port: u16, request: &ExportTraceServiceRequest) -> u16 {
    post(port, "/v1/traces", "application/x-protobuf", &request.encode_to_vec()).await.0
}
