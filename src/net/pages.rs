//! A small plain HTTP/1.1 server for pages: health, metrics, admin, and the embedded Kubernetes API double.
//!
//! It exists so that these need not know hyper. Connections, heads and bodies are bounded; a page may be one body or a
//! stream. It must not know what a page means, and it is not the way telemetry comes in (that is `server`).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::core::time::UnixNanos;
use crate::net::connection::Connection;
use crate::net::guard::{Guarded, Speech};
use crate::net::limits::ServerLimits;

/// Connections served at once; further ones wait in the kernel's backlog.
const CONNECTIONS_MAX: usize = 256;
/// Longest body a page is given.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Longest wait for a head (also between requests of one connection) and for a body.
const HEAD_WAIT: Duration = Duration::from_secs(10);
/// How long connections have to end after the stop.
const STOP_WAIT: Duration = Duration::from_secs(1);
/// Wait after a failed accept (no file descriptors left), so that the loop does not spin.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

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

/// Serves pages until `stop` becomes true or its sender is gone; returns when the connections have ended, at most one
/// second later.
pub async fn serve(listener: TcpListener, pages: PageFn, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            () = stopped(&mut stop) => break,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let (pages, stop) = (pages.clone(), stop.clone());
                connections.spawn(async move {
                    let _place = place;
                    serve_connection(stream, pages, stop).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_BACKOFF).await;
            }
        }
    }
    drop(listener);
    // Streams do not end by themselves: what is left after the wait is cut by dropping the set.
    let _ = timeout(STOP_WAIT, async { while connections.join_next().await.is_some() {} }).await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

/// Resolves when the value is true or can no longer change.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    while !*stop.borrow_and_update() {
        if stop.changed().await.is_err() {
            return;
        }
    }
}

async fn serve_connection(stream: TcpStream, pages: PageFn, mut stop: watch::Receiver<bool>) {
    // Small answers must not wait for the peer's delayed acknowledgement; failure only costs latency.
    let _ = stream.set_nodelay(true);
    // The guard cuts clients that leave their answers unread.
    let connection = Connection::new(None, UnixNanos::now());
    let guarded = Guarded::new(stream, Bytes::new(), Speech::Http1, connection.clone(), &ServerLimits::default());
    let service = service_fn(move |request| {
        let (open, pages) = (connection.request(), pages.clone());
        async move {
            let _open = open;
            answer(request, pages).await
        }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .serve_connection(TokioIo::new(guarded), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // A connection that ended in an error has no one left to tell.
        _ = connection.as_mut() => return,
        () = stopped(&mut stop) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

async fn answer(request: Request<Incoming>, pages: PageFn) -> Result<Response<PageFrames>, Infallible> {
    let head_only = request.method() == http::Method::HEAD;
    let response = match read_request(request).await {
        Ok(request) => pages(request).await,
        Err(refusal) => refusal,
    };
    Ok(into_http(response, head_only))
}

async fn read_request(request: Request<Incoming>) -> Result<PageRequest, PageResponse> {
    let (head, body) = request.into_parts();
    let collected = timeout(HEAD_WAIT, Limited::new(body, BODY_BYTES_MAX).collect()).await;
    let body = match collected {
        Ok(Ok(collected)) => collected.to_bytes(),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            return Err(PageResponse::text(413, "the body is longer than 1 MiB\n"));
        }
        Ok(Err(_)) => return Err(PageResponse::text(400, "the body ended early\n")),
        Err(_) => return Err(PageResponse::text(408, "the body did not arrive in time\n")),
    };
    let headers = head.headers.iter().filter_map(|(name, value)| {
        let value = value.to_str().ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    });
    Ok(PageRequest {
        method: head.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        query: parse_query(head.uri.query().unwrap_or_default()),
        headers: headers.collect(),
        body,
    })
}

fn into_http(page: PageResponse, head_only: bool) -> Response<PageFrames> {
    let frames = match page.body {
        PageBody::Full(_) if head_only => PageFrames::Full(None),
        PageBody::Full(bytes) => PageFrames::Full(Some(bytes)),
        PageBody::Stream(chunks) => PageFrames::Stream(chunks),
    };
    let mut response = Response::new(frames);
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

/// The body of a page as hyper wants it.
enum PageFrames {
    Full(Option<Bytes>),
    Stream(mpsc::Receiver<Bytes>),
}

impl Body for PageFrames {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            PageFrames::Full(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            PageFrames::Stream(chunks) => chunks.poll_recv(cx).map(|chunk| chunk.map(|bytes| Ok(Frame::data(bytes)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, PageFrames::Full(None))
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            PageFrames::Full(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64)),
            PageFrames::Stream(_) => SizeHint::default(),
        }
    }
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
    let mut decoded = Vec::with_capacity(bytes.len());
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
