//! Pod attributes already worked out, by pod: made again when the pod changed, or when what they borrow may have.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use foldhash::fast::RandomState;
use lru::LruCache;

use super::pod_attributes::PodAttributes;
use crate::core::time::UnixNanos;
use crate::kube::table::Entry;

const PARTS: usize = 16;
/// Pods per part: 16 x 1,024 is more than any node has.
const PODS_MAX: usize = 1_024;
/// Attributes that miss something are worked out again this soon.
const INCOMPLETE_FOR: Duration = Duration::from_secs(1);
/// Labels of namespaces, nodes and owners change without the pod changing.
const BORROWED_FOR: Duration = Duration::from_secs(15);

struct Profile {
    of: Arc<crate::kube::pod::Pod>,
    made_at: UnixNanos,
    attributes: Arc<PodAttributes>,
}

pub struct Profiles {
    // Locked for one lookup; working out happens outside.
    parts: Vec<Mutex<LruCache<Arc<str>, Profile, RandomState>>>,
}

impl Default for Profiles {
    fn default() -> Profiles {
        let part = || Mutex::new(LruCache::unbounded_with_hasher(RandomState::default()));
        Profiles { parts: (0..PARTS).map(|_| part()).collect() }
    }
}

impl Profiles {
    pub fn get(&self, entry: &Entry, now: UnixNanos, make: impl FnOnce() -> PodAttributes) -> Arc<PodAttributes> {
        let part = &self.parts[part_of(&entry.pod.uid)];
        let lock = || part.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(known) = lock().get(&*entry.pod.uid).filter(|known| known.is_good(entry, now)) {
            return known.attributes.clone();
        }
        let attributes = Arc::new(make());
        let profile = Profile { of: entry.pod.clone(), made_at: now, attributes: attributes.clone() };
        let mut part = lock();
        part.put(entry.pod.uid.clone(), profile);
        if part.len() > PODS_MAX {
            part.pop_lru();
        }
        attributes
    }
}

impl Profile {
    fn is_good(&self, entry: &Entry, now: UnixNanos) -> bool {
        let age = now.since(self.made_at);
        let limit = match (self.attributes.incomplete, self.attributes.borrowed) {
            (true, _) => INCOMPLETE_FOR,
            (false, true) => BORROWED_FOR,
            (false, false) => Duration::MAX,
        };
        Arc::ptr_eq(&self.of, &entry.pod) && age < limit
    }
}

/// Uids are random: any of their characters spreads them.
fn part_of(uid: &str) -> usize {
    uid.bytes().take(8).fold(0usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte))) % PARTS
}
