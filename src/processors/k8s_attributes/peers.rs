//! Which pod is behind an address, told to the net layer: for fair shares among senders.

use std::net::IpAddr;
use std::sync::Arc;

use super::enrich::Enricher;
use crate::core::data::binding::PeerIdentity;
use crate::core::time::UnixNanos;

pub struct Peers {
    pub enricher: Arc<Enricher>,
}

impl PeerIdentity for Peers {
    fn identify(&self, peer: IpAddr) -> Option<Arc<str>> {
        let snapshot = self.enricher.cluster.snapshot();
        let entry = snapshot.by_ip(peer, UnixNanos::now())?;
        Some(Arc::from(format!("{}/{}", entry.pod.namespace, entry.pod.name)))
    }
}
