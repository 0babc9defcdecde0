//! The paces of one exporter: one for each signal, for its endpoints may differ, and a gauge that shows it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::core::data::payload::Signal;
use crate::core::lock::Locked;
use crate::core::report::stats::{Gauge, Stats};
use crate::sending::gate::{ClosingGate, Over};
use crate::sending::pace::{PaceTurn, SendPace};

/// Nobody waits longer without another look.
const LOOKS_AGAIN: Duration = Duration::from_secs(60);

pub struct Paces {
    /// `None`: the senders that wait are the limit.
    lanes: Option<[Lane; 4]>,
}

struct Lane {
    // Locked for a few instructions and never across an await.
    pace: Mutex<SendPace>,
    freed: Notify,
    allowed: Arc<Gauge>,
}

/// One request on its way; its turn ends when it is dropped.
pub struct PacedSend<'p> {
    lane: Option<&'p Lane>,
}

/// Why there is no turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTurn {
    /// The exporter has ended.
    Over,
    /// The time allowed has passed.
    TooLate,
}

impl Paces {
    /// At most so many requests of a signal at once as consumers send, with the longest wait of their retries; `None` for no
    /// limit. An attempt may take `timeout`.
    pub fn new(consumers: Option<(usize, Duration)>, timeout: Duration, stats: &Arc<Stats>, exporter: &str) -> Paces {
        let lane = |signal: Signal, (most, longest): (usize, Duration)| {
            let labels = [("data_type", signal.name()), ("exporter", exporter)];
            let help =
                "Requests that may be under way at once: num_consumers, fewer while the next hop is slow or away.";
            let allowed = stats.gauge("podgate_exporter_allowed_requests", help, &labels);
            allowed.set(i64::try_from(most).unwrap_or(i64::MAX));
            Lane { pace: Mutex::new(SendPace::new(most, timeout, longest)), freed: Notify::new(), allowed }
        };
        Paces { lanes: consumers.map(|consumers| Signal::ALL.map(|signal| lane(signal, consumers))) }
    }

    /// Waits for a turn, until `until` at most. While the exporter drains there is no limit: its time is short, and what
    /// runs is bounded by its consumers anyway.
    pub async fn enter(
        &self,
        signal: Signal,
        gate: &ClosingGate,
        until: Option<Instant>,
    ) -> Result<PacedSend<'_>, NoTurn> {
        let Some(lane) = self.lanes.as_ref().map(|lanes| &lanes[signal.index()]) else {
            return Ok(PacedSend { lane: None });
        };
        loop {
            let freed = lane.freed.notified();
            tokio::pin!(freed);
            // Registered before the look, so that what is freed in between is not missed.
            freed.as_mut().enable();
            let now = Instant::now();
            let turn = lane.begin(now, gate.is_closing());
            let wait = match turn {
                PaceTurn::Now => return Ok(PacedSend { lane: Some(lane) }),
                PaceTurn::At(at) => at - now,
                PaceTurn::AfterAnother => LOOKS_AGAIN,
            };
            let left = until.map_or(wait, |until| until.saturating_duration_since(now));
            if left.is_zero() {
                return Err(NoTurn::TooLate);
            }
            tokio::select! {
                () = freed => {}
                paused = gate.pause(wait.min(left)) => paused.map_err(|Over| NoTurn::Over)?,
            }
        }
    }
}

impl Lane {
    fn begin(&self, now: Instant, anyway: bool) -> PaceTurn {
        let mut pace = self.pace.locked();
        if anyway {
            pace.begin_anyway();
            return PaceTurn::Now;
        }
        pace.begin(now)
    }
}

impl PacedSend<'_> {
    /// The next hop answered after `took`, whatever it said, to a request of `bytes`.
    pub fn answered(&self, took: Duration, bytes: u64) {
        self.tell(|pace, now| pace.works(took, bytes, now, fastrand::f64()));
    }

    /// There was no answer, or one that asks to come again later.
    pub fn failed(&self) {
        self.tell(|pace, now| pace.fails(now, fastrand::f64()));
    }

    fn tell(&self, change: impl FnOnce(&mut SendPace, Instant)) {
        let Some(lane) = self.lane else { return };
        let allowed = {
            let mut pace = lane.pace.locked();
            change(&mut pace, Instant::now());
            pace.allowed()
        };
        lane.allowed.set(i64::try_from(allowed).unwrap_or(i64::MAX));
    }
}

impl Drop for PacedSend<'_> {
    fn drop(&mut self) {
        if let Some(lane) = self.lane {
            lane.pace.locked().ended();
            lane.freed.notify_waiters();
        }
    }
}
