//! A hash map in parts, each behind its own `Arc`: a change copies one part, a snapshot copies only pointers.
//!
//! Exists because the table of ten thousand pods is published after every event. It knows nothing of what it stores.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// Enough that a change in 10,000 pods copies about 80 entries; few enough that an empty map is small.
const SHARDS: usize = 128;

type Shard<K, V> = Arc<HashMap<K, V, FixedState>>;

/// Keys are chosen by the API server, not by senders, so a fixed hash seed is no door for anyone.
#[derive(Clone, Debug)]
pub struct Shards<K, V> {
    shards: Vec<Shard<K, V>>,
    hasher: FixedState,
}

impl<K: Hash + Eq + Clone, V: Clone> Default for Shards<K, V> {
    fn default() -> Shards<K, V> {
        // One empty map shared by all parts until they are written.
        let empty: Shard<K, V> = Arc::new(HashMap::with_hasher(FixedState::default()));
        Shards { shards: vec![empty; SHARDS], hasher: FixedState::default() }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Shards<K, V> {
    fn index<Q: Hash + ?Sized>(&self, key: &Q) -> usize {
        // The low bits choose the bucket inside the shard, so the shard takes others.
        (self.hasher.hash_one(key) >> 40) as usize % SHARDS
    }

    pub fn get<Q>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.shards[self.index(key)].get(key)
    }

    pub fn insert(&mut self, key: K, value: V) {
        let index = self.index(&key);
        Arc::make_mut(&mut self.shards[index]).insert(key, value);
    }

    pub fn remove<Q>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let index = self.index(key);
        if !self.shards[index].contains_key(key) {
            return None;
        }
        let shard = Arc::make_mut(&mut self.shards[index]);
        let removed = shard.remove(key);
        if shard.capacity() > 16 && shard.len() * 4 < shard.capacity() {
            shard.shrink_to_fit();
        }
        removed
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.shards.iter().flat_map(|shard| shard.values())
    }

    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.len()).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| shard.is_empty())
    }
}

/// A map from a key to the few things that share it.
pub type Index<K, T> = Shards<K, Vec<T>>;

impl<K: Hash + Eq + Clone, T: Clone + PartialEq> Shards<K, Vec<T>> {
    pub fn list<Q>(&self, key: &Q) -> &[T]
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.get(key).map_or(&[], Vec::as_slice)
    }

    /// Adds `item` unless the key has it already.
    pub fn add(&mut self, key: K, item: T) {
        if self.list(&key).contains(&item) {
            return;
        }
        let index = self.index(&key);
        // Nearly every key has one item, and a fresh vector would make room for four.
        let list = Arc::make_mut(&mut self.shards[index]).entry(key).or_insert_with(|| Vec::with_capacity(1));
        list.push(item);
    }

    /// Changes the list of one key; an emptied list goes away.
    pub fn edit(&mut self, key: &K, change: impl FnOnce(&mut Vec<T>)) {
        let index = self.index(key);
        let shard = Arc::make_mut(&mut self.shards[index]);
        let list = shard.entry(key.clone()).or_insert_with(|| Vec::with_capacity(1));
        change(list);
        if list.is_empty() {
            shard.remove(key);
        }
    }
}
