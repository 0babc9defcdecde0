//! What went wrong in words: the code a reader can search for, the cause, and what to do about it.
//!
//! The sentences are part of the product: the README quotes them. One place, so that both protocols say the same.

use crate::exporters::otlp::preset::Preset;
use crate::net::client::failure::CallFailure;
use crate::net::client::grpc::Code;
use crate::sending::report::condition::Trouble;
use crate::sending::report::cure::PeerCures;

/// What is known of the exporter that has the trouble.
#[derive(Clone, Copy, Debug)]
pub struct ExporterFacts {
    /// An Authorization header is configured.
    pub authorized: bool,
    pub preset: Preset,
}

const CURES: PeerCures = PeerCures {
    refused: "nothing listens there: is the next hop running, and is this its port (4317 gRPC, 4318 HTTP, 8200 APM Server)?",
    tls: "check ca_file, server_name_override and the dates of the next hop's certificate",
    peer_is_plaintext: "the next hop does not speak TLS: set tls: {insecure: true}, or http:// in the endpoint",
    peer_is_tls: "the next hop wants TLS: remove tls.insecure, or write https:// in the endpoint",
    peer_is_http1: ("not gRPC", "this is an HTTP port: use otlp_http, or the gRPC port (4317)"),
    deadline: "the next hop is slow or stuck: look at its load, or raise timeout",
    broken: "the next hop closed the connection: look at its log and its limits",
    unreadable: "is this an OTLP receiver? check port and path",
};

const NO_OTLP_HERE: &str = "no OTLP service answers there: check port and path (4317 is OTLP/gRPC, 4318 OTLP/HTTP with /v1/traces, 8200 APM Server)";

pub const NO_COMPRESSION_THERE: &str = "the next hop cannot read this compression: set compression: none";

/// The words of servers that cannot decompress.
pub fn is_about_compression(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["compress", "encoding", "gzip", "zstd", "snappy", "deflate"].iter().any(|word| message.contains(word))
}

impl ExporterFacts {
    /// No answer came.
    pub fn no_answer(&self, failure: &CallFailure) -> Trouble {
        CURES.no_answer(failure)
    }

    /// A gRPC answer that is not OK.
    pub fn grpc_status(&self, code: Code, message: String) -> Trouble {
        let cure = match code {
            Code::UNAUTHENTICATED | Code::PERMISSION_DENIED => Some(self.credentials()),
            Code::UNIMPLEMENTED if is_about_compression(&message) => Some(NO_COMPRESSION_THERE.to_owned()),
            Code::UNIMPLEMENTED => Some(NO_OTLP_HERE.to_owned()),
            Code::RESOURCE_EXHAUSTED => Some(
                "the next hop limits rate or message size: raise its limits, or set sending_queue.batch.max_size"
                    .to_owned(),
            ),
            Code::UNAVAILABLE => Some("the next hop is overloaded or starting: look at its log".to_owned()),
            _ => None,
        };
        Trouble { code: code.name().to_owned(), message, cure }
    }

    /// An HTTP answer that is not a success.
    pub fn http_status(&self, status: u16, message: String) -> Trouble {
        let cure = match status {
            401 | 403 => Some(self.credentials()),
            404 | 405 => Some(NO_OTLP_HERE.to_owned()),
            400 if is_about_compression(&message) => Some(NO_COMPRESSION_THERE.to_owned()),
            300..=399 => Some("the endpoint moved: configure the address it redirects to".to_owned()),
            413 => Some("the next hop accepts only smaller requests: set sending_queue.batch.max_size".to_owned()),
            415 => Some("the next hop does not accept protobuf or this compression: try compression: none".to_owned()),
            429 | 503 => Some("the next hop is overloaded: look at its log".to_owned()),
            500 if self.preset == Preset::ApmServer => {
                Some("APM Server answers 500 also to missing credentials: check Authorization and its log".to_owned())
            }
            _ => None,
        };
        Trouble { code: format!("HTTP {status}"), message, cure }
    }

    /// A success that is none of OTLP's.
    pub fn not_otlp(&self, status: u16, message: String) -> Trouble {
        Trouble { code: format!("HTTP {status}"), message, cure: Some(NO_OTLP_HERE.to_owned()) }
    }

    fn credentials(&self) -> String {
        self.preset.credentials(self.authorized).to_owned()
    }
}
