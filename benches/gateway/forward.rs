//! The floors of HTTP/2: a gateway that receives a request and sends its bytes on, without a look at them. At once, as what a
//! sampler does at least (held for ten seconds, and one of five sent on), or by HTTP/1.1, as what goes to Elasticsearch.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use podgate::telemetry::stdout;

use crate::lines::{Line, Wire};

/// How long `held` bodies wait, and how many of them there are at most.
const HELD: Duration = Duration::from_secs(10);
const HELD_MAX: usize = 4096;
/// One of so many held bodies is sent on: the sampled row of `make bench-versus` keeps 22 % of its spans.
const SENT_ON: usize = 5;

/// What becomes of a body.
enum Way {
    On(Line),
    Held(mpsc::Sender<(Instant, Bytes)>),
}

/// Serves on a free port, which it prints, and forwards to `sink` over one connection: by gRPC at once, `held`, or by `http1`.
pub fn run(sink: &str, how: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        let wire = if how == "http1" { Wire::Json } else { Wire::Grpc };
        let next = Line::open(sink, wire).await.expect("the sink listens");
        let mut holder = JoinSet::new();
        let way = if how == "held" {
            let (give, held) = mpsc::channel(HELD_MAX);
            holder.spawn(hold(held, next));
            Way::Held(give)
        } else {
            Way::On(next)
        };
        let way = Arc::new(way);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        stdout::line(&listener.local_addr().expect("bound").to_string());
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let way = way.clone();
            let service = service_fn(move |request| pass(request, way.clone()));
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

/// Lets go of bodies in the order in which they came.
async fn hold(mut held: mpsc::Receiver<(Instant, Bytes)>, next: Line) {
    let mut number = 0;
    while let Some((due, body)) = held.recv().await {
        tokio::time::sleep_until(due).await;
        if number % SENT_ON == 0 {
            _ = next.send(body).await;
        }
        number += 1;
    }
}

async fn pass(
    request: Request<Incoming>,
    way: Arc<Way>,
) -> Result<Response<impl Body<Data = Bytes, Error = Infallible>>, Infallible> {
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let taken = match &*way {
        Way::On(next) => next.send(body).await.is_ok(),
        Way::Held(held) => held.send((Instant::now() + HELD, body)).await.is_ok(),
    };
    let code = if taken { "0" } else { "14" };
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static(code));
    let body = Full::new(Bytes::from_static(&[0; 5])).with_trailers(async { Some(Ok(trailers)) });
    let mut response = Response::new(body);
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    Ok(response)
}
