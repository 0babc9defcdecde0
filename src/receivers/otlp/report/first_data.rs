//! One log line for the first data of each service and signal, so that a newcomer sees at once that something arrives.
//!
//! What was seen is remembered as hashes, a bounded number of them; then it stops looking.

use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use foldhash::HashSet;
use foldhash::fast::RandomState;

use crate::core::data::payload::{Envelope, Signal};
use crate::core::limits::FIRST_DATA_LINES_MAX;
use crate::core::lock::Locked;
use crate::otlp::attributes;

/// Resources and (service, signal) pairs remembered before it stops looking.
const KEYS_MAX: usize = 16 * FIRST_DATA_LINES_MAX;
/// Resources of one request that are looked at.
const GROUPS_MAX: usize = 16;

pub struct FirstRequests {
    receiver: String,
    hasher: RandomState,
    // Written until it is full, then never asked again.
    seen: Mutex<HashSet<u64>>,
    lines: AtomicUsize,
    full: AtomicBool,
}

impl FirstRequests {
    /// `receiver` is the component id.
    pub fn new(receiver: &str) -> FirstRequests {
        FirstRequests {
            receiver: receiver.to_owned(),
            hasher: RandomState::default(),
            seen: Mutex::default(),
            lines: AtomicUsize::new(0),
            full: AtomicBool::new(false),
        }
    }

    /// A request as it came. A process sends the same resource every time, so what was seen costs one hash. Returns how
    /// many lines were written.
    pub fn see(&self, signal: Signal, envelope: &Envelope, peer: Option<SocketAddr>) -> usize {
        if self.full.load(Ordering::Relaxed) {
            return 0;
        }
        let resources =
            envelope.groups.iter().take(GROUPS_MAX).map(|group| group.resource.as_deref().unwrap_or_default());
        resources.filter(|resource| self.is_first(signal, resource, peer)).count()
    }

    fn is_first(&self, signal: Signal, resource: &[u8], peer: Option<SocketAddr>) -> bool {
        if !self.is_new(self.hasher.hash_one((signal.index(), resource))) {
            return false;
        }
        let service = attributes::find(resource, "service.name").and_then(|value| value.as_str()).unwrap_or("");
        if !self.is_new(self.hasher.hash_one((signal.index(), "service", service))) {
            return false;
        }
        if self.lines.fetch_add(1, Ordering::Relaxed) >= FIRST_DATA_LINES_MAX {
            self.full.store(true, Ordering::Relaxed);
            return false;
        }
        let service: String = service.chars().take(200).collect();
        let peer = peer.map_or_else(|| "unix socket".to_owned(), |peer| peer.to_string());
        tracing::info!(receiver = %self.receiver, service, signal = signal.name(), peer, "first data of a service");
        true
    }

    fn is_new(&self, key: u64) -> bool {
        let mut seen = self.seen.locked();
        if seen.len() >= KEYS_MAX {
            self.full.store(true, Ordering::Relaxed);
            return false;
        }
        seen.insert(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::data::payload::Group;
    use crate::otlp::write;

    fn envelope(service: &str, pid: u64) -> Envelope {
        let attribute = |key: &str, value: &str| {
            let (mut any, mut pair) = (Vec::new(), Vec::new());
            write::bytes(&mut any, 1, value.as_bytes());
            write::bytes(&mut pair, 1, key.as_bytes());
            write::bytes(&mut pair, 2, &any);
            pair
        };
        let mut resource = Vec::new();
        write::bytes(&mut resource, 1, &attribute("service.name", service));
        write::bytes(&mut resource, 1, &attribute("process.pid", &pid.to_string()));
        Envelope { groups: vec![Group { resource: Some(resource.into()), ..Group::default() }], ..Envelope::default() }
    }

    #[test]
    fn each_service_and_signal_is_told_once_and_memory_is_bounded() {
        let first = FirstRequests::new("otlp");
        let see = |signal, service: &str, pid| first.see(signal, &envelope(service, pid), None);
        assert_eq!(see(Signal::Traces, "shop", 1), 1);
        assert_eq!(see(Signal::Traces, "shop", 1) + see(Signal::Traces, "shop", 2), 0);
        assert_eq!(see(Signal::Logs, "shop", 1), 1);
        let lines: usize = (0..20_000).map(|number| see(Signal::Traces, &format!("s{number}"), number)).sum();
        assert_eq!(lines, FIRST_DATA_LINES_MAX - 2);
        assert!(first.full.load(Ordering::Relaxed) && first.seen.lock().unwrap().len() <= KEYS_MAX);
    }
}
