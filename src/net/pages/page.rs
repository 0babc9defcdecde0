//! Pages as plain functions: a request read whole, an answer in one piece or in chunks.
//!
//! What components show (probes, metrics, admin) stands on [`router`](crate::net::pages::router); this is its vocabulary, and a
//! server for doubles, such as the embedded Kubernetes API. It must not know what a page means.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::core::data::budget::Budget;
use crate::core::report::stats::Stats;
use crate::net::server::accept::{self, Serving};
use crate::net::server::answer::{AnswerBody, Responding, Service};
use crate::net::server::body::{BodyError, RequestBody};
use crate::net::server::limits::ServerLimits;
use crate::net::server::listen::Listener;
use crate::net::server::node_addresses::Home;
use crate::net::server::state::Server;

/// Longest body a page is given.
pub(crate) const BODY_BYTES_MAX: u64 = 1 << 20;
/// How long connections have to end after the stop.
pub(crate) const STOP_WAIT: Duration = Duration::from_secs(1);

/// One request, read whole.
#[derive(Clone, Debug)]
pub struct PageRequest {
    pub method: String,
    /// As sent, without the query; not percent-decoded.
    pub path: String,
    /// Decoded; the last of a repeated parameter wins.
    pub query: BTreeMap<String, String>,
    /// Names in lower case, in the order sent; values that are not visible ASCII are left out.
    pub headers: Vec<(String, String)>,
    /// At most 1 MiB; a longer one was answered 413.
    pub body: Bytes,
}

impl PageRequest {
    /// The first header of this name (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Debug)]
pub enum PageBody {
    Full(Bytes),
    /// Chunks until the sender is dropped.
    Stream(mpsc::Receiver<Bytes>),
}

#[derive(Debug)]
pub struct PageResponse {
    pub status: u16,
    pub content_type: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: PageBody,
}

impl PageResponse {
    pub fn text(status: u16, text: impl Into<String>) -> PageResponse {
        PageResponse::full(status, "text/plain; charset=utf-8", Bytes::from(text.into()))
    }

    pub fn json(status: u16, value: &serde_json::Value) -> PageResponse {
        PageResponse::full(status, "application/json", Bytes::from(value.to_string()))
    }

    pub fn full(status: u16, content_type: &'static str, body: Bytes) -> PageResponse {
        PageResponse { status, content_type, headers: Vec::new(), body: PageBody::Full(body) }
    }
}

pub type PageFuture = Pin<Box<dyn Future<Output = PageResponse> + Send>>;
pub type PageFn = Arc<dyn Fn(PageRequest) -> PageFuture + Send + Sync>;

/// Serves pages of a double until `stop` becomes true or its sender is gone; returns when the connections have ended, at
/// most one second later. Clients are trusted: there are no limits by address.
pub async fn serve(listener: TcpListener, pages: PageFn, mut stop: watch::Receiver<bool>) {
    let limits = ServerLimits { connections_per_address_max: usize::MAX, ..ServerLimits::default() };
    let server = Server::of_pages(&Stats::default(), "double", limits, Home::default(), Budget::unlimited());
    let (ending, end) = watch::channel(None);
    let service = Arc::new(Double { pages });
    let serving = accept::run(Serving::by(server, service), Arc::new(Listener::Tcp(listener)), end, Arc::default());
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        () = serving.as_mut() => return,
        () = stopped(&mut stop) => { ending.send_replace(Some(Instant::now() + STOP_WAIT)); }
    }
    serving.await;
}

/// Resolves when the value is true or can no longer change.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    while !*stop.borrow_and_update() {
        if stop.changed().await.is_err() {
            return;
        }
    }
}

struct Double {
    pages: PageFn,
}

impl Service for Double {
    fn respond(&self, request: Request<RequestBody>) -> Responding {
        let pages = self.pages.clone();
        Box::pin(async move {
            let (head, mut body) = request.into_parts();
            let read = body.gather(BODY_BYTES_MAX).await.map(|gathered| gathered.bytes);
            match read {
                Ok(bytes) => into_http(pages(page_request(&head, bytes)).await),
                Err(error) => {
                    body.discard(BODY_BYTES_MAX);
                    into_http(unread(&error))
                }
            }
        })
    }
}

pub(crate) fn unread(error: &BodyError) -> PageResponse {
    let status = match error {
        BodyError::TooLarge { .. } => 413,
        BodyError::TooSlow => 408,
        BodyError::Broken => 400,
        BodyError::OverBudget(_) | BodyError::OverShare(_) => 503,
    };
    PageResponse::text(status, format!("{error}\n"))
}

pub(crate) fn page_request(head: &http::request::Parts, body: Bytes) -> PageRequest {
    let headers = head.headers.iter().filter_map(|(name, value)| {
        let value = value.to_str().ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    });
    PageRequest {
        method: head.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        query: parse_query(head.uri.query().unwrap_or_default()),
        headers: headers.collect(),
        body,
    }
}

pub(crate) fn into_http(page: PageResponse) -> Response<AnswerBody> {
    let body = match page.body {
        PageBody::Full(bytes) => AnswerBody::full(bytes),
        PageBody::Stream(chunks) => AnswerBody::stream(chunks),
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(page.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(page.content_type));
    for (name, value) in page.headers {
        // A name or value that HTTP cannot carry is a slip in the page; the page itself still goes out.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// Parameters of a query string, percent- and plus-decoded; bytes that are not UTF-8 become the replacement character.
pub fn parse_query(query: &str) -> BTreeMap<String, String> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(key), percent_decode(value))
        })
        .collect()
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len()); // granted: a query, bounded as heads are
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).filter(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let hex = hex.and_then(|hex| std::str::from_utf8(hex).ok());
        let byte = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (bytes[at], byte) {
            (b'%', Some(byte)) => {
                decoded.push(byte);
                at += 2;
            }
            (b'+', _) => decoded.push(b' '),
            (other, _) => decoded.push(other),
        }
        at += 1;
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::task::JoinSet;

    use super::*;

    async fn served(pages: PageFn) -> (std::net::SocketAddr, watch::Sender<bool>, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stop_seen) = watch::channel(false);
        let mut server = JoinSet::new();
        server.spawn(serve(listener, pages, stop_seen));
        (address, stop, server)
    }

    async fn exchange(address: std::net::SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn echo() -> PageFn {
        Arc::new(|request: PageRequest| {
            Box::pin(async move {
                let text = format!("{} {} {:?} {}", request.method, request.path, request.query, request.body.len());
                PageResponse::text(200, text)
            })
        })
    }

    #[tokio::test]
    async fn a_page_sees_method_path_query_and_body() {
        let (address, _stop, _server) = served(echo()).await;
        let request =
            "POST /v1/x?a=1&b=%2Fz+y&a=2 HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 3\r\n\r\nabc";
        let answer = exchange(address, request).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.ends_with(r#"POST /v1/x {"a": "2", "b": "/z y"} 3"#), "{answer}");
    }

    #[tokio::test]
    async fn a_body_over_one_mebibyte_is_refused_before_it_is_sent() {
        let (address, _stop, _server) = served(echo()).await;
        let request = "POST / HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: 1048577\r\n\r\n";
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.write_all(&vec![b'x'; (1 << 20) + 1]).await.unwrap();
        let mut answer = [0u8; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 413");
    }

    #[tokio::test]
    async fn a_stream_is_sent_as_it_comes_and_the_stop_cuts_it() {
        let (chunks, receiver) = mpsc::channel(1);
        let receiver = Arc::new(std::sync::Mutex::new(Some(receiver)));
        let pages: PageFn = Arc::new(move |_| {
            let receiver = receiver.lock().unwrap().take().unwrap();
            Box::pin(async move { PageResponse { body: PageBody::Stream(receiver), ..PageResponse::text(200, "") } })
        });
        let (address, stop, mut server) = served(pages).await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        chunks.send(Bytes::from_static(b"first event")).await.unwrap();
        let mut seen = Vec::new();
        while !seen.ends_with(b"first event\r\n") {
            assert!(stream.read_buf(&mut seen).await.unwrap() > 0, "{seen:?}");
        }
        stop.send(true).unwrap();
        server.join_next().await.unwrap().unwrap();
        assert_eq!(stream.read(&mut [0; 16]).await.unwrap_or(0), 0);
    }

    #[test]
    fn queries_decode_and_damaged_escapes_stay_as_they_are() {
        let query = parse_query("watch=true&labelSelector=a%3Db%2Cc&x=%zz&&y=%4&z=%%2b1");
        let pairs: Vec<(&str, &str)> = query.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        assert_eq!(pairs, [("labelSelector", "a=b,c"), ("watch", "true"), ("x", "%zz"), ("y", "%4"), ("z", "%+1")]);
    }
}
