//! From the API server's JSON to slim pods: lenient, object by object, allocating only what is kept.
//!
//! A watch line or list item that cannot be read costs that object alone, and the caller counts it; the resourceVersion
//! is rescued even then, so that the watch moves on. `managedFields` and everything else unused is skipped without
//! being stored. Knows nothing of requests, connections or time.

mod objects;
mod raw;
mod split;
mod text;

use std::borrow::Cow;
use std::sync::Arc;

use regex::Regex;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::kube::pod::Pod;

pub use self::objects::{Meta, Related};
pub use self::split::{LineSplitter, ListEnd, ListSplitter, Piece};
pub use self::text::Interner;

/// Which labels and annotations are kept; everything else is never stored.
#[derive(Clone, Debug, Default)]
pub struct Keep {
    /// Of pods.
    pub labels: Vec<KeepKey>,
    pub annotations: Vec<KeepKey>,
    /// Of namespaces, nodes and owners (Deployment, ReplicaSet, ...).
    pub related_labels: Vec<KeepKey>,
    pub related_annotations: Vec<KeepKey>,
}

#[derive(Clone, Debug)]
pub enum KeepKey {
    All,
    Exact(String),
    /// Matched as given: anchor it to match whole keys.
    Pattern(Regex),
}

impl KeepKey {
    fn matches(&self, key: &str) -> bool {
        match self {
            KeepKey::All => true,
            KeepKey::Exact(exact) => exact == key,
            KeepKey::Pattern(pattern) => pattern.is_match(key),
        }
    }

    fn same(&self, other: &KeepKey) -> bool {
        match (self, other) {
            (KeepKey::All, KeepKey::All) => true,
            (KeepKey::Exact(a), KeepKey::Exact(b)) => a == b,
            (KeepKey::Pattern(a), KeepKey::Pattern(b)) => a.as_str() == b.as_str(),
            _ => false,
        }
    }
}

impl Keep {
    /// Keeps what either keeps: two users of one watch.
    pub fn join(&mut self, other: Keep) {
        join_keys(&mut self.labels, other.labels);
        join_keys(&mut self.annotations, other.annotations);
        join_keys(&mut self.related_labels, other.related_labels);
        join_keys(&mut self.related_annotations, other.related_annotations);
    }
}

fn join_keys(into: &mut Vec<KeepKey>, from: Vec<KeepKey>) {
    for key in from {
        if !into.iter().any(|known| known.same(&key)) {
            into.push(key);
        }
    }
}

fn kept(keys: &[KeepKey], key: &str) -> bool {
    keys.iter().any(|rule| rule.matches(key))
}

/// Why an object or answer could not be read. The text names place and fault, never the content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Undecodable(pub String);

impl From<serde_json::Error> for Undecodable {
    fn from(error: serde_json::Error) -> Undecodable {
        Undecodable(error.to_string())
    }
}

/// A pod with the version of the object it was read from.
#[derive(Clone, Debug, PartialEq)]
pub struct DecodedPod {
    pub pod: Pod,
    /// `metadata.resourceVersion`: opaque to clients, except for asking to go on from there.
    pub version: String,
}

/// What an API server says went wrong (metav1.Status).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ApiStatus {
    pub code: u16,
    /// `Expired`, `Forbidden`, `Timeout`, ...; empty when the answer was no Status.
    pub reason: String,
    pub message: String,
    pub retry_after_seconds: Option<u64>,
    /// The wanted resourceVersion lies in the server's future.
    pub version_too_large: bool,
}

impl ApiStatus {
    /// The answer of a server that knows no streaming lists to somebody who asks for one.
    pub fn refuses_streaming(&self) -> bool {
        matches!(self.code, 400 | 404 | 405 | 406 | 415 | 422)
    }
}

/// One line of a watch.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// ADDED or MODIFIED.
    Applied(DecodedPod),
    /// `last` is absent when only the identity could be read.
    Deleted {
        uid: Arc<str>,
        last: Option<Pod>,
        version: String,
    },
    Bookmark {
        version: String,
        initial_events_end: bool,
    },
    Error(ApiStatus),
    /// An object that cannot be read; the watch goes on behind it.
    Skipped {
        version: Option<String>,
        fault: Undecodable,
    },
}

/// Reads objects of one watch; strings that repeat between its objects are shared.
#[derive(Debug)]
pub struct Decoder {
    keep: Keep,
    strings: Interner,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, rename = "type")]
    kind: text::Text<'a>,
    #[serde(borrow)]
    object: &'a RawValue,
}

impl Decoder {
    pub fn new(keep: Keep) -> Decoder {
        Decoder { keep, strings: Interner::default() }
    }

    /// Reads one pod object, as in a list or from a single GET.
    pub fn pod(&mut self, json: &[u8]) -> Result<DecodedPod, Undecodable> {
        self.pod_text(&text_of(json))
    }

    fn pod_text(&mut self, json: &str) -> Result<DecodedPod, Undecodable> {
        let raw: raw::RawPod<'_> = serde_json::from_str(json)?;
        objects::pod(raw, &self.keep, &mut self.strings)
    }

    /// Reads identity, labels and annotations of any object (namespace, node, owner).
    pub fn related(&mut self, json: &[u8]) -> Result<Related, Undecodable> {
        let raw: raw::RawObject<'_> = serde_json::from_slice(json)?;
        objects::related(raw, &self.keep, &mut self.strings)
    }

    /// Reads one line of a watch. Fails when it is not an event at all: then the stream cannot be trusted.
    pub fn line(&mut self, line: &[u8]) -> Result<Event, Undecodable> {
        let text = text_of(line);
        let line: Line<'_> = serde_json::from_str(&text)?;
        let json = line.object.get();
        match line.kind.as_str() {
            "ADDED" | "MODIFIED" => Ok(match self.pod_text(json) {
                Ok(seen) => Event::Applied(seen),
                Err(fault) => Event::Skipped { version: objects::version_of(json.as_bytes()), fault },
            }),
            "DELETED" => Ok(self.deleted(json)),
            "BOOKMARK" => objects::bookmark(json.as_bytes()),
            "ERROR" => Ok(Event::Error(api_status(json.as_bytes(), 500))),
            other => Err(Undecodable(format!("unknown event type of {} bytes", other.len()))),
        }
    }

    fn deleted(&mut self, json: &str) -> Event {
        let fault = match self.pod_text(json) {
            Ok(seen) => {
                return Event::Deleted { uid: seen.pod.uid.clone(), last: Some(seen.pod), version: seen.version };
            }
            Err(fault) => fault,
        };
        let json = json.as_bytes();
        match objects::identity_of(json) {
            Some((uid, version)) => Event::Deleted { uid: uid.into(), last: None, version },
            None => Event::Skipped { version: objects::version_of(json), fault },
        }
    }
}

/// What is no UTF-8 costs the texts it is in, not the stream: a version can be gone on from.
fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    // The lossy reading is an order slower, also where nothing is lost.
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// Reads an error body. What is no Status keeps `code` and has an empty reason.
pub fn api_status(json: &[u8], code: u16) -> ApiStatus {
    objects::api_status(json, code)
}

#[cfg(test)]
mod tests;
