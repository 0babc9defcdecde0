//! Pod attributes already worked out, by pod: made again when the pod changed, or when what they borrow may have.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use foldhash::fast::RandomState;
use lru::LruCache;

use crate::core::lock::Locked;
use crate::core::time::UnixNanos;
use crate::kube::table::PodEntry;
use crate::processors::k8s_attributes::pod::attributes::PodAttributes;

const PARTS: usize = 16;
/// Pods per part: 16 x 1,024 is more than any node has.
const PODS_MAX: usize = 1_024;
/// Attributes that miss something are worked out again when anything came, at the latest after this.
const INCOMPLETE_FOR: Duration = Duration::from_secs(1);
/// Labels of namespaces, nodes and owners change without the pod changing.
const BORROWED_FOR: Duration = Duration::from_secs(15);

struct Profile {
    of: Arc<crate::kube::pod::Pod>,
    made_at: UnixNanos,
    /// To what the cluster had counted before they were worked out.
    generation: u64,
    attributes: Arc<PodAttributes>,
}

type Part = LruCache<Arc<str>, Profile, RandomState>;

pub struct AttributeCache {
    // Locked for one lookup; working out happens outside.
    parts: Vec<Mutex<Part>>,
}

fn lock(part: &Mutex<Part>) -> MutexGuard<'_, Part> {
    part.locked()
}

impl Default for AttributeCache {
    fn default() -> AttributeCache {
        let part = || Mutex::new(LruCache::unbounded_with_hasher(RandomState::default()));
        AttributeCache { parts: (0..PARTS).map(|_| part()).collect() }
    }
}

impl AttributeCache {
    pub fn get(
        &self,
        entry: &PodEntry,
        now: UnixNanos,
        generation: &dyn Fn() -> u64,
        make: impl FnOnce() -> PodAttributes,
    ) -> Arc<PodAttributes> {
        let part = &self.parts[part_of(&entry.pod.uid)];
        let look = |known: &Profile| (known.is_good(entry, now, generation), known.attributes.clone());
        let before = match lock(part).get(&*entry.pod.uid).map(look) {
            Some((true, attributes)) => return attributes,
            Some((false, attributes)) => Some(attributes),
            None => None,
        };
        let (generation, made) = (generation(), make());
        // The same value stays the same object: what was written from it is still what would be written.
        let attributes = before.filter(|before| **before == made).unwrap_or_else(|| Arc::new(made));
        let profile = Profile { of: entry.pod.clone(), made_at: now, generation, attributes: attributes.clone() };
        let mut part = lock(part);
        part.put(entry.pod.uid.clone(), profile);
        if part.len() > PODS_MAX {
            part.pop_lru();
        }
        attributes
    }

    /// Forgets the pods that are gone, when there are more than `most` here.
    pub fn forget(&self, most: usize, is_there: impl Fn(&str) -> bool) {
        if self.parts.iter().map(|part| lock(part).len()).sum::<usize>() <= most {
            return;
        }
        for part in &self.parts {
            let mut part = lock(part);
            let gone: Vec<Arc<str>> = part.iter().map(|(uid, _)| uid).filter(|uid| !is_there(uid)).cloned().collect();
            gone.iter().for_each(|uid| drop(part.pop(uid)));
        }
    }
}

impl Profile {
    fn is_good(&self, entry: &PodEntry, now: UnixNanos, generation: &dyn Fn() -> u64) -> bool {
        if self.attributes.incomplete && self.generation != generation() {
            return false;
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pods;

    fn attributes(value: &str) -> PodAttributes {
        PodAttributes { values: vec![("team".into(), value.into())], borrowed: true, ..PodAttributes::default() }
    }

    #[test]
    fn what_is_worked_out_again_and_is_the_same_stays_the_same_object() {
        let at = |seconds: u64| UnixNanos(seconds * 1_000_000_000);
        let pod = Arc::new(pods::pod(at(1), pods::running("c", 0, at(1), None)));
        let entry = PodEntry {
            pod,
            ledger: Arc::default(),
            seen_at: at(1),
            removed_at: None,
            known_until: None,
            is_told: false,
            proved: None,
            from_start: true,
        };
        let cache = AttributeCache::default();
        let get = |seconds, value: &'static str| cache.get(&entry, at(seconds), &|| 0, || attributes(value));
        let first = get(1, "shop");
        assert!(Arc::ptr_eq(&first, &get(2, "not asked yet")));
        let again = get(20, "shop");
        assert!(Arc::ptr_eq(&first, &again), "a sender of every half minute is remembered too");
        let other = get(40, "cart");
        assert_eq!(other.value("team").map(|value| &**value), Some("cart"));
    }
}
