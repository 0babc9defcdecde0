//! A cluster of one node that answers `_bulk` as Elasticsearch does: ids are unique, each document has its own verdict, and
//! a rule may say otherwise.

use std::collections::BTreeSet;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::harness::{Bench, start};
use crate::http::{Wire, next_request};

/// One document of a request.
#[derive(Clone, Debug)]
pub struct Sent {
    pub index: String,
    pub id: Option<String>,
    pub document: Value,
}

impl Sent {
    /// The span's or record's name in these tests.
    pub fn name(&self) -> &str {
        let of = |key| self.document.get(key).and_then(Value::as_str);
        of("name").or_else(|| of("event_name")).unwrap_or_default()
    }
}

/// What a rule says.
pub enum Says {
    /// Index it as usual.
    Fine,
    /// This document alone.
    Item(u16, &'static str),
    FailureStore,
}

/// What answers a whole request.
pub enum Whole {
    /// Document by document.
    Items,
    Status(u16, &'static str),
    /// Index everything and say nothing: the connection just ends.
    IndexAndClose,
    Close,
    /// These bytes with status 200.
    Body(&'static str),
}

type WholeRule = dyn Fn(usize, &[Sent]) -> Whole + Send + Sync;
type ItemRule = dyn Fn(usize, &Sent) -> Says + Send + Sync;

#[derive(Default)]
struct Store {
    indexed: Vec<Sent>,
    ids: BTreeSet<(String, String)>,
    failure_store: usize,
    requests: Vec<Wire>,
    sizes: Vec<usize>,
}

#[derive(Clone)]
struct Rules {
    whole: Arc<WholeRule>,
    item: Arc<ItemRule>,
    store: Arc<Mutex<Store>>,
}

pub struct Cluster {
    pub address: SocketAddr,
    rules: Rules,
    _tasks: JoinSet<()>,
}

impl Cluster {
    pub async fn start(
        whole: impl Fn(usize, &[Sent]) -> Whole + Send + Sync + 'static,
        item: impl Fn(usize, &Sent) -> Says + Send + Sync + 'static,
    ) -> Cluster {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has ports");
        Cluster::start_on(listener, whole, item)
    }

    pub fn start_on(
        listener: TcpListener,
        whole: impl Fn(usize, &[Sent]) -> Whole + Send + Sync + 'static,
        item: impl Fn(usize, &Sent) -> Says + Send + Sync + 'static,
    ) -> Cluster {
        let address = listener.local_addr().expect("bound");
        let rules = Rules { whole: Arc::new(whole), item: Arc::new(item), store: Arc::default() };
        let serving = rules.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, serving.clone()));
            }
        });
        Cluster { address, rules, _tasks: tasks }
    }

    /// A cluster that takes everything.
    pub async fn healthy() -> Cluster {
        Cluster::start(|_, _| Whole::Items, |_, _| Says::Fine).await
    }

    /// An exporter to it that repeats quickly. `more` are further keys.
    pub async fn exporter(&self, more: &str) -> Bench {
        let retry = if more.contains("retry:") { "" } else { "retry: {initial_interval: 5ms, max_interval: 20ms}," };
        let queue = if more.contains("sending_queue:") { "" } else { "sending_queue: {batch: {flush_timeout: 10ms}}," };
        let keys = format!("{{endpoints: ['http://{}'], compression: none, {retry} {queue} {more}}}", self.address);
        start("elasticsearch", &keys).await
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.rules.store.lock().expect("not poisoned")
    }

    /// Names of what is indexed, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.store().indexed.iter().map(|sent| sent.name().to_owned()).collect();
        names.sort();
        names
    }

    pub fn failure_store(&self) -> usize {
        self.store().failure_store
    }

    pub fn requests(&self) -> usize {
        self.store().requests.len()
    }

    pub fn head(&self, at: usize) -> String {
        self.store().requests[at].head.clone()
    }

    /// Documents in each request.
    pub fn sizes(&self) -> Vec<usize> {
        self.store().sizes.clone()
    }
}

async fn serve(mut stream: TcpStream, rules: Rules) {
    let mut read = Vec::new();
    while let Some(wire) = next_request(&mut stream, &mut read).await {
        // Questions at start are no deliveries.
        let answer = match wire.head.contains("/_bulk") {
            true => answer(&rules, wire),
            false => Some(response(404, "{}")),
        };
        let Some(answer) = answer else { return };
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

fn answer(rules: &Rules, wire: Wire) -> Option<Vec<u8>> {
    let sent = documents(&wire);
    let at = {
        let mut store = rules.store.lock().expect("not poisoned");
        store.requests.push(wire);
        store.sizes.push(sent.len());
        store.requests.len() - 1
    };
    match (rules.whole)(at, &sent) {
        Whole::Close => None,
        Whole::IndexAndClose => {
            sent.into_iter().for_each(|sent| drop(index(rules, at, sent)));
            None
        }
        Whole::Status(status, kind) => {
            let error = json!({"error": {"type": kind, "reason": "as the test wants"}, "status": status});
            Some(response(status, &error.to_string()))
        }
        Whole::Body(body) => Some(response(200, body)),
        Whole::Items => {
            let items: Vec<String> = sent.into_iter().map(|sent| index(rules, at, sent)).collect();
            Some(response(200, &format!("{{\"items\":[{}]}}", items.join(","))))
        }
    }
}

fn response(status: u16, body: &str) -> Vec<u8> {
    let head =
        format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body.as_bytes()].concat()
}

fn index(rules: &Rules, at: usize, sent: Sent) -> String {
    let failed = |status: u16, kind: &str| {
        json!({"create": {"status": status, "error": {"type": kind, "reason": "as the test wants"}}}).to_string()
    };
    let mut store = rules.store.lock().expect("not poisoned");
    match (rules.item)(at, &sent) {
        Says::Item(status, kind) => failed(status, kind),
        Says::FailureStore => {
            store.failure_store += 1;
            json!({"create": {"status": 201, "failure_store": "used"}}).to_string()
        }
        Says::Fine => {
            let key = sent.id.clone().map(|id| (sent.index.clone(), id));
            if key.is_some_and(|key| !store.ids.insert(key)) {
                return failed(409, "version_conflict_engine_exception");
            }
            store.indexed.push(sent);
            r#"{"create":{"status":201}}"#.to_owned()
        }
    }
}

fn documents(wire: &Wire) -> Vec<Sent> {
    let mut body = Vec::new();
    if wire.head.contains("content-encoding: gzip") {
        flate2::read::GzDecoder::new(&wire.body[..]).read_to_end(&mut body).expect("gzip");
    } else {
        body.clone_from(&wire.body);
    }
    let text = String::from_utf8(body).expect("UTF-8");
    assert!(text.ends_with('\n'), "a bulk body ends with a line feed");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let pairs = lines.chunks(2).map(|pair| {
        let create = &pair[0]["create"];
        let text = |key: &str| create[key].as_str().map(str::to_owned);
        Sent { index: text("_index").expect("an index"), id: text("_id"), document: pair[1].clone() }
    });
    pairs.collect()
}
