//! Who sent a payload: kept beside it to the end, because association, late binding and fairness need it after queues.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::core::time::UnixNanos;

/// The transport label of receiver metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    Grpc,
    Http,
    /// Made inside podgate (merged batches, connectors, tests); there is no peer.
    Internal,
}

impl Transport {
    pub fn name(self) -> &'static str {
        match self {
            Transport::Grpc => "grpc",
            Transport::Http => "http",
            Transport::Internal => "internal",
        }
    }
}

/// Whom an authenticator recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// A name that is no secret.
    pub subject: Arc<str>,
    /// True when it tells senders apart, so that they may share memory by it.
    pub tells_senders: bool,
    /// More about it, as `from_context: auth.NAME` reads it.
    pub attributes: Vec<(&'static str, String)>,
}

impl Identity {
    /// The text under `auth.NAME`.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        if name == "subject" {
            return Some(&self.subject);
        }
        self.attributes.iter().find(|(known, _)| *known == name).map(|(_, text)| text.as_str())
    }
}

/// Facts of one request, shared by everything that was split from it.
#[derive(Debug)]
pub struct Origin {
    /// Remote address of the connection; `None` once payloads of several peers were merged.
    pub peer: Option<SocketAddr>,
    /// Process-wide number of the connection; 0 when there is none.
    pub connection: u64,
    /// When the connection was accepted: no process older than the connection can have opened it.
    pub accepted_at: UnixNanos,
    /// When the request's first byte was read, before any queue.
    pub arrived_at: UnixNanos,
    pub transport: Transport,
    /// Request headers kept when the receiver's `include_metadata` asks for them; names in lower case.
    pub headers: Vec<(String, String)>,
    /// Whom the receiver's authenticator recognised; `None` without one, in merged payloads, and after a restart.
    pub identity: Option<Arc<Identity>>,
}

impl Origin {
    pub fn new(
        peer: Option<SocketAddr>,
        connection: u64,
        accepted_at: UnixNanos,
        arrived_at: UnixNanos,
        transport: Transport,
    ) -> Origin {
        Origin { peer, connection, accepted_at, arrived_at, transport, headers: Vec::new(), identity: None }
    }

    /// The values that the sender gave to these headers (names in lower case), as one text: equal texts are equal values. A
    /// header that is absent differs from an empty one, and each of several values counts.
    pub fn part<'k>(&self, keys: impl Iterator<Item = &'k str>) -> Box<str> {
        let mut part = String::new();
        for key in keys {
            for (_, value) in self.headers.iter().filter(|(header, _)| header == key) {
                // The length in front, so that no value can look like two.
                part.push_str(&format!("{}:{value}", value.len())); // granted: the headers of a request are bounded
            }
            part.push(';'); // granted: one for each configured key
        }
        part.into_boxed_str()
    }

    /// An origin without peer, for merged and generated payloads.
    pub fn internal(now: UnixNanos) -> Origin {
        Origin::new(None, 0, now, now, Transport::Internal)
    }
}
