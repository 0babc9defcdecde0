//! A next hop by script: OTLP over gRPC and over HTTP, late, lying, silent, refusing, half deaf. It knows what it took.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use podgate::core::data::payload::Signal;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::net::Net;
use crate::otlp;
use crate::scenario::Between;
use crate::truth::{Outcome, Truth};

/// What the next hop does with a request.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Manner {
    #[default]
    Answers,
    /// Takes it and says so so much later.
    Slow(Duration),
    /// Takes it and never says so.
    Mute,
    /// gRPC UNAVAILABLE or HTTP 503, with the hint to come back after so many seconds.
    Refuses { after: Option<u64> },
    /// gRPC RESOURCE_EXHAUSTED without a hint, HTTP 429.
    Exhausted,
    /// Takes all but so many items, and says so.
    Partial(usize),
    /// Takes it, and claims to have rejected more items than there were.
    Lies,
    /// Takes it, and answers 200 with bytes that are no message.
    Garbage,
}

/// What the answers carry out of a manner.
#[derive(Default)]
pub struct Said {
    pub grpc: u16,
    pub http: u16,
    pub after: Option<u64>,
    pub body: Vec<u8>,
}

#[derive(Clone)]
pub struct NextHop {
    truth: Truth,
    net: Net,
    manner: Arc<Mutex<Manner>>,
}

impl NextHop {
    pub const GRPC: u16 = 24_317;
    pub const HTTP: u16 = 24_318;

    pub fn new(truth: Truth, net: Net) -> NextHop {
        NextHop { truth, net, manner: Arc::default() }
    }

    pub fn set(&self, manner: Manner) {
        *self.manner.lock().expect("not poisoned") = manner;
    }

    fn manner(&self) -> Manner {
        *self.manner.lock().expect("not poisoned")
    }

    /// Serves both ports for ever.
    pub async fn run(self) {
        let (mut grpc, mut http) = (self.net.door(NextHop::GRPC), self.net.door(NextHop::HTTP));
        let mut open = JoinSet::new();
        loop {
            let (socket, is_grpc) = tokio::select! {
                biased;
                Some((socket, _)) = grpc.recv() => (socket, true),
                Some((socket, _)) = http.recv() => (socket, false),
            };
            while open.try_join_next().is_some() {}
            let hop = self.clone();
            open.spawn(async move {
                let service = service_fn(move |request| hop.clone().respond(request, is_grpc));
                let io = TokioIo::new(socket);
                // How a connection ends is part of the script.
                let _ = if is_grpc {
                    hyper::server::conn::http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await
                } else {
                    hyper::server::conn::http1::Builder::new().serve_connection(io, service).await
                };
            });
        }
    }

    async fn respond(self, request: Request<Incoming>, grpc: bool) -> Result<Response<Answer>, Infallible> {
        let path = request.uri().path().to_owned();
        let signal = signal_of(&path);
        let Ok(body) = request.into_body().collect().await else { return std::future::pending().await };
        let body = body.to_bytes();
        let message = if grpc { body.slice(5.min(body.len())..) } else { body };
        let items = otlp::read(signal, &message).expect("the gateway sends what stock code reads");
        let port = if grpc { NextHop::GRPC } else { NextHop::HTTP };
        let arrival = self.truth.arrive(items.clone(), self.net.written(port));
        let copies = otlp::read_with(signal, &message, Between::COPY).unwrap_or_default();
        self.truth.facts().copies.extend(copies.into_iter().map(|(item, _, copy)| (item, copy)));
        let mut said = Said { grpc: 0, http: 200, after: None, body: Vec::new() };
        let outcome = match self.manner() {
            Manner::Answers => Outcome::Taken,
            Manner::Slow(after) => {
                sleep(after).await;
                Outcome::Taken
            }
            Manner::Mute => return std::future::pending().await,
            Manner::Refuses { after } => {
                (said.grpc, said.http, said.after) = (14, 503, after);
                Outcome::Refused
            }
            Manner::Exhausted => {
                (said.grpc, said.http) = (8, 429);
                Outcome::Refused
            }
            Manner::Partial(count) => {
                let rejected = count.min(items.len());
                said.body = otlp::response(signal, rejected as u64);
                let taken: BTreeSet<u64> = items[rejected..].iter().map(|(item, ..)| *item).collect();
                Outcome::Partial(taken)
            }
            Manner::Lies => {
                said.body = otlp::response(signal, items.len() as u64 + 7);
                Outcome::Unclear
            }
            Manner::Garbage => {
                said.body = b"\xff\xff\xff".to_vec();
                Outcome::Unclear
            }
        };
        let heard = self.net.is_open(port) || outcome == Outcome::Refused;
        self.truth.end(arrival, if heard { outcome } else { Outcome::Unclear });
        Ok(if grpc { grpc_answer(&said) } else { http_answer(said) })
    }
}

fn signal_of(path: &str) -> Signal {
    let lower = path.to_ascii_lowercase();
    let known = [("trace", Signal::Traces), ("log", Signal::Logs), ("metric", Signal::Metrics)];
    known.into_iter().find(|(name, _)| lower.contains(name)).map_or(Signal::Traces, |(_, signal)| signal)
}

/// A body of one piece, and trailers.
pub type Answer = http_body_util::combinators::BoxBody<Bytes, Infallible>;

pub fn grpc_answer(said: &Said) -> Response<Answer> {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from(said.grpc));
    if let Some(after) = said.after {
        trailers.insert("grpc-retry-pushback-ms", HeaderValue::from(after * 1_000));
    }
    let mut framed = vec![0];
    framed.extend_from_slice(&(said.body.len() as u32).to_be_bytes());
    framed.extend_from_slice(&said.body);
    let body = if said.grpc == 0 { framed } else { Vec::new() };
    let body = http_body_util::Full::new(Bytes::from(body)).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(body.boxed());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    response
}

fn http_answer(said: Said) -> Response<Answer> {
    let mut response = Response::new(http_body_util::Full::new(Bytes::from(said.body)).boxed());
    *response.status_mut() = http::StatusCode::from_u16(said.http).expect("a status");
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/x-protobuf"));
    if let Some(after) = said.after {
        response.headers_mut().insert("retry-after", HeaderValue::from(after));
    }
    response
}
