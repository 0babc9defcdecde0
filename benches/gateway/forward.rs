//! The floor of HTTP/2: a gateway that receives a request and sends its bytes on, without a look at them.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use podgate::telemetry::stdout;

use crate::lines::{Line, Wire};

/// Serves on a free port, which it prints, and forwards to `sink` over one connection.
pub fn run(sink: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        let next = Arc::new(Line::open(sink, Wire::Grpc).await.expect("the sink listens"));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        stdout::line(&listener.local_addr().expect("bound").to_string());
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let next = next.clone();
            let service = service_fn(move |request| pass(request, next.clone()));
            connections.spawn(async move {
                let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                    .max_frame_size(1 << 20)
                    .initial_stream_window_size(4 << 20)
                    .initial_connection_window_size(8 << 20)
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
}

async fn pass(
    request: Request<Incoming>,
    next: Arc<Line>,
) -> Result<Response<impl Body<Data = Bytes, Error = Infallible>>, Infallible> {
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let code = if next.send(body).await.is_ok() { "0" } else { "14" };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(code));
    let body = Full::new(Bytes::from_static(&[0; 5])).with_trailers(async { Some(Ok(trailers)) });
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    Ok(response)
}
