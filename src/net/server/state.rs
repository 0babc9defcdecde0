//! What the connections of one listener share, and how they learn that it stops.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::core::data::budget::Budget;
use crate::core::report::stats::Stats;
use crate::net::server::admission::connection_limit::{Caps, ConnectionLimit};
use crate::net::server::admission::connection_memory::Charges;
use crate::net::server::admission::fair_share::Shares;
use crate::net::server::admission::gates::Gates;
use crate::net::server::admission::report::ConnectionMetrics;
use crate::net::server::background::Leftovers;
use crate::net::server::limits::ServerLimits;
use crate::net::server::node_addresses::Home;
use crate::net::server::tls::source::TlsFiles;

/// `None` while serving; then the moment at which everything must have ended.
pub type Stop = watch::Receiver<Option<Instant>>;

/// What one listener serves by; some of it is shared with the others of its receiver.
pub struct Server {
    pub limits: ServerLimits,
    pub budget: Arc<Budget>,
    pub gate: Arc<ConnectionLimit>,
    /// Those whose connections share `charges`, this one among them.
    pub gates: Arc<Gates>,
    pub tally: ConnectionMetrics,
    pub leftovers: Arc<Leftovers>,
    pub shares: Arc<Shares>,
    pub charges: Arc<Charges>,
    /// The node's own addresses, where they have places of their own.
    pub home: Home,
    /// Where the listener speaks TLS.
    pub tls: Option<Arc<TlsFiles>>,
    /// Any moment before the first request: the clock of `shares`.
    pub opened: Instant,
}

impl Server {
    /// Of pages, which are served whether or not memory is short: `budget` is their own. An eighth of the places is kept
    /// for `home`. `name` labels their metrics. Must be called within a runtime.
    pub fn of_pages(stats: &Stats, name: &str, limits: ServerLimits, home: Home, budget: Arc<Budget>) -> Server {
        let caps = Caps {
            all: limits.connections_max,
            per_address: limits.connections_per_address_max,
            kept: limits.connections_max / 8,
            renews: true,
        };
        Server {
            limits,
            budget,
            gate: ConnectionLimit::new(caps),
            gates: Arc::default(),
            tally: ConnectionMetrics::new(stats, name),
            leftovers: Leftovers::new(),
            shares: Arc::default(),
            charges: Arc::default(),
            home,
            tls: None,
            opened: Instant::now(),
        }
    }
}

/// Resolves with the deadline once the server is to stop; a vanished owner means now.
pub(crate) async fn stopped(stop: &mut Stop) -> Instant {
    loop {
        if let Some(deadline) = *stop.borrow_and_update() {
            return deadline;
        }
        if stop.changed().await.is_err() {
            return Instant::now();
        }
    }
}
