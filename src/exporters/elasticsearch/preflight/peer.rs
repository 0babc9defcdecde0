//! Questions over HTTP to the nodes of a cluster, each with its own deadline, answers as JSON.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method};
use serde_json::Value;
use tokio::time::Instant;

use crate::core::outside::Outside;
use crate::exporters::elasticsearch::delivery::bulk::post::PostSettings;
use crate::net::client::Client;
use crate::net::client::compress::Compression;
use crate::net::client::grpc::replace;
use crate::net::client::http::HttpRequest;
use crate::sending::client::RequestCredentials;

/// A page that takes longer is not worth waiting for.
const TIMEOUT: Duration = Duration::from_secs(10);

pub struct Peer {
    nodes: Vec<Client>,
    headers: HeaderMap,
    credentials: RequestCredentials,
    timeout: Duration,
    /// The node that answered.
    preferred: AtomicUsize,
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerAnswer {
    /// Status and body; null when the body is no JSON.
    Answer(u16, Value),
    Nothing(String),
}

impl fmt::Display for PeerAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerAnswer::Nothing(why) => f.write_str(why),
            PeerAnswer::Answer(status, body) => match body["error"]["reason"].as_str() {
                Some(reason) => write!(f, "status {status}: {reason}"),
                None => write!(f, "status {status}"),
            },
        }
    }
}

impl Peer {
    pub fn new(post: &PostSettings, outside: &Outside, credentials: RequestCredentials) -> Peer {
        let client = |settings| Client::within(outside.clone(), settings);
        Peer {
            nodes: post.nodes.iter().cloned().map(client).collect(),
            headers: post.headers.clone(),
            credentials,
            timeout: post.timeout.min(TIMEOUT),
            preferred: AtomicUsize::new(0),
        }
    }

    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }

    pub fn name(&self, node: usize) -> String {
        self.nodes.get(node).map(|node| node.settings().target.authority().to_string()).unwrap_or_default()
    }

    pub fn prefer(&self, node: usize) {
        self.preferred.store(node, Ordering::Relaxed);
    }

    pub async fn ask(&self, method: Method, path: &str, body: Option<&Value>) -> PeerAnswer {
        self.ask_node(self.preferred.load(Ordering::Relaxed), method, path, body).await
    }

    pub async fn ask_node(&self, node: usize, method: Method, path: &str, body: Option<&Value>) -> PeerAnswer {
        let Some(client) = self.nodes.get(node) else { return PeerAnswer::Nothing("no node is configured".to_owned()) };
        let prefix = client.settings().target.path.trim_end_matches('/');
        let deadline = Instant::now() + self.timeout;
        let mut headers = self.headers.clone();
        match self.credentials.headers(&self.headers, None, deadline).await {
            Ok(own) => replace(&mut headers, own.unwrap_or_default()),
            Err(failure) => return PeerAnswer::Nothing(failure.to_string()),
        }
        let request = HttpRequest {
            method,
            path: format!("{prefix}{path}"),
            content_type: "application/json",
            headers,
            parts: body.map(|body| Bytes::from(body.to_string())).into_iter().collect(),
            compression: Compression::None,
            deadline,
        };
        match client.http(request).await {
            Ok(reply) => PeerAnswer::Answer(reply.status, serde_json::from_slice(&reply.body).unwrap_or(Value::Null)),
            Err(failure) => PeerAnswer::Nothing(failure.to_string()),
        }
    }

    pub async fn close(&self) {
        for node in &self.nodes {
            node.close().await;
        }
    }
}
