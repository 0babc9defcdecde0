//! Elasticsearch by script: `_bulk` with a verdict for each document, ids that exist once, blocked indices, lost answers.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::net::Net;
use crate::truth::{Outcome, Truth};

pub const PORT: u16 = 29_200;

/// What becomes of documents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdicts {
    #[default]
    Takes,
    /// 429 for every document but each n-th.
    Busy(usize),
    /// The disk is full: `cluster_block_exception` for every document.
    Blocked,
    /// Takes them and never says so.
    LostAnswer,
    /// 503 for whole requests.
    Unavailable,
}

#[derive(Default)]
struct Index {
    verdicts: Verdicts,
    /// Index and document id.
    known: BTreeSet<(String, String)>,
}

#[derive(Clone)]
pub struct Elastic {
    truth: Truth,
    index: Arc<Mutex<Index>>,
}

impl Elastic {
    pub fn new(truth: Truth) -> Elastic {
        Elastic { truth, index: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn set(&self, verdicts: Verdicts) {
        self.lock().verdicts = verdicts;
    }

    pub async fn run(self, net: Net) {
        let mut door = net.door(PORT);
        let mut open = JoinSet::new();
        while let Some((socket, _)) = door.recv().await {
            while open.try_join_next().is_some() {}
            let elastic = self.clone();
            open.spawn(async move {
                let service = service_fn(move |request| elastic.clone().respond(request));
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
            });
        }
    }

    async fn respond(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let path = request.uri().path().to_owned();
        let Ok(body) = request.into_body().collect().await else { return std::future::pending().await };
        let body = body.to_bytes();
        if path.ends_with("/_bulk") {
            return self.bulk(&body).await;
        }
        let about =
            json!({"version": {"number": "8.19.0", "build_flavor": "default"}, "tagline": "You Know, for Search"});
        Ok(if path == "/" { answer(200, &about) } else { answer(404, &json!({"error": {"reason": "not here"}})) })
    }

    async fn bulk(&self, body: &[u8]) -> Result<Response<Full<Bytes>>, Infallible> {
        let text = String::from_utf8_lossy(body).into_owned();
        let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let pairs: Vec<(&Value, &Value)> = lines.chunks_exact(2).map(|pair| (&pair[0], &pair[1])).collect();
        let items: Vec<_> = pairs.iter().filter_map(|(_, document)| item_of(document)).collect();
        let arrival = self.truth.arrive(items, tokio::time::Instant::now());
        let verdicts = self.lock().verdicts;
        if verdicts == Verdicts::Unavailable {
            self.truth.end(arrival, Outcome::Refused);
            return Ok(answer(503, &json!({"error": {"type": "unavailable_shards_exception"}})));
        }
        let mut taken = BTreeSet::new();
        let mut answers = Vec::new();
        for (at, (action, document)) in pairs.iter().enumerate() {
            let status = self.decide(verdicts, at, action, document);
            if let (201 | 409, Some((item, ..))) = (status, item_of(document)) {
                taken.insert(item);
            }
            let error = match status {
                201 => Value::Null,
                409 => json!({"type": "version_conflict_engine_exception", "reason": "exists"}),
                403 => json!({"type": "cluster_block_exception", "reason": "index has read-only-allow-delete block"}),
                _ => json!({"type": "es_rejected_execution_exception", "reason": "busy"}),
            };
            answers.push(match error {
                Value::Null => json!({"create": {"status": status}}),
                error => json!({"create": {"status": status, "error": error}}),
            });
        }
        if verdicts == Verdicts::LostAnswer {
            return std::future::pending().await;
        }
        self.truth.end(arrival, Outcome::Partial(taken));
        Ok(answer(200, &json!({"items": answers})))
    }

    fn decide(&self, verdicts: Verdicts, at: usize, action: &Value, document: &Value) -> u16 {
        match verdicts {
            Verdicts::Blocked => return 403,
            Verdicts::Busy(every) if !at.is_multiple_of(every.max(1)) => return 429,
            _ => {}
        }
        let head = &action["create"];
        let key =
            head["_id"].as_str().map(|id| (head["_index"].as_str().unwrap_or_default().to_owned(), id.to_owned()));
        let mut index = self.lock();
        if key.is_some_and(|key| !index.known.insert(key)) {
            return 409;
        }
        drop(index);
        if let Some(body) = body_of(document) {
            self.truth.facts().twins.entry(body).or_default().1 += 1;
        }
        201
    }
}

fn answer(status: u16, body: &Value) -> Response<Full<Bytes>> {
    Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .header("x-elastic-product", "Elasticsearch")
        .body(Full::new(Bytes::from(body.to_string())))
        .expect("a response")
}

/// The number of a span or record, the attempt and the container, as documents of the otel mode carry them.
fn item_of(document: &Value) -> Option<(u64, u64, Option<String>)> {
    let item = match document["span_id"].as_str() {
        Some(id) => u64::from_str_radix(id, 16).ok()?,
        None => document["metrics"]["queue.depth"].as_u64()?,
    };
    let attempt = document["scope"]["version"].as_str().and_then(|version| version.parse().ok()).unwrap_or(0);
    let container = document["resource"]["attributes"]["container.id"].as_str().map(str::to_owned);
    Some((item, attempt, container))
}

fn body_of(document: &Value) -> Option<String> {
    document["body"]["text"].as_str().map(str::to_owned)
}
