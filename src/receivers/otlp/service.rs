//! One request: which protocol, which signal, read, take, answer. Both listeners run this same service.
//!
//! A panic anywhere below answers its own request with INTERNAL or 500 and is counted; the gateway runs on.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Request, Response, Version};

use crate::core::data::origin::{Origin, Transport};
use crate::core::data::payload::Signal;
use crate::core::time::UnixNanos;
use crate::net::grpc;
use crate::net::server::accept::{Responding, Service};
use crate::net::server::answer::AnswerBody;
use crate::net::server::body::RequestBody;
use crate::otlp::fields::{collector_logs, collector_metrics, collector_profiles, collector_trace};
use crate::receivers::otlp::config::Protocols;
use crate::receivers::otlp::fault::RequestFault;
use crate::receivers::otlp::health::Health;
use crate::receivers::otlp::intake::Intake;
use crate::receivers::otlp::report::refusals::Refusals;
use crate::receivers::otlp::{grpc as grpc_door, health, http as http_door};

/// What all requests of a receiver share.
pub struct OtlpService {
    pub intake: Intake,
    pub protocols: Protocols,
    pub refusals: Refusals,
    pub health: Health,
}

/// Cheap to clone: one pointer per request.
#[derive(Clone)]
pub struct Shared(pub Arc<OtlpService>);

impl Service for Shared {
    fn respond(&self, request: Request<RequestBody>) -> Responding {
        let service = self.0.clone();
        Box::pin(async move {
            let speaks_grpc = is_grpc(request.headers());
            let transport = if speaks_grpc { Transport::Grpc } else { Transport::Http };
            let content_type = request.headers().get(CONTENT_TYPE).cloned();
            let http2 = request.version() == Version::HTTP_2;
            let answered = AssertUnwindSafe(async {
                match speaks_grpc {
                    true if http2 && health::is_asked(&request) => health::answer(&service, request).await,
                    true if http2 => grpc_door::answer(&service, request).await,
                    true => http_door::refuse(&service, request, &RequestFault::NeedsHttp2, transport),
                    false => http_door::answer(&service, request).await,
                }
            });
            let response = answered.catch_unwind().await;
            service.intake.counts.request(transport);
            response.unwrap_or_else(|_panic| {
                service.intake.counts.panicked();
                service.panicked(content_type.filter(|_| speaks_grpc && http2))
            })
        })
    }

    fn overloaded(&self, request: Request<RequestBody>) -> Responding {
        if request.version() == Version::HTTP_2 && health::is_asked(&request) {
            // Costs next to nothing, and a probe that hears "unavailable" would have the pod taken away.
            return self.respond(request);
        }
        let fault = RequestFault::Overloaded("there is no memory for this connection's requests now".to_owned());
        let speaks_grpc = is_grpc(request.headers());
        let transport = if speaks_grpc { Transport::Grpc } else { Transport::Http };
        let response = match speaks_grpc && request.version() == Version::HTTP_2 {
            true => grpc_door::refuse(&self.0, request, &fault),
            false => http_door::refuse(&self.0, request, &fault, transport),
        };
        self.0.intake.counts.request(transport);
        Box::pin(std::future::ready(response))
    }
}

impl OtlpService {
    fn panicked(&self, grpc_content_type: Option<HeaderValue>) -> Response<AnswerBody> {
        match grpc_content_type {
            Some(content_type) => grpc::failure(&RequestFault::Panicked.status(), content_type),
            None => http_door::failure(http_door::BodyEncoding::Json, &RequestFault::Panicked, &HeaderMap::new()),
        }
    }

    /// Facts of the sender, taken before the body is read.
    pub fn origin(&self, transport: Transport, headers: &HeaderMap, body: &mut RequestBody) -> Origin {
        if let Some(name) = self.tenant(headers, body) {
            body.set_tenant(name);
        }
        let connection = body.connection();
        let mut origin =
            Origin::new(connection.peer, connection.number, connection.accepted_at, UnixNanos::now(), transport);
        if self.protocols.include_metadata(transport) {
            let texts = headers.iter().filter_map(|(name, value)| {
                let value = value.to_str().ok()?;
                Some((name.as_str().to_owned(), value.to_owned()))
            });
            origin.headers = texts.collect();
        }
        origin
    }

    /// Who shares memory with others: a header's value when configured, else the pod behind the address when known.
    fn tenant(&self, headers: &HeaderMap, body: &RequestBody) -> Option<Arc<str>> {
        let header = self.protocols.tenant_header.as_ref().and_then(|name| headers.get(name)?.to_str().ok());
        header.map(Arc::from).or_else(|| {
            let peer = body.connection().peer?;
            self.intake.host.peer_identity.get()?.identify(peer.ip())
        })
    }
}

/// `application/grpc`, alone or with a suffix or parameters.
fn is_grpc(headers: &HeaderMap) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).is_some_and(|value| {
        value.get(..GRPC.len()).is_some_and(|head| head.eq_ignore_ascii_case(GRPC))
            && matches!(value.get(GRPC.len()), None | Some(b'+' | b';' | b' '))
    })
}

/// Signals with the name of their gRPC service's Export method.
pub const METHODS: [(&str, Signal); 4] = [
    (collector_trace::trace_service::EXPORT, Signal::Traces),
    (collector_metrics::metrics_service::EXPORT, Signal::Metrics),
    (collector_logs::logs_service::EXPORT, Signal::Logs),
    (collector_profiles::profiles_service::EXPORT, Signal::Profiles),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_is_told_by_its_content_type_with_suffix_parameters_and_case() {
        for (value, expected) in [
            ("application/grpc", true),
            ("Application/gRPC+proto", true),
            ("application/grpc; charset=x", true),
            ("application/grpc-web", false),
            ("application/json", false),
            ("application/grp", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(value));
            assert_eq!(is_grpc(&headers), expected, "{value}");
        }
    }
}
