//! A bounded map that forgets: the least recently used when it is full, and with each new entry some that are too old.
//!
//! Its age is a number that the caller gives; it knows no clock.

use std::hash::Hash;

use foldhash::quality::RandomState;
use lru::LruCache;

/// Forgotten with each new entry, if they are too old: more than one, so that the map shrinks.
const FORGOTTEN_AT_ONCE: usize = 2;

/// The age is when an entry was used last.
pub(super) struct Aged<K, V> {
    entries: LruCache<K, (u32, V), RandomState>,
    entries_max: usize,
    age_max: u32,
}

impl<K: Hash + Eq, V> Aged<K, V> {
    /// At most `entries_max` entries; those that were not used for more than `age_max` are forgotten when others come.
    pub fn new(entries_max: usize, age_max: u32) -> Aged<K, V> {
        Aged { entries: LruCache::unbounded_with_hasher(RandomState::default()), entries_max, age_max }
    }

    /// The entry, which is used by this.
    pub fn get_mut(&mut self, key: &K, age: u32) -> Option<&mut V> {
        let (used, value) = self.entries.get_mut(key)?;
        *used = (*used).max(age);
        Some(value)
    }

    /// The entry, for whoever only looks.
    pub fn peek(&self, key: &K) -> Option<&V> {
        self.entries.peek(key).map(|(_, value)| value)
    }

    pub fn pop(&mut self, key: &K) -> Option<V> {
        self.entries.pop(key).map(|(_, value)| value)
    }

    pub fn put(&mut self, key: K, value: V, age: u32) {
        self.entries.put(key, (age, value));
        for _ in 0..FORGOTTEN_AT_ONCE {
            let oldest = self.entries.peek_lru().map_or(age, |(_, (used, _))| *used);
            let full = self.entries.len() > self.entries_max;
            if !full && age.saturating_sub(oldest) <= self.age_max {
                return;
            }
            self.entries.pop_lru();
        }
    }

    /// Takes out what `is_over` names, if it was not used for more than `age_max`.
    pub fn forget(&mut self, age: u32, age_max: u32, is_over: impl Fn(&K, &V) -> bool)
    where
        K: Copy,
    {
        let over = |(key, (used, value)): (&K, &(u32, V))| {
            (age.saturating_sub(*used) > age_max && is_over(key, value)).then_some(*key)
        };
        let over: Vec<K> = self.entries.iter().filter_map(over).collect();
        for key in over {
            self.entries.pop(&key);
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().map(|(key, (_, value))| (key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_long_goes_when_others_come_and_what_is_used_stays() {
        let mut map = Aged::new(1_000, 6);
        for turn in 0..100u32 {
            for at in 0..10u32 {
                map.put((turn, at), (), turn * 3);
            }
            map.get_mut(&(0, 0), turn * 3);
            assert!(map.entries.len() <= 3 * 10 + 1, "{}", map.entries.len());
        }
        assert!(map.peek(&(0, 0)).is_some() && map.peek(&(0, 1)).is_none());
    }

    #[test]
    fn the_least_recently_used_goes_when_the_map_is_full() {
        let mut map = Aged::new(3, 6);
        for key in 0..3 {
            map.put(key, (), 0);
        }
        map.get_mut(&0, 0);
        map.put(3, (), 0);
        let mut left: Vec<i32> = map.iter().map(|(key, ())| *key).collect();
        left.sort_unstable();
        assert_eq!(left, [0, 2, 3]);
    }
}
