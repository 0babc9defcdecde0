//! What components show over HTTP: routes and layers on axum, served by the same stack as telemetry.
//!
//! It exists so that components need not know axum. Requests have no body here, but for a POST; answers are whole or go on. A listener on loopback
//! answers only to loopback's names: a web page may make a browser ask any address under a name of its own (DNS rebinding).

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request as AxumRequest;
use axum::middleware::{Next, from_fn};
use axum::routing::any;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use http_body::{Body as _, Frame};
use http_body_util::BodyExt as _;
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;

use crate::core::stage::auth::{AuthFault, AuthSlot, Checking, ServerAuth};
use crate::net::pages::page::{BODY_BYTES_MAX, PageFuture, PageRequest, PageResponse, into_http, page_request, unread};
use crate::net::server::answer::{AnswerBody, Responding, Service};
use crate::net::server::body::RequestBody;

/// Longest page.
const PAGE_BYTES_MAX: usize = 64 << 20;
/// What is read and thrown away of a body nobody asked for.
const UNASKED_BYTES_MAX: u64 = 64 << 10;

/// Pages with the layers before them.
pub struct Pages {
    router: Router,
    /// The body of a POST is gathered for the page, and not thrown away as any other. Such a page looks itself who may send one.
    takes_bodies: bool,
    guard: Option<Slot>,
}

type Slot = Arc<AuthSlot<dyn ServerAuth>>;

impl Pages {
    /// `otherwise` answers every path that has no page of its own.
    pub fn new(otherwise: impl Fn(&PageRequest) -> PageResponse + Send + Sync + 'static) -> Pages {
        let otherwise = Arc::new(otherwise);
        let router = Router::new().fallback(move |request| answer(otherwise.clone(), request));
        Pages { router, takes_bodies: false, guard: None }
    }

    /// As [`Pages::new`], where an answer may wait; it has to bound its wait.
    pub fn asking(otherwise: impl Fn(&PageRequest) -> PageFuture + Send + Sync + 'static) -> Pages {
        let otherwise = Arc::new(otherwise);
        let fallback = move |request: AxumRequest| {
            let otherwise = otherwise.clone();
            async move {
                let (head, body) = request.into_parts();
                // It was gathered before: of whatever is no POST nothing is left.
                let body = axum::body::to_bytes(body, BODY_BYTES_MAX as usize).await.unwrap_or_default();
                into_http(otherwise(&page_request(&head, body)).await).map(axum::body::Body::new)
            }
        };
        Pages { router: Router::new().fallback(fallback), takes_bodies: true, guard: None }
    }

    /// `path` is fixed: no parameters, and each at most once.
    pub fn page(
        self,
        path: &'static str,
        page: impl Fn(&PageRequest) -> PageResponse + Send + Sync + 'static,
    ) -> Pages {
        let page = Arc::new(page);
        Pages { router: self.router.route(path, any(move |request| answer(page.clone(), request))), ..self }
    }

    /// Refuses with 403 whoever asks for a name that is neither loopback's nor `configured`.
    pub(crate) fn only_on_loopback(self, configured: &str) -> Pages {
        let configured: Arc<str> = configured.into();
        let layer = from_fn(move |request: AxumRequest, next: Next| {
            let configured = configured.clone();
            async move {
                match asked_host(&request).filter(|host| !is_loopback(host, &configured)) {
                    None => next.run(request).await,
                    Some(host) => into_http(stranger(&host)).map(axum::body::Body::new),
                }
            }
        });
        Pages { router: self.router.layer(layer), ..self }
    }

    /// Asks whoever comes for a credential, but for a POST to a page that asks for its own.
    pub(crate) fn only_for(self, guard: Option<Slot>) -> Pages {
        Pages { guard, ..self }
    }

    pub(crate) fn into_service(self) -> Arc<dyn Service> {
        let Pages { router, takes_bodies, guard } = self;
        Arc::new(Routed { router: TowerToHyperService::new(router), takes_bodies, guard })
    }
}

async fn answer<F>(page: Arc<F>, request: AxumRequest) -> Response<axum::body::Body>
where
    F: Fn(&PageRequest) -> PageResponse + Send + Sync + 'static,
{
    let (head, _body) = request.into_parts();
    into_http(page(&page_request(&head, Bytes::new()))).map(axum::body::Body::new)
}

/// The host a request names, without its port; none over HTTP/1.0.
fn asked_host(request: &AxumRequest) -> Option<String> {
    let authority = request.uri().authority().map(|authority| authority.as_str().to_owned());
    let header = || Some(String::from_utf8_lossy(request.headers().get(http::header::HOST)?.as_bytes()).into_owned());
    let asked = authority.or_else(header)?;
    let end = match asked.find(']') {
        Some(end) => end + 1,
        None => asked.rfind(':').unwrap_or(asked.len()),
    };
    Some(asked[..end].to_ascii_lowercase())
}

fn is_loopback(host: &str, configured: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host == "localhost"
        || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
        || bare.eq_ignore_ascii_case(configured)
}

fn stranger(host: &str) -> PageResponse {
    let shown: String = host.chars().take(100).collect();
    let words = format!(
        "these pages listen on loopback and answer to localhost, 127.0.0.1 and [::1], not to {shown:?}; ask one of those, \
         or set another `endpoint`\n"
    );
    PageResponse::text(403, words)
}

struct Routed {
    router: TowerToHyperService<Router>,
    takes_bodies: bool,
    guard: Option<Slot>,
}

/// Why somebody is not let in, as an answer.
async fn unless_admitted(guard: &Slot, head: &Parts) -> Result<(), PageResponse> {
    let starting = || AuthFault::Unavailable("the authenticator has not started".to_owned());
    let verdict = match guard.current() {
        None => Err(starting()),
        Some(authenticator) => match authenticator.check(&head.headers) {
            Checking::Known(verdict) => verdict,
            Checking::Asks(asking) => asking.await,
        },
    };
    let text = |status, message: &str| PageResponse::text(status, format!("{message}\n"));
    verdict.map(drop).map_err(|fault| match fault {
        AuthFault::Unauthenticated { message, challenge } => {
            let mut page = text(401, &message);
            page.headers.push(("www-authenticate", challenge.to_str().unwrap_or("Bearer").to_owned()));
            page
        }
        AuthFault::Forbidden(message) => text(403, &message),
        AuthFault::Unavailable(message) => {
            let mut page = text(503, &message);
            page.headers.push(("retry-after", "1".to_owned()));
            page
        }
    })
}

impl Service for Routed {
    fn respond(&self, request: Request<RequestBody>) -> Responding {
        let (head, mut body) = request.into_parts();
        let (router, gathers) = (self.router.clone(), self.takes_bodies && head.method == http::Method::POST);
        let guard = self.guard.clone().filter(|_| !gathers);
        Box::pin(async move {
            if let Some(guard) = guard
                && let Err(refused) = unless_admitted(&guard, &head).await
            {
                body.discard(UNASKED_BYTES_MAX);
                return into_http(refused);
            }
            let mut sent = Bytes::new();
            if gathers {
                match body.gather(BODY_BYTES_MAX).await {
                    Ok(gathered) => sent = gathered.bytes,
                    Err(error) => {
                        body.discard(BODY_BYTES_MAX);
                        return into_http(unread(&error));
                    }
                }
            } else {
                body.discard(UNASKED_BYTES_MAX);
            }
            let answering = router.call(Request::from_parts(head, axum::body::Body::from(sent)));
            let (head, body) = answering.await.unwrap_or_else(|never| match never {}).into_parts();
            if body.size_hint().exact().is_none() {
                // It goes on: frames leave as they come.
                return Response::from_parts(head, AnswerBody::frames(frames_of(body)));
            }
            match axum::body::to_bytes(body, PAGE_BYTES_MAX).await {
                Ok(bytes) => Response::from_parts(head, AnswerBody::full(bytes)),
                Err(_too_long) => {
                    let mut response = Response::new(AnswerBody::empty());
                    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                    response
                }
            }
        })
    }
}

/// Until the body ends, or cannot go on.
fn frames_of(body: axum::body::Body) -> impl Stream<Item = Frame<Bytes>> + Send + 'static {
    unfold(body, |mut body| async move { Some((body.frame().await?.ok()?, body)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopbacks_names_and_the_configured_one_are_loopback() {
        for (asked, expected) in [
            ("localhost:13134", true),
            ("LOCALHOST", true),
            ("127.0.0.1:13134", true),
            ("127.8.9.1", true),
            ("[::1]:13134", true),
            ("[::ffff:127.0.0.1]", true),
            ("my-laptop:13134", true),
            ("evil.example:13134", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("10.0.0.1", false),
            ("[::2]:1", false),
            ("", false),
        ] {
            let request = Request::builder().uri("/").header("host", asked).body(axum::body::Body::empty()).unwrap();
            let host = asked_host(&request).expect("named");
            assert_eq!(is_loopback(&host, "my-laptop"), expected, "{asked}");
        }
        let nameless = Request::builder().uri("/").body(axum::body::Body::empty()).unwrap();
        assert_eq!(asked_host(&nameless), None);
    }
}
