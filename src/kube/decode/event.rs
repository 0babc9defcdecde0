//! What is decoded: events of a watch, the pods in them, and how much of each is kept.

use std::sync::Arc;

use regex::Regex;

use crate::kube::pod::Pod;

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
    /// Keeps all that the other keeps.
    pub fn holds(&self, other: &Keep) -> bool {
        let all = |own: &[KeepKey], keys: &[KeepKey]| keys.iter().all(|key| own.iter().any(|known| known.same(key)));
        all(&self.labels, &other.labels)
            && all(&self.annotations, &other.annotations)
            && all(&self.related_labels, &other.related_labels)
            && all(&self.related_annotations, &other.related_annotations)
    }

    /// Keeps what either keeps: two users of one watch.
    pub fn join(&mut self, other: Keep) {
        join_keys(&mut self.labels, other.labels);
        join_keys(&mut self.annotations, other.annotations);
        join_keys(&mut self.related_labels, other.related_labels);
        join_keys(&mut self.related_annotations, other.related_annotations);
    }
}

pub fn kept(keys: &[KeepKey], key: &str) -> bool {
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

/// An object that a watch is of, as it was read.
pub trait WatchedObject {
    /// What is left of it when it is deleted.
    type Last: Clone + std::fmt::Debug + PartialEq;

    fn uid(&self) -> &Arc<str>;

    /// `metadata.resourceVersion`.
    fn version(&self) -> &str;

    fn last(self) -> Self::Last;
}

impl WatchedObject for DecodedPod {
    type Last = Pod;

    fn uid(&self) -> &Arc<str> {
        &self.pod.uid
    }

    fn version(&self) -> &str {
        &self.version
    }

    fn last(self) -> Pod {
        self.pod
    }
}

/// One line of a watch.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<O: WatchedObject = DecodedPod> {
    /// ADDED or MODIFIED.
    Applied(O),
    /// `last` is absent when only the identity could be read.
    Deleted {
        uid: Arc<str>,
        last: Option<O::Last>,
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

fn join_keys(into: &mut Vec<KeepKey>, from: Vec<KeepKey>) {
    for key in from {
        if !into.iter().any(|known| known.same(&key)) {
            into.push(key);
        }
    }
}
