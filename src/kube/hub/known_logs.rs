//! Until when the node's log folder is known.

use std::time::Duration;

use tokio::time::Instant;

/// From a change of the folder to its place in the snapshot, at the most: a log is made longer than this before the
/// first process of its container can say anything.
pub const LAG: Duration = Duration::from_millis(30);

/// Since when, or until when, the folder is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watched {
    /// Every change rings.
    pub(super) ringing: bool,
    pub(super) scanned: Option<Instant>,
    /// Something is being read since then, and not in the table yet.
    pub(super) reading: Option<Instant>,
}

impl Watched {
    /// Everything that was in the folder then is in the snapshot.
    pub fn until(&self, now: Instant) -> Option<Instant> {
        let scanned = self.scanned?;
        let known = self.reading.map_or(now, |since| since.min(now));
        if self.ringing { known.checked_sub(LAG) } else { Some(scanned) }
    }
}
