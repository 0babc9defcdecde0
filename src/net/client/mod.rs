//! The client side of the net layer: a pool of HTTP connections with gRPC unary calls and plain HTTP requests over it.
//!
//! It exists so that every exporter shares one set of rules: deadlines, capped answers, reconnect backoff, causes that tell
//! what is wrong. It retries nothing but requests the peer certainly did not see, and knows no OTLP.

pub mod answer;
pub mod chunks;
pub mod compress;
pub mod connect;
pub mod failure;
pub mod grpc;
pub mod http;
mod http2;
mod pool;
mod reply;
pub mod settings;
pub mod target;

use std::borrow::Cow;
use std::sync::Arc;

use ::http::header::{CONTENT_LENGTH, HOST, HeaderName, PROXY_AUTHORIZATION};
use ::http::uri::{PathAndQuery, Scheme};
use ::http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, Version};
use bytes::Buf;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use tokio::time::{Instant, timeout_at};

use crate::core::data::budget::Budget;
use crate::core::outside::Outside;
use crate::net::client::answer::AnswerBounds;
use crate::net::client::chunks::{Chunks, Outgoing};
use crate::net::client::connect::tunnel;
use crate::net::client::failure::CallFailure;
use crate::net::client::pool::{Lent, Pool};
use crate::net::client::reply::Reply;
use crate::net::client::settings::ClientSettings;

/// A request the peer certainly did not see is sent again at once, but not for ever.
const SENDS_MAX: usize = 3;
/// `podgate/0.1.0`
pub const USER_AGENT: &str = concat!("podgate/", env!("CARGO_PKG_VERSION"));

/// Sends requests to one target. Opens nothing before the first request.
pub struct Client {
    pool: Pool,
    /// Pays for answers.
    budget: Option<Arc<Budget>>,
}

/// A request as the caller means it; host, length and framing are added on the way.
pub(crate) struct ClientCall<'a> {
    pub method: Method,
    pub path: PathAndQuery,
    /// The same for every call of its kind, or this call's own.
    pub headers: Cow<'a, HeaderMap>,
    /// One that is this call's alone.
    pub header: Option<(HeaderName, HeaderValue)>,
    pub body: Chunks,
    /// Whether HTTP/2 has content-length too; a gRPC message states its length itself.
    pub states_length: bool,
}

impl Client {
    /// A client on the kernel's network.
    pub fn new(settings: ClientSettings) -> Client {
        Client::within(Outside::default(), settings)
    }

    pub fn within(outside: Outside, settings: ClientSettings) -> Client {
        Client { pool: Pool::new(settings, outside), budget: None }
    }

    /// Answers are paid for by `budget`; without one, `response_bytes_max` alone bounds them.
    pub fn charging(self, budget: Arc<Budget>) -> Client {
        Client { budget: Some(budget), ..self }
    }

    /// Of an answer that nothing more is known of.
    pub(crate) fn answer_bounds(&self) -> AnswerBounds {
        AnswerBounds::new(self.settings().response_bytes_max, self.budget.clone())
    }

    pub fn settings(&self) -> &ClientSettings {
        self.pool.settings()
    }

    /// Closes the connections and waits for their tasks. Requests under way fail.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Whether a request can leave at once, as far as connections go.
    pub fn is_ready(&self) -> bool {
        self.pool.is_ready()
    }

    /// Waits until a request can leave, or certainly cannot, by the deadline.
    pub async fn ready(&self, deadline: Instant) {
        let _ = timeout_at(deadline, self.pool.ready()).await;
    }

    /// One request and its whole answer, or the reason why there is none.
    pub(crate) async fn exchange(
        &self,
        call: &ClientCall<'_>,
        bounds: &AnswerBounds,
        deadline: Instant,
    ) -> Result<Reply, CallFailure> {
        let mut last = CallFailure::Deadline;
        for _ in 0..SENDS_MAX {
            match self.send_once(call, bounds, deadline).await {
                Err(failure @ CallFailure::NotTaken(_)) => last = failure,
                answer => return answer,
            }
        }
        Err(last)
    }

    async fn send_once(
        &self,
        call: &ClientCall<'_>,
        bounds: &AnswerBounds,
        deadline: Instant,
    ) -> Result<Reply, CallFailure> {
        let lent = timeout_at(deadline, self.pool.lend()).await.map_err(|_| CallFailure::Deadline)??;
        match lent {
            Lent::Http1 { mut sender, first, old_at, _permit } => {
                let request = self.head(call, false).map(|()| Outgoing::new(call.body.clone()));
                let answer = timeout_at(deadline, async {
                    let sent = sender.try_send_request(request).await;
                    read(sent.map_err(|mut error| classify(error.take_message().is_some(), error.error()))?, bounds)
                        .await
                });
                let reply = answer.await.map_err(|_| CallFailure::Deadline)?;
                let reply = reply.map_err(|failure| first.mix_up(false).unwrap_or(failure))?;
                self.pool.give_back(Lent::Http1 { sender, first, old_at, _permit });
                match &self.settings().proxy {
                    // The target has not seen it.
                    Some(proxy) if self.settings().is_forwarded() && reply.status == 407 => {
                        Err(tunnel::refused(proxy, "407 Proxy Authentication Required"))
                    }
                    _ => Ok(reply),
                }
            }
            Lent::Http2 { lane, live } => {
                let exchange = live.sender.exchange(self.head(call, true), call.body.clone(), bounds);
                let answer = timeout_at(deadline, exchange);
                let Ok(answer) = answer.await else {
                    self.pool.timed_out(lane, &live);
                    return Err(CallFailure::Deadline);
                };
                let lent = Lent::Http2 { lane, live: live.clone() };
                match answer {
                    Ok(reply) => {
                        self.pool.give_back(lent);
                        Ok(reply)
                    }
                    Err(failure) => Err(lent.first_bytes().mix_up(true).unwrap_or(failure)),
                }
            }
        }
    }

    fn head(&self, call: &ClientCall<'_>, http2: bool) -> Request<()> {
        let settings = self.settings();
        let authority = settings.target.authority();
        let mut headers = HeaderMap::clone(&call.headers);
        if let Some((name, value)) = &call.header {
            headers.insert(name, value.clone());
        }
        let mut parts = ::http::uri::Parts::default();
        parts.path_and_query = Some(call.path.clone());
        if http2 {
            parts.scheme = Some(if settings.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP });
            parts.authority = Some(authority.clone());
            if call.states_length && call.body.has_remaining() {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(call.body.remaining()));
            }
        } else if let Ok(host) = authority.as_str().parse() {
            headers.entry(HOST).or_insert(host);
            if settings.is_forwarded() {
                parts.scheme = Some(Scheme::HTTP);
                parts.authority = Some(authority.clone());
                let credentials = settings.proxy.as_ref().and_then(|proxy| proxy.credentials.clone());
                credentials.map(|credentials| headers.insert(PROXY_AUTHORIZATION, credentials));
            }
        }
        let mut request = Request::new(());
        *request.method_mut() = call.method.clone();
        // Scheme, authority and path were each checked when they were made.
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        *request.headers_mut() = headers;
        if http2 {
            *request.version_mut() = Version::HTTP_2;
        }
        request
    }
}

async fn read(response: Response<Incoming>, bounds: &AnswerBounds) -> Result<Reply, CallFailure> {
    let (head, mut body) = response.into_parts();
    if body.size_hint().lower() > bounds.limit as u64 {
        return Err(CallFailure::AnswerTooLarge { limit: bounds.limit });
    }
    let mut gathered = bounds.body();
    let mut trailers = HeaderMap::new();
    while let Some(frame) = body.frame().await {
        match frame.map_err(|error| classify(false, &error))?.into_data() {
            Ok(bytes) => gathered.push(&bytes)?,
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    Ok(Reply { status: head.status.as_u16(), headers: head.headers, body: gathered.finish(), trailers })
}

/// Whether the peer can have seen the request, and why it ended. `unsent`: it came back whole.
fn classify(unsent: bool, error: &hyper::Error) -> CallFailure {
    let mut causes = vec![error.to_string()];
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        causes.push(cause.to_string());
        source = cause.source();
    }
    causes.dedup();
    let why = causes.join(": ");
    if unsent { CallFailure::NotTaken(why) } else { CallFailure::Broken(why) }
}
