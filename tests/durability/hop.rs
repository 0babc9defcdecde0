//! The next hop: an OTLP/gRPC sink by tonic that counts how often each span came.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

#[derive(Clone, Default)]
struct Counting(Arc<Mutex<HashMap<u64, u32>>>);

#[tonic::async_trait]
impl TraceService for Counting {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let mut seen = self.0.lock().expect("not poisoned");
        for group in request.into_inner().resource_spans {
            for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let id: [u8; 8] = span.span_id[..].try_into().expect("eight bytes");
                *seen.entry(u64::from_be_bytes(id)).or_default() += 1;
            }
        }
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

/// Serves until it is dropped, on a thread of its own.
pub struct Hop {
    pub port: u16,
    seen: Counting,
    _runtime: Runtime,
}

impl Hop {
    pub fn at(port: u16) -> Hop {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], port)))).expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let seen = Counting::default();
        let service = TraceServiceServer::new(seen.clone())
            .accept_compressed(tonic::codec::CompressionEncoding::Gzip)
            .max_decoding_message_size(64 << 20);
        runtime.spawn(async move {
            let incoming = tonic::transport::server::TcpIncoming::from(listener);
            _ = tonic::transport::Server::builder().add_service(service).serve_with_incoming(incoming).await;
        });
        Hop { port, seen, _runtime: runtime }
    }

    /// How often each span came.
    pub fn seen(&self) -> MutexGuard<'_, HashMap<u64, u32>> {
        self.seen.0.lock().expect("not poisoned")
    }
}
