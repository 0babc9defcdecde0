//! Request paths of the API server, from what is asked for.

use std::fmt::Write as _;
use std::time::Duration;

use crate::kube::watch::Ask;
use crate::kube::watch_spec::WatchSpec;

/// The objects of one watch: where they are and which of them.
#[derive(Clone, Debug)]
pub struct ObjectScope {
    /// `/api/v1/pods`, `/api/v1/namespaces/x/pods` and others.
    base: String,
    /// `&fieldSelector=...&labelSelector=...`, encoded.
    selectors: String,
}

impl ObjectScope {
    pub fn new(spec: &WatchSpec, namespace: Option<&str>) -> ObjectScope {
        let base = match namespace {
            Some(namespace) => format!("/api/v1/namespaces/{}/pods", encode(namespace)),
            None => "/api/v1/pods".to_owned(),
        };
        let node = spec.node.as_ref().map(|node| format!("spec.nodeName={node}"));
        let fields: Vec<String> = node.into_iter().chain(spec.field_selector.clone()).collect();
        let mut selectors = String::new();
        if !fields.is_empty() {
            push(&mut selectors, "fieldSelector", &fields.join(","));
        }
        if let Some(labels) = &spec.label_selector {
            push(&mut selectors, "labelSelector", labels);
        }
        ObjectScope { base, selectors }
    }

    /// The EndpointSlices of a service.
    pub fn slices(namespace: &str, service: &str) -> ObjectScope {
        let base = format!("/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices", encode(namespace));
        let mut selectors = String::new();
        push(&mut selectors, "labelSelector", &format!("kubernetes.io/service-name={service}"));
        ObjectScope { base, selectors }
    }

    /// Path and query of a request. A version nobody named is `0`: whatever the server has in its cache.
    pub fn path(&self, ask: &Ask) -> String {
        let mut query = String::new();
        match ask {
            Ask::Watch { from, timeout_seconds } => {
                push(&mut query, "resourceVersion", from);
                watching(&mut query, *timeout_seconds);
            }
            Ask::StreamingList { at_least, timeout_seconds } => {
                push(&mut query, "resourceVersion", at_least.as_deref().unwrap_or("0"));
                push(&mut query, "resourceVersionMatch", "NotOlderThan");
                push(&mut query, "sendInitialEvents", "true");
                watching(&mut query, *timeout_seconds);
            }
            Ask::List { at_least, page, limit } => {
                if *limit > 0 {
                    push(&mut query, "limit", &limit.to_string());
                }
                // A page token carries its version; the server refuses another one beside it.
                match (page, at_least) {
                    (Some(page), _) => push(&mut query, "continue", page),
                    (None, Some(version)) => {
                        push(&mut query, "resourceVersion", version);
                        push(&mut query, "resourceVersionMatch", "NotOlderThan");
                    }
                    (None, None) => push(&mut query, "resourceVersion", "0"),
                }
            }
        }
        query.push_str(&self.selectors);
        format!("{}?{}", self.base, query.trim_start_matches('&'))
    }
}

/// A list of the pods of this name: none or one, as the store knows it now. With `streaming` as a watch of at most that
/// long which begins with them.
pub fn one_pod(namespace: &str, name: &str, streaming: Option<Duration>) -> String {
    let mut query = String::new();
    push(&mut query, "fieldSelector", &format!("metadata.name={name}"));
    if let Some(at_most) = streaming {
        push(&mut query, "resourceVersionMatch", "NotOlderThan");
        push(&mut query, "sendInitialEvents", "true");
        watching(&mut query, u32::try_from(at_most.as_secs()).unwrap_or(u32::MAX));
    }
    format!("/api/v1/namespaces/{}/pods?{}", encode(namespace), query.trim_start_matches('&'))
}

fn watching(query: &mut String, timeout_seconds: u32) {
    push(query, "watch", "true");
    push(query, "allowWatchBookmarks", "true");
    push(query, "timeoutSeconds", &timeout_seconds.to_string());
}

fn push(query: &mut String, key: &str, value: &str) {
    let _ = write!(query, "&{key}={}", encode(value));
}

/// Percent-encodes everything but unreserved characters (RFC 3986, section 2.3).
pub fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(char::from(byte)),
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}
