//! Owners, namespaces and nodes: fetched singly when a rule needs one, shared, bounded, and looked up without locks.
//!
//! A node agent must never list cluster-wide kinds; the objects that its own pods name are few. A lookup that finds
//! nothing asks for the object, once; one that was not found or not allowed is not asked for again for a while. It
//! knows neither HTTP nor tasks.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::kube::decode::Related;
use crate::kube::pod::Owner;

/// Objects of one kind of shelf.
const OBJECTS_MAX: usize = 4_096;
/// Labels may change; an object in use is read again after this.
const FRESH_FOR: Duration = Duration::from_secs(300);
/// After "not found".
const ABSENT_FOR: Duration = Duration::from_secs(60);
/// After "forbidden": rights change by hand.
const FORBIDDEN_FOR: Duration = Duration::from_secs(300);
/// After any other failure.
const FAILED_FOR: Duration = Duration::from_secs(10);
/// A request that was never answered for.
const PENDING_FOR: Duration = Duration::from_secs(30);

/// One object to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
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

/// How a fetch went.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    Object(Arc<Related>),
    Absent,
    Forbidden,
    Failed,
}

#[derive(Debug)]
struct Slot {
    object: Option<Arc<Related>>,
    /// Not asked for before this.
    again_at: Instant,
    // Milliseconds since the shelf was made; decides which slots go first.
    used: AtomicU64,
}

/// Objects of one kind by uid or name.
#[derive(Debug)]
pub struct Shelf {
    // Replaced as a whole: objects arrive rarely and are looked up per resource.
    slots: ArcSwap<HashMap<Arc<str>, Arc<Slot>>>,
    // Held while the map is replaced.
    writing: Mutex<()>,
    made: Instant,
}

impl Default for Shelf {
    fn default() -> Shelf {
        Shelf { slots: ArcSwap::default(), writing: Mutex::default(), made: Instant::now() }
    }
}

impl Shelf {
    /// The object, as far as known. Sends `want` when it is unknown or old, unless that was done already.
    pub fn get(&self, key: &str, wants: &mpsc::Sender<Want>, want: impl FnOnce() -> Want) -> Option<Arc<Related>> {
        if key.is_empty() {
            return None;
        }
        let now = Instant::now();
        let slots = self.slots.load();
        let slot = slots.get(key);
        if let Some(slot) = slot {
            slot.used.store(self.millis(now), Ordering::Relaxed);
            if now < slot.again_at {
                return slot.object.clone();
            }
        }
        let object = slot.and_then(|slot| slot.object.clone());
        // Marked before it is sent: a second miss meanwhile asks no more. A full queue is asked again after the mark.
        if self.mark_pending(key, now) && wants.try_send(want()).is_err() {
            tracing::debug!(key, "too many objects asked for at once");
        }
        object
    }

    /// False when somebody else just marked it.
    fn mark_pending(&self, key: &str, now: Instant) -> bool {
        let _writing = self.writing.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let slots = self.slots.load();
        let known = slots.get(key);
        if known.is_some_and(|slot| now < slot.again_at) {
            return false;
        }
        let object = known.and_then(|slot| slot.object.clone());
        self.put(key, object, now + PENDING_FOR, now);
        true
    }

    /// Stores the outcome of a fetch. A failure keeps what was known.
    pub fn settle(&self, key: &str, found: Found, now: Instant) {
        let _writing = self.writing.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let known = self.slots.load().get(key).and_then(|slot| slot.object.clone());
        let (object, after) = match found {
            Found::Object(object) => (Some(object), FRESH_FOR),
            Found::Absent => (None, ABSENT_FOR),
            Found::Forbidden => (known, FORBIDDEN_FOR),
            Found::Failed => (known, FAILED_FOR),
        };
        self.put(key, object, now + after, now);
    }

    /// Replaces the map by one with this slot; the least recently used eighth goes when it is full. Call with `writing` held.
    fn put(&self, key: &str, object: Option<Arc<Related>>, again_at: Instant, now: Instant) {
        let mut slots = HashMap::clone(&self.slots.load());
        if slots.len() >= OBJECTS_MAX && !slots.contains_key(key) {
            let mut ages: Vec<u64> = slots.values().map(|slot| slot.used.load(Ordering::Relaxed)).collect();
            let cut = OBJECTS_MAX / 8;
            let (_, limit, _) = ages.select_nth_unstable(cut);
            let limit = *limit;
            slots.retain(|_, slot| slot.used.load(Ordering::Relaxed) > limit);
        }
        let used = AtomicU64::new(self.millis(now));
        slots.insert(Arc::from(key), Arc::new(Slot { object, again_at, used }));
        self.slots.store(Arc::new(slots));
    }

    fn millis(&self, now: Instant) -> u64 {
        u64::try_from(now.duration_since(self.made).as_millis()).unwrap_or(u64::MAX)
    }

    pub fn len(&self) -> usize {
        self.slots.load().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
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
