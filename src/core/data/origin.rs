//! Who sent a payload: kept beside it to the end, because association, late binding and fairness need it after queues.

use std::net::SocketAddr;

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
}

impl Origin {
    pub fn new(
        peer: Option<SocketAddr>,
        connection: u64,
        accepted_at: UnixNanos,
        arrived_at: UnixNanos,
        transport: Transport,
    ) -> Origin {
        Origin { peer, connection, accepted_at, arrived_at, transport, headers: Vec::new() }
    }

    /// An origin without peer, for merged and generated payloads.
    pub fn internal(now: UnixNanos) -> Origin {
        Origin::new(None, 0, now, now, Transport::Internal)
    }
}
