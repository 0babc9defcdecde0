//! Elasticsearch's security API: questions about the key of a sender, and `doctor`'s question whether anybody answers them.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use tokio::time::Instant;

use crate::core::outside::Outside;
use crate::core::stage::commands::probe::{Finding, Probe, ProbeHealth, ProbeReport, Remedy};
use crate::core::stage::component::Task;
use crate::net::client::Client;
use crate::net::client::compress::Compression;
use crate::net::client::http::{HttpReply, HttpRequest};
use crate::net::client::settings::ClientSettings;

const HAS_PRIVILEGES: &str = "/_security/user/_has_privileges";
const AUTHENTICATE: &str = "/_security/_authenticate";
/// What `doctor` waits for.
const WAIT: Duration = Duration::from_secs(10);
/// `podgate-doctor:made-up` in base64: no key that Elasticsearch gave has such an id.
const MADE_UP: &str = "ApiKey cG9kZ2F0ZS1kb2N0b3I6bWFkZS11cA==";

pub struct SecurityApi {
    client: Client,
    /// What stands before the API's own paths.
    base: String,
    /// Beside the key's own.
    headers: HeaderMap,
}

impl SecurityApi {
    /// Opens nothing yet.
    pub fn new(outside: &Outside, endpoint: ClientSettings, headers: HeaderMap) -> SecurityApi {
        let base = endpoint.target.path.trim_end_matches('/').to_owned();
        SecurityApi { client: Client::within(outside.clone(), endpoint), base, headers }
    }

    /// Asks whether the key has privileges, or without a question whose it is. The error says why there is no answer.
    pub async fn ask(
        &self,
        key: HeaderValue,
        question: Option<String>,
        deadline: Instant,
    ) -> Result<HttpReply, String> {
        let mut headers = self.headers.clone();
        headers.insert(AUTHORIZATION, key);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let (method, path) =
            if question.is_some() { (Method::POST, HAS_PRIVILEGES) } else { (Method::GET, AUTHENTICATE) };
        let reply = self.client.http(HttpRequest {
            method,
            path: format!("{}{path}", self.base),
            content_type: "application/json",
            headers,
            parts: question.map(Bytes::from).into_iter().collect(),
            compression: Compression::None,
            deadline,
        });
        reply.await.map_err(|failure| format!("Elasticsearch cannot be asked: {failure}"))
    }

    pub async fn close(&self) {
        self.client.close().await;
    }
}

/// Whether the API is there and tells keys apart: it has to refuse one that is made up.
pub struct SecurityProbe(pub SecurityApi);

impl Probe for SecurityProbe {
    fn ask(&self) -> Task<'_, ProbeReport> {
        Box::pin(async move {
            let reply = self.0.ask(HeaderValue::from_static(MADE_UP), None, Instant::now() + WAIT).await;
            self.0.close().await;
            ProbeReport { findings: vec![judged(reply.map(|reply| reply.status))], remedies: Vec::new() }
        })
    }

    fn apply<'a>(&'a self, _: &'a Remedy) -> Task<'a, Result<(), String>> {
        Box::pin(std::future::ready(Err("there is nothing to send".to_owned())))
    }
}

fn judged(status: Result<u16, String>) -> Finding {
    let finding = |health, message: String| Finding::new(health, "security API", message);
    match status {
        Ok(status) if status == StatusCode::UNAUTHORIZED => {
            finding(ProbeHealth::Good, "Elasticsearch answers, and refuses a key that is made up".to_owned())
        }
        Ok(status) if status == StatusCode::OK => {
            finding(ProbeHealth::Bad, "Elasticsearch takes a key that is made up, so everybody is let in".to_owned())
                .with_help("is `endpoint` Elasticsearch itself, and not a proxy that puts in a credential of its own?")
        }
        Ok(status) => finding(
            ProbeHealth::Bad,
            format!("it answers {status} where 401 is expected for a key that is made up: every sender hears 503"),
        )
        .with_help("is `endpoint` Elasticsearch, and is its security on (xpack.security.enabled)?"),
        Err(why) => finding(ProbeHealth::Bad, format!("{why}; senders hear 503 until it answers"))
            .with_help("look at `endpoint`, `tls`, the proxies of the environment and the network"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_refuses_a_made_up_key_can_tell_keys_apart() {
        assert_eq!(judged(Ok(401)).health, ProbeHealth::Good);
        for (status, words) in [(200, "everybody is let in"), (400, "answers 400"), (404, "503"), (503, "answers 503")]
        {
            let finding = judged(Ok(status));
            assert!(finding.health == ProbeHealth::Bad && finding.message.contains(words), "{finding:?}");
            assert!(finding.help.is_some(), "{finding:?}");
        }
        assert!(judged(Err("connection refused".to_owned())).message.contains("refused"));
    }
}
