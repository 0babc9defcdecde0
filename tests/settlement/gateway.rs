//! What a sender hears from the whole gateway: the next hop's own words and count, and the end of its own patience.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tokio::net::TcpListener;

use crate::support::{Sink, drain, free_port, post, request, sheet, span, start};

/// Takes all spans of a request but two.
#[derive(Clone, Default)]
struct Stingy {
    asked: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl TraceService for Stingy {
    async fn export(
        &self,
        _: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let partial = ExportTracePartialSuccess { rejected_spans: 2, error_message: "quota of tenant x".to_owned() };
        Ok(tonic::Response::new(ExportTraceServiceResponse { partial_success: Some(partial) }))
    }
}

#[expect(clippy::disallowed_methods, reason = "the server ends with the test's runtime")]
async fn stingy() -> (Stingy, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
    let address = listener.local_addr().expect("bound");
    let service = Stingy::default();
    let server = TraceServiceServer::new(service.clone()).accept_compressed(tonic::codec::CompressionEncoding::Gzip);
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(
        async move { tonic::transport::Server::builder().add_service(server).serve_with_incoming(incoming).await },
    );
    (service, address)
}

/// otlp -> `exporters` without queues.
fn yaml(port: u16, exporters: &[SocketAddr], more: &str) -> String {
    let names: Vec<String> = (0..exporters.len()).map(|at| format!("otlp_grpc/{at}")).collect();
    let blocks: Vec<String> = names
        .iter()
        .zip(exporters)
        .map(|(name, address)| {
            format!(
                "  {name}: {{endpoint: '{address}', tls: {{insecure: true}}, sending_queue: {{enabled: false}}{more}}}"
            )
        })
        .collect();
    format!(
        "
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{port}'}}}}}}}}
exporters:
{}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines: {{traces: {{receivers: [otlp], exporters: [{}]}}}}
",
        blocks.join("\n"),
        names.join(", ")
    )
}

/// B9 of the review: the client heard that four of three spans were rejected, and a reason that was nobody's.
#[tokio::test(flavor = "multi_thread")]
async fn two_next_hops_that_reject_two_of_three_spans_make_the_sender_hear_two_and_their_words() {
    let ((first, one), (second, other)) = (stingy().await, stingy().await);
    let port = free_port();
    let gateway = start(&yaml(port, &[one, other], "")).await;
    let spans = request(Vec::new(), vec![span(1, 1, 1), span(1, 2, 1), span(1, 3, 1)]);
    let mut client = TraceServiceClient::connect(format!("http://127.0.0.1:{port}")).await.expect("gRPC connects");
    let answer = client.export(spans.clone()).await.expect("success").into_inner();
    let partial = answer.partial_success.expect("partial success");
    assert_eq!(partial.rejected_spans, 2);
    assert!(partial.error_message.contains("quota of tenant x"), "{partial:?}");
    assert!(!partial.error_message.contains("malformed"), "{partial:?}");

    let json = serde_json::to_vec(&spans).expect("JSON");
    let (status, body) = post(port, "/v1/traces", "application/json", &json).await;
    let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!((status, &body["partialSuccess"]["rejectedSpans"]), (200, &"2".into()));
    let words = body["partialSuccess"]["errorMessage"].as_str().unwrap_or_default();
    assert!(words.contains("quota of tenant x"), "{words}");
    assert_eq!((first.asked.load(Ordering::Relaxed), second.asked.load(Ordering::Relaxed)), (2, 2));
    let sheets = drain(gateway).await;
    let sheet = &sheets["traces"];
    assert_eq!((sheet.received, sheet.copied, sheet.delivered, sheet.dropped["partial_success"]), (6, 6, 4, 8));
}

/// B7 of the review: seven calls with a deadline of a second, a next hop that is down for longer; all seven were delivered.
#[tokio::test(flavor = "multi_thread")]
async fn calls_whose_deadline_passed_are_not_delivered_when_the_next_hop_comes_back() {
    let (port, hop) = (free_port(), free_port());
    let hop: SocketAddr = ([127, 0, 0, 1], hop).into();
    let retries = ", retry_on_failure: {initial_interval: 300ms, max_interval: 300ms}";
    let gateway = start(&yaml(port, &[hop], retries)).await;
    let mut client = TraceServiceClient::connect(format!("http://127.0.0.1:{port}")).await.expect("gRPC connects");
    for at in 0..3 {
        let mut call = tonic::Request::new(request(Vec::new(), vec![span(1, at, 1)]));
        call.set_timeout(Duration::from_millis(500));
        let heard = client.export(call).await.expect_err("the next hop is down");
        assert!(matches!(heard.code(), tonic::Code::DeadlineExceeded | tonic::Code::Cancelled), "{heard:?}");
    }
    // Whatever is between two attempts has ended by now: none waits for longer than 450 ms.
    crate::support::eventually("every call has ended", || sheet(&gateway).held == 0).await;
    assert_eq!(sheet(&gateway).refused, 3, "{:?}", sheet(&gateway));
    let sink = Sink::at(hop).await;
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    assert_eq!(sink.spans().len(), 0, "nobody waits for these any more");
    drain(gateway).await;
}
