//! The next hop as Elasticsearch: takes `_bulk`, knows documents by their ids, and counts how often each span was indexed.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

#[derive(Default)]
struct Indexed {
    ids: HashSet<String>,
    /// Documents of time series by what such an index knows them by.
    points: HashMap<String, Value>,
    /// Those that came again with another value: what is there, and what came.
    changed: Vec<(Value, Value)>,
    seen: HashMap<u64, u32>,
    conflicts: u64,
    /// Indexes and says nothing.
    hangs: bool,
}

/// Serves until the test's process ends.
pub struct Elastic {
    pub port: u16,
    indexed: Arc<Mutex<Indexed>>,
}

impl Elastic {
    pub fn start() -> Elastic {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let indexed: Arc<Mutex<Indexed>> = Arc::default();
        let shared = indexed.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Elastic { port, indexed }
    }

    /// How often each span was indexed.
    pub fn seen(&self) -> HashMap<u64, u32> {
        self.indexed.lock().expect("not poisoned").seen.clone()
    }

    /// Documents that are there.
    pub fn documents(&self) -> usize {
        self.indexed.lock().expect("not poisoned").ids.len()
    }

    /// From now on it indexes and says nothing, or answers again.
    pub fn hang(&self, hangs: bool) {
        self.indexed.lock().expect("not poisoned").hangs = hangs;
    }

    /// Documents of time series that are there.
    pub fn points(&self) -> Vec<Value> {
        self.indexed.lock().expect("not poisoned").points.values().cloned().collect()
    }

    /// Documents of time series that came again and were others, behind those that are there.
    pub fn changed(&self) -> Vec<(Value, Value)> {
        self.indexed.lock().expect("not poisoned").changed.clone()
    }

    /// Documents that came again and were found to be there by their ids.
    pub fn conflicts(&self) -> u64 {
        self.indexed.lock().expect("not poisoned").conflicts
    }
}

/// Ends with its connection.
fn serve(stream: TcpStream, indexed: &Mutex<Indexed>) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut out = stream.try_clone().ok()?;
    let mut stream = BufReader::new(stream);
    loop {
        let (mut line, mut length, mut is_bulk) = (String::new(), 0, false);
        while line != "\r\n" {
            line.clear();
            (stream.read_line(&mut line).ok()? > 0).then_some(())?;
            let lower = line.to_ascii_lowercase();
            is_bulk |= lower.starts_with("post") && lower.contains("_bulk");
            if let Some(value) = lower.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).ok()?;
        let answer = match is_bulk {
            true => index(&body, &mut indexed.lock().expect("not poisoned")),
            false => json!({ "version": { "number": "9.5.0", "build_flavor": "default" } }),
        };
        while is_bulk && indexed.lock().expect("not poisoned").hangs {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        let text = answer.to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\nx-elastic-product: Elasticsearch\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            text.len()
        );
        out.write_all([head, text].concat().as_bytes()).ok()?;
    }
}

/// What an index of time series makes its id of: the time, and everything that is no measurement.
fn series(document: &Value) -> String {
    let mut known_by = document.as_object().expect("an object").clone();
    known_by.retain(|field, _| !["metrics", "start_timestamp", "_doc_count"].contains(&field.as_str()));
    Value::Object(known_by).to_string()
}

/// Every document has its own verdict: 201, or 409 where its id is there.
fn index(body: &[u8], indexed: &mut Indexed) -> Value {
    let mut lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let (mut items, mut errors) = (Vec::new(), false);
    while let (Some(action), Some(document)) = (lines.next(), lines.next()) {
        let action: Value = serde_json::from_slice(action).expect("an action");
        let document: Value = serde_json::from_slice(document).expect("a document");
        let id = action["create"]["_id"].as_str().map_or_else(|| series(&document), ToOwned::to_owned);
        if action["create"]["_id"].is_null() {
            match indexed.points.get(&id) {
                Some(there) if *there != document => indexed.changed.push((there.clone(), document.clone())),
                _ => _ = indexed.points.insert(id.clone(), document.clone()),
            }
        }
        let index = action["create"]["_index"].clone();
        let is_new = indexed.ids.insert(id);
        let span = document["span_id"].as_str().and_then(|hex| u64::from_str_radix(hex, 16).ok());
        if is_new {
            span.iter().for_each(|span| *indexed.seen.entry(*span).or_default() += 1);
            items.push(json!({ "create": { "_index": index, "status": 201 } }));
        } else {
            errors = true;
            indexed.conflicts += 1;
            let error = json!({ "type": "version_conflict_engine_exception", "reason": "document already exists" });
            items.push(json!({ "create": { "_index": index, "status": 409, "error": error } }));
        }
    }
    json!({ "took": 1, "errors": errors, "items": items })
}
