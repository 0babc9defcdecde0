//! The bounded queue of one signal: what waits, how full it is, and when a batch is ready. Pure: `now` is an argument.
//!
//! Batching happens at the way out, so that one queue holds everything that waits; a full queue makes a batch ready, because
//! waiting for more that cannot come in would stall it.
//! Invariant: `used` is the sum of the sizes of the entries.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::core::data::payload::{Payload, Signal};
use crate::core::error::ConsumeError;
use crate::otlp::envelope::encoded_len;

/// Gets the outcome of a payload whose sender waits for it.
pub type Waiter = oneshot::Sender<Result<(), ConsumeError>>;

/// Entries that are looked through for those that belong together.
const SCANNED: usize = 1_024;

/// The unit of a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sizer {
    Requests,
    Items,
    Bytes,
}

impl Sizer {
    pub fn of(self, payload: &Payload) -> u64 {
        match self {
            Sizer::Requests => 1,
            Sizer::Items => payload.items,
            Sizer::Bytes => encoded_len(&payload.envelope) as u64,
        }
    }
}

/// `sending_queue.batch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchRule {
    pub min_size: u64,
    /// Zero is no limit.
    pub max_size: u64,
    pub flush_timeout: Duration,
    pub sizer: Sizer,
    /// Requests that differ in this header (a name in lower case) are not sent together.
    pub apart_by: Option<&'static str>,
    /// The same of configured headers (`partition`).
    pub metadata_keys: Vec<String>,
}

impl BatchRule {
    /// Whether a batch of this size takes no further entry of that size.
    fn is_full(&self, size: u64, more: u64) -> bool {
        size >= self.min_size || (self.max_size > 0 && size.saturating_add(more) > self.max_size)
    }

    /// Whether requests are kept apart by anything.
    fn parts_requests(&self) -> bool {
        self.apart_by.is_some() || !self.metadata_keys.is_empty()
    }

    /// What keeps a payload apart from others; `None` when nothing does.
    fn part_of(&self, payload: &Payload) -> Option<Box<str>> {
        self.parts_requests().then(|| {
            let keys = self.apart_by.iter().copied().chain(self.metadata_keys.iter().map(String::as_str));
            payload.origin.part(keys)
        })
    }
}

/// One payload that waits.
pub struct QueueEntry {
    pub payload: Payload,
    pub waiter: Option<Waiter>,
    size: u64,
    batch_size: u64,
    /// Memory that it held when it was queued.
    bytes: u64,
    /// What keeps it apart.
    part: Option<Box<str>>,
    queued_at: Instant,
}

impl QueueEntry {
    /// Memory that it held when it was queued.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The payload, and who waits for its end.
    pub fn split(self) -> (Payload, Option<Waiter>) {
        (self.payload, self.waiter)
    }
}

pub struct Queue {
    entries: VecDeque<QueueEntry>,
    capacity: u64,
    sizer: Sizer,
    batch: Option<BatchRule>,
    used: u64,
    batch_used: u64,
    bytes: u64,
    ending: bool,
}

/// What `take` found.
pub enum Taken {
    /// Entries that go out as one request; never empty.
    Batch(Vec<QueueEntry>),
    /// Nothing is ready before this time, or before something is pushed.
    NotBefore(Instant),
    Empty,
}

/// The queue has no room, or takes nothing more; what was pushed comes back.
pub struct Full(pub Box<(Payload, Option<Waiter>)>);

impl Queue {
    pub fn new(capacity: u64, sizer: Sizer, batch: Option<BatchRule>) -> Queue {
        Queue { entries: VecDeque::new(), capacity, sizer, batch, used: 0, batch_used: 0, bytes: 0, ending: false }
    }

    /// In units of the sizer.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// In units of the sizer.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Memory that the entries held when they were queued.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn is_ending(&self) -> bool {
        self.ending
    }

    /// From now on whatever waits is ready.
    pub fn end(&mut self) {
        self.ending = true;
    }

    /// Whether it fits into the first `capacity` units; see [`Queue::push`].
    pub fn has_room_for(&self, payload: &Payload, capacity: u64) -> bool {
        !self.ending && (self.used == 0 || self.used.saturating_add(self.sizer.of(payload)) <= capacity)
    }

    /// Takes what has been answered for already, beyond the capacity where it must: as many more as were logged at once.
    pub fn push_anyway(&mut self, payload: Payload, now: Instant) {
        self.push_back(payload, None, now);
    }

    fn push_back(&mut self, payload: Payload, waiter: Option<Waiter>, queued_at: Instant) {
        let rule = self.batch.as_ref();
        let (size, batch_size) = (self.sizer.of(&payload), rule.map_or(0, |rule| rule.sizer.of(&payload)));
        let part = rule.and_then(|rule| rule.part_of(&payload));
        let bytes = payload.ticket.bytes();
        self.used += size;
        self.batch_used += batch_size;
        self.bytes += bytes;
        self.entries.push_back(QueueEntry { payload, waiter, size, batch_size, bytes, part, queued_at });
    }

    /// A payload larger than the whole queue is taken when the queue is empty: it could never be sent otherwise.
    pub fn push(&mut self, payload: Payload, waiter: Option<Waiter>, now: Instant) -> Result<(), Full> {
        if !self.has_room_for(&payload, self.capacity) {
            return Err(Full(Box::new((payload, waiter))));
        }
        self.push_back(payload, waiter, now);
        Ok(())
    }

    pub fn take(&mut self, now: Instant) -> Taken {
        let Some(first) = self.entries.front() else { return Taken::Empty };
        let Some(rule) = self.batch.as_ref().filter(|_| first.payload.signal != Signal::Profiles) else {
            return Taken::Batch(self.pop(1));
        };
        let due = first.queued_at + rule.flush_timeout;
        let is_ready = now >= due || self.used >= self.capacity || self.ending;
        if rule.parts_requests() {
            return self.take_part(is_ready, due);
        }
        if self.batch_used < rule.min_size && !is_ready {
            return Taken::NotBefore(due);
        }
        // As many as fit under the maximum, but no fewer than one: a larger payload is cut when it is sent.
        let mut count = 0;
        let mut size = 0u64;
        for entry in &self.entries {
            if count > 0 && rule.is_full(size, entry.batch_size) {
                break;
            }
            size = size.saturating_add(entry.batch_size);
            count += 1;
        }
        Taken::Batch(self.pop(count))
    }

    /// A batch of those that belong to the first entry, wherever among the first SCANNED they stand: senders come mixed.
    fn take_part(&mut self, is_ready: bool, due: Instant) -> Taken {
        let (Some(rule), Some(first)) = (self.batch.as_ref(), self.entries.front()) else { return Taken::Empty };
        let (mut size, mut chosen) = (0u64, Vec::new());
        for (at, entry) in self.entries.iter().take(SCANNED).enumerate() {
            if entry.part != first.part {
                continue;
            }
            if !chosen.is_empty() && rule.is_full(size, entry.batch_size) {
                break;
            }
            size = size.saturating_add(entry.batch_size);
            chosen.push(at); // granted: SCANNED of them
        }
        if size < rule.min_size && !is_ready {
            return Taken::NotBefore(due);
        }
        let looked_at = chosen.last().map_or(0, |last| last + 1);
        let mut chosen = chosen.into_iter().peekable();
        let (mut taken, mut others) = (Vec::new(), Vec::new());
        for (at, entry) in self.entries.drain(..looked_at).enumerate() {
            let is_chosen = chosen.next_if_eq(&at).is_some();
            // granted: entries that were queued already, SCANNED of them
            if is_chosen { taken.push(entry) } else { others.push(entry) }
        }
        others.into_iter().rev().for_each(|entry| self.entries.push_front(entry));
        self.forget(&taken);
        Taken::Batch(taken)
    }

    fn pop(&mut self, count: usize) -> Vec<QueueEntry> {
        let popped: Vec<QueueEntry> = self.entries.drain(..count).collect();
        self.forget(&popped);
        popped
    }

    fn forget(&mut self, gone: &[QueueEntry]) {
        for entry in gone {
            self.used -= entry.size;
            self.batch_used -= entry.batch_size;
            self.bytes -= entry.bytes;
        }
    }

    /// Everything that still waits, in order.
    pub fn take_all(&mut self) -> Vec<QueueEntry> {
        self.pop(self.entries.len())
    }

    /// Checks what must always hold; tests call it after each step.
    #[cfg(test)]
    fn invariants(&self) {
        assert_eq!(self.used, self.entries.iter().map(|entry| entry.size).sum::<u64>());
        assert_eq!(self.bytes, self.entries.iter().map(|entry| entry.bytes).sum::<u64>());
        assert_eq!(self.batch_used, self.entries.iter().map(|entry| entry.batch_size).sum::<u64>());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;
    use crate::core::data::budget::Ticket;
    use crate::core::data::origin::Origin;
    use crate::core::data::payload::{Envelope, Group, ScopeGroup};
    use crate::core::data::settlement::Share;
    use crate::core::time::UnixNanos;

    fn payload(items: usize) -> Payload {
        let scope = ScopeGroup { items: vec![Bytes::from_static(b"12345678"); items].into(), ..ScopeGroup::default() };
        let group = Group { scopes: vec![scope], ..Group::default() };
        Payload {
            signal: Signal::Traces,
            items: items as u64,
            envelope: Envelope { groups: vec![group], dictionary: None },
            origin: Arc::new(Origin::internal(UnixNanos(0))),
            ticket: Ticket::free(),
            share: Share::none(),
        }
    }

    const RULE: BatchRule = BatchRule {
        min_size: 10,
        max_size: 12,
        flush_timeout: Duration::from_millis(200),
        sizer: Sizer::Items,
        apart_by: None,
        metadata_keys: Vec::new(),
    };

    fn items(taken: Taken) -> Option<Vec<u64>> {
        match taken {
            Taken::Batch(entries) => Some(entries.iter().map(|entry| entry.payload.items).collect()),
            Taken::NotBefore(_) | Taken::Empty => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_gives_the_payload_back_in_every_unit() {
        let now = Instant::now();
        for (sizer, capacity, fits) in [(Sizer::Requests, 3, 3), (Sizer::Items, 9, 2), (Sizer::Bytes, 100, 2)] {
            let mut queue = Queue::new(capacity, sizer, None);
            let pushed = (0..10).take_while(|_| queue.push(payload(4), None, now).is_ok()).count();
            queue.invariants();
            assert_eq!(pushed, fits, "{sizer:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_payload_larger_than_the_queue_passes_alone() {
        let now = Instant::now();
        let mut queue = Queue::new(5, Sizer::Items, None);
        assert!(queue.push(payload(50), None, now).is_ok());
        assert!(queue.push(payload(1), None, now).is_err());
        assert_eq!(items(queue.take(now)), Some(vec![50]));
        queue.invariants();
    }

    #[tokio::test(start_paused = true)]
    async fn a_batch_is_ready_when_large_enough_old_enough_full_or_ending() {
        let now = Instant::now();
        let filled = |capacity, sizes: &[usize]| {
            let mut queue = Queue::new(capacity, Sizer::Requests, Some(RULE));
            sizes.iter().for_each(|size| assert!(queue.push(payload(*size), None, now).is_ok()));
            queue
        };
        assert_eq!(items(filled(10, &[4, 4]).take(now)), None);
        assert_eq!(items(filled(10, &[4, 4, 3, 4]).take(now)), Some(vec![4, 4, 3]));
        assert_eq!(items(filled(10, &[4, 4, 5]).take(now)), Some(vec![4, 4]), "13 would pass the maximum");
        assert_eq!(items(filled(10, &[40, 4]).take(now)), Some(vec![40]));
        assert_eq!(items(filled(10, &[4]).take(now + RULE.flush_timeout)), Some(vec![4]));
        assert_eq!(items(filled(2, &[1, 1]).take(now)), Some(vec![1, 1]), "full");
        let mut ending = filled(10, &[4]);
        ending.end();
        assert_eq!(items(ending.take(now)), Some(vec![4]));
        assert!(matches!(filled(10, &[4]).take(now), Taken::NotBefore(due) if due == now + RULE.flush_timeout));
    }

    #[tokio::test(start_paused = true)]
    async fn requests_that_differ_in_the_header_go_apart_and_in_order() {
        let now = Instant::now();
        let rule = BatchRule { apart_by: Some("mode"), ..RULE };
        let mut queue = Queue::new(100, Sizer::Requests, Some(rule));
        for mode in ["a", "a", "b", "", "a"] {
            let mut origin = Origin::internal(UnixNanos(0));
            origin.headers = vec![("mode".to_owned(), mode.to_owned())];
            let payload = Payload { origin: Arc::new(origin), ..payload(2) };
            assert!(queue.push(payload, None, now).is_ok());
        }
        queue.end();
        let batches: Vec<usize> = (0..3).map(|_| items(queue.take(now)).unwrap().len()).collect();
        assert_eq!(batches, [3, 1, 1]);
        queue.invariants();
    }

    #[tokio::test(start_paused = true)]
    async fn each_combination_of_metadata_waits_for_a_batch_of_its_own() {
        let now = Instant::now();
        let keys = vec!["tenant".to_owned(), "zone".to_owned()];
        let mut queue = Queue::new(100, Sizer::Requests, Some(BatchRule { metadata_keys: keys, ..RULE }));
        let push = |queue: &mut Queue, size, headers: &[(&str, &str)], at| {
            let mut origin = Origin::internal(UnixNanos(0));
            origin.headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            let payload = Payload { origin: Arc::new(origin), ..payload(size) };
            assert!(queue.push(payload, None, at).is_ok());
        };
        push(&mut queue, 4, &[("tenant", "a"), ("zone", "1")], now);
        // None of these is the same: absent, empty, and values that only look alike.
        push(&mut queue, 9, &[("tenant", "a1:1")], now);
        push(&mut queue, 9, &[("tenant", "a"), ("zone", "")], now);
        assert_eq!(items(queue.take(now)), None, "22 items wait, and no ten of one kind");
        push(&mut queue, 6, &[("zone", "1"), ("tenant", "a"), ("other", "x")], now);
        assert_eq!(items(queue.take(now)), Some(vec![4, 6]));
        queue.invariants();
        assert_eq!(items(queue.take(now + RULE.flush_timeout)), Some(vec![9]));
        assert_eq!(items(queue.take(now + RULE.flush_timeout)), Some(vec![9]));
        assert!(queue.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn profiles_are_never_batched() {
        let now = Instant::now();
        let mut queue = Queue::new(10, Sizer::Requests, Some(RULE));
        assert!(queue.push(Payload { signal: Signal::Profiles, ..payload(1) }, None, now).is_ok());
        assert_eq!(items(queue.take(now)), Some(vec![1]));
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_is_pushed_comes_out_once_and_in_order() {
        let mut random = fastrand::Rng::with_seed(5);
        let mut now = Instant::now();
        let mut queue = Queue::new(40, Sizer::Items, Some(RULE));
        let (mut pushed, mut taken) = (Vec::new(), Vec::new());
        for _ in 0..2000 {
            let size = random.usize(1..20);
            if queue.push(payload(size), None, now).is_ok() {
                pushed.push(size as u64);
            }
            now += Duration::from_millis(random.u64(0..100));
            if random.bool() {
                taken.extend(items(queue.take(now)).unwrap_or_default());
            }
            queue.invariants();
        }
        taken.extend(queue.take_all().iter().map(|entry| entry.payload.items));
        assert_eq!(pushed, taken, "seed 5");
        assert_eq!((queue.used(), queue.is_empty()), (0, true));
    }
}
