//! What the log can tell about itself: figures for pages, metrics and readiness. Pure.

use std::time::Duration;

use crate::wal::body::What;
use crate::wal::scan::ScanLoss;
use crate::wal::table::Unsettled;
use crate::wal::writer::LogWriter;

/// What happened since the log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub appended: u64,
    pub refused: u64,
    /// Groups that were made durable.
    pub groups: u64,
    /// Bytes of them.
    pub written: u64,
    /// Groups in which somebody waited and that could not be written.
    pub failures: u64,
    pub syncs_failed: u64,
    /// Segments that were unlinked for good.
    pub freed: u64,
    /// Records that were copied forward.
    pub copied: u64,
    /// Segments that were compressed, and the bytes that this made room for.
    pub packed: u64,
    pub saved: u64,
    /// Items by outcome.
    pub delivered: u64,
    pub sampled_out: u64,
    pub dropped: u64,
    pub dead_lettered: u64,
    /// Records whose frames were found damaged, with the items that were unsettled in them.
    pub lost: ScanLoss,
    pub verdicts_lost: u64,
    /// Reads that the disk refused.
    pub unread: u64,
    /// Bytes of all files of dead letters.
    pub dead_letter_bytes: u64,
}

impl Counts {
    pub(in crate::wal) fn settle(&mut self, what: What, items: u32) {
        let items = u64::from(items);
        match what {
            What::Delivered => self.delivered += items,
            What::SampledOut => self.sampled_out += items,
            What::Dropped(_) => self.dropped += items,
            What::DeadLettered => self.dead_lettered += items,
            What::Lost | What::Sent | What::Crashed(_) => {}
        }
    }
}

/// How fast the log grows, averaged over about half a minute.
#[derive(Debug, Default)]
pub struct Rate {
    last: Option<(Duration, u64)>,
    /// Bytes a second; less than zero while it shrinks.
    growth: f64,
}

impl Rate {
    pub fn sample(&mut self, now: Duration, bytes: u64) {
        let Some((at, before)) = self.last else {
            self.last = Some((now, bytes));
            return;
        };
        let seconds = now.saturating_sub(at).as_secs_f64();
        if seconds < 1.0 {
            return;
        }
        let seen = (bytes as f64 - before as f64) / seconds;
        let weight = 1.0 - (-seconds / 30.0).exp();
        self.growth += weight * (seen - self.growth);
        self.last = Some((now, bytes));
    }

    /// How long `room` lasts; `None` while the log does not grow.
    pub fn lasts(&self, room: u64) -> Option<Duration> {
        let seconds = room as f64 / self.growth;
        (self.growth >= 1.0 && seconds.is_finite()).then(|| Duration::from_secs_f64(seconds.min(1e9)))
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Of the budget; segments, dead letters and the group that waits.
    pub bytes: u64,
    pub max_bytes: u64,
    pub segments: usize,
    pub records: u64,
    pub unsettled: Vec<Unsettled>,
    /// How long the budget, or the disk where that has less, lasts at the present rate; `None` while the log does not grow.
    pub lasts: Option<Duration>,
    /// Whether a record would be taken now.
    pub can_write: bool,
    /// Why not.
    pub why_not: Option<String>,
    pub counts: Counts,
}

impl LogWriter {
    pub fn stats(&self) -> LogStats {
        let bytes = self.bytes();
        let why_not = match &self.broken {
            Some(broken) => Some(format!("cannot write: {}", broken.why)),
            None if self.is_reserved() => {
                Some(format!("what is free on the disk is reserved: {} bytes", self.options.reserve))
            }
            None if self.full => Some(format!("{bytes} bytes of the budget of {} are taken", self.options.max_bytes)),
            None => None,
        };
        LogStats {
            bytes,
            max_bytes: self.options.max_bytes,
            segments: self.table.segments.len(),
            records: self.table.entries.len() as u64,
            unsettled: self.table.by_pipeline().cloned().collect(),
            lasts: self.rate.lasts(self.room(bytes)),
            can_write: why_not.is_none(),
            why_not,
            counts: self.counts.clone(),
        }
    }

    /// What may still be written: of the budget, and on the disk, of which the active segment has its part already.
    fn room(&self, bytes: u64) -> u64 {
        let budget = self.options.high().saturating_sub(bytes);
        let begun = self.active.as_ref().map_or(0, |active| active.capacity.saturating_sub(active.end));
        let disk = self.free.map(|free| free.saturating_sub(self.options.reserve).saturating_add(begun));
        disk.map_or(budget, |disk| disk.min(budget))
    }

    /// Whether everything that was said of items so far is durable.
    pub fn is_settled(&self) -> bool {
        self.marks.is_empty() && !self.checkpoint_due && self.group.is_empty()
    }

    /// Records with unsettled items.
    pub fn unsettled(&self) -> usize {
        self.table.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_room_that_is_left_is_told_in_seconds_at_the_present_rate() {
        let mut rate = Rate::default();
        for second in 0..300 {
            rate.sample(Duration::from_secs(second), second * 1_000);
        }
        let lasts = rate.lasts(1_000_000).expect("it grows").as_secs();
        assert!((995..=1_005).contains(&lasts), "{lasts} s");
        for second in 300..900 {
            rate.sample(Duration::from_secs(second), 300_000);
        }
        assert_eq!(rate.lasts(1_000_000), None, "it stands still");
    }
}
