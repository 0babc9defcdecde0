//! An exporter from YAML, payloads from structs, and servers that answer as a script says.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use podgate::core::data::balance::Sheet;
use podgate::core::data::budget::{Budget, Ticket};
use podgate::core::data::origin::Origin;
use podgate::core::data::payload::{Payload, Signal};
use podgate::core::data::settlement::{Loss, Share};
use podgate::core::diagnostic::Diagnostics;
use podgate::core::error::ConsumeError;
use podgate::core::outside::Outside;
use podgate::core::stage::factory::{Checks, Environment, Exporter, ExporterFactory};
use podgate::core::stage::host::Host;
use podgate::core::time::UnixNanos;
use podgate::exporters::otlp::{GRPC_FACTORY, HTTP_FACTORY};
use podgate::otlp::envelope::{count_items, decode};
use podgate::testing::check;
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// A running exporter with its host.
pub struct Bench {
    pub host: Arc<Host>,
    pub exporter: Arc<dyn Exporter>,
}

fn factory(name: &str) -> ExporterFactory {
    match name {
        "otlp_grpc" => GRPC_FACTORY,
        "otlp_http" => HTTP_FACTORY,
        "elasticsearch" => podgate::exporters::elasticsearch::FACTORY,
        "load_balancing" => podgate::exporters::otlp::load_balancing::FACTORY,
        other => panic!("no exporter {other}"),
    }
}

/// Checks a body; gives the plan's exporter and the findings as `code path: message`.
pub fn checked(name: &str, body: &str) -> (Option<Bench>, Vec<String>) {
    checked_by(name, body, &[], Outside::default())
}

/// The same in an environment of these variables.
pub fn checked_in(
    name: &str,
    body: &str,
    environment: &'static [(&'static str, String)],
) -> (Option<Bench>, Vec<String>) {
    checked_by(name, body, environment, Outside::default())
}

/// As [`checked`], in another world than the operating system's.
pub fn checked_within(name: &str, body: &str, outside: Outside) -> (Option<Bench>, Vec<String>) {
    checked_by(name, body, &[], outside)
}

fn checked_by(
    name: &str,
    body: &str,
    environment: &'static [(&'static str, String)],
    outside: Outside,
) -> (Option<Bench>, Vec<String>) {
    let diagnostics = Diagnostics::default();
    let (_, node) = podgate::config::load(&[format!("yaml:{body}")], &[], &|_| None, &diagnostics);
    let node = node.unwrap_or_else(|| panic!("{:?}", diagnostics.sorted()));
    let variable = |name: &str| environment.iter().find(|(own, _)| *own == name).map(|(_, value)| value.clone());
    let checks = Checks { environment: Environment::of(variable), ..Checks::default() };
    let path = format!("exporters::{name}");
    let plan = check::run(&checks, &path, &node, factory(name).check);
    let found = checks.diagnostics.sorted();
    let findings = found.iter().map(|found| format!("{} {}: {}", found.code, found.path, found.message)).collect();
    let host = Host::within(outside, Budget::unlimited());
    let bench = plan.map(|plan| {
        let exporter = plan.build(check::build_context(&host, &path));
        Bench { host, exporter }
    });
    (bench, findings)
}

/// Starts an exporter whose body has no faults.
pub async fn start(name: &str, body: &str) -> Bench {
    start_in(name, body, &[]).await
}

/// The same in an environment of these variables.
pub async fn start_in(name: &str, body: &str, environment: &'static [(&'static str, String)]) -> Bench {
    let (bench, findings) = checked_in(name, body, environment);
    assert!(findings.iter().all(|finding| finding.starts_with('W')), "{findings:?}");
    let bench = bench.expect("a plan");
    bench.exporter.start().await.expect("it starts");
    bench
}

impl Bench {
    pub async fn send(&self, request: &ExportTraceServiceRequest) -> Result<(), ConsumeError> {
        self.hear(request).await.0
    }

    /// The answer, and what the sender is told went no further.
    pub async fn hear(&self, request: &ExportTraceServiceRequest) -> (Result<(), ConsumeError>, Vec<Loss>) {
        let (receipt, payload) = payload(request).received(&self.host.balance);
        let settlement = receipt.settlement().clone();
        let answer = self.exporter.consume(payload).await;
        // The part of a receiver: what went back to it ends there.
        receipt.answer(answer.as_ref().copied());
        (answer, settlement.losses())
    }

    pub fn sheet(&self) -> Sheet {
        self.host.balance.sheet(Signal::Traces)
    }

    /// Waits until nothing is held.
    pub async fn settled(&self) -> Sheet {
        eventually("every item has ended", || self.sheet().held == 0).await;
        let sheet = self.sheet();
        assert!(sheet.holds(0), "{sheet:?}");
        sheet
    }

    /// Drains within `allowed` and asserts the balance and the deadline.
    pub async fn drain(&self, allowed: Duration) -> Sheet {
        let began = Instant::now();
        self.exporter.drain(began + allowed).await;
        assert!(began.elapsed() < allowed + Duration::from_secs(3), "the drain outlived its deadline");
        let sheet = self.sheet();
        assert!(sheet.holds(0) && sheet.held == 0, "{sheet:?}");
        sheet
    }
}

pub async fn eventually(what: &str, mut ready: impl FnMut() -> bool) {
    for _ in 0..1_500 {
        if ready() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("fifteen seconds passed before: {what}");
}

pub fn payload(request: &ExportTraceServiceRequest) -> Payload {
    let envelope = decode(request.encode_to_vec().into()).expect("encoded by prost");
    let peer = Some(([10, 0, 0, 1], 1000).into());
    let transport = podgate::core::data::origin::Transport::Grpc;
    let origin = Arc::new(Origin::new(peer, 1, UnixNanos(0), UnixNanos(0), transport));
    let items = count_items(Signal::Traces, &envelope);
    Payload { signal: Signal::Traces, items, envelope, origin, ticket: Ticket::free(), share: Share::none() }
}

/// A request of spans with these names.
pub fn request<'a>(names: impl IntoIterator<Item = &'a str>) -> ExportTraceServiceRequest {
    let span = |name: &str| Span { name: name.to_owned(), trace_id: vec![1; 16], ..Span::default() };
    let spans = names.into_iter().map(span).collect();
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] }
}

pub fn names(request: &ExportTraceServiceRequest) -> Vec<String> {
    let scopes = request.resource_spans.iter().flat_map(|group| &group.scope_spans);
    scopes.flat_map(|scope| &scope.spans).map(|span| span.name.clone()).collect()
}

pub type Answer = Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status>;
type Script = Arc<dyn Fn(usize, &ExportTraceServiceRequest) -> Answer + Send + Sync>;

/// A stock OTLP/gRPC server that answers by a script and remembers requests with their time and metadata.
pub struct Peer {
    pub address: SocketAddr,
    seen: Seen,
    server: JoinHandle<()>,
}

type Call = (Instant, BTreeMap<String, String>, ExportTraceServiceRequest);

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<Call>>>);

struct Scripted {
    seen: Seen,
    script: Script,
}

#[tonic::async_trait]
impl TraceService for Scripted {
    async fn export(&self, request: tonic::Request<ExportTraceServiceRequest>) -> Answer {
        let metadata = request.metadata().clone().into_headers();
        let headers = metadata
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let request = request.into_inner();
        let at = {
            let mut seen = self.seen.0.lock().expect("not poisoned");
            seen.push((Instant::now(), headers, request.clone()));
            seen.len() - 1
        };
        (self.script)(at, &request)
    }
}

pub fn taken() -> Answer {
    Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
}

impl Peer {
    pub async fn start(script: impl Fn(usize, &ExportTraceServiceRequest) -> Answer + Send + Sync + 'static) -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
        Peer::start_on(listener, script).await
    }

    #[expect(clippy::disallowed_methods, reason = "the test owns this server and aborts it on drop")]
    pub async fn start_on(
        listener: TcpListener,
        script: impl Fn(usize, &ExportTraceServiceRequest) -> Answer + Send + Sync + 'static,
    ) -> Peer {
        let address = listener.local_addr().expect("bound");
        let seen = Seen::default();
        let service = TraceServiceServer::new(Scripted { seen: seen.clone(), script: Arc::new(script) })
            .accept_compressed(tonic::codec::CompressionEncoding::Gzip)
            .max_decoding_message_size(64 << 20);
        let incoming = tonic::transport::server::TcpIncoming::from(listener);
        let server = tokio::spawn(async move {
            let served = tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await;
            served.expect("the peer serves");
        });
        Peer { address, seen, server }
    }

    pub fn requests(&self) -> Vec<ExportTraceServiceRequest> {
        self.seen.0.lock().expect("not poisoned").iter().map(|(_, _, request)| request.clone()).collect()
    }

    pub fn times(&self) -> Vec<Instant> {
        self.seen.0.lock().expect("not poisoned").iter().map(|(at, _, _)| *at).collect()
    }

    pub fn headers(&self, at: usize) -> BTreeMap<String, String> {
        self.seen.0.lock().expect("not poisoned")[at].1.clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.server.abort();
    }
}
