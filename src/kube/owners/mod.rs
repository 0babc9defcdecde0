//! Owners, namespaces and nodes: fetched when a pod that needs them is announced, shared and bounded.
//!
//! A node agent must not list cluster-wide kinds for a handful of objects; those that its own pods name are few. A lookup
//! that finds nothing asks for the object, once; one that was not found or not allowed is not asked for again for a
//! while. It knows neither HTTP nor tasks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::core::lock::Locked;
use crate::kube::decode::Related;
use crate::kube::pod::Owner;

/// Objects of one kind of shelf.
const OBJECTS_MAX: usize = 4_096;
/// Labels may change; an object in use is read again after this.
const FRESH_FOR: Duration = Duration::from_secs(300);
/// After "not found".
const ABSENT_FOR: Duration = Duration::from_secs(60);
/// After "forbidden": rights change by hand, and whoever gives one looks for its effect.
const FORBIDDEN_FOR: Duration = Duration::from_secs(60);
/// After any other failure.
const FAILED_FOR: Duration = Duration::from_secs(10);
/// A request that was never answered for.
const PENDING_FOR: Duration = Duration::from_secs(30);
/// Data waits for an object that was never asked for before, at most this long.
const WORTH_WAITING: Duration = Duration::from_secs(3);

/// One object to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WantedObject {
    Pod {
        uid: Arc<str>,
        namespace: String,
        name: String,
    },
    /// Namespaced; an object of the same name but another uid does not count.
    Owner {
        owner: Owner,
        namespace: String,
    },
    Namespace(String),
    Node(String),
}

/// Where wants go.
#[derive(Clone, Debug)]
pub struct Wants {
    /// Objects that were never asked for: data may be waiting for them.
    pub first: mpsc::Sender<WantedObject>,
    /// All others, a few a second.
    pub again: mpsc::Sender<WantedObject>,
}

/// How a fetch went.
#[derive(Clone, Debug, PartialEq)]
pub enum FetchResult {
    Object(Arc<Related>),
    Absent,
    Forbidden,
    Failed,
}

/// What a lookup finds.
#[derive(Clone, Debug, PartialEq)]
pub enum Lookup {
    Known(Arc<Related>),
    /// Asked for a moment ago, for the first time.
    Pending,
    /// Not there, not allowed, or not to be had for longer than anybody should wait.
    Unknown,
}

impl Lookup {
    pub fn known(self) -> Option<Arc<Related>> {
        match self {
            Lookup::Known(object) => Some(object),
            Lookup::Pending | Lookup::Unknown => None,
        }
    }
}

#[derive(Debug)]
struct Slot {
    object: Option<Arc<Related>>,
    /// Some answer came, whichever.
    settled: bool,
    asked: Instant,
    /// Not asked for before this.
    again_at: Instant,
    used: Instant,
}

impl Slot {
    fn state(&self, now: Instant) -> Lookup {
        match &self.object {
            Some(object) => Lookup::Known(object.clone()),
            None if !self.settled && now < self.asked + WORTH_WAITING => Lookup::Pending,
            None => Lookup::Unknown,
        }
    }
}

/// Objects of one kind by uid or name.
#[derive(Debug, Default)]
pub struct Shelf {
    // Locked once per pod whose attributes are worked out, and per answer.
    slots: Mutex<HashMap<Arc<str>, Slot>>,
}

impl Shelf {
    /// The object, as far as known. Sends `want` when it is unknown or old, unless that was done already.
    pub fn get(&self, key: &str, wants: &Wants, want: impl FnOnce() -> WantedObject) -> Lookup {
        if key.is_empty() {
            return Lookup::Unknown;
        }
        let now = Instant::now();
        let mut slots = self.slots();
        if let Some(slot) = slots.get_mut(key) {
            slot.used = now;
            if now >= slot.again_at {
                // A full queue is asked again after the mark.
                slot.again_at = now + PENDING_FOR;
                let _ = wants.again.try_send(want());
            }
            return slot.state(now);
        }
        make_room(&mut slots);
        // Where nobody reads objects (pods of a file) nothing is on its way.
        let settled = matches!(wants.first.try_send(want()), Err(mpsc::error::TrySendError::Closed(_)));
        let slot = Slot { object: None, settled, asked: now, again_at: now + PENDING_FOR, used: now };
        let state = slot.state(now);
        slots.insert(Arc::from(key), slot);
        state
    }

    /// Stores the outcome of a fetch. A failure keeps what was known.
    pub fn settle(&self, key: &str, found: FetchResult, now: Instant) {
        let mut slots = self.slots();
        let known = slots.get(key).and_then(|slot| slot.object.clone());
        let (object, after) = match found {
            FetchResult::Object(object) => (Some(object), FRESH_FOR),
            FetchResult::Absent => (None, ABSENT_FOR),
            FetchResult::Forbidden => (known, FORBIDDEN_FOR),
            FetchResult::Failed => (known, FAILED_FOR),
        };
        let again_at = now + after;
        if let Some(slot) = slots.get_mut(key) {
            (slot.object, slot.settled, slot.again_at) = (object, true, again_at);
            return;
        }
        make_room(&mut slots);
        slots.insert(Arc::from(key), Slot { object, settled: true, asked: now, again_at, used: now });
    }

    fn slots(&self) -> std::sync::MutexGuard<'_, HashMap<Arc<str>, Slot>> {
        self.slots.locked()
    }

    pub fn len(&self) -> usize {
        self.slots().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The least recently used eighth goes when the shelf is full.
fn make_room(slots: &mut HashMap<Arc<str>, Slot>) {
    if slots.len() < OBJECTS_MAX {
        return;
    }
    let mut used: Vec<Instant> = slots.values().map(|slot| slot.used).collect();
    let (_, limit, _) = used.select_nth_unstable(OBJECTS_MAX / 8);
    let limit = *limit;
    slots.retain(|_, slot| slot.used > limit);
}

/// The resource name of a kind, as API paths spell it: irregular ones apart, English plural rules hold for all kinds
/// that own pods.
pub fn plural(kind: &str) -> String {
    let kind = kind.to_ascii_lowercase();
    let consonant_y = kind.ends_with('y') && !kind.ends_with("ay") && !kind.ends_with("ey") && !kind.ends_with("oy");
    match kind {
        kind if consonant_y => format!("{}ies", &kind[..kind.len() - 1]),
        kind if kind.ends_with('s') || kind.ends_with('x') || kind.ends_with("ch") => format!("{kind}es"),
        kind => format!("{kind}s"),
    }
}

#[cfg(test)]
mod tests;
