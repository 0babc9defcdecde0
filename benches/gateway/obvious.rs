//! The pipeline everybody would write first: tonic in, prost structs, ten attributes pushed, tonic out.

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};

use podgate::telemetry::stdout;

const ADDED: [(&str, &str); 10] = [
    ("k8s.namespace.name", "shop"),
    ("k8s.pod.name", "service-0-7d9c5b6f48-x2x4z"),
    ("k8s.pod.uid", "6f1c2a90-0000-4000-8000-000000000000"),
    ("k8s.pod.start_time", "2026-11-21T10:00:00Z"),
    ("k8s.node.name", "node-1"),
    ("k8s.deployment.name", "service-0"),
    ("k8s.container.name", "app"),
    ("container.id", "3fd33c042f6de349ced57cdd6139c36732534a313ecbf4703484be8685a5df87"),
    ("container.image.name", "registry.example/shop/app"),
    ("container.image.tag", "1.4.2"),
];

struct Obvious {
    next: TraceServiceClient<Channel>,
}

#[tonic::async_trait]
impl TraceService for Obvious {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut request = request.into_inner();
        add_attributes(&mut request);
        self.next.clone().export(request).await
    }
}

pub fn add_attributes(request: &mut ExportTraceServiceRequest) {
    for group in &mut request.resource_spans {
        let resource = group.resource.get_or_insert_default();
        resource.attributes.extend(ADDED.iter().map(|(key, value)| KeyValue {
            key: (*key).to_owned(),
            value: Some(AnyValue { value: Some(any_value::Value::StringValue((*value).to_owned())) }),
            ..KeyValue::default()
        }));
    }
}

/// Serves on a free port, which it prints, and forwards to `sink`.
pub fn run(sink: &str) {
    serve(sink, |next| Obvious { next }, |_| async {});
}

fn channel(sink: &str) -> Channel {
    Channel::from_shared(format!("http://{sink}")).expect("an address").connect_lazy()
}

/// Serves `service` on a free port, which it prints, with `beside` running beside it.
pub fn serve<S: TraceService, F: Future<Output = ()>>(
    sink: &str,
    service: impl FnOnce(TraceServiceClient<Channel>) -> S,
    beside: impl FnOnce(TraceServiceClient<Channel>) -> F,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        let next = TraceServiceClient::new(channel(sink));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        stdout::line(&listener.local_addr().expect("bound").to_string());
        let incoming = futures_util::stream::unfold(listener, |listener| async {
            let accepted: std::io::Result<TcpStream> = listener.accept().await.map(|(stream, _)| {
                let _ = stream.set_nodelay(true);
                stream
            });
            Some((accepted, listener))
        });
        let service = TraceServiceServer::new(service(next.clone())).max_decoding_message_size(64 << 20);
        let served = Server::builder().add_service(service).serve_with_incoming(incoming);
        let (served, ()) = futures_util::future::join(served, beside(next)).await;
        if let Err(error) = served {
            stdout::error_line(&error.to_string());
        }
    });
}
