//! One request: which protocol, which signal, read, take, answer. Both listeners run this same service.
//!
//! A panic anywhere below answers its own request with INTERNAL or 500 and is counted; the gateway runs on.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Request, Response, Version};

use crate::core::data::origin::Transport;
use crate::net::grpc;
use crate::net::server::accept::{Responding, Service};
use crate::net::server::answer::AnswerBody;
use crate::net::server::body::RequestBody;
use crate::receivers::otlp::fault::RequestFault;
use crate::receivers::otlp::guard::Guard;
use crate::receivers::otlp::state::OtlpService;
use crate::receivers::otlp::{grpc as grpc_door, health, http as http_door};

/// Cheap to clone: two pointers per request.
#[derive(Clone)]
pub struct Shared {
    pub service: Arc<OtlpService>,
    /// Of the door by which requests come.
    pub guard: Arc<Guard>,
}

impl Service for Shared {
    fn respond(&self, mut request: Request<RequestBody>) -> Responding {
        let Shared { service, guard } = self.clone();
        Box::pin(async move {
            let speaks_grpc = is_grpc(request.headers());
            let transport = if speaks_grpc { Transport::Grpc } else { Transport::Http };
            let content_type = request.headers().get(CONTENT_TYPE).cloned();
            let http2 = request.version() == Version::HTTP_2;
            let answered = AssertUnwindSafe(async {
                if speaks_grpc && http2 && health::is_asked(&request) {
                    return health::answer(&service, request).await;
                }
                match guard.admit(transport, &request.method().clone(), request.headers()).await {
                    Ok(identity) => drop(identity.map(|identity| request.extensions_mut().insert(identity))),
                    Err(fault) => return refused(&service, request, &fault, transport),
                }
                match speaks_grpc {
                    true if http2 => grpc_door::answer(&service, request).await,
                    true => http_door::refuse(&service, request, &RequestFault::NeedsHttp2, transport),
                    false => http_door::answer(&service, request).await,
                }
            });
            let response = answered.catch_unwind().await;
            service.intake.counts.request(transport);
            response.unwrap_or_else(|_panic| {
                service.intake.counts.panicked();
                panicked(content_type.filter(|_| speaks_grpc && http2))
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
        let response = refused(&self.service, request, &fault, transport);
        self.service.intake.counts.request(transport);
        Box::pin(std::future::ready(response))
    }
}

/// Refuses a request before its body is read, in the words of its protocol.
fn refused(
    service: &OtlpService,
    request: Request<RequestBody>,
    fault: &RequestFault,
    transport: Transport,
) -> Response<AnswerBody> {
    match transport == Transport::Grpc && request.version() == Version::HTTP_2 {
        true => grpc_door::refuse(service, request, fault),
        false => http_door::refuse(service, request, fault, transport),
    }
}

/// The answer to a request whose task panicked.
fn panicked(grpc_content_type: Option<HeaderValue>) -> Response<AnswerBody> {
    match grpc_content_type {
        Some(content_type) => grpc::failure(&RequestFault::Panicked.status(), content_type),
        None => http_door::failure(http_door::BodyEncoding::Json, &RequestFault::Panicked, &HeaderMap::new()),
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
