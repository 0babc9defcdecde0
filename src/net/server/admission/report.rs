//! Counts of connections, and the few log lines a listener may write.
//!
//! Clients choose when these lines come, so each cause is told at most once in ten seconds, with the number left out.
//! Every series is made with the receiver: counting an end neither allocates nor locks.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use crate::core::lock::Locked;
use crate::core::report::stats::{Counter, Gauge, Stats};
use crate::net::server::connection::cause::CloseCause;

const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Connection metrics of one receiver.
pub struct ConnectionMetrics {
    receiver: String,
    open: Arc<Gauge>,
    accepted: Arc<Counter>,
    /// By cause, in the order of [`CloseCause::ALL`].
    ended: [Ended; CloseCause::COUNT],
    handshake_line: Throttle,
}

struct Ended {
    count: Arc<Counter>,
    line: Throttle,
}

impl ConnectionMetrics {
    /// `receiver` is the component id, the label of every series.
    pub fn new(stats: &Stats, receiver: &str) -> ConnectionMetrics {
        let labels = [("receiver", receiver)];
        let ended = CloseCause::ALL.map(|cause| {
            let labels = [("receiver", receiver), ("cause", cause.name())];
            let (name, help) = if cause.is_refusal() {
                ("podgate_receiver_connections_refused", "Connections closed right after accept.")
            } else {
                ("podgate_receiver_connections_closed", "Connections ended, by cause.")
            };
            Ended { count: stats.counter(name, help, &labels), line: Throttle::default() }
        });
        ConnectionMetrics {
            open: stats.gauge("podgate_receiver_connections_open", "Connections open now.", &labels),
            accepted: stats.counter("podgate_receiver_connections", "Connections accepted since start.", &labels),
            receiver: receiver.to_owned(),
            ended,
            handshake_line: Throttle::default(),
        }
    }

    pub fn opened(&self) {
        self.open.add(1);
        self.accepted.add(1);
    }

    pub fn closed(&self, cause: CloseCause, peer: Option<SocketAddr>) {
        self.open.add(-1);
        self.end(cause, peer, "connection closed");
    }

    pub fn refused(&self, cause: CloseCause, peer: Option<SocketAddr>) {
        self.end(cause, peer, "connection refused");
    }

    pub fn accept_failed(&self, error: &std::io::Error) {
        let ended = &self.ended[CloseCause::Accept as usize];
        ended.count.add(1);
        if let Some(suppressed) = ended.line.pass() {
            let cure = CloseCause::Accept.cure().unwrap_or_default();
            tracing::warn!(receiver = %self.receiver, %error, cure, suppressed, "cannot accept connections; podgate tries again");
        }
    }

    /// What a client and this listener did not agree on; the connection's end is counted when it is closed.
    pub fn handshake_failed(&self, error: &std::io::Error, peer: Option<SocketAddr>) {
        if let Some(suppressed) = self.handshake_line.pass() {
            let peer = shown(peer);
            let cure = "compare the client's authority, certificate and versions with this listener's `tls` block";
            tracing::warn!(receiver = %self.receiver, peer, %error, cure, suppressed, "TLS handshake failed");
        }
    }

    fn end(&self, cause: CloseCause, peer: Option<SocketAddr>, what: &str) {
        let ended = &self.ended[cause as usize];
        ended.count.add(1);
        let Some(cure) = cause.cure() else { return };
        if let Some(suppressed) = ended.line.pass() {
            let peer = shown(peer);
            tracing::warn!(receiver = %self.receiver, peer, cause = cause.name(), cure, suppressed, "{what}");
        }
    }
}

fn shown(peer: Option<SocketAddr>) -> String {
    peer.map_or_else(|| "unix socket".to_owned(), |peer| peer.to_string())
}

/// Lets one through per interval and counts the rest.
#[derive(Debug, Default)]
pub struct Throttle {
    // Last time and how many were held back since; locked for a comparison.
    state: Mutex<(Option<Instant>, u64)>,
}

impl Throttle {
    /// The number held back since the last one, or `None` when this one is held back.
    pub fn pass(&self) -> Option<u64> {
        let mut state = self.state.locked();
        if state.0.is_some_and(|last| last.elapsed() < LINE_INTERVAL) {
            state.1 += 1;
            return None;
        }
        let suppressed = state.1;
        *state = (Some(Instant::now()), 0);
        Some(suppressed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn one_line_in_ten_seconds_and_the_rest_is_counted() {
        let throttle = Throttle::default();
        assert_eq!((throttle.pass(), throttle.pass(), throttle.pass()), (Some(0), None, None));
        tokio::time::advance(LINE_INTERVAL).await;
        assert_eq!(throttle.pass(), Some(2));
    }

    /// What was logged meanwhile, a line each.
    fn logged(during: impl FnOnce()) -> Vec<String> {
        #[derive(Clone, Default)]
        struct Lines(Arc<Mutex<Vec<u8>>>);
        impl std::io::Write for Lines {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().expect("not poisoned").extend_from_slice(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let lines = Lines::default();
        let written = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || written.clone()).finish();
        tracing::subscriber::with_default(subscriber, during);
        let bytes = lines.0.lock().expect("not poisoned").clone();
        String::from_utf8(bytes).expect("text").lines().map(str::to_owned).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_closed_for_a_reason_has_one_line_with_peer_cause_and_cure() {
        let peer = "10.1.2.3:4567".parse().ok();
        for cause in CloseCause::ALL {
            let tally = ConnectionMetrics::new(&Stats::default(), "otlp");
            let lines = logged(|| (0..3).for_each(|_| tally.closed(cause, peer)));
            let Some(cure) = cause.cure() else {
                assert!(lines.is_empty(), "{}: {lines:?}", cause.name());
                continue;
            };
            let parts = ["WARN", "receiver=otlp", "10.1.2.3:4567", cause.name(), cure, "connection closed"];
            assert!(lines.len() == 1 && parts.iter().all(|part| lines[0].contains(part)), "{lines:?}");
        }
        let tally = ConnectionMetrics::new(&Stats::default(), "otlp");
        let floods = [CloseCause::PingFlood, CloseCause::Memory];
        assert_eq!(logged(|| floods.iter().for_each(|cause| tally.closed(*cause, None))).len(), 2, "each has its own");
    }

    #[tokio::test]
    async fn every_series_is_there_before_anything_ends_and_ends_are_told_apart() {
        let stats = Stats::default();
        let tally = ConnectionMetrics::new(&stats, "otlp");
        let series = stats.all().len();
        assert_eq!(series, CloseCause::COUNT + 2);
        tally.opened();
        tally.closed(CloseCause::PingFlood, None);
        tally.refused(CloseCause::ConnectionsMax, None);
        assert_eq!(stats.all().len(), series, "counting makes no series");
        let totals = ["connections", "connections_closed", "connections_refused"]
            .map(|name| stats.total(&format!("podgate_receiver_{name}")));
        assert_eq!(totals, [1, 1, 1]);
    }
}
