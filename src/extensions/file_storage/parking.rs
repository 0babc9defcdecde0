//! The log line of a queue that goes on on disk: that it does, how long the disk lasts, and that all of it is read back.

use std::time::Duration;

use tokio::time::Instant;

use crate::extensions::file_storage::figures;
use crate::wal::writer::stats::LogStats;

/// Said again after this, while records go on being parked.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// The first line waits for the rate at which the log grows, this long at most.
const RATE_WAIT: Duration = Duration::from_secs(5);

/// What was said last.
#[derive(Debug, Default)]
pub struct ParkingLine {
    seen: u64,
    /// Since when records are parked without a word of it.
    since: Option<Instant>,
    said: Option<Instant>,
}

impl ParkingLine {
    /// `parked`: records so far; `waiting`: those that are not read back.
    pub fn tell(&mut self, path: &str, parked: u64, waiting: u64, stats: &LogStats) {
        let more = std::mem::replace(&mut self.seen, parked) != parked;
        let lasts = figures::lasts(stats);
        match self.said {
            Some(said) if more && said.elapsed() < AGAIN_AFTER => {}
            None if more && lasts.is_none() && self.since.get_or_insert_with(Instant::now).elapsed() < RATE_WAIT => {}
            _ if more => {
                (self.said, self.since) = (Some(Instant::now()), None);
                let lasts = lasts.unwrap_or_default();
                tracing::warn!(
                    storage = path,
                    waiting,
                    lasts,
                    "memory or a sending queue is full: what comes is kept on disk alone, and read back when there is room"
                );
            }
            Some(_) if waiting == 0 => {
                self.said = None;
                tracing::info!(storage = path, parked, "everything that was kept on disk alone is read back");
            }
            _ => {}
        }
    }
}
