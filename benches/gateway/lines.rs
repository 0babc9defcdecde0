//! Connections on which a bench sends its requests, and how they are written there.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::load;

const PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const WINDOW_BYTES: u32 = 1 << 20;

/// How requests are written.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Wire {
    Grpc,
    Gzip,
    Json,
}

impl Wire {
    /// What is sent of an `ExportTraceServiceRequest`; gRPC's come with their prefix of five bytes.
    pub fn body(self, request: Bytes) -> Bytes {
        match self {
            Wire::Grpc => framed(0, &request),
            Wire::Gzip => framed(1, &load::packed(&request)),
            Wire::Json => load::as_json(request),
        }
    }
}

fn framed(packed: u8, message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(message.len() + 5);
    out.put_u8(packed);
    out.put_u32(message.len() as u32);
    out.put_slice(message);
    out.freeze()
}

/// A connection; clones share it.
#[derive(Clone)]
pub struct Line {
    uri: String,
    speaks: Speaks,
    /// The connection's own work, which ends with the last clone.
    _work: Arc<JoinSet<()>>,
}

#[derive(Clone)]
enum Speaks {
    Grpc {
        requests: SendRequest<Bytes>,
        packed: bool,
    },
    /// One request at a time.
    Http(Arc<Mutex<http1::SendRequest<Full<Bytes>>>>),
}

impl Line {
    pub async fn open(address: &str, wire: Wire) -> Result<Line, String> {
        let said = |error: &dyn std::fmt::Display| error.to_string();
        let mut work = JoinSet::new();
        let stream = TcpStream::connect(address).await.map_err(|why| said(&why))?;
        stream.set_nodelay(true).map_err(|why| said(&why))?;
        if wire == Wire::Json {
            let (requests, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|why| said(&why))?;
            // The end of a connection is told by the requests on it.
            work.spawn(async move { _ = connection.await });
            let speaks = Speaks::Http(Arc::new(Mutex::new(requests)));
            return Ok(Line { uri: format!("http://{address}/v1/traces"), speaks, _work: Arc::new(work) });
        }
        let mut client = h2::client::Builder::new();
        client.initial_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
        client.max_send_buffer_size(4 << 20);
        let (requests, connection) = client.handshake(stream).await.map_err(|why| said(&why))?;
        work.spawn(async move { _ = connection.await });
        let speaks = Speaks::Grpc { requests, packed: wire == Wire::Gzip };
        Ok(Line { uri: format!("http://{address}{PATH}"), speaks, _work: Arc::new(work) })
    }

    /// Sends one body and waits until it is accepted.
    pub async fn send(&self, body: Bytes) -> Result<(), String> {
        match &self.speaks {
            Speaks::Grpc { requests, packed } => grpc(&self.uri, requests, *packed, body).await,
            Speaks::Http(requests) => {
                let head =
                    Request::post(&self.uri).header("host", "gateway").header("content-type", "application/json");
                let request = head.body(Full::new(body)).map_err(|why| why.to_string())?;
                let mut requests = requests.lock().await;
                let answer = requests.send_request(request).await.map_err(|why| why.to_string())?;
                let status = answer.status();
                answer.into_body().collect().await.map_err(|why| why.to_string())?;
                if status.is_success() { Ok(()) } else { Err(format!("HTTP {status}")) }
            }
        }
    }
}

async fn grpc(uri: &str, requests: &SendRequest<Bytes>, packed: bool, framed: Bytes) -> Result<(), String> {
    let said = |error: h2::Error| error.to_string();
    let mut requests = requests.clone().ready().await.map_err(said)?;
    let mut head = Request::post(uri).header("content-type", "application/grpc").header("te", "trailers");
    if packed {
        head = head.header("grpc-encoding", "gzip");
    }
    let head = head.body(()).map_err(|error| error.to_string())?;
    let (answer, mut body) = requests.send_request(head, false).map_err(said)?;
    body.send_data(framed, true).map_err(said)?;
    let (head, mut body) = answer.await.map_err(said)?.into_parts();
    while let Some(piece) = body.data().await {
        let length = piece.map_err(said)?.len();
        body.flow_control().release_capacity(length).map_err(said)?;
    }
    let trailers = body.trailers().await.map_err(said)?;
    let status = |headers: &HeaderMap| headers.get("grpc-status").cloned();
    match trailers.as_ref().and_then(status).or_else(|| status(&head.headers)) {
        Some(code) if code == "0" => Ok(()),
        code => Err(format!("an answer with grpc-status {code:?}, trailers {trailers:?}")),
    }
}
