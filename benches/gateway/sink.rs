//! The next hop: acknowledges every gRPC request and counts its spans; answers `count` on standard input.

use std::convert::Infallible;
use std::io::{BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use podgate::otlp::envelope;
use podgate::telemetry::stdout;

pub fn run() {
    let spans = Arc::new(AtomicU64::new(0));
    count_on_demand(spans.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        stdout::line(&listener.local_addr().expect("bound").to_string());
        serve(listener, spans).await;
    });
}

/// Answers every line on standard input with the count; its end is the process's.
pub fn count_on_demand(counted: Arc<AtomicU64>) {
    std::thread::spawn(move || {
        for _ in std::io::stdin().lock().lines() {
            stdout::line(&counted.load(Ordering::Relaxed).to_string());
        }
        std::process::exit(0);
    });
}

/// Serves every connection of `listener`.
pub async fn serve(listener: TcpListener, spans: Arc<AtomicU64>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let spans = spans.clone();
        let service = service_fn(move |request| answer(request, spans.clone()));
        connections.spawn(async move {
            let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .max_frame_size(1 << 20)
                .initial_stream_window_size(4 << 20)
                .initial_connection_window_size(8 << 20)
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    spans: Arc<AtomicU64>,
) -> Result<Response<impl Body<Data = Bytes, Error = Infallible>>, Infallible> {
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let message = message(body);
    let count = envelope::decode(message).map(|envelope| envelope.messages() as u64).unwrap_or(0);
    spans.fetch_add(count, Ordering::Relaxed);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(Bytes::from_static(&[0; 5])).with_trailers(async { Some(Ok(trailers)) });
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    Ok(response)
}

/// Without gRPC's prefix, and unpacked.
fn message(body: Bytes) -> Bytes {
    match body.first() {
        Some(1) => {
            let mut plain = Vec::new();
            let _ = MultiGzDecoder::new(body.get(5..).unwrap_or_default()).read_to_end(&mut plain);
            Bytes::from(plain)
        }
        _ if body.len() > 5 => body.slice(5..),
        _ => Bytes::new(),
    }
}
