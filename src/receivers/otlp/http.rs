//! The HTTP door: POST of protobuf or JSON to one path per signal, over HTTP/1.1 and HTTP/2, with CORS.

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ALLOW, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER, VARY, WWW_AUTHENTICATE,
};
use http::{Method, Request, Response};

use crate::core::data::origin::Transport;
use crate::core::data::payload::Signal;
use crate::net::compression::pack::QUICK;
use crate::net::compression::{Encoding, is_worthwhile};
use crate::net::server::answer::AnswerBody;
use crate::net::server::body::RequestBody;
use crate::receivers::otlp::fault::RequestFault;
use crate::receivers::otlp::guard::cors::Cors;
use crate::receivers::otlp::intake::{Notation, ReadRequest, no_pipeline};
use crate::receivers::otlp::reply::Accepted;
use crate::receivers::otlp::report::refusals::AskedFor;
use crate::receivers::otlp::state::OtlpService;

/// The encoding of a request's message, in which its answer is written too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEncoding {
    Protobuf,
    Json,
}

impl BodyEncoding {
    /// Parameters such as `charset` and the case do not matter.
    fn of(content_type: Option<&HeaderValue>) -> Option<BodyEncoding> {
        let essence = content_type?.to_str().ok()?.split(';').next()?.trim();
        if essence.eq_ignore_ascii_case("application/x-protobuf")
            || essence.eq_ignore_ascii_case("application/protobuf")
        {
            return Some(BodyEncoding::Protobuf);
        }
        essence.eq_ignore_ascii_case("application/json").then_some(BodyEncoding::Json)
    }

    fn content_type(self) -> HeaderValue {
        match self {
            BodyEncoding::Protobuf => HeaderValue::from_static("application/x-protobuf"),
            BodyEncoding::Json => HeaderValue::from_static("application/json"),
        }
    }
}

/// Answers one request; refused bodies are read after the answer.
pub async fn answer(service: &OtlpService, request: Request<RequestBody>) -> Response<AnswerBody> {
    let (head, mut body) = request.into_parts();
    let cors = service.protocols.cors.as_ref();
    let asked = AskedFor { transport: Transport::Http, peer: body.connection().peer, path: head.uri.path() };
    if let Some(preflight) = cors.and_then(|cors| cors.preflight(&head.method, &head.headers)) {
        return match preflight {
            Ok(headers) => preflight_allowed(headers),
            Err(fault) => {
                service.refusals.note(&fault, asked);
                failure(BodyEncoding::Json, &fault, &head.headers)
            }
        };
    }
    let speech = BodyEncoding::of(head.headers.get(CONTENT_TYPE));
    let taken = take(service, &head, speech, &mut body).await;
    let mut response = match taken {
        Ok(accepted) => success(speech.unwrap_or(BodyEncoding::Protobuf), &accepted, &head.headers),
        Err(fault) => {
            service.refusals.note(&fault, asked);
            body.discard(service.protocols.http_bytes_max);
            failure(speech.unwrap_or(BodyEncoding::Json), &fault, &head.headers)
        }
    };
    finish(service, cors, &head.headers, response.headers_mut());
    response
}

/// Refuses a request that is not this door's.
pub fn refuse(
    service: &OtlpService,
    request: Request<RequestBody>,
    fault: &RequestFault,
    transport: Transport,
) -> Response<AnswerBody> {
    let (head, body) = request.into_parts();
    service.refusals.note(fault, AskedFor { transport, peer: body.connection().peer, path: head.uri.path() });
    body.discard(service.protocols.http_bytes_max);
    let speech = BodyEncoding::of(head.headers.get(CONTENT_TYPE)).unwrap_or(BodyEncoding::Protobuf);
    let mut response = failure(speech, fault, &head.headers);
    finish(service, service.protocols.cors.as_ref(), &head.headers, response.headers_mut());
    response
}

async fn take(
    service: &OtlpService,
    head: &http::request::Parts,
    speech: Option<BodyEncoding>,
    body: &mut RequestBody,
) -> Result<Accepted, RequestFault> {
    let signal = route(service, &head.method, head.uri.path())?;
    let speech = speech.ok_or_else(|| media_type(head.headers.get(CONTENT_TYPE)))?;
    let encoding = encoding_of(service, &head.headers)?;
    let origin = service.origin(Transport::Http, head, body);
    let bytes_max = service.protocols.http_bytes_max;
    let gathered = body.gather(bytes_max).await?;
    // An empty body is an empty message in every encoding.
    let encoding = if gathered.bytes.is_empty() { Encoding::Identity } else { encoding };
    let notation = match speech {
        BodyEncoding::Json if !gathered.bytes.is_empty() => Notation::Json,
        BodyEncoding::Json => {
            return Err(RequestFault::Undecodable("an empty body is not JSON; an empty request is {}".to_owned()));
        }
        BodyEncoding::Protobuf => Notation::Protobuf,
    };
    let delivery = ReadRequest { signal, notation, encoding, body: gathered, origin, bytes_max, deadline: None };
    service.intake.take(delivery).await
}

fn route(service: &OtlpService, method: &Method, path: &str) -> Result<Signal, RequestFault> {
    let signal = service.protocols.signal_of(path).ok_or_else(|| not_found(service, path))?;
    if method != Method::POST {
        return Err(RequestFault::MethodNotAllowed);
    }
    if !service.intake.takes(signal) {
        return Err(no_pipeline(signal));
    }
    Ok(signal)
}

fn not_found(service: &OtlpService, path: &str) -> RequestFault {
    let paths = service.protocols.paths.join(", ");
    let shown: String = path.chars().take(100).collect();
    RequestFault::NotFound(format!("nothing is at {shown:?}; OTLP/HTTP is at {paths}"))
}

fn media_type(found: Option<&HeaderValue>) -> RequestFault {
    let found = found.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    RequestFault::MediaType(found.unwrap_or_default().chars().take(100).collect())
}

fn encoding_of(service: &OtlpService, headers: &HeaderMap) -> Result<Encoding, RequestFault> {
    let mut names = headers.get_all(CONTENT_ENCODING).iter();
    let (first, second) = (names.next(), names.next());
    let name = first.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default();
    let known = Encoding::parse(&name).filter(|encoding| second.is_none() && service.protocols.decodes(*encoding));
    known.ok_or(RequestFault::UnknownEncoding(name))
}

fn success(speech: BodyEncoding, accepted: &Accepted, request: &HeaderMap) -> Response<AnswerBody> {
    let bytes = match speech {
        BodyEncoding::Protobuf => accepted.to_wire(),
        BodyEncoding::Json => accepted.to_json(),
    };
    written(speech, bytes, request)
}

/// An answer with this message, compressed when asked and worthwhile.
fn written(speech: BodyEncoding, bytes: Bytes, request: &HeaderMap) -> Response<AnswerBody> {
    let compressed = compressed(&bytes, request);
    let is_compressed = compressed.is_some();
    let mut response = Response::new(AnswerBody::full(compressed.unwrap_or(bytes)));
    response.headers_mut().insert(CONTENT_TYPE, speech.content_type());
    if is_compressed {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// gzip when the client takes it and there is something to win.
fn compressed(bytes: &Bytes, request: &HeaderMap) -> Option<Bytes> {
    let accepted = request.get(ACCEPT_ENCODING)?.to_str().ok()?;
    let takes_gzip = accepted.split(',').any(|choice| {
        let mut parts = choice.split(';').map(str::trim);
        let refused = |weight: &str| matches!(weight.trim_start_matches("q="), "0" | "0.0" | "0.00" | "0.000");
        parts.next() == Some("gzip") && !parts.any(|weight| weight.starts_with("q=") && refused(weight))
    });
    if takes_gzip && is_worthwhile(bytes) { QUICK.pack_answer(bytes).ok() } else { None }
}

/// A Status in the request's encoding (OTLP specification, "Failures").
pub fn failure(speech: BodyEncoding, fault: &RequestFault, request: &HeaderMap) -> Response<AnswerBody> {
    let status = fault.status();
    let bytes = match speech {
        BodyEncoding::Protobuf => status.to_wire(),
        BodyEncoding::Json => status.to_json(),
    };
    let mut response = written(speech, bytes, request);
    *response.status_mut() = fault.http_status();
    let headers = response.headers_mut();
    if let Some(seconds) = status.retry_after_seconds {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    match fault {
        RequestFault::MethodNotAllowed => {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        RequestFault::Unauthenticated { challenge, .. } => {
            headers.insert(WWW_AUTHENTICATE, challenge.clone());
        }
        RequestFault::UnknownEncoding(_) => {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(Encoding::ACCEPTED));
        }
        _ => {}
    }
    response
}

fn preflight_allowed(headers: HeaderMap) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::empty());
    *response.status_mut() = http::StatusCode::NO_CONTENT;
    *response.headers_mut() = headers;
    response
}

/// Headers that every answer of this door carries.
fn finish(service: &OtlpService, cors: Option<&Cors>, request: &HeaderMap, answer: &mut HeaderMap) {
    for (name, value) in &service.protocols.response_headers {
        answer.insert(name.clone(), value.clone());
    }
    if let Some(cors) = cors {
        answer.append(VARY, HeaderValue::from_static("Origin"));
        cors.mark(request, answer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_read_without_parameters_and_case() {
        for (value, expected) in [
            ("application/json; charset=utf-8", Some(BodyEncoding::Json)),
            ("application/json; =", Some(BodyEncoding::Json)),
            ("Application/X-Protobuf", Some(BodyEncoding::Protobuf)),
            ("application/protobuf", Some(BodyEncoding::Protobuf)),
            ("text/plain", None),
            ("", None),
        ] {
            assert_eq!(BodyEncoding::of(Some(&HeaderValue::from_static(value))), expected, "{value}");
        }
        assert_eq!(BodyEncoding::of(None), None);
    }

    #[test]
    fn answers_are_compressed_only_when_asked_and_worthwhile() {
        let long = Bytes::from(vec![b'x'; 2000]);
        for (accept, expected) in [("gzip", true), ("br, gzip;q=0.5", true), ("gzip;q=0", false), ("identity", false)] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(accept));
            assert_eq!(compressed(&long, &headers).is_some(), expected, "{accept}");
            assert_eq!(compressed(&Bytes::from_static(b"{}"), &headers), None);
        }
        assert_eq!(compressed(&long, &HeaderMap::new()), None);
    }
}
