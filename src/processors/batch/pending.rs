//! What waits for its batch: which payloads go out together and when. Pure: `now` is an argument.
//!
//! Batches are made of whole payloads, so that each sender's answer is its batch's; only a payload larger than the maximum
//! is cut, later, by whoever sends it.
//! Invariant: `items` of a part is the sum of its entries' items.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::core::data::payload::Payload;
use crate::core::error::ConsumeError;

/// `timeout`, `send_batch_size`, `send_batch_max_size`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Zero sends at once.
    pub timeout: Duration,
    /// Zero sends at once.
    pub send_batch_size: u64,
    /// Zero is no limit.
    pub send_batch_max_size: u64,
}

/// A payload and who waits for its outcome.
pub struct PendingEntry {
    pub payload: Payload,
    pub waiter: oneshot::Sender<Result<(), ConsumeError>>,
    arrived: Instant,
}

/// Why a batch went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trigger {
    Size,
    Timeout,
}

/// Too many combinations of metadata wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooManyParts;

/// What waits, for each combination of metadata by itself; one that waits for nothing is forgotten.
#[derive(Default)]
pub struct PendingBatch {
    parts: BTreeMap<Box<str>, PendingPart>,
    ending: bool,
}

#[derive(Default)]
struct PendingPart {
    entries: VecDeque<PendingEntry>,
    items: u64,
}

impl PendingBatch {
    /// `part` is what keeps it apart from others, of which `parts_max` may wait.
    pub fn push(
        &mut self,
        part: Box<str>,
        parts_max: usize,
        entry: (Payload, oneshot::Sender<Result<(), ConsumeError>>),
        now: Instant,
    ) -> Result<(), TooManyParts> {
        if self.parts.len() >= parts_max && !self.parts.contains_key(&part) {
            return Err(TooManyParts);
        }
        let (payload, waiter) = entry;
        let part = self.parts.entry(part).or_default();
        part.items += payload.items;
        part.entries.push_back(PendingEntry { payload, waiter, arrived: now });
        Ok(())
    }

    /// Nobody sends any more what is pushed now.
    pub fn is_ending(&self) -> bool {
        self.ending
    }

    /// Nothing waits and nothing more should.
    pub fn is_ended(&self) -> bool {
        self.ending && self.parts.is_empty()
    }

    /// From now on whatever waits goes out.
    pub fn end(&mut self) {
        self.ending = true;
    }

    /// When the oldest entry's time is up; `None` when nothing waits.
    pub fn due(&self, rule: BatchLimits) -> Option<Instant> {
        self.parts.values().filter_map(|part| part.due(rule)).min()
    }

    /// The next batch when one is ready, of the part that waits longest.
    pub fn take(&mut self, rule: BatchLimits, now: Instant) -> Option<(Vec<PendingEntry>, Trigger)> {
        let ready = |part: &PendingPart| {
            let due = part.due(rule)?;
            let trigger = if part.items >= rule.send_batch_size { Trigger::Size } else { Trigger::Timeout };
            (trigger == Trigger::Size || now >= due || self.ending).then_some((due, trigger))
        };
        let found = self.parts.iter().filter_map(|(name, part)| Some((name, ready(part)?)));
        let (name, (_, trigger)) = found.min_by_key(|(_, (due, _))| *due)?;
        let name = name.clone();
        let part = self.parts.get_mut(&name)?;
        let taken = part.take(rule);
        if part.entries.is_empty() {
            self.parts.remove(&name);
        }
        Some((taken, trigger))
    }
}

impl PendingPart {
    fn due(&self, rule: BatchLimits) -> Option<Instant> {
        self.entries.front().map(|entry| entry.arrived + rule.timeout)
    }

    fn take(&mut self, rule: BatchLimits) -> Vec<PendingEntry> {
        let mut count = 0;
        let mut items = 0u64;
        for entry in &self.entries {
            let grown = items.saturating_add(entry.payload.items);
            let too_many = rule.send_batch_max_size > 0 && grown > rule.send_batch_max_size;
            // At least one goes out; a batch that reached its size is left as it is.
            if count > 0 && (too_many || items >= rule.send_batch_size.max(1)) {
                break;
            }
            items = grown;
            count += 1;
        }
        self.items -= items;
        self.entries.drain(..count).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::core::data::budget::Ticket;
    use crate::core::data::origin::Origin;
    use crate::core::data::payload::{Envelope, Signal};
    use crate::core::data::settlement::Share;
    use crate::core::time::UnixNanos;

    const RULE: BatchLimits =
        BatchLimits { timeout: Duration::from_millis(200), send_batch_size: 10, send_batch_max_size: 12 };

    fn push(pending: &mut PendingBatch, items: u64, now: Instant) {
        let origin = Arc::new(Origin::internal(UnixNanos(0)));
        let (signal, envelope) = (Signal::Traces, Envelope::default());
        let payload = Payload { signal, envelope, items, origin, ticket: Ticket::free(), share: Share::none() };
        pending.push("".into(), 1, (payload, oneshot::channel().0), now).expect("one part");
    }

    fn sizes(taken: Option<(Vec<PendingEntry>, Trigger)>) -> Option<(Vec<u64>, Trigger)> {
        taken.map(|(entries, trigger)| (entries.iter().map(|entry| entry.payload.items).collect(), trigger))
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_goes_out_at_its_size_or_its_age() {
        let now = Instant::now();
        let mut pending = PendingBatch::default();
        push(&mut pending, 4, now);
        assert_eq!(sizes(pending.take(RULE, now)), None);
        push(&mut pending, 5, now);
        push(&mut pending, 2, now + Duration::from_millis(10));
        push(&mut pending, 4, now + Duration::from_millis(20));
        assert_eq!(sizes(pending.take(RULE, now)), Some((vec![4, 5, 2], Trigger::Size)));
        assert_eq!(pending.due(RULE), Some(now + Duration::from_millis(220)));
        assert_eq!(sizes(pending.take(RULE, now + Duration::from_millis(219))), None);
        let later = now + Duration::from_millis(220);
        assert_eq!(sizes(pending.take(RULE, later)), Some((vec![4], Trigger::Timeout)));
        assert!(pending.parts.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn no_batch_passes_the_maximum_unless_one_payload_does() {
        let now = Instant::now();
        let mut pending = PendingBatch::default();
        for items in [9, 9, 40, 1] {
            push(&mut pending, items, now);
        }
        pending.end();
        let taken: Vec<_> = std::iter::from_fn(|| sizes(pending.take(RULE, now))).map(|(sizes, _)| sizes).collect();
        assert_eq!(taken, [vec![9], vec![9], vec![40], vec![1]]);
    }

    #[tokio::test(start_paused = true)]
    async fn zero_timeout_or_zero_size_send_at_once() {
        let now = Instant::now();
        for rule in [BatchLimits { timeout: Duration::ZERO, ..RULE }, BatchLimits { send_batch_size: 0, ..RULE }] {
            let mut pending = PendingBatch::default();
            push(&mut pending, 1, now);
            assert!(pending.take(rule, now).is_some(), "{rule:?}");
        }
    }
}
