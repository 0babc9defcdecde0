//! What the receiver counts: items under the Collector's names, and what audit events have of their own.

use std::sync::Arc;

use crate::core::report::stats::{Counter, Stats};
use crate::net::server::admission::report::Throttle;
use crate::receivers::k8s_audit::answer::Untaken;

pub struct AuditMetrics {
    receiver: String,
    pub accepted: Arc<Counter>,
    pub refused: Arc<Counter>,
    pub failed: Arc<Counter>,
    pub requests: Arc<Counter>,
    pub duplicates: Arc<Counter>,
    pub truncated: Arc<Counter>,
    /// In the order of [`Untaken::REASONS`].
    untaken: Vec<Arc<Counter>>,
    line: Throttle,
}

impl AuditMetrics {
    /// `receiver` is the component id.
    pub fn new(stats: &Stats, receiver: &str) -> AuditMetrics {
        let labels = [("receiver", receiver), ("transport", "http")];
        let items =
            |outcome: &str, help| stats.counter(&format!("otelcol_receiver_{outcome}_log_records"), help, &labels);
        let events = |name: &str, help| stats.counter(name, help, &labels[..1]);
        let untaken = Untaken::REASONS.map(|reason| {
            let labels = [("receiver", receiver), ("transport", "http"), ("reason", reason)];
            stats.counter("podgate_receiver_bad_requests", "Requests that were not accepted, by reason.", &labels)
        });
        AuditMetrics {
            receiver: receiver.to_owned(),
            accepted: items("accepted", "Items accepted from senders."),
            refused: items("refused", "Items given back to senders, who may retry."),
            failed: items("failed", "Items lost to a permanent error behind the receiver."),
            requests: stats.counter("otelcol_receiver_requests", "Requests answered.", &labels),
            duplicates: events(
                "podgate_audit_duplicates",
                "Audit events that were left out, because the same event was delivered before.",
            ),
            truncated: events("podgate_audit_truncated", "Audit events that the API server had cut to fit its limits."),
            untaken: untaken.into(),
            line: Throttle::default(),
        }
    }

    /// Counts a request that is not taken, and says so at most once in ten seconds.
    pub fn untaken(&self, why: &Untaken, peer: Option<std::net::SocketAddr>) {
        let at = Untaken::REASONS.iter().position(|reason| *reason == why.reason());
        if let Some(counter) = at.and_then(|at| self.untaken.get(at)) {
            counter.add(1);
        }
        if let Some(suppressed) = self.line.pass() {
            let peer = peer.map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
            let error: String = why.message().chars().take(200).collect();
            let (receiver, reason) = (&self.receiver, why.reason());
            tracing::warn!(receiver, peer, reason, error, suppressed, "audit events are not taken");
        }
    }
}
