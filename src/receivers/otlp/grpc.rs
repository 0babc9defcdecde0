//! The gRPC door: unary Export calls of the four collector services.

use http::header::{CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use http::{Method, Request, Response};
use tokio::time::{Instant, timeout_at};

use crate::core::data::origin::Transport;
use crate::core::data::payload::Signal;
use crate::net::compression::Encoding;
use crate::net::grpc;
use crate::net::server::answer::AnswerBody;
use crate::net::server::body::RequestBody;
use crate::receivers::otlp::fault::RequestFault;
use crate::receivers::otlp::intake::{Notation, ReadRequest, no_pipeline};
use crate::receivers::otlp::reply::Accepted;
use crate::receivers::otlp::report::refusals::AskedFor;
use crate::receivers::otlp::state::{METHODS, OtlpService};

const DEFAULT_CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

/// Answers one call; refused bodies are read after the answer.
pub async fn answer(service: &OtlpService, request: Request<RequestBody>) -> Response<AnswerBody> {
    let (head, mut body) = request.into_parts();
    let content_type = head.headers.get(CONTENT_TYPE).cloned().unwrap_or(DEFAULT_CONTENT_TYPE);
    let routed = route(service, &head.method, head.uri.path(), &content_type);
    let taken = match routed {
        Ok(signal) => take(service, signal, &head, &mut body).await,
        Err(fault) => Err(fault),
    };
    match taken {
        Ok(accepted) => grpc::success(accepted.to_wire(), content_type),
        Err(fault) => {
            let peer = body.connection().peer;
            service.refusals.note(&fault, AskedFor { transport: Transport::Grpc, peer, path: head.uri.path() });
            body.discard(service.protocols.grpc_bytes_max);
            grpc::failure(&fault.status(), content_type)
        }
    }
}

/// Refuses a call before it is looked at.
pub fn refuse(service: &OtlpService, request: Request<RequestBody>, fault: &RequestFault) -> Response<AnswerBody> {
    let (head, body) = request.into_parts();
    let asked = AskedFor { transport: Transport::Grpc, peer: body.connection().peer, path: head.uri.path() };
    service.refusals.note(fault, asked);
    body.discard(service.protocols.grpc_bytes_max);
    let content_type = head.headers.get(CONTENT_TYPE).cloned().unwrap_or(DEFAULT_CONTENT_TYPE);
    grpc::failure(&fault.status(), content_type)
}

fn route(
    service: &OtlpService,
    method: &Method,
    path: &str,
    content_type: &HeaderValue,
) -> Result<Signal, RequestFault> {
    if method != Method::POST {
        return Err(RequestFault::MethodNotAllowed);
    }
    let (_, signal) = METHODS
        .iter()
        .find(|(method, _)| *method == path)
        .ok_or_else(|| RequestFault::UnknownMethod(path.to_owned()))?;
    if !service.intake.takes(*signal) {
        return Err(no_pipeline(*signal));
    }
    // Only protobuf messages are defined for OTLP/gRPC.
    let subtype = content_type.as_bytes().get(b"application/grpc".len()..).unwrap_or_default();
    if subtype.starts_with(b"+") && !subtype.starts_with(b"+proto") {
        return Err(RequestFault::MediaType(String::from_utf8_lossy(content_type.as_bytes()).into_owned()));
    }
    Ok(*signal)
}

async fn take(
    service: &OtlpService,
    signal: Signal,
    head: &Parts,
    body: &mut RequestBody,
) -> Result<Accepted, RequestFault> {
    let origin = service.origin(Transport::Grpc, head, body);
    let encoding = grpc::encoding_of(&head.headers).map_err(RequestFault::UnknownEncoding)?;
    let timeout = grpc::timeout_of(&head.headers).map_err(RequestFault::BadTimeout)?;
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let bytes_max = service.protocols.grpc_bytes_max;

    let reading = grpc::read_message(body, bytes_max);
    let message = match deadline {
        Some(deadline) => timeout_at(deadline, reading).await.map_err(|_| RequestFault::Deadline)??,
        None => reading.await?,
    };
    let encoding = match (message.compressed, encoding) {
        (false, _) => Encoding::Identity,
        (true, Encoding::Identity) => return Err(grpc::FrameError::NoEncoding.into()),
        (true, encoding) => encoding,
    };
    let notation = Notation::Protobuf;
    service
        .intake
        .take(ReadRequest { signal, notation, encoding, body: message.body, origin, bytes_max, deadline })
        .await
}
