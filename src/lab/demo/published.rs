//! What the API server knows at this moment: the basis of the Collector's rule, read from the double ten times a second.

use std::collections::HashMap;
use std::time::Duration;

use ::http::{HeaderMap, Method};
use serde_json::Value;
use tokio::time::Instant;

use crate::lab::demo::truth::Published;
use crate::net::client::Client;
use crate::net::client::compress::Compression;
use crate::net::client::http::HttpRequest;
use crate::net::client::settings::{ClientHttp, ClientSettings};
use crate::net::client::target::Target;

const ANSWER_WAIT: Duration = Duration::from_secs(2);

/// Published statuses by pod uid and container name.
#[derive(Default)]
pub struct PublishedStatuses(HashMap<(String, String), Published>);

impl PublishedStatuses {
    pub fn of(&self, pod_uid: &str, container: &str) -> Option<&Published> {
        self.0.get(&(pod_uid.to_owned(), container.to_owned()))
    }

    fn read(list: &Value) -> PublishedStatuses {
        let mut all = HashMap::new();
        for pod in list["items"].as_array().into_iter().flatten() {
            let uid = pod["metadata"]["uid"].as_str().unwrap_or_default();
            for status in pod["status"]["containerStatuses"].as_array().into_iter().flatten() {
                let id = status["containerID"].as_str().unwrap_or_default();
                let id = id.split_once("://").map_or(id, |(_, bare)| bare).to_owned();
                let restart_count = status["restartCount"].as_i64().unwrap_or(0);
                let name = status["name"].as_str().unwrap_or_default();
                all.insert((uid.to_owned(), name.to_owned()), Published { id, restart_count });
            }
        }
        PublishedStatuses(all)
    }
}

/// Asks one API server for its pods.
pub struct Reader {
    client: Client,
}

impl Reader {
    pub fn new(target: Target) -> Reader {
        Reader { client: Client::new(ClientSettings::new(target, ClientHttp::ByAgreement)) }
    }

    /// The published statuses; `None` when there was no usable answer.
    pub async fn read(&self) -> Option<PublishedStatuses> {
        let request = HttpRequest {
            method: Method::GET,
            path: "/api/v1/pods".to_owned(),
            content_type: "application/json",
            headers: HeaderMap::new(),
            parts: Vec::new(),
            compression: Compression::None,
            deadline: Instant::now() + ANSWER_WAIT,
        };
        let reply = self.client.http(request).await.ok()?;
        Some(PublishedStatuses::read(&serde_json::from_slice(&reply.body).ok()?))
    }
}
