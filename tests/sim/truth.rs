//! What really happened: which run made each item, what its sender heard, and where it arrived. The oracle reads it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use podgate::core::data::payload::Signal;
use podgate::core::time::UnixNanos;
use tokio::time::Instant;

/// Items are numbered through the simulation; the number is the span id, the record's span id, the point's value.
pub type Item = u64;
/// Each sending of a request, the client's repeats included, is an attempt of its own: it stands in the scope's version.
pub type Attempt = u64;

#[derive(Clone, Debug)]
pub struct Made {
    pub signal: Signal,
    /// The run that made it; empty when it came from no pod.
    pub container: String,
    pub trace: u64,
    /// By the node's clock.
    pub at: UnixNanos,
}

/// A run of a container, as the clock of the node told its begin.
#[derive(Clone, Debug)]
pub struct Life {
    pub id: String,
    pub pod: String,
    pub container: String,
    pub address: String,
    pub began: UnixNanos,
    /// The process names its pod, and is not found by its address alone.
    pub named: bool,
}

/// What a sender heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Success, of which so many items were rejected.
    Acknowledged { rejected: u64 },
    /// To be repeated.
    Refused,
    /// Not to be repeated.
    Failed,
    /// Deadline passed or the connection broke: nobody knows. From then on nobody waited.
    Nothing,
}

#[derive(Clone, Debug)]
pub struct Sent {
    pub items: Vec<Item>,
    /// And when.
    pub heard: Option<(Heard, Instant)>,
}

/// How a request to a next hop ended, as the next hop knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Taken,
    /// Told so, with a status that says nothing was taken.
    Refused,
    /// These of its items were taken and the others refused for good, and the answer said so.
    Partial(BTreeSet<Item>),
    /// Taken, but the answer was lost, late, or made no sense.
    Unclear,
}

#[derive(Clone, Debug)]
pub struct Arrival {
    /// Since when it may have been on its way, when a wire held it up; else when it arrived.
    pub written: Instant,
    pub begun: Instant,
    pub ended: Option<Instant>,
    pub outcome: Outcome,
    /// Item, attempt, container.id as it came.
    pub items: Vec<(Item, Attempt, Option<String>)>,
}

#[derive(Default)]
pub struct Facts {
    pub made: BTreeMap<Item, Made>,
    pub sent: BTreeMap<Attempt, Sent>,
    pub arrivals: Vec<Arrival>,
    /// What a processor behind the enrichment made of container.id, by item.
    pub copies: BTreeMap<Item, Option<String>>,
    /// Bodies of log records whose copies cannot be told apart: acknowledged, and documents that there are of them.
    pub twins: BTreeMap<String, (u64, u64)>,
    /// In the order in which they began.
    pub lives: Vec<Life>,
    /// What the node's clock showed before and after it was set back.
    pub set_back: Vec<(UnixNanos, UnixNanos)>,
    next: u64,
}

/// Shared by clients, next hops and oracle.
#[derive(Clone, Default)]
pub struct Truth(Arc<Mutex<Facts>>);

impl Truth {
    pub fn facts(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub fn number(&self) -> u64 {
        let mut facts = self.facts();
        facts.next += 1;
        facts.next
    }

    pub fn make(&self, made: Made) -> Item {
        let item = self.number();
        self.facts().made.insert(item, made);
        item
    }

    pub fn send(&self, items: Vec<Item>) -> Attempt {
        let attempt = self.number();
        self.facts().sent.insert(attempt, Sent { items, heard: None });
        attempt
    }

    pub fn hear(&self, attempt: Attempt, heard: Heard) {
        if let Some(sent) = self.facts().sent.get_mut(&attempt) {
            sent.heard = Some((heard, Instant::now()));
        }
    }

    /// A request begins to arrive that may have been on its way since `written`; until it ends, whether it was taken is
    /// unclear.
    pub fn arrive(&self, items: Vec<(Item, Attempt, Option<String>)>, written: Instant) -> usize {
        let mut facts = self.facts();
        facts.arrivals.push(Arrival { written, begun: Instant::now(), ended: None, outcome: Outcome::Unclear, items });
        facts.arrivals.len() - 1
    }

    /// The way to a next hop breaks: what ends at this moment or was not ended yet is unclear.
    pub fn disturb(&self) {
        let now = Instant::now();
        let mut facts = self.facts();
        let open =
            facts.arrivals.iter_mut().rev().take(1_000).filter(|arrival| arrival.ended.is_none_or(|at| at == now));
        open.filter(|arrival| arrival.outcome != Outcome::Refused)
            .for_each(|arrival| arrival.outcome = Outcome::Unclear);
    }

    pub fn end(&self, arrival: usize, outcome: Outcome) {
        let mut facts = self.facts();
        facts.arrivals[arrival].outcome = outcome;
        facts.arrivals[arrival].ended = Some(Instant::now());
    }
}

impl Facts {
    /// Begins anew; numbers go on.
    pub fn forget(&mut self) {
        *self = Facts { next: self.next, ..Facts::default() };
    }

    /// Attempts of which the sender heard that they were taken.
    pub fn acknowledged(&self) -> impl Iterator<Item = (&Attempt, &Sent, u64)> {
        self.sent.iter().filter_map(|(attempt, sent)| match &sent.heard {
            Some((Heard::Acknowledged { rejected }, _)) => Some((attempt, sent, *rejected)),
            _ => None,
        })
    }
}
