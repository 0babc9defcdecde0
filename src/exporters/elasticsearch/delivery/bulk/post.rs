//! One bulk request, once: to a node whose turn it is, and at once to the next one when that node certainly did not see it.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, HeaderName, HeaderValue};
use http::{HeaderMap, Method};
use tokio::time::Instant;

use crate::core::data::budget::Budget;
use crate::core::lock::Locked;
use crate::core::stage::host::Host;
use crate::exporters::elasticsearch::delivery::bulk::nodes::NodeTurns;
use crate::net::client::Client;
use crate::net::client::answer::{AnswerBounds, CERTAIN_BYTES};
use crate::net::client::compress::Compression;
use crate::net::client::failure::CallFailure;
use crate::net::client::grpc::replace;
use crate::net::client::http::{HttpAnswer, HttpRequest};
use crate::net::client::settings::ClientSettings;
use crate::net::compression::pack::GzipPacker;
use crate::sending::client::RequestCredentials;

/// What requests have in common.
#[derive(Clone, Debug)]
pub struct PostSettings {
    /// One for each node; their path is the prefix of every request.
    pub nodes: Vec<ClientSettings>,
    pub headers: HeaderMap,
    /// The id of the authenticator.
    pub auth: Option<String>,
    /// Query parameters beside ours: `pipeline`, `include_source_on_error`.
    pub query: Vec<(&'static str, String)>,
    /// `None` sends plain bodies; else the level of gzip.
    pub gzip: Option<u32>,
    pub timeout: Duration,
}

/// Of each document only what verdicts need: the answer is a tenth of the full one.
const FILTER: &str = "filter_path=items.*.status,items.*.failure_store,items.*.error.type,items.*.error.reason";
/// What an answer has for each document at most. Elasticsearch's reasons are some hundred bytes long, a few KiB where they
/// quote the document.
const ANSWER_BYTES_EACH: usize = 4 << 10;
/// The part of it that is read without room in the budget: `{"create":{"status":201}}` has 26 bytes, an ordinary refusal
/// less than this.
const CERTAIN_BYTES_EACH: usize = 256;
const ANSWER_BYTES_MAX: usize = 64 << 20;
const EVENT_COUNT: HeaderName = HeaderName::from_static("x-elastic-event-count");

struct Node {
    client: Client,
    path: String,
}

pub struct Post {
    nodes: Vec<Node>,
    // Locked for a few instructions.
    rota: Mutex<NodeTurns>,
    headers: HeaderMap,
    credentials: RequestCredentials,
    gzip: Option<GzipPacker>,
    timeout: Duration,
    destination: String,
    /// Pays for answers.
    budget: Arc<Budget>,
}

/// An answer, and how many bytes went out for it.
pub struct Posted {
    pub answer: HttpAnswer,
    pub sent_bytes: u64,
}

impl Post {
    pub fn new(settings: &PostSettings, host: &Host) -> Post {
        let mut query = FILTER.to_owned();
        for (key, value) in &settings.query {
            query.push_str(&format!("&{key}={}", escaped(value)));
        }
        let node = |client: &ClientSettings| Node {
            path: format!("{}/_bulk?{query}", client.target.path.trim_end_matches('/')),
            client: Client::within(host.outside.clone(), client.clone()),
        };
        let names: Vec<String> = settings.nodes.iter().map(ClientSettings::address).collect();
        Post {
            destination: names.join(", "),
            nodes: settings.nodes.iter().map(node).collect(),
            rota: Mutex::new(NodeTurns::new(settings.nodes.len())),
            headers: settings.headers.clone(),
            credentials: RequestCredentials::of(settings.auth.as_deref(), &host.authenticators),
            gzip: settings.gzip.map(GzipPacker::new),
            timeout: settings.timeout,
            budget: host.budget.clone(),
        }
    }

    pub fn compresses(&self) -> bool {
        self.gzip.is_some()
    }

    /// Of one request.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    pub fn destination(&self) -> &str {
        &self.destination
    }

    fn rota(&self) -> MutexGuard<'_, NodeTurns> {
        self.rota.locked()
    }

    /// Sends one body of `documents` documents.
    pub async fn bulk(&self, parts: Vec<Bytes>, documents: usize) -> Posted {
        let deadline = Instant::now() + self.timeout;
        let mut headers = self.headers.clone();
        // The documents of a request are of several senders.
        match self.credentials.headers(&self.headers, None, deadline).await {
            Ok(own) => replace(&mut headers, own.unwrap_or_default()),
            Err(failure) => return Posted { answer: Err(failure), sent_bytes: 0 },
        }
        headers.insert(EVENT_COUNT, HeaderValue::from(documents));
        let packed = match &self.gzip {
            None => Ok(parts),
            Some(gzip) => gzip.pack(&parts),
        };
        let parts = match packed {
            Ok(parts) => parts,
            Err(error) => {
                let answer = Err(CallFailure::Setup(format!("compression failed: {error}")));
                return Posted { answer, sent_bytes: 0 };
            }
        };
        if self.gzip.is_some() {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let sent_bytes = parts.iter().map(|part| part.len() as u64).sum();
        let bounds = answer_bounds(documents, &self.budget);
        Posted { answer: self.ask(parts, headers, (&bounds, deadline)).await, sent_bytes }
    }

    async fn ask(
        &self,
        parts: Vec<Bytes>,
        headers: HeaderMap,
        (bounds, deadline): (&AnswerBounds, Instant),
    ) -> HttpAnswer {
        let mut tried = Vec::new();
        let mut last = CallFailure::Deadline;
        while let Some(at) = { self.rota().next(Instant::now(), &tried) } {
            let node = &self.nodes[at];
            let request = HttpRequest {
                method: Method::POST,
                path: node.path.clone(),
                content_type: "application/x-ndjson",
                headers: headers.clone(),
                parts: parts.clone(),
                // Packed already, once for all attempts.
                compression: Compression::None,
                deadline,
            };
            let answer = node.client.http_within(request, bounds).await;
            match answer {
                Err(failure) => {
                    self.rota().fails(at, Instant::now());
                    let unseen = is_unseen(&failure);
                    last = failure;
                    if !unseen {
                        break;
                    }
                    tried.push(at);
                }
                Ok(reply) => {
                    // A node that is starting or has lost its master answers so; another one may do better.
                    let ill = matches!(reply.status, 502..=504);
                    if ill {
                        self.rota().fails(at, Instant::now())
                    } else {
                        self.rota().works(at)
                    }
                    if reply.status == 401 {
                        self.credentials.refused();
                    }
                    return Ok(reply);
                }
            }
        }
        Err(last)
    }

    /// Closes the connections.
    pub async fn close(&self) {
        for node in &self.nodes {
            node.client.close().await;
        }
    }
}

/// How much is read of the answer to so many documents.
fn answer_bounds(documents: usize, budget: &Arc<Budget>) -> AnswerBounds {
    let each = |bytes: usize| documents.saturating_mul(bytes).saturating_add(CERTAIN_BYTES).min(ANSWER_BYTES_MAX);
    AnswerBounds { limit: each(ANSWER_BYTES_EACH), certain: each(CERTAIN_BYTES_EACH), budget: Some(budget.clone()) }
}

/// No connection came up, so nothing can have been indexed.
pub fn is_unseen(failure: &CallFailure) -> bool {
    matches!(
        failure,
        CallFailure::Resolve { .. }
            | CallFailure::Refused { .. }
            | CallFailure::Connect { .. }
            | CallFailure::ConnectTimeout { .. }
            | CallFailure::Proxy { .. }
            | CallFailure::Tls { .. }
            | CallFailure::PeerIsPlaintext
            | CallFailure::PeerIsTls
            | CallFailure::NotTaken(_)
            | CallFailure::NoCredential { .. }
    )
}

/// A value of a query (RFC 3986: everything but unreserved characters in hex).
fn escaped(value: &str) -> String {
    let mut out = String::new();
    for byte in value.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::net::client::settings::ClientHttp;
    use crate::net::client::target::Target;

    /// A node whose bulk answer is `answer`, then blanks for ever.
    async fn endless(listener: TcpListener, answer: Vec<u8>) {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut seen = [0; 1024];
        while !seen.ends_with(b"!") {
            seen.fill(0);
            let length = socket.read(&mut seen).await.unwrap();
            seen.rotate_left(length);
        }
        socket.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.unwrap();
        let first = format!("{:x}\r\n{}\r\n", answer.len(), String::from_utf8(answer).unwrap());
        socket.write_all(first.as_bytes()).await.unwrap();
        let blanks = format!("1000\r\n{}\r\n", " ".repeat(4096));
        while socket.write_all(blanks.as_bytes()).await.is_ok() {}
    }

    /// What comes of one request of so many documents to that node.
    async fn answered(documents: usize, answer: Vec<u8>, budget: &Arc<Budget>) -> HttpAnswer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target::parse(&format!("http://{}", listener.local_addr().unwrap()), None).unwrap();
        let settings = PostSettings {
            nodes: vec![ClientSettings::new(target, ClientHttp::ByAgreement)],
            headers: HeaderMap::new(),
            auth: None,
            query: Vec::new(),
            gzip: None,
            timeout: Duration::from_secs(30),
        };
        let post = Post::new(&settings, &Host::new(budget.clone()));
        let posted = tokio::select! {
            posted = post.bulk(vec![Bytes::from_static(b"!")], documents) => posted,
            () = endless(listener, answer) => panic!("the connection ended before the answer was judged"),
        };
        post.close().await;
        posted.answer
    }

    #[tokio::test]
    async fn an_answer_without_end_is_left_at_its_bound_and_paid_for_until_then() {
        let budget = Budget::new(1 << 30, 1 << 30);
        let answer = answered(10, b"{\"items\":[".to_vec(), &budget).await;
        let limit = (64 << 10) + 10 * (4 << 10);
        assert_eq!(answer, Err(CallFailure::AnswerTooLarge { limit }));
        let peak = usize::try_from(budget.peak()).unwrap();
        assert!((limit - 8192..=2 * limit).contains(&peak), "{peak} bytes were paid for");
        assert_eq!(budget.used(), 0);
    }

    #[tokio::test]
    async fn under_a_full_budget_only_the_part_that_every_answer_may_have_is_read() {
        let budget = Budget::new(1 << 20, 1 << 20);
        let _payloads = budget.take(1 << 20).unwrap();
        let answer = answered(10, b"{\"items\":[".to_vec(), &budget).await;
        let certain = (64 << 10) + 10 * 256;
        let Err(CallFailure::AnswerWithoutRoom { read }) = answer else { panic!("{answer:?}") };
        assert!(read <= certain && budget.peak() <= (1 << 20) + 2 * certain as u64, "{read} of {certain}");
        assert_eq!(budget.used(), 1 << 20);
    }

    #[test]
    fn query_values_cannot_leave_their_place() {
        assert_eq!(escaped("my-pipe_1.x~"), "my-pipe_1.x~");
        assert_eq!(escaped("a&b=c d/\u{e9}"), "a%26b%3Dc%20d%2F%C3%A9");
    }
}
