//! `apikeyauth`: receivers take Elasticsearch's API keys, which Elasticsearch itself is asked about (Elastic's component).
//!
//! ```yaml
//! apikeyauth:
//!   endpoint: https://elasticsearch:9200
//!   application_privileges:
//!   - {application: apm, privileges: ["event:write"], resources: ["-"]}
//!   cache: {capacity: 1000, ttl: 30s}
//! ```

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::config::check::Section;
use crate::config::client::{headers, tls};
use crate::core::data::payload::Signal;
use crate::core::diagnostic::code;
use crate::core::error::StartError;
use crate::core::node::Node;
use crate::core::outside::Outside;
use crate::core::report::status::State;
use crate::core::stage::auth::{AuthSide, Checking, ServerAuth};
use crate::core::stage::commands::probe::Probe;
use crate::core::stage::component::{Component, Task};
use crate::core::stage::factory::{About, BuildContext, CheckContext, ExtensionFactory, ExtensionPlan};
use crate::extensions::authenticators::asking::privileges::{
    ApplicationPrivileges, HeaderResource, question, unauthenticated, verdict,
};
use crate::extensions::authenticators::asking::security::{SecurityApi, SecurityProbe};
use crate::extensions::authenticators::asking::terms::{AskingTerms, shown_credential};
use crate::extensions::authenticators::asking::verdicts::{AskedVerdict, CredentialVerdicts};
use crate::net::client::connect::proxy::proxy_for;
use crate::net::client::settings::{ClientHttp, ClientSettings, TlsSettings};
use crate::net::client::target::{Scheme, Target};
use crate::otlp::json::base64;

pub const FACTORY: ExtensionFactory = ExtensionFactory {
    about: About {
        name: "apikeyauth",
        aliases: &[],
        signals: &Signal::ALL,
        summary: "checks Elasticsearch's API keys by asking Elasticsearch",
        example: "endpoint: https://elasticsearch:9200\napplication_privileges:\n\
                  - {application: apm, privileges: [\"event:write\"], resources: [\"-\"]}\n",
    },
    check,
};

/// As in Elastic's.
const TERMS: AskingTerms = AskingTerms {
    capacity: NonZeroUsize::new(1_000).expect("1,000 is not zero"),
    ttl: Duration::from_secs(30),
    // Elastic's has no limit of its own; a sender waits no longer than this.
    timeout: Duration::from_secs(10),
};
/// An answer names the privileges that were asked for.
const ANSWER_BYTES_MAX: usize = 1 << 20;

#[derive(Clone, Debug)]
struct Settings {
    endpoint: ClientSettings,
    /// Beside the key's own.
    headers: HeaderMap,
    wanted: Vec<ApplicationPrivileges>,
    /// Headers that a request must have; a verdict holds for their values alone.
    key_headers: Vec<HeaderName>,
    terms: AskingTerms,
}

impl Settings {
    fn security(&self, outside: &Outside) -> SecurityApi {
        SecurityApi::new(outside, self.endpoint.clone(), self.headers.clone())
    }
}

struct Plan(Settings);

fn check(cx: &CheckContext<'_>, body: &Node) -> Option<Box<dyn ExtensionPlan>> {
    let keys = Section::new(body, &cx.path, &cx.checks.diagnostics);
    let target = target(&keys);
    let wanted = applications(&keys);
    let mut key_headers = Vec::new();
    let terms = AskingTerms::check(&keys, TERMS, |cache| key_headers = cache_headers(cache));
    let (tls, headers) = (tls(&keys), headers(&keys));
    let proxy = target
        .as_ref()
        .and_then(|target| proxy_for(&keys, &cx.checks.environment, target, (false, target.scheme == Scheme::Https)));
    let why = "a question is not asked twice; senders hear 503 and come again";
    keys.without_effect("elasticsearch_retry", why);
    keys.without_effect("retry", why);
    keys.without_effect("client_retry", "senders that may come again always hear when");
    keys.without_effect("compression", "questions are too short to be compressed");
    let pool = "podgate keeps as many connections as there are questions";
    for key in
        ["read_buffer_size", "write_buffer_size", "max_idle_conns", "max_idle_conns_per_host", "max_conns_per_host"]
    {
        keys.without_effect(key, pool);
    }
    for key in ["idle_conn_timeout", "disable_keep_alives", "http2_read_idle_timeout", "http2_ping_timeout"] {
        keys.without_effect(key, pool);
    }
    keys.not_yet(&["auth", "cookies", "middlewares"]);
    keys.finish();
    let target = target?;
    let secured = target.scheme == Scheme::Https;
    let mut endpoint = ClientSettings::new(target, ClientHttp::ByAgreement);
    endpoint.tls = secured.then(|| TlsSettings::of(&tls));
    endpoint.proxy = proxy;
    endpoint.response_bytes_max = ANSWER_BYTES_MAX;
    Some(Box::new(Plan(Settings { endpoint, headers, wanted: wanted?, key_headers, terms })))
}

fn target(keys: &Section<'_>) -> Option<Target> {
    let expected = "a URL such as https://elasticsearch:9200";
    let Some(url) = keys.string("endpoint").filter(|url| !url.is_empty()) else {
        return keys.missing("endpoint", expected);
    };
    let port = |scheme| if scheme == Scheme::Https { 443 } else { 80 };
    match Target::parse(&url, Some(port)) {
        Ok(target) if target.scheme == Scheme::Unstated => {
            keys.invalid("endpoint", "the URL has no scheme", "https:// before the host")
        }
        Ok(target) => {
            if target.scheme == Scheme::Http {
                let message = "the senders' API keys go to this endpoint in clear text";
                keys.warn("endpoint", code::INSECURE, message, Some("write https://"));
            }
            Some(target)
        }
        Err(why) => keys.invalid("endpoint", why, expected),
    }
}

/// `None` after an error.
fn applications(keys: &Section<'_>) -> Option<Vec<ApplicationPrivileges>> {
    let (items, path) =
        (keys.list("application_privileges").unwrap_or_default(), keys.child_path("application_privileges"));
    let read = items.iter().enumerate().map(|(at, item)| {
        let keys = Section::new(item, format!("{path}::{at}"), keys.diagnostics());
        let read = application(&keys);
        keys.finish();
        read
    });
    // All are read, so that all faults are told.
    let read: Vec<Option<ApplicationPrivileges>> = read.collect();
    read.into_iter().collect()
}

fn application(keys: &Section<'_>) -> Option<ApplicationPrivileges> {
    let application = keys.string("application").filter(|name| !name.is_empty());
    if application.is_none() {
        keys.missing::<()>("application", "the application's name in Elasticsearch, such as apm");
    }
    let filled = |key: &str| keys.strings(key).filter(|texts| !texts.is_empty());
    let (privileges, resources) = (filled("privileges"), filled("resources").unwrap_or_default());
    if privileges.is_none() {
        keys.missing::<()>("privileges", "at least one privilege, such as event:write");
    }
    let (dynamic, path) = (keys.list("dynamic_resources").unwrap_or_default(), keys.child_path("dynamic_resources"));
    let of_headers: Vec<Option<HeaderResource>> = dynamic
        .iter()
        .enumerate()
        .map(|(at, item)| {
            let keys = Section::new(item, format!("{path}::{at}"), keys.diagnostics());
            let read = header_resource(&keys);
            keys.finish();
            read
        })
        .collect();
    if resources.is_empty() && of_headers.is_empty() {
        keys.missing::<()>("resources", "at least one resource, as \"-\" or \"*\", or `dynamic_resources`");
    }
    let of_headers: Option<Vec<HeaderResource>> = of_headers.into_iter().collect();
    Some(ApplicationPrivileges {
        application: application?,
        privileges: privileges?,
        resources,
        of_headers: of_headers?,
    })
}

fn header_resource(keys: &Section<'_>) -> Option<HeaderResource> {
    let format = keys.string("format").filter(|format| !format.is_empty()).unwrap_or_else(|| "%s".to_owned());
    let header = keys.string("metadata").map(|name| HeaderName::try_from(name.to_ascii_lowercase()));
    let Some(Ok(header)) = header else {
        return keys.missing("metadata", "the header of the sender's request that holds the value, such as x-tenant");
    };
    match HeaderResource::new(header, &format) {
        Ok(resource) => Some(resource),
        Err(why) => keys.invalid("format", why, "a text with one %s, and %% for a percent sign"),
    }
}

/// Headers that a verdict rests on, beside the key.
fn cache_headers(cache: &Section<'_>) -> Vec<HeaderName> {
    cache.without_effect("pbkdf2_iterations", "keys are remembered by HMAC under a key that only this process has");
    let mut headers = Vec::new();
    // A Collector keeps some headers of a request as its metadata; here both keys read the request itself.
    for key in ["key_headers", "key_metadata"] {
        for name in cache.strings(key).unwrap_or_default() {
            match HeaderName::try_from(name.to_ascii_lowercase()) {
                Ok(header) => headers.push(header),
                Err(_) => {
                    cache.invalid::<()>(key, format!("{name:?} is no header name"), "names such as X-Tenant");
                }
            }
        }
    }
    headers
}

impl ExtensionPlan for Plan {
    fn build(&self, cx: BuildContext) -> Arc<dyn Component> {
        let security = Arc::new(self.0.security(&cx.host.outside));
        Arc::new(ApiKeyExtension { settings: self.0.clone(), security, cx })
    }

    fn authenticates(&self) -> &[AuthSide] {
        &[AuthSide::Server]
    }

    fn probe(&self) -> Option<Box<dyn Probe>> {
        Some(Box::new(SecurityProbe(self.0.security(&Outside::default()))))
    }
}

/// A key as a request shows it.
struct ShownKey {
    /// The header as it came.
    header: HeaderValue,
    id: String,
}

fn shown(headers: &HeaderMap) -> Result<ShownKey, String> {
    let (value, key) = shown_credential(headers, "ApiKey")?;
    let mut bytes = Vec::new();
    let text = base64::decode(&mut bytes, key).and_then(|()| String::from_utf8(bytes).ok());
    let text = text.ok_or("the API key is not base64 of a text")?;
    let (id, secret) = text.split_once(':').ok_or("the API key is not base64 of id:key")?;
    if id.is_empty() || secret.is_empty() {
        return Err("the API key is not base64 of id:key".to_owned());
    }
    let mut header = value.clone();
    header.set_sensitive(true);
    Ok(ShownKey { header, id: id.to_owned() })
}

struct ApiKeys {
    settings: Settings,
    security: Arc<SecurityApi>,
    verdicts: CredentialVerdicts,
}

impl ApiKeys {
    /// What the verdict rests on beside the key.
    fn parts<'h>(&self, headers: &'h HeaderMap) -> Result<Vec<&'h [u8]>, String> {
        let mut parts = Vec::new();
        for name in &self.settings.key_headers {
            if !headers.contains_key(name) {
                return Err(format!("the header {name} is missing"));
            }
        }
        let resources = self.settings.wanted.iter().flat_map(|wanted| &wanted.of_headers);
        for name in self.settings.key_headers.iter().chain(resources.map(|resource| &resource.header)) {
            parts.extend(headers.get_all(name).iter().map(HeaderValue::as_bytes));
            // No value has such a byte: one does not wander from a header to the next.
            parts.push(b"\n");
        }
        Ok(parts)
    }

    async fn ask(&self, key: ShownKey, question: Option<String>) -> Result<AskedVerdict, String> {
        let asked = question.is_some();
        let reply = self.security.ask(key.header, question, Instant::now() + self.settings.terms.timeout).await?;
        let verdict = verdict(reply.status, &reply.body, &key.id, asked)?.map(Arc::new);
        Ok(AskedVerdict { verdict, lasts: self.settings.terms.ttl })
    }
}

impl ServerAuth for ApiKeys {
    fn check<'a>(&'a self, headers: &'a HeaderMap) -> Checking<'a> {
        let refuse = |why: &str| self.verdicts.known(Err(unauthenticated(why)));
        let key = match shown(headers) {
            Ok(key) => key,
            Err(why) => return refuse(&why),
        };
        let parts = match self.parts(headers) {
            Ok(parts) => parts,
            Err(why) => return refuse(&why),
        };
        let question = match self.settings.wanted.as_slice() {
            // Elasticsearch takes no question about no privileges; who is known is enough then.
            [] => None,
            wanted => match question(wanted, headers) {
                Ok(question) => Some(question),
                Err(why) => return refuse(&why),
            },
        };
        let mark = self.verdicts.mark(std::iter::once(key.header.as_bytes()).chain(parts));
        self.verdicts.check(mark, move || self.ask(key, question))
    }
}

struct ApiKeyExtension {
    settings: Settings,
    security: Arc<SecurityApi>,
    cx: BuildContext,
}

impl Component for ApiKeyExtension {
    /// Asks nobody: an Elasticsearch that is away must not keep the gateway from starting.
    fn start(&self) -> Task<'_, Result<(), StartError>> {
        Box::pin(async move {
            let (host, id) = (&self.cx.host, self.cx.id.to_string());
            let verdicts = CredentialVerdicts::of(self.settings.terms, &self.cx)?;
            let keys = ApiKeys { settings: self.settings.clone(), security: self.security.clone(), verdicts };
            host.authenticators.serve(&id, Arc::new(keys));
            host.status.set(&self.cx.path, State::Ok, "");
            Ok(())
        })
    }

    fn drain(&self, _: Instant) -> Task<'_, ()> {
        Box::pin(self.security.close())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use http::header::AUTHORIZATION;

    #[test]
    fn a_key_is_base64_of_two_parts_behind_its_scheme() {
        let map = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(AUTHORIZATION, HeaderValue::from_static(value));
            }
            headers
        };
        for good in ["ApiKey aWQ6c2VjcmV0", "apikey  aWQ6c2VjcmV0"] {
            assert_eq!(shown(&map(&[good])).map(|key| key.id).as_deref(), Ok("id"), "{good}");
        }
        let wrong: [&[&'static str]; 8] = [
            &[],
            &["ApiKey"],
            &["ApiKey "],
            &["Bearer aWQ6c2VjcmV0"],
            &["ApiKey id:secret"],
            &["ApiKey aWQ="],
            &["ApiKey OnNlY3JldA=="],
            &["ApiKey aWQ6c2VjcmV0", "ApiKey aWQ6c2VjcmV0"],
        ];
        for values in wrong {
            assert!(shown(&map(values)).is_err(), "{values:?}");
        }
    }
}
