//! The only file that sees the kube crate: credentials, TLS and requests to the API server.
//!
//! The crate's retries are off (our backoff is the visible one) and its watcher is not used. The client is made anew
//! after a 401 and after a request that got no answer, so that token, CA and kubeconfig are read again at once; otherwise
//! the crate re-reads token and CA files once a minute. Must not know what is asked for or what answers mean.

use std::error::Error;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{ACCEPT, CONTENT_TYPE, DATE, RETRY_AFTER};
use http_body::Body as _;
use kube::client::{Body, ClientBuilder, ConfigExt};
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use tokio::time::timeout;
use tracing::instrument::WithSubscriber;
use tracing::subscriber::NoSubscriber;

use crate::core::lock::Locked;
use crate::core::outside::{Network, Outside};
use crate::net::client::connect::given;

const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// Error answers are read this far and this long.
const ERROR_BODY_BYTES_MAX: usize = 64 << 10;
const ERROR_BODY_WAIT: Duration = Duration::from_secs(5);
const CLUSTER_CA: &str = "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt";

/// How we identify ourselves to the API server, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// The pod's own service account.
    ServiceAccount,
    /// This file, else the one that `KUBECONFIG` names; without `context`, its current one.
    KubeConfig { context: Option<String>, file: Option<PathBuf> },
    /// No credentials; the address is the cluster's.
    None,
    /// No credentials, at this address: `kubectl proxy`, or the sandbox.
    Url(String),
    /// A bearer token read from a file, at this address.
    TokenFile { url: String, path: PathBuf },
}

/// Requests to one API server.
pub struct Api {
    auth: Credentials,
    /// `None`: the kernel's.
    network: Option<Arc<dyn Network>>,
    // Held while a clone is taken or put, never while a request runs.
    client: Mutex<Option<kube::Client>>,
}

/// The head of an answer, and its body in chunks.
pub struct ApiAnswer {
    pub status: u16,
    pub retry_after: Option<Duration>,
    /// The server's clock, in seconds since the epoch.
    pub date: Option<i64>,
    body: Body,
}

/// Metadata only, where the server can; the whole object otherwise.
const PARTIAL: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1, application/json";

const JSON: &str = "application/json";

/// What is done to an object, beside reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteVerb {
    Post,
    /// By a merge patch (RFC 7386).
    Patch,
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Whole,
    MetadataOnly,
}

impl Api {
    pub fn new(auth: Credentials) -> Api {
        Api::within(&Outside::default(), auth)
    }

    pub fn within(outside: &Outside, auth: Credentials) -> Api {
        Api { auth, network: outside.network.clone(), client: Mutex::default() }
    }

    /// Forgets client and connections; the next request reads credentials again.
    pub fn renew(&self) {
        *self.lock() = None;
    }

    /// Sends GET `path` (with query). The error says what failed in one line.
    pub async fn get(&self, path: &str, form: Form) -> Result<ApiAnswer, String> {
        let client = self.client().await?;
        let accept = match form {
            Form::Whole => JSON,
            Form::MetadataOnly => PARTIAL,
        };
        let request = http::Request::get(path).header(ACCEPT, accept).body(Body::empty());
        self.send(&client, request.map_err(|error| describe(&error))?).await
    }

    /// Sends POST `path` with a JSON body: a new object, or a question that has no address of its own, such as an access review.
    pub async fn post(&self, path: &str, body: String) -> Result<ApiAnswer, String> {
        self.send_body(WriteVerb::Post, path, body).await
    }

    /// Sends `path` with a JSON body, which may be empty.
    pub async fn send_body(&self, verb: WriteVerb, path: &str, body: String) -> Result<ApiAnswer, String> {
        let client = self.client().await?;
        let (method, content) = match verb {
            WriteVerb::Post => (Method::POST, JSON),
            WriteVerb::Patch => (Method::PATCH, "application/merge-patch+json"),
            WriteVerb::Delete => (Method::DELETE, JSON),
        };
        let request =
            http::Request::builder().method(method).uri(path).header(ACCEPT, JSON).header(CONTENT_TYPE, content);
        let request = request.body(Body::from(body.into_bytes())).map_err(|error| describe(&error))?;
        self.send(&client, request).await
    }

    async fn send(&self, client: &kube::Client, request: http::Request<Body>) -> Result<ApiAnswer, String> {
        // The crate logs every failure as an error of its own; ours are told once, by state.
        let sent = client.send(request).with_subscriber(NoSubscriber::default()).await;
        let sent = sent.map_err(|error| {
            // Why it failed cannot be told without reading texts; it may be a rotated CA or a new address.
            self.renew();
            describe(&error)
        });
        let (head, body) = sent?.into_parts();
        let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
        Ok(ApiAnswer {
            status: head.status.as_u16(),
            retry_after: text(RETRY_AFTER).and_then(|value| value.trim().parse().ok()).map(Duration::from_secs),
            date: text(DATE)
                .and_then(|value| jiff::fmt::rfc2822::parse(value).ok())
                .map(|date| date.timestamp().as_second()),
            body,
        })
    }

    async fn client(&self) -> Result<kube::Client, String> {
        if let Some(client) = self.lock().clone() {
            return Ok(client);
        }
        let made = connect(&self.auth, self.network.as_ref()).await?;
        *self.lock() = Some(made.clone());
        Ok(made)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<kube::Client>> {
        self.client.locked()
    }
}

impl ApiAnswer {
    /// The next chunk; `None` at the clean end of the body. Safe to drop and call again.
    pub async fn chunk(&mut self) -> Option<Result<Bytes, String>> {
        loop {
            let frame = poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx));
            let frame = frame.with_subscriber(NoSubscriber::default()).await?;
            match frame.map(|frame| frame.into_data()) {
                Ok(Ok(bytes)) => return Some(Ok(bytes)),
                Ok(Err(_trailers)) => {}
                Err(error) => return Some(Err(describe(&error))),
            }
        }
    }

    /// The body of a small answer, up to `bytes_max`; what comes later is cut off.
    pub async fn whole(&mut self, bytes_max: usize) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await {
            let chunk = chunk?;
            let room = bytes_max.saturating_sub(body.len());
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if room == 0 {
                break;
            }
        }
        Ok(body)
    }

    /// As much of an error's body as comes soon.
    pub async fn error_body(&mut self) -> Vec<u8> {
        let body = timeout(ERROR_BODY_WAIT, self.whole(ERROR_BODY_BYTES_MAX)).await;
        body.ok().and_then(Result::ok).unwrap_or_default()
    }
}

async fn connect(auth: &Credentials, network: Option<&Arc<dyn Network>>) -> Result<kube::Client, String> {
    let mut config = match auth {
        Credentials::ServiceAccount => Config::incluster().map_err(|error| describe(&error))?,
        Credentials::KubeConfig { context, file } => {
            let options = KubeConfigOptions { context: context.clone(), ..KubeConfigOptions::default() };
            let made = match file {
                Some(file) => {
                    let read = Kubeconfig::read_from(file).map_err(|error| describe(&error))?;
                    Config::from_custom_kubeconfig(read, &options).await
                }
                None => Config::from_kubeconfig(&options).await,
            };
            made.map_err(|error| describe(&error))?
        }
        Credentials::None => cluster_without_credentials()?,
        Credentials::Url(url) => Config::new(parse(url)?),
        Credentials::TokenFile { url, path } => {
            let mut config = Config::new(parse(url)?);
            config.auth_info.token_file = Some(path.to_string_lossy().into_owned());
            config
        }
    };
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT_WAIT);
    // The watch has its own clocks; these would cut idle streams.
    config.read_timeout = None;
    config.write_timeout = None;
    if let Some(network) = network {
        return connect_in(network, &config);
    }
    // Credential plugins run a program and wait for it.
    let made = tokio::task::spawn_blocking(move || ClientBuilder::try_from(config).map(ClientBuilder::build)).await;
    made.map_err(|error| describe(&error))?.map_err(|error| describe(&error))
}

/// Plain HTTP in a given network, with the configuration's token.
fn connect_in(network: &Arc<dyn Network>, config: &Config) -> Result<kube::Client, String> {
    let builder = ClientBuilder::new(given::http(network.clone()), "default").with_layer(&config.base_uri_layer());
    let token = config.auth_layer().map_err(|error| describe(&error))?;
    Ok(match token {
        Some(token) => builder.with_layer(&token).build(),
        None => builder.build(),
    })
}

fn cluster_without_credentials() -> Result<Config, String> {
    let variable = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set: not in a cluster"));
    let (host, port) = (variable("KUBERNETES_SERVICE_HOST")?, variable("KUBERNETES_SERVICE_PORT")?);
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let mut config = Config::new(parse(&format!("https://{host}:{port}"))?);
    if Path::new(CLUSTER_CA).exists() {
        config.root_cert_file = Some(CLUSTER_CA.into());
    }
    Ok(config)
}

fn parse(url: &str) -> Result<http::Uri, String> {
    url.parse().map_err(|error| format!("{url}: {error}"))
}

/// The error with its causes on one line; texts that merely repeat a cause, and the crate's own wrapper, are left out.
fn describe(error: &dyn Error) -> String {
    let mut line = error.to_string().trim_start_matches("ServiceError: ").to_owned();
    let mut source = error.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        source = cause.source();
    }
    line.chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_over_tls_fail_with_one_line_and_not_with_a_panic() {
        let api = Api::new(Credentials::Url("https://127.0.0.1:1".to_owned()));
        let Err(fault) = api.get("/api/v1/pods", Form::Whole).await else { panic!("nobody listens there") };
        assert!(fault.contains("refused") && !fault.contains('\n'), "{fault}");
    }

    #[tokio::test]
    async fn credentials_that_are_missing_are_named() {
        let outside = [Credentials::ServiceAccount, Credentials::None];
        for auth in outside {
            let Err(fault) = Api::new(auth.clone()).get("/", Form::Whole).await else { panic!("not in a cluster") };
            assert!(fault.contains("KUBERNETES_SERVICE_HOST") || fault.contains("environment"), "{auth:?}: {fault}");
        }
        let path = "/no/such/token".into();
        let auth = Credentials::TokenFile { url: "http://127.0.0.1:1".to_owned(), path };
        let Err(fault) = Api::new(auth).get("/", Form::Whole).await else { panic!("no token") };
        assert!(fault.contains("/no/such/token"), "{fault}");
    }
}
