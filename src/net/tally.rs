//! Counts of connections, and the few log lines a listener may write.
//!
//! Clients choose when these lines come, so each kind is written at most once in ten seconds, with the number left out.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::core::stats::{Counter, Gauge, Stats};

const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Connection metrics of one receiver.
pub struct Tally {
    stats: Arc<Stats>,
    receiver: String,
    open: Arc<Gauge>,
    accepted: Arc<Counter>,
    tls_line: Throttle,
    refused_line: Throttle,
    accept_line: Throttle,
}

impl Tally {
    /// `receiver` is the component id, the label of every series.
    pub fn new(stats: Arc<Stats>, receiver: &str) -> Tally {
        let labels = [("receiver", receiver)];
        Tally {
            open: stats.gauge("podgate_receiver_connections_open", "Connections open now.", &labels),
            accepted: stats.counter("podgate_receiver_connections", "Connections accepted since start.", &labels),
            receiver: receiver.to_owned(),
            stats,
            tls_line: Throttle::default(),
            refused_line: Throttle::default(),
            accept_line: Throttle::default(),
        }
    }

    fn by_cause(&self, name: &str, help: &'static str, cause: &str) {
        self.stats.counter(name, help, &[("receiver", self.receiver.as_str()), ("cause", cause)]).add(1);
    }

    pub fn opened(&self) {
        self.open.add(1);
        self.accepted.add(1);
    }

    /// `cause` is a fixed word; `client` when the client ended the connection.
    pub fn closed(&self, cause: &str) {
        self.open.add(-1);
        self.by_cause("podgate_receiver_connections_closed", "Connections ended, by cause.", cause);
    }

    pub fn refused(&self, cause: &'static str, peer: Option<SocketAddr>) {
        self.by_cause("podgate_receiver_connections_refused", "Connections closed right after accept.", cause);
        if let Some(untold) = self.refused_line.pass() {
            tracing::warn!(receiver = %self.receiver, ?peer, cause, untold, "connection refused");
        }
    }

    pub fn accept_failed(&self, error: &std::io::Error) {
        self.by_cause("podgate_receiver_connections_refused", "Connections closed right after accept.", "accept");
        if let Some(untold) = self.accept_line.pass() {
            tracing::warn!(
                receiver = %self.receiver, %error, untold,
                "cannot accept connections; waiting (raise the limit of open files if this stays)"
            );
        }
    }

    pub fn tls_hello(&self, peer: Option<SocketAddr>) {
        if let Some(untold) = self.tls_line.pass() {
            tracing::warn!(
                receiver = %self.receiver, ?peer, untold,
                "a client speaks TLS to a plain port; use http:// in its endpoint, or OTEL_EXPORTER_OTLP_INSECURE=true"
            );
        }
    }
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
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0.is_some_and(|last| last.elapsed() < LINE_INTERVAL) {
            state.1 += 1;
            return None;
        }
        let untold = state.1;
        *state = (Some(Instant::now()), 0);
        Some(untold)
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
}
