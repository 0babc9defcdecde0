//! One OTLP request out, one verdict back, over either protocol.
//!
//! The verdicts are the OTLP specification's: accepted (perhaps in part), refused for now, rejected for good, or no
//! answer at all. Knows the two transports' words for them and nothing of what is sent.

use std::time::Duration;

use ::http::{HeaderMap, Method};
use bytes::Bytes;
use tokio::time::Instant;

use crate::net::client::Client;
use crate::net::client::compress::Compression;
use crate::net::client::grpc::{Code, GrpcMethod};
use crate::net::client::http::HttpRequest;
use crate::net::client::settings::{ClientHttp, ClientSettings};
use crate::net::client::target::{Scheme, Target};
use crate::otlp::fields::{partial_success, response};
use crate::otlp::walk::Fields;

/// A request without an answer counts as failed after this.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
const GRPC_PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const HTTP_PATH: &str = "/v1/traces";

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LoadProtocol {
    Grpc,
    Http,
}

impl LoadProtocol {
    pub fn default_endpoint(self) -> &'static str {
        match self {
            LoadProtocol::Grpc => "127.0.0.1:4317",
            LoadProtocol::Http => "http://127.0.0.1:4318",
        }
    }

    fn port(self) -> fn(Scheme) -> u16 {
        match self {
            LoadProtocol::Grpc => |_| 4317,
            LoadProtocol::Http => |_| 4318,
        }
    }
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendResult {
    /// Taken, but for this many items that the receiver rejected one by one (partial success).
    Accepted { rejected: u64 },
    /// Not now; a client would retry.
    Refused(String),
    /// Never; a client would drop the data.
    Rejected(String),
    /// No usable answer.
    Failed(String),
}

pub struct LoadSender {
    client: Client,
    method: GrpcMethod,
    protocol: LoadProtocol,
    compression: Compression,
    path: String,
    /// Longest piece of an uncompressed body; 0 leaves it whole.
    piece_bytes: usize,
}

impl LoadSender {
    /// The error is one sentence about the endpoint. TLS is not spoken: load is made where the gateway is.
    pub fn new(
        endpoint: &str,
        protocol: LoadProtocol,
        compression: Compression,
        connections: usize,
    ) -> Result<LoadSender, String> {
        let target = Target::parse(endpoint, Some(protocol.port()))?;
        if target.scheme == Scheme::Https {
            return Err("TLS is not spoken by the load generator; give a plaintext endpoint".to_owned());
        }
        let speech = match protocol {
            LoadProtocol::Grpc => ClientHttp::Http2,
            LoadProtocol::Http => ClientHttp::ByAgreement,
        };
        let path = format!("{}{HTTP_PATH}", target.path.trim_end_matches('/'));
        let mut settings = ClientSettings::new(target, speech);
        settings.connections = connections.max(1);
        settings.http1_max = 1_000;
        let method = GrpcMethod::new(GRPC_PATH, compression, HeaderMap::new());
        Ok(LoadSender { client: Client::new(settings), method, protocol, compression, path, piece_bytes: 0 })
    }

    /// Sends bodies in pieces of at most `bytes`, as clients with small frames do; 0 leaves them whole.
    pub fn in_pieces(self, bytes: usize) -> LoadSender {
        LoadSender { piece_bytes: bytes, ..self }
    }

    fn parts(&self, mut body: Bytes) -> Vec<Bytes> {
        let mut parts = Vec::new();
        while self.piece_bytes > 0 && body.len() > self.piece_bytes {
            parts.push(body.split_to(self.piece_bytes));
        }
        parts.push(body);
        parts
    }

    /// Sends one `ExportTraceServiceRequest`.
    pub async fn send(&self, body: Bytes) -> SendResult {
        let deadline = Instant::now() + ANSWER_WAIT;
        match self.protocol {
            LoadProtocol::Grpc => self.send_grpc(body, deadline).await,
            LoadProtocol::Http => self.send_http(body, deadline).await,
        }
    }

    pub async fn close(&self) {
        self.client.close().await;
    }

    async fn send_grpc(&self, body: Bytes, deadline: Instant) -> SendResult {
        let reply = match self.client.grpc_unary(&self.method, self.parts(body), deadline).await {
            Ok(reply) => reply,
            Err(failure) => return SendResult::Failed(failure.to_string()),
        };
        let said = || format!("{} {}", reply.code.name(), reply.message);
        // The OTLP specification's table of retryable gRPC codes.
        match reply.code {
            Code::OK => SendResult::Accepted { rejected: rejected_items(&reply.body) },
            Code::CANCELLED
            | Code::DEADLINE_EXCEEDED
            | Code::ABORTED
            | Code::OUT_OF_RANGE
            | Code::UNAVAILABLE
            | Code::DATA_LOSS => SendResult::Refused(said()),
            Code::RESOURCE_EXHAUSTED if reply.details.is_some() => SendResult::Refused(said()),
            _ => SendResult::Rejected(said()),
        }
    }

    async fn send_http(&self, body: Bytes, deadline: Instant) -> SendResult {
        let request = HttpRequest {
            method: Method::POST,
            path: self.path.clone(),
            content_type: "application/x-protobuf",
            headers: HeaderMap::new(),
            parts: self.parts(body),
            compression: self.compression,
            deadline,
        };
        match self.client.http(request).await {
            Err(failure) => SendResult::Failed(failure.to_string()),
            Ok(reply) => match reply.status {
                200..=299 => SendResult::Accepted { rejected: rejected_items(&reply.body) },
                429 | 502 | 503 | 504 => SendResult::Refused(format!("HTTP {}", reply.status)),
                status => SendResult::Rejected(format!("HTTP {status}")),
            },
        }
    }
}

/// `ExportTraceServiceResponse.partial_success.rejected_spans`; an answer that is not that counts as none rejected.
fn rejected_items(answer: &[u8]) -> u64 {
    let partial = Fields::new(answer).flatten().filter(|field| field.number == response::PARTIAL_SUCCESS).last();
    let Some(partial) = partial.and_then(|field| field.bytes().ok()) else { return 0 };
    let rejected = Fields::new(partial).flatten().filter(|field| field.number == partial_success::REJECTED).last();
    rejected.and_then(|field| field.varint().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::{ExportTracePartialSuccess, ExportTraceServiceResponse};
    use prost::Message;

    use super::*;

    #[test]
    fn rejected_spans_are_read_from_a_partial_success_and_from_nothing_else() {
        let partial = ExportTracePartialSuccess { rejected_spans: 7, error_message: "too deep".into() };
        let answer = ExportTraceServiceResponse { partial_success: Some(partial) }.encode_to_vec();
        assert_eq!(rejected_items(&answer), 7);
        assert_eq!(rejected_items(b""), 0);
        assert_eq!(rejected_items(b"{\"partialSuccess\":{}}"), 0);
    }

    #[test]
    fn an_endpoint_that_cannot_be_used_is_a_sentence() {
        for endpoint in ["", "https://gateway:4317", "a b:1"] {
            assert!(LoadSender::new(endpoint, LoadProtocol::Grpc, Compression::None, 1).is_err(), "{endpoint:?}");
        }
        assert!(LoadSender::new("http://gateway", LoadProtocol::Http, Compression::None, 1).is_ok());
    }
}
