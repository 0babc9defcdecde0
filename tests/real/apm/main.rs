//! APM Server's double by itself: `apm_server ADDRESS CONTROL`. At the second address `POST /habits` sets how it behaves,
//! `GET /items` tells what it acknowledged and `GET /answers` how often it gave which answer, all as JSON.

#[path = "../../apm_server/mod.rs"]
mod apm_server;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use apm_server::ApmServer;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

#[tokio::main]
async fn main() -> ExitCode {
    let addresses: Vec<SocketAddr> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let [address, control] = addresses[..] else { return ExitCode::FAILURE };
    let Ok(double) = ApmServer::at(address).await else { return ExitCode::FAILURE };
    let Ok(listener) = TcpListener::bind(control).await else { return ExitCode::FAILURE };
    let (double, mut open) = (Arc::new(double), JoinSet::new());
    while let Ok((stream, _)) = listener.accept().await {
        while open.try_join_next().is_some() {}
        let double = double.clone();
        let service = service_fn(move |request| {
            let double = double.clone();
            async move { Ok::<_, Infallible>(told(&double, request).await) }
        });
        open.spawn(async move {
            // Whoever asked and went away misses its answer, nobody else anything.
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
    ExitCode::SUCCESS
}

async fn told(double: &ApmServer, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let answer = match (&head.method, head.uri.path()) {
        (&Method::POST, "/habits") => serde_json::from_slice(&body).map(|habits| {
            double.behave(habits);
            Vec::new()
        }),
        (&Method::GET, "/items") => serde_json::to_vec(&double.items()),
        (&Method::GET, "/answers") => serde_json::to_vec(&double.answers()),
        _ => Ok(b"POST /habits, GET /items, GET /answers".to_vec()),
    };
    let (status, body) = match answer {
        Ok(body) => (StatusCode::OK, body),
        Err(why) => (StatusCode::BAD_REQUEST, why.to_string().into_bytes()),
    };
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response
}
