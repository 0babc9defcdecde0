//! gRPC's health checking protocol on the receiver's doors: `Check`, `List` and `Watch` of `grpc.health.v1.Health`.
//!
//! What it says is what `/readyz` says: the gateway takes work, or it does not. The empty name is the gateway, the other
//! names are the collector services; one whose signal has no pipeline does not serve. It knows the readiness that the
//! gateway set and no component's state. Answers are given while memory is short, too: they hold none of it.

use bytes::Bytes;
use futures_util::stream;
use futures_util::stream::Stream;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, Request, Response};
use http_body::Frame;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::core::data::origin::Transport;
use crate::net::client::grpc::Code;
use crate::net::compression::Encoding;
use crate::net::grpc;
use crate::net::server::accept::Stop;
use crate::net::server::answer::AnswerBody;
use crate::net::server::body::RequestBody;
use crate::net::server::connection::facts::OpenStream;
use crate::net::status::Status;
use crate::otlp::fields::health::{
    health as service_of_health, health_check_request, health_check_response, health_list_response,
    health_list_response_statuses_entry as entry, serving_status,
};
use crate::otlp::walk::Fields;
use crate::otlp::write;
use crate::receivers::otlp::fault::RequestFault;
use crate::receivers::otlp::report::refusals::AskedFor;
use crate::receivers::otlp::state::{METHODS, OtlpService, WATCHES_MAX};

/// Longest request: names of services are shorter by far.
const REQUEST_BYTES_MAX: usize = 1 << 10;

/// Of those, on one connection. A client needs one for each service that it balances.
const WATCHES_PER_CONNECTION_MAX: usize = 8;
const DEFAULT_CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");

/// Whether a gRPC request is of this service.
pub fn is_asked<B>(request: &Request<B>) -> bool {
    let path = request.uri().path().strip_prefix('/').and_then(|path| path.strip_prefix(service_of_health::FULL_NAME));
    path.is_some_and(|rest| rest.starts_with('/'))
}

/// Answers one call.
pub async fn answer(service: &OtlpService, request: Request<RequestBody>) -> Response<AnswerBody> {
    let (head, mut body) = request.into_parts();
    let content_type = head.headers.get(CONTENT_TYPE).cloned().unwrap_or(DEFAULT_CONTENT_TYPE);
    let asked = match head.method == Method::POST {
        true => ask(service, head.uri.path(), &head.headers, &mut body).await,
        false => Err(RequestFault::MethodNotAllowed),
    };
    match asked {
        Ok(Answer::Message(message)) => grpc::success(message, content_type),
        Ok(Answer::Watch(watching)) => grpc::streaming(frames(watching), content_type),
        Ok(Answer::Status(status)) => grpc::failure(&status, content_type),
        Err(fault) => {
            let peer = body.connection().peer;
            service.refusals.note(&fault, AskedFor { transport: Transport::Grpc, peer, path: head.uri.path() });
            body.discard(REQUEST_BYTES_MAX as u64);
            grpc::failure(&fault.status(), content_type)
        }
    }
}

enum Answer {
    Message(Bytes),
    Watch(Watching),
    Status(Status),
}

async fn ask(
    service: &OtlpService,
    path: &str,
    headers: &HeaderMap,
    body: &mut RequestBody,
) -> Result<Answer, RequestFault> {
    let deadline = grpc::timeout_of(headers).map_err(RequestFault::BadTimeout)?;
    let deadline = deadline.and_then(|timeout| Instant::now().checked_add(timeout));
    let encoding = grpc::encoding_of(headers).map_err(RequestFault::UnknownEncoding)?;
    let reading = read(service, encoding, body);
    let message = match deadline {
        Some(deadline) => timeout_at(deadline, reading).await.map_err(|_| RequestFault::Deadline)??,
        None => reading.await?,
    };
    let ready = *service.health.ready.borrow();
    match path {
        service_of_health::CHECK => {
            let name = named(&message)?;
            Ok(match known(service, &name) {
                Some(known) => Answer::Message(response(status(known, ready))),
                None => Answer::Status(Status::new(Code::NOT_FOUND, unknown(&name))),
            })
        }
        service_of_health::LIST => Ok(Answer::Message(list(service, ready))),
        service_of_health::WATCH => Ok(watch(service, &named(&message)?, deadline, body)),
        _ => Err(RequestFault::UnknownMethod(path.to_owned())),
    }
}

async fn read(service: &OtlpService, encoding: Encoding, body: &mut RequestBody) -> Result<Bytes, RequestFault> {
    let message = grpc::read_short_message(body, REQUEST_BYTES_MAX).await?;
    match (message.compressed, encoding) {
        (false, _) => Ok(message.body.bytes),
        (true, Encoding::Identity) => Err(grpc::FrameError::NoEncoding.into()),
        (true, encoding) => {
            let inflater = &service.intake.inflater;
            Ok(inflater.inflate(encoding, message.body, REQUEST_BYTES_MAX as u64).await?.bytes)
        }
    }
}

/// The name in a request; bytes that are no text are a name that nobody has.
fn named(request: &[u8]) -> Result<String, RequestFault> {
    let mut name = String::new();
    for field in Fields::new(request) {
        let field = field.map_err(|error| RequestFault::Undecodable(error.to_string()))?;
        if field.number == health_check_request::SERVICE {
            let bytes = field.bytes().map_err(|error| RequestFault::Undecodable(error.to_string()))?;
            name = String::from_utf8_lossy(bytes).into_owned();
        }
    }
    Ok(name)
}

/// Names that are answered for, with whether something stands behind each.
fn names(service: &OtlpService) -> impl Iterator<Item = (&'static str, bool)> {
    let services = METHODS.into_iter().map(|(path, signal)| {
        let name = path.strip_prefix('/').and_then(|path| path.rsplit_once('/')).map_or("", |(name, _)| name);
        (name, service.intake.takes(signal))
    });
    std::iter::once(("", true)).chain(services)
}

/// Whether something stands behind the name; `None` for one that is not known.
fn known(service: &OtlpService, name: &str) -> Option<bool> {
    names(service).find(|(known, _)| *known == name).map(|(_, served)| served)
}

fn unknown(name: &str) -> String {
    let shown: String = name.chars().take(100).collect();
    format!("no service {shown:?}; ask for the empty name, or for a collector service such as {:?}", METHODS[0].0)
}

fn status(served: bool, ready: bool) -> u32 {
    if served && ready { serving_status::SERVING } else { serving_status::NOT_SERVING }
}

/// A `HealthCheckResponse`.
fn response(status: u32) -> Bytes {
    let mut out = Vec::with_capacity(2); // granted: an answer of ours
    write::key(&mut out, health_check_response::STATUS, write::VARINT);
    write::varint(&mut out, u64::from(status));
    Bytes::from(out)
}

/// A `HealthListResponse`.
fn list(service: &OtlpService, ready: bool) -> Bytes {
    let mut out = Vec::new();
    for (name, served) in names(service) {
        let mut row = Vec::new();
        write::bytes(&mut row, entry::KEY, name.as_bytes());
        write::bytes(&mut row, entry::VALUE, &response(status(served, ready)));
        write::bytes(&mut out, health_list_response::STATUSES, &row);
    }
    Bytes::from(out)
}

/// A watch, or why there is no place for it.
fn watch(service: &OtlpService, name: &str, deadline: Option<Instant>, body: &RequestBody) -> Answer {
    let health = &service.health;
    let stream = body.connection().stream(WATCHES_PER_CONNECTION_MAX);
    let place = health.watches.clone().try_acquire_owned().ok();
    let (Some(stream), Some(place)) = (stream, place) else {
        let message = format!(
            "{WATCHES_MAX} watches are open here, or {WATCHES_PER_CONNECTION_MAX} on this connection; ask by Check instead"
        );
        return Answer::Status(Status::new(Code::RESOURCE_EXHAUSTED, message));
    };
    let (ready, stop) = (health.ready.clone(), health.stop.clone());
    Answer::Watch(Watching { known: known(service, name), ready, stop, deadline, told: None, _places: (stream, place) })
}

/// One watch between two messages.
struct Watching {
    /// As [`known`] has it.
    known: Option<bool>,
    ready: watch::Receiver<bool>,
    stop: Stop,
    deadline: Option<Instant>,
    /// What the client was told last.
    told: Option<u32>,
    _places: (OpenStream, OwnedSemaphorePermit),
}

fn frames(watching: Watching) -> impl Stream<Item = Frame<Bytes>> + Send {
    stream::unfold(Some(watching), |watching| async { watching?.next().await })
}

impl Watching {
    /// The status whenever it is another than the client was told; at the drain or the caller's deadline the end.
    async fn next(mut self) -> Option<(Frame<Bytes>, Option<Watching>)> {
        loop {
            let ready = *self.ready.borrow_and_update();
            let status = self.known.map_or(serving_status::SERVICE_UNKNOWN, |served| status(served, ready));
            if self.told.replace(status) != Some(status) {
                return Some((grpc::data(&response(status)), Some(self)));
            }
            if self.stop.borrow_and_update().is_some() {
                let status = Status::new(Code::UNAVAILABLE, "the gateway is draining");
                return Some((grpc::end(&status), None));
            }
            let deadline = self.deadline;
            let over = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            let lost = tokio::select! {
                changed = self.ready.changed() => changed.is_err(),
                changed = self.stop.changed() => changed.is_err(),
                () = over => {
                    let status = Status::new(Code::DEADLINE_EXCEEDED, "the caller's deadline passed");
                    return Some((grpc::end(&status), None));
                }
            };
            if lost {
                // Who would tell of a change is gone, and so is the gateway.
                let status = Status::new(Code::UNAVAILABLE, "the gateway has stopped");
                return Some((grpc::end(&status), None));
            }
        }
    }
}
