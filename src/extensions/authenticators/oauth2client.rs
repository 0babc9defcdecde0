//! `oauth2client`: exporters send an access token that a token endpoint gives for a client's id and secret (RFC 6749, 4.4).
//!
//! ```yaml
//! oauth2client:
//!   client_id: podgate
//!   client_secret_file: /etc/podgate/client-secret
//!   token_url: https://login.example.com/oauth2/token
//!   scopes: [telemetry.write]
//! ```
//!
//! The first request asks for a token, later ones share it until shortly before its end. One asks at a time, the others
//! wait for it as long as their own deadlines allow.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use tokio::time::Instant;

use crate::config::check::Section;
use crate::config::client::tls;
use crate::config::value::secret::Secret;
use crate::core::backoff::{Doubling, within};
use crate::core::data::origin::Origin;
use crate::core::data::payload::Signal;
use crate::core::diagnostic::code;
use crate::core::error::StartError;
use crate::core::lock::Locked;
use crate::core::node::Node;
use crate::core::report::status::State;
use crate::core::stage::auth::{AuthSide, ClientAuth};
use crate::core::stage::component::{Component, Task};
use crate::core::stage::factory::{About, BuildContext, CheckContext, ExtensionFactory, ExtensionPlan};
use crate::extensions::authenticators::access_token::{AccessToken, escaped, form, refusal};
use crate::extensions::authenticators::credential_file::read;
use crate::net::client::Client;
use crate::net::client::compress::Compression;
use crate::net::client::connect::proxy::environment_proxy;
use crate::net::client::http::HttpRequest;
use crate::net::client::settings::{ClientHttp, ClientSettings, TlsSettings};
use crate::net::client::target::{Scheme, Target};
use crate::otlp::json::base64;

pub const FACTORY: ExtensionFactory = ExtensionFactory {
    about: About {
        name: "oauth2client",
        aliases: &[],
        signals: &Signal::ALL,
        summary: "sends an access token that a token endpoint gives for a client's id and secret",
        example: "client_id: podgate\nclient_secret_file: /etc/podgate/client-secret\n\
                  token_url: https://login.example.com/oauth2/token\nscopes: [telemetry.write]\n",
    },
    check,
};

/// One call of the token endpoint takes this long unless `timeout` is written.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);
/// As in the Collector.
const EXPIRY_BUFFER_DEFAULT: Duration = Duration::from_secs(300);
/// Between two calls of an endpoint that gives no token.
const RETRY: Doubling = Doubling { first: Duration::from_secs(1), longest: Duration::from_secs(60) };
/// A token that is refused later than this after it came is asked for anew.
const REFUSED_AFTER: Duration = Duration::from_millis(500);
/// An answer with a token is some kilobytes.
const ANSWER_BYTES_MAX: usize = 256 << 10;

/// A part of the client's credentials.
#[derive(Clone, Debug)]
enum ClientPart {
    Given(Secret),
    /// Read at each call, with its key.
    File(PathBuf, &'static str),
}

#[derive(Clone, Debug)]
struct Settings {
    id: ClientPart,
    secret: ClientPart,
    scopes: Vec<String>,
    params: Vec<(String, Secret)>,
    timeout: Duration,
    expiry_buffer: Duration,
    endpoint: ClientSettings,
}

struct Plan(Settings);

fn check(cx: &CheckContext<'_>, body: &Node) -> Option<Box<dyn ExtensionPlan>> {
    let keys = Section::new(body, &cx.path, &cx.checks.diagnostics);
    let id = part(&keys, "client_id", "client_id_file");
    let secret = part(&keys, "client_secret", "client_secret_file");
    keys.choice("grant_type", &[("client_credentials", ())]);
    keys.not_yet(&[
        "client_certificate_key",
        "client_certificate_key_file",
        "client_certificate_key_id",
        "signature_algorithm",
        "iss",
        "audience",
        "claims",
    ]);
    let params = keys.string_map("endpoint_params").unwrap_or_default();
    let url = keys.string("token_url").filter(|url| !url.is_empty());
    if url.is_none() {
        keys.missing::<()>(
            "token_url",
            "the URL of the token endpoint, such as https://login.example.com/oauth2/token",
        );
    }
    let target = url.and_then(|url| target(&keys, &url));
    let tls = tls(&keys);
    let settings = (id, secret, target);
    let scopes = keys.strings("scopes").unwrap_or_default();
    let timeout = keys.duration("timeout").filter(|timeout| !timeout.is_zero()).unwrap_or(TIMEOUT_DEFAULT);
    let expiry_buffer = keys.duration("expiry_buffer").unwrap_or(EXPIRY_BUFFER_DEFAULT);
    let proxy = settings.2.as_ref().and_then(|target| {
        let secured = target.scheme == Scheme::Https;
        environment_proxy((&keys, "token_url"), &cx.checks.environment, target, secured)
    });
    keys.finish();
    let (Some(id), Some(secret), Some(target)) = settings else { return None };
    let secured = target.scheme == Scheme::Https;
    let mut endpoint = ClientSettings::new(target, ClientHttp::ByAgreement);
    endpoint.tls = secured.then(|| TlsSettings::of(&tls));
    endpoint.proxy = proxy;
    endpoint.response_bytes_max = ANSWER_BYTES_MAX;
    let params = params.into_iter().map(|(key, value)| (key, Secret::new(value))).collect();
    Some(Box::new(Plan(Settings { id, secret, scopes, params, timeout, expiry_buffer, endpoint })))
}

/// A text in place or in a file, which goes first.
fn part(keys: &Section<'_>, given: &'static str, file: &'static str) -> Option<ClientPart> {
    let text = keys.string(given).filter(|text| !text.is_empty());
    let path = keys.string(file).filter(|path| !path.is_empty());
    match (text, path) {
        (Some(_), Some(path)) => {
            keys.warn(given, code::IGNORED_KEY, format!("`{given}` has no effect beside `{file}`"), Some("remove it"));
            Some(ClientPart::File(PathBuf::from(path), file))
        }
        (None, Some(path)) => Some(ClientPart::File(PathBuf::from(path), file)),
        (Some(text), None) => Some(ClientPart::Given(Secret::new(text))),
        (None, None) => keys.missing(given, &format!("`{given}` or `{file}`")),
    }
}

fn target(keys: &Section<'_>, url: &str) -> Option<Target> {
    let port = |scheme| if scheme == Scheme::Https { 443 } else { 80 };
    match Target::parse(url, Some(port)) {
        Ok(target) if target.scheme == Scheme::Unstated => {
            keys.invalid("token_url", "the URL has no scheme", "https:// before the host")
        }
        Ok(target) => {
            if target.scheme == Scheme::Http {
                let message = "the client's secret and the token go to this endpoint in clear text";
                keys.warn("token_url", code::INSECURE, message, Some("write https://"));
            }
            Some(target)
        }
        Err(why) => keys.invalid("token_url", why, "a URL such as https://login.example.com/oauth2/token"),
    }
}

impl ExtensionPlan for Plan {
    fn build(&self, cx: BuildContext) -> Arc<dyn Component> {
        let client = Client::within(cx.host.outside.clone(), self.0.endpoint.clone());
        let tokens = AccessTokens {
            settings: self.0.clone(),
            client,
            path: cx.path.clone(),
            host: cx.host.clone(),
            known: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            in_form: AtomicBool::new(false),
        };
        Arc::new(OAuthExtension { cx, tokens: Arc::new(tokens) })
    }

    fn authenticates(&self) -> &[AuthSide] {
        &[AuthSide::Client]
    }
}

/// The latest token, and how the endpoint did since.
#[derive(Default)]
struct Known {
    token: Option<AccessToken>,
    came: Option<Instant>,
    /// Calls in a row that gave none, the last one's reason, and when the next may be made.
    failures: u32,
    fault: Option<(String, Instant)>,
}

struct AccessTokens {
    settings: Settings,
    client: Client,
    path: String,
    host: Arc<crate::core::stage::host::Host>,
    // Locked for a few instructions.
    known: Mutex<Known>,
    /// Held by whoever asks the endpoint.
    asking: tokio::sync::Mutex<()>,
    /// The endpoint wants the client's credentials in the form (RFC 6749, 2.3.1), which it said by refusing the header.
    in_form: AtomicBool,
}

impl AccessTokens {
    fn fresh(&self) -> Option<HeaderValue> {
        let known = self.known.locked();
        known.token.as_ref().filter(|token| token.is_fresh(Instant::now())).map(|token| token.header.clone())
    }

    /// A token that still counts, though another is wanted.
    fn usable(&self) -> Option<HeaderValue> {
        let known = self.known.locked();
        known.token.as_ref().filter(|token| token.is_usable(Instant::now())).map(|token| token.header.clone())
    }

    /// Why the endpoint is left alone for now.
    fn pause(&self) -> Option<String> {
        let known = self.known.locked();
        known.fault.as_ref().filter(|(_, until)| Instant::now() < *until).map(|(why, _)| why.clone())
    }

    async fn header(&self, deadline: Instant) -> Result<HeaderValue, String> {
        if let Some(header) = self.fresh() {
            return Ok(header);
        }
        let _asking = self.asking.lock().await;
        // Whoever asked before may have brought one.
        if let Some(header) = self.fresh() {
            return Ok(header);
        }
        if let Some(why) = self.pause() {
            return self.usable().ok_or(why);
        }
        match self.ask(deadline.min(Instant::now() + self.settings.timeout)).await {
            Ok(token) => {
                let header = token.header.clone();
                *self.known.locked() =
                    Known { token: Some(token), came: Some(Instant::now()), failures: 0, fault: None };
                self.host.status.set(&self.path, State::Ok, "");
                Ok(header)
            }
            Err(why) => {
                self.failed(&why);
                self.usable().ok_or(why)
            }
        }
    }

    fn failed(&self, why: &str) {
        let mut known = self.known.locked();
        let wait = within(RETRY.after(known.failures), fastrand::f64());
        known.failures = known.failures.saturating_add(1);
        known.fault = Some((why.to_owned(), Instant::now() + wait));
        let first = known.failures == 1;
        drop(known);
        self.host.status.set(&self.path, State::Degraded, why);
        if first {
            tracing::warn!(component = %self.path, cause = %why, "the token endpoint gives no token; requests wait and are tried again");
        }
    }

    async fn ask(&self, deadline: Instant) -> Result<AccessToken, String> {
        let (id, secret) = (text_of(&self.settings.id).await?, text_of(&self.settings.secret).await?);
        let in_form = self.in_form.load(Ordering::Relaxed);
        match self.call(&id, &secret, in_form, deadline).await? {
            Ok(token) => Ok(token),
            // Not every endpoint reads the header, and none says beforehand which form it reads.
            Err((status, _)) if !in_form && (status == 400 || status == StatusCode::UNAUTHORIZED.as_u16()) => {
                let token = self.call(&id, &secret, true, deadline).await?.map_err(|(_, why)| why)?;
                self.in_form.store(true, Ordering::Relaxed);
                Ok(token)
            }
            Err((_, why)) => Err(why),
        }
    }

    /// One call; the inner error is the endpoint's own answer.
    async fn call(
        &self,
        id: &Secret,
        secret: &Secret,
        in_form: bool,
        deadline: Instant,
    ) -> Result<Result<AccessToken, (u16, String)>, String> {
        let scopes = self.settings.scopes.join(" ");
        let mut pairs = vec![("grant_type", "client_credentials")];
        pairs.extend((!scopes.is_empty()).then_some(("scope", scopes.as_str())));
        pairs.extend(self.settings.params.iter().map(|(key, value)| (key.as_str(), value.expose())));
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if in_form {
            pairs.extend([("client_id", id.expose()), ("client_secret", secret.expose())]);
        } else {
            headers.insert(AUTHORIZATION, basic(id, secret)?);
        }
        let path = &self.settings.endpoint.target.path;
        let reply = self.client.http(HttpRequest {
            method: Method::POST,
            path: if path.is_empty() { "/".to_owned() } else { path.clone() },
            content_type: "application/x-www-form-urlencoded",
            headers,
            parts: vec![Bytes::from(form(&pairs))],
            compression: Compression::None,
            deadline,
        });
        let reply = reply.await.map_err(|failure| format!("the token endpoint cannot be asked: {failure}"))?;
        if reply.status != 200 {
            return Ok(Err((reply.status, refusal(reply.status, &reply.body))));
        }
        AccessToken::of(&reply.body, self.settings.expiry_buffer, Instant::now()).map(Ok)
    }
}

/// Id and secret are encoded as parts of a form first (RFC 6749, 2.3.1).
fn basic(id: &Secret, secret: &Secret) -> Result<HeaderValue, String> {
    let mut text = b"Basic ".to_vec();
    base64::encode(&mut text, format!("{}:{}", escaped(id.expose()), escaped(secret.expose())).as_bytes());
    let mut value = HeaderValue::from_bytes(&text).map_err(|error| error.to_string())?;
    value.set_sensitive(true);
    Ok(value)
}

async fn text_of(part: &ClientPart) -> Result<Secret, String> {
    match part {
        ClientPart::Given(text) => Ok(text.clone()),
        ClientPart::File(path, key) => match read(path, key).await?.trim() {
            "" => Err(format!("{key} {}: it is empty", path.display())),
            text => Ok(Secret::new(text)),
        },
    }
}

impl ClientAuth for AccessTokens {
    fn headers<'a>(
        &'a self,
        _: &'a HeaderMap,
        _: Option<&'a Origin>,
        deadline: Instant,
    ) -> Task<'a, Result<HeaderMap, String>> {
        Box::pin(async move { Ok(HeaderMap::from_iter([(AUTHORIZATION, self.header(deadline).await?)])) })
    }

    /// One that has just come is not given up: another would be refused as well.
    fn refused(&self) {
        let mut known = self.known.locked();
        if known.came.is_some_and(|came| came.elapsed() > REFUSED_AFTER) {
            (known.token, known.came) = (None, None);
        }
    }
}

struct OAuthExtension {
    cx: BuildContext,
    tokens: Arc<AccessTokens>,
}

impl Component for OAuthExtension {
    /// Asks nobody: an endpoint that is away must not keep the gateway from starting.
    fn start(&self) -> Task<'_, Result<(), StartError>> {
        Box::pin(async move {
            self.cx.host.authenticators.send(&self.cx.id.to_string(), self.tokens.clone());
            self.cx.host.status.set(&self.cx.path, State::Ok, "");
            Ok(())
        })
    }

    fn drain(&self, _: Instant) -> Task<'_, ()> {
        Box::pin(self.tokens.client.close())
    }
}
