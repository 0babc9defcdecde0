//! What the receiver says of requests it cannot take: a counter for each kind, and a log line with peer, path and cure.
//!
//! Senders choose when these lines come, so each kind is told at most once in ten seconds, with the number left out. All
//! series are made with the receiver: counting neither allocates nor locks.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::core::data::origin::Transport;
use crate::core::report::stats::{Counter, Stats};
use crate::net::server::admission::report::Throttle;
use crate::receivers::otlp::fault::{FaultKind, RequestFault};

/// Longest text of a sender's in a line.
const SHOWN_CHARS: usize = 200;

/// Who asked for what.
#[derive(Clone, Copy, Debug)]
pub struct AskedFor<'a> {
    pub transport: Transport,
    pub peer: Option<SocketAddr>,
    pub path: &'a str,
}

/// Counters and lines of one receiver.
pub struct Refusals {
    receiver: String,
    /// In the order of [`FaultKind::ALL`].
    kinds: Vec<Row>,
}

struct Row {
    /// By transport: gRPC, HTTP; none for what the sender is not to blame for.
    counters: Option<[Arc<Counter>; 2]>,
    line: Throttle,
}

impl Refusals {
    /// `receiver` is the component id.
    pub fn new(stats: &Stats, receiver: &str) -> Refusals {
        let counter = |transport: Transport, reason: &str| {
            let labels = [("receiver", receiver), ("transport", transport.name()), ("reason", reason)];
            stats.counter("podgate_receiver_bad_requests", "Requests that were not accepted, by reason.", &labels)
        };
        let row = |kind: FaultKind| Row {
            counters: kind.reason().map(|reason| [Transport::Grpc, Transport::Http].map(|at| counter(at, reason))),
            line: Throttle::default(),
        };
        Refusals { receiver: receiver.to_owned(), kinds: FaultKind::ALL.into_iter().map(row).collect() }
    }

    /// Counts a request that is not answered with success, and says so where nobody else does.
    pub fn note(&self, fault: &RequestFault, asked: AskedFor<'_>) {
        let Some(kind) = fault.kind() else { return };
        let Some(row) = self.kinds.get(kind as usize) else { return };
        if let Some(counters) = &row.counters {
            counters[usize::from(asked.transport != Transport::Grpc)].add(1);
        }
        let Some(cure) = kind.cure() else { return };
        if let Some(suppressed) = row.line.pass() {
            let error: String = fault.message().chars().take(SHOWN_CHARS).collect();
            let path: String = asked.path.chars().take(SHOWN_CHARS).collect();
            let peer = asked.peer.map_or_else(|| "unix socket".to_owned(), |peer| peer.to_string());
            tracing::warn!(
                receiver = %self.receiver, peer, transport = asked.transport.name(), path, reason = kind.name(), error,
                cure, suppressed, "request refused"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_row_and_a_refusal_makes_no_series() {
        for (at, kind) in FaultKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at, "{kind:?}");
        }
        let stats = Stats::default();
        let refusals = Refusals::new(&stats, "otlp");
        let series = stats.all().len();
        let asked = AskedFor { transport: Transport::Http, peer: None, path: "/nowhere" };
        for fault in [
            RequestFault::NotFound(String::new()),
            RequestFault::Gone,
            RequestFault::Overloaded(String::new()),
            RequestFault::Panicked,
        ] {
            refusals.note(&fault, asked);
        }
        assert_eq!((stats.all().len(), stats.total("podgate_receiver_bad_requests")), (series, 2));
    }
}
