//! `headers_setter`: headers of an exporter's requests, fixed, from a header that the sender's request had, or from what an
//! authenticator knew of the sender.
//!
//! ```yaml
//! headers_setter:
//!   headers:
//!     - {key: X-Scope-OrgID, from_context: x-scope-orgid, default_value: none}
//! ```
//!
//! A sender's headers are there where the receiver keeps them (`include_metadata: true`) and nothing merged the data of
//! several senders.

use std::sync::Arc;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::Instant;

use crate::config::check::Section;
use crate::core::data::origin::Origin;
use crate::core::data::payload::Signal;
use crate::core::diagnostic::code;
use crate::core::error::StartError;
use crate::core::node::Node;
use crate::core::stage::auth::{AuthSide, ClientAuth};
use crate::core::stage::component::{Component, Task};
use crate::core::stage::factory::{About, BuildContext, CheckContext, ExtensionFactory, ExtensionPlan};

pub const FACTORY: ExtensionFactory = ExtensionFactory {
    about: About {
        name: "headers_setter",
        aliases: &[],
        signals: &Signal::ALL,
        summary: "sets headers of outgoing requests, fixed or from the sender's request",
        example: "headers:\n  - {action: upsert, key: X-Scope-OrgID, from_context: x-scope-orgid, default_value: none}\n",
    },
    check,
};

/// More headers than this are a mistake.
const HEADERS_MAX: usize = 100;

/// What happens where the exporter sets the header itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeaderAction {
    Insert,
    Update,
    Upsert,
}

#[derive(Clone, Debug)]
enum HeaderSource {
    Fixed(HeaderValue),
    /// A header of the sender's request; in lower case.
    Metadata(String),
    /// What the receiver's authenticator knew of the sender.
    Identity(String),
}

#[derive(Clone, Debug)]
struct HeaderRule {
    action: HeaderAction,
    name: HeaderName,
    source: HeaderSource,
    default: Option<HeaderValue>,
}

struct Plan(Vec<HeaderRule>);

fn check(cx: &CheckContext<'_>, body: &Node) -> Option<Box<dyn ExtensionPlan>> {
    let keys = Section::new(body, &cx.path, &cx.checks.diagnostics);
    keys.not_yet(&["additional_auth"]);
    let rules = match keys.list("headers") {
        Some(items) if items.len() > HEADERS_MAX => {
            keys.invalid("headers", format!("{} headers", items.len()), "at most 100 headers")
        }
        Some(items) if !items.is_empty() => {
            let read = items.iter().enumerate().map(|(at, item)| {
                let item = Section::new(item, format!("{}::{at}", keys.child_path("headers")), keys.diagnostics());
                let rule = item.is_map().then(|| rule(&item)).flatten();
                item.finish();
                rule
            });
            let read: Vec<Option<HeaderRule>> = read.collect();
            read.into_iter().collect::<Option<Vec<HeaderRule>>>()
        }
        None if keys.node("headers").is_some_and(|node| !node.is_null()) => None,
        _ => keys.missing("headers", "a list of headers, such as {key: X-Scope-OrgID, value: a, action: upsert}"),
    };
    keys.finish();
    rules.map(|rules| Box::new(Plan(rules)) as _)
}

fn rule(item: &Section<'_>) -> Option<HeaderRule> {
    item.not_yet(&["value_file", "default_value_file"]);
    let actions =
        [("insert", HeaderAction::Insert), ("update", HeaderAction::Update), ("upsert", HeaderAction::Upsert)];
    let action = match item.string("action").as_deref() {
        None | Some("") => Some(HeaderAction::Upsert),
        Some("delete") => {
            let help = "leave the header out of the exporter's `headers` instead";
            item.error("action", code::NOT_YET, "`delete` is not supported yet", Some(help));
            None
        }
        Some(_) => item.choice("action", &actions),
    };
    let name = match item.string("key").filter(|name| !name.is_empty()) {
        None => item.missing("key", "the name of the header"),
        Some(name) => match HeaderName::try_from(&name) {
            Ok(name) => Some(name),
            Err(_) => item.invalid("key", format!("{name:?} is no header name"), "a name such as X-Scope-OrgID"),
        },
    };
    let text = |key: &str| item.string(key).filter(|text| !text.is_empty());
    // Values may be secrets, so no message shows one.
    let value = |key: &str| match text(key).as_deref().map(HeaderValue::from_str) {
        None => Some(None),
        Some(Ok(mut value)) => {
            value.set_sensitive(true);
            Some(Some(value))
        }
        Some(Err(_)) => item.invalid(key, format!("`{key}` cannot be sent"), "a text without line breaks"),
    };
    let (fixed, default) = (value("value")?, value("default_value")?);
    let source = match (fixed, text("from_context"), text("from_attribute")) {
        (Some(value), None, None) => HeaderSource::Fixed(value),
        (None, Some(context), None) => match context.strip_prefix("auth.") {
            Some(name) => HeaderSource::Identity(name.to_owned()),
            None => HeaderSource::Metadata(context.strip_prefix("metadata.").unwrap_or(&context).to_lowercase()),
        },
        (None, None, Some(name)) => HeaderSource::Identity(name),
        (None, None, None) => return item.missing("value", "value, from_context or from_attribute"),
        _ => {
            let message = "more than one of `value`, `from_context` and `from_attribute`";
            item.error("key", code::CONFLICT, message, Some("keep the one that the value comes from"));
            return None;
        }
    };
    Some(HeaderRule { action: action?, name: name?, source, default })
}

impl ExtensionPlan for Plan {
    fn build(&self, cx: BuildContext) -> Arc<dyn Component> {
        Arc::new(HeadersExtension { setter: Arc::new(HeadersSetter(self.0.clone())), cx })
    }

    fn authenticates(&self) -> &[AuthSide] {
        &[AuthSide::Client]
    }

    fn asks_for_senders(&self) -> bool {
        self.0.iter().any(|rule| !matches!(rule.source, HeaderSource::Fixed(_)) && rule.default.is_none())
    }

    fn asks_for_headers(&self) -> Option<Vec<String>> {
        let asking = self.0.iter().filter(|rule| rule.default.is_none());
        let headers = asking.filter_map(|rule| match &rule.source {
            HeaderSource::Fixed(_) => None,
            HeaderSource::Identity(_) => Some(None),
            HeaderSource::Metadata(name) => Some(Some(name.clone())),
        });
        headers.collect()
    }
}

struct HeadersSetter(Vec<HeaderRule>);

impl HeaderRule {
    /// The value for data of this sender; `None` where there is none.
    fn value(&self, origin: Option<&Origin>) -> Result<Option<HeaderValue>, String> {
        let text = match &self.source {
            HeaderSource::Fixed(value) => return Ok(Some(value.clone())),
            HeaderSource::Identity(name) => {
                origin.and_then(|origin| origin.identity.as_ref()).and_then(|identity| identity.attribute(name))
            }
            HeaderSource::Metadata(name) => {
                let mut values = origin.into_iter().flat_map(|origin| &origin.headers).filter(|(key, _)| key == name);
                let (first, second) = (values.next(), values.next());
                if second.is_some() {
                    return Err(format!("the sender's request has the header {name:?} more than once"));
                }
                first.map(|(_, value)| value.as_str())
            }
        };
        // What a sender wrote may be a credential.
        let value = text.and_then(|text| HeaderValue::from_str(text).ok()).map(|mut value| {
            value.set_sensitive(true);
            value
        });
        Ok(value.or_else(|| self.default.clone()))
    }
}

impl HeadersSetter {
    fn set(&self, own: &HeaderMap, origin: Option<&Origin>) -> Result<HeaderMap, String> {
        let mut headers = HeaderMap::new();
        for rule in &self.0 {
            let is_there = own.contains_key(&rule.name) || headers.contains_key(&rule.name);
            let wanted = match rule.action {
                HeaderAction::Insert => !is_there,
                HeaderAction::Update => is_there,
                HeaderAction::Upsert => true,
            };
            if let Some(value) = rule.value(origin)?.filter(|_| wanted) {
                headers.insert(rule.name.clone(), value);
            }
        }
        Ok(headers)
    }
}

impl ClientAuth for HeadersSetter {
    fn headers<'a>(
        &'a self,
        own: &'a HeaderMap,
        origin: Option<&'a Origin>,
        _: Instant,
    ) -> Task<'a, Result<HeaderMap, String>> {
        Box::pin(std::future::ready(self.set(own, origin)))
    }
}

struct HeadersExtension {
    setter: Arc<HeadersSetter>,
    cx: BuildContext,
}

impl Component for HeadersExtension {
    fn start(&self) -> Task<'_, Result<(), StartError>> {
        self.cx.host.authenticators.send(&self.cx.id.to_string(), self.setter.clone());
        Box::pin(std::future::ready(Ok(())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::data::origin::{Identity, Transport};
    use crate::core::time::UnixNanos;

    fn rule(action: HeaderAction, source: HeaderSource, default: Option<&'static str>) -> HeaderRule {
        let default = default.map(HeaderValue::from_static);
        HeaderRule { action, name: HeaderName::from_static("x-tenant"), source, default }
    }

    fn tenant(rule: HeaderRule, own: &HeaderMap, origin: Option<&Origin>) -> Option<String> {
        let headers = HeadersSetter(vec![rule]).set(own, origin).unwrap();
        headers.get("x-tenant").map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_header_comes_from_the_senders_request_its_identity_or_the_default() {
        let mut origin = Origin::new(None, 1, UnixNanos(0), UnixNanos(0), Transport::Http);
        origin.headers = vec![("x-scope".to_owned(), "red".to_owned()), ("bad".to_owned(), "a\nb".to_owned())];
        let identity = Identity { subject: "ann".into(), tells_senders: true, attributes: Vec::new() };
        origin.identity = Some(Arc::new(identity));
        let metadata = |name: &str| HeaderSource::Metadata(name.to_owned());
        let identity = HeaderSource::Identity("subject".to_owned());
        let own = HeaderMap::new();
        for (source, default, origin, wanted) in [
            (metadata("x-scope"), Some("none"), Some(&origin), Some("red")),
            (metadata("x-other"), Some("none"), Some(&origin), Some("none")),
            (metadata("x-other"), None, Some(&origin), None),
            (metadata("bad"), Some("none"), Some(&origin), Some("none")),
            (metadata("x-scope"), None, None, None),
            (identity.clone(), None, Some(&origin), Some("ann")),
            (identity, Some("none"), None, Some("none")),
        ] {
            let seen = tenant(rule(HeaderAction::Upsert, source.clone(), default), &own, origin);
            assert_eq!(seen.as_deref(), wanted, "{source:?}");
        }
        origin.headers.push(("x-scope".to_owned(), "blue".to_owned()));
        let twice = HeadersSetter(vec![rule(HeaderAction::Upsert, metadata("x-scope"), None)]);
        assert!(twice.set(&own, Some(&origin)).is_err(), "whose it is cannot be said");
    }

    #[test]
    fn actions_look_at_the_exporters_own_header() {
        let own = HeaderMap::from_iter([(HeaderName::from_static("x-tenant"), HeaderValue::from_static("own"))]);
        let fixed = || HeaderSource::Fixed(HeaderValue::from_static("new"));
        for (action, absent, present) in [
            (HeaderAction::Insert, Some("new"), None),
            (HeaderAction::Update, None, Some("new")),
            (HeaderAction::Upsert, Some("new"), Some("new")),
        ] {
            assert_eq!(tenant(rule(action, fixed(), None), &HeaderMap::new(), None).as_deref(), absent, "{action:?}");
            assert_eq!(tenant(rule(action, fixed(), None), &own, None).as_deref(), present, "{action:?}");
        }
    }
}
