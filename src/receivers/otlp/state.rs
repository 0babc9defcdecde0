//! What all requests of a receiver share.

use std::sync::Arc;

use http::HeaderMap;
use http::request::Parts;
use tokio::sync::{Semaphore, watch};

use crate::core::data::origin::{Identity, Origin, Transport};
use crate::core::data::payload::Signal;
use crate::core::time::UnixNanos;
use crate::net::server::accept::Stop;
use crate::net::server::body::RequestBody;
use crate::otlp::fields::{collector_logs, collector_metrics, collector_profiles, collector_trace};
use crate::receivers::otlp::config::Protocols;
use crate::receivers::otlp::intake::Intake;
use crate::receivers::otlp::report::refusals::Refusals;

/// Watches that go on at the same time, all doors of a receiver together; one takes about as much as a connection's head.
pub const WATCHES_MAX: usize = 256;

/// What health is told from, and the places of those who watch it.
pub struct Health {
    pub ready: watch::Receiver<bool>,
    pub stop: Stop,
    pub watches: Arc<Semaphore>,
}

impl Health {
    /// `ready` is the gateway's own word; `stop` ends the watches with the receiver.
    pub fn new(ready: watch::Receiver<bool>, stop: Stop) -> Health {
        Health { ready, stop, watches: Arc::new(Semaphore::new(WATCHES_MAX)) }
    }
}

/// What all requests of a receiver share.
pub struct OtlpService {
    pub intake: Arc<Intake>,
    pub protocols: Protocols,
    pub refusals: Refusals,
    pub health: Health,
}

impl OtlpService {
    /// Facts of the sender, taken before the body is read.
    pub fn origin(&self, transport: Transport, head: &Parts, body: &mut RequestBody) -> Origin {
        let (headers, identity) = (&head.headers, head.extensions.get::<Arc<Identity>>());
        if let Some(name) = self.tenant(headers, identity, body) {
            body.set_tenant(name);
        }
        let connection = body.connection();
        let mut origin =
            Origin::new(connection.peer, connection.number, connection.accepted_at, UnixNanos::now(), transport);
        if self.protocols.include_metadata(transport) {
            let texts = headers.iter().filter_map(|(name, value)| {
                let value = value.to_str().ok()?;
                Some((name.as_str().to_owned(), value.to_owned()))
            });
            origin.headers = texts.collect();
        }
        origin.identity = identity.cloned();
        origin
    }

    /// Who shares memory with others: a header's value when configured, else whom the authenticator
    /// recognised when that tells senders apart, else the pod behind the address when known.
    fn tenant(&self, headers: &HeaderMap, identity: Option<&Arc<Identity>>, body: &RequestBody) -> Option<Arc<str>> {
        let header = self.protocols.tenant_header.as_ref().and_then(|name| headers.get(name)?.to_str().ok());
        let known = identity.filter(|identity| identity.tells_senders).map(|identity| identity.subject.clone());
        header.map(Arc::from).or(known).or_else(|| {
            let peer = body.connection().peer?;
            self.intake.host.peer_identity.identify(peer.ip())
        })
    }
}

/// Signals with the name of their gRPC service's Export method.
pub const METHODS: [(&str, Signal); 4] = [
    (collector_trace::trace_service::EXPORT, Signal::Traces),
    (collector_metrics::metrics_service::EXPORT, Signal::Metrics),
    (collector_logs::logs_service::EXPORT, Signal::Logs),
    (collector_profiles::profiles_service::EXPORT, Signal::Profiles),
];
