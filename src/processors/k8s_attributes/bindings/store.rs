//! Bounded maps behind the bindings: identities, connections and streams, the least recently used forgotten first, and
//! whatever was not used for hours, or for ten minutes in a pod that is gone.
//!
//! Keys are 128-bit keyed hashes, so that nothing a sender chooses is stored or can be made to collide.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, Hash};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use foldhash::quality::RandomState;
use tokio::time::Instant;

use super::aged::Aged;
use super::{Basis, Sighting};
use crate::core::lock::Locked;
use crate::core::time::UnixNanos;
use crate::kube::ledger::Absence;

/// Parts, so that threads seldom meet.
const PARTS: usize = 16;
/// Entries per map and part: 16 x 4,096 = 65,536 processes.
const ENTRIES_MAX: usize = 4_096;
/// The unit of age. What was not used for [`AGE_MAX`] of them is forgotten.
const AGE: Duration = Duration::from_secs(600);
/// Six hours, longer than any process is silent that is worth a memory: one that comes back is seen for the first time again.
const AGE_MAX: u32 = 36;
/// The same in a pod that is gone, ten to twenty minutes: only a decision that comes late asks for it again.
const AGE_MAX_GONE: u32 = 1;

type Key = u128;

/// What a sighting is looked up by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BindingKeys {
    /// Pod, and pod and container: the upper half is the pod's, so that what is left of a gone one is found.
    pub stream: Key,
    /// Pod, container and what names the process.
    pub identity: Option<Key>,
}

/// A remembered run.
#[derive(Clone, Debug)]
pub(super) struct BoundRun {
    pub run: Arc<str>,
    pub stream: Key,
    pub unconfirmed: bool,
    /// The identity was seen to outlive a run: it names no process.
    pub void: bool,
}

/// What is known of a connection.
#[derive(Clone, Debug)]
pub(super) struct BoundConnection {
    owner: BindingKeys,
    /// It carries several processes, so it belongs to none of them.
    pub shared: bool,
    pub bound: Option<BoundRun>,
}

/// A container's data as one stream: its run was certainly alive from `since` to `until`.
#[derive(Clone, Debug)]
pub struct ContainerStream {
    pub run: Arc<str>,
    pub since: UnixNanos,
    pub until: UnixNanos,
    /// What the latest first sight of a process of it was decided by.
    pub basis: Basis,
    /// All of it rests on age alone.
    pub unconfirmed: bool,
}

/// What is remembered of the processes of one container, for explain.
#[derive(Clone, Debug, Default)]
pub struct Remembered {
    /// Run and number of processes known by identity.
    pub identities: BTreeMap<Arc<str>, usize>,
    /// Run and number of connections that carry one process alone.
    pub connections: BTreeMap<Arc<str>, usize>,
    /// Identities that were seen to outlive a run, and connections that carry several processes.
    pub void: usize,
    /// The latest data whose run could not be known.
    pub absence: Option<(Absence, UnixNanos)>,
}

struct Part {
    identities: Aged<Key, BoundRun>,
    streams: Aged<Key, ContainerStream>,
    connections: Aged<u64, BoundConnection>,
    absences: Aged<Key, (Absence, UnixNanos)>,
    /// Answers of a stream that turned out wrong and were not followed by the right one yet.
    owed: Aged<Key, u32>,
}

pub(super) struct BindingStore {
    // Locks are held for one lookup each, never across a call out.
    parts: Vec<Mutex<Part>>,
    hashers: [RandomState; 2],
    born: OnceLock<Instant>,
    /// How many units of [`AGE`] ago that was.
    age: AtomicU32,
}

impl BindingStore {
    pub fn new() -> BindingStore {
        let part = || Part {
            identities: Aged::new(ENTRIES_MAX, AGE_MAX),
            streams: Aged::new(ENTRIES_MAX, AGE_MAX),
            connections: Aged::new(ENTRIES_MAX, AGE_MAX),
            absences: Aged::new(ENTRIES_MAX, AGE_MAX),
            owed: Aged::new(ENTRIES_MAX, AGE_MAX),
        };
        BindingStore {
            parts: (0..PARTS).map(|_| Mutex::new(part())).collect(),
            hashers: [RandomState::default(), RandomState::default()],
            born: OnceLock::new(),
            age: AtomicU32::new(0),
        }
    }

    /// What is used from now on is used now. True once in a unit of age: time to [`BindingStore::forget`].
    pub fn tell_time(&self, now: Instant) -> bool {
        let lived = now.saturating_duration_since(*self.born.get_or_init(|| now));
        let age = u32::try_from(lived.as_secs() / AGE.as_secs()).unwrap_or(u32::MAX);
        // Asked for every request by every thread.
        age > self.age() && self.age.fetch_max(age, Ordering::Relaxed) < age
    }

    /// Forgets the processes of all pods but these, unless they were seen a moment ago. Looks through everything: some
    /// milliseconds when all maps are full.
    pub fn forget<'p>(&self, there: impl Iterator<Item = &'p str>) {
        let there: HashSet<u64> = there.map(|uid| self.pod(uid)).collect();
        let is_gone = |stream: Key| !there.contains(&pod_of(stream));
        let age = self.age();
        for part in &self.parts {
            let mut part = part.locked();
            part.identities.forget(age, AGE_MAX_GONE, |_, bound| is_gone(bound.stream));
            part.streams.forget(age, AGE_MAX_GONE, |stream, _| is_gone(*stream));
            part.connections.forget(age, AGE_MAX_GONE, |_, connection| is_gone(connection.owner.stream));
            part.absences.forget(age, AGE_MAX_GONE, |stream, _| is_gone(*stream));
            part.owed.forget(age, AGE_MAX_GONE, |stream, _| is_gone(*stream));
        }
    }

    fn pod(&self, uid: &str) -> u64 {
        self.hashers[0].hash_one(uid)
    }

    fn stream_key(&self, pod_uid: &str, container: &str) -> Key {
        let pod = self.pod(pod_uid);
        Key::from(pod) << 64 | Key::from(self.hashers[1].hash_one((pod, container)))
    }

    fn age(&self) -> u32 {
        self.age.load(Ordering::Relaxed)
    }

    fn key(&self, value: impl Hash) -> Key {
        let [a, b] = &self.hashers;
        Key::from(a.hash_one(&value)) << 64 | Key::from(b.hash_one(&value))
    }

    pub fn keys(&self, sighting: &Sighting<'_>) -> BindingKeys {
        let stream = self.stream_key(sighting.pod_uid, sighting.container);
        BindingKeys { stream, identity: sighting.identity.map(|identity| self.key((stream, identity))) }
    }

    fn part(&self, key: Key) -> MutexGuard<'_, Part> {
        let index = (key >> 20) as usize % PARTS;
        self.parts[index].locked()
    }

    fn part_of(&self, connection: u64) -> MutexGuard<'_, Part> {
        let index = connection as usize % PARTS;
        self.parts[index].locked()
    }

    /// The connection as it is with this process on it.
    pub fn connection(&self, number: u64, keys: &BindingKeys) -> BoundConnection {
        let mut part = self.part_of(number);
        if let Some(known) = part.connections.get_mut(&number, self.age()) {
            known.shared |= known.owner != *keys;
            return known.clone();
        }
        let made = BoundConnection { owner: *keys, shared: false, bound: None };
        part.connections.put(number, made.clone(), self.age());
        made
    }

    pub fn share_connection(&self, number: u64) {
        if let Some(known) = self.part_of(number).connections.get_mut(&number, self.age()) {
            known.shared = true;
        }
    }

    pub fn bind_connection(&self, number: u64, bound: BoundRun) {
        if let Some(known) = self.part_of(number).connections.get_mut(&number, self.age()) {
            known.bound = Some(bound);
        }
    }

    pub fn identity(&self, key: Key) -> Option<BoundRun> {
        self.part(key).identities.get_mut(&key, self.age()).cloned()
    }

    pub fn bind_identity(&self, key: Key, bound: BoundRun) {
        let mut part = self.part(key);
        part.identities.put(key, bound, self.age());
    }

    pub fn void_identity(&self, key: Key) {
        if let Some(known) = self.part(key).identities.get_mut(&key, self.age()) {
            known.void = true;
        }
    }

    pub fn stream_by_key(&self, key: Key) -> Option<ContainerStream> {
        self.part(key).streams.get_mut(&key, self.age()).cloned()
    }

    pub fn stream(&self, pod_uid: &str, container: &str) -> Option<ContainerStream> {
        self.stream_by_key(self.stream_key(pod_uid, container))
    }

    /// Data of this run was certainly made then. Late data of an older run does not take the stream back.
    pub fn extend_stream(&self, key: Key, seen: ContainerStream) {
        let mut part = self.part(key);
        match part.streams.get_mut(&key, self.age()) {
            Some(stream) if stream.run == seen.run => {
                stream.since = stream.since.min(seen.since);
                stream.until = stream.until.max(seen.until);
                stream.basis = seen.basis;
                stream.unconfirmed &= seen.unconfirmed;
            }
            Some(stream) if seen.until <= stream.until => {}
            _ => part.streams.put(key, seen, self.age()),
        }
    }

    pub fn owe_correction(&self, stream: Key) {
        let mut part = self.part(stream);
        let owed = part.owed.peek(&stream).copied().unwrap_or(0);
        part.owed.put(stream, owed.saturating_add(1), self.age());
    }

    /// True when one was owed.
    pub fn pay_correction(&self, stream: Key) -> bool {
        let mut part = self.part(stream);
        match part.owed.peek(&stream).copied() {
            None => return false,
            Some(0 | 1) => drop(part.owed.pop(&stream)),
            Some(owed) => part.owed.put(stream, owed - 1, self.age()),
        }
        true
    }

    /// The stream's run could not be told.
    pub fn note_absence(&self, key: Key, absence: Absence, now: UnixNanos) {
        let mut part = self.part(key);
        part.absences.put(key, (absence, now), self.age());
    }

    /// What the container's data got in place of a run, the last time that it got none.
    pub fn absence(&self, pod_uid: &str, container: &str) -> Option<(Absence, UnixNanos)> {
        let key = self.stream_key(pod_uid, container);
        self.part(key).absences.peek(&key).copied()
    }

    /// Looks through everything: for people, not for data.
    pub fn remembered(&self, pod_uid: &str, container: &str) -> Remembered {
        let key = self.stream_key(pod_uid, container);
        let mut found = Remembered { absence: self.absence(pod_uid, container), ..Remembered::default() };
        for part in &self.parts {
            let part = part.locked();
            let identities = part.identities.iter().map(|(_, bound)| (bound, bound.void, true));
            let connections = part
                .connections
                .iter()
                .filter_map(|(_, connection)| connection.bound.as_ref().map(|bound| (bound, connection.shared, false)));
            for (bound, void, by_identity) in identities.chain(connections).filter(|(bound, ..)| bound.stream == key) {
                let runs = if by_identity { &mut found.identities } else { &mut found.connections };
                if void {
                    found.void += 1;
                } else {
                    *runs.entry(bound.run.clone()).or_default() += 1;
                }
            }
        }
        found
    }
}

/// The pod's half of a stream's key.
fn pod_of(stream: Key) -> u64 {
    (stream >> 64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_that_come_and_go_for_days_leave_no_more_than_those_of_some_hours() {
        let (store, start) = (BindingStore::new(), Instant::now());
        let mut run = fastrand::Rng::with_seed(1);
        for age in 0..200 {
            store.tell_time(start + AGE * age);
            for _ in 0..100 {
                let bound = BoundRun { run: "run".into(), stream: 0, unconfirmed: false, void: false };
                store.bind_identity(run.u128(..), bound);
            }
        }
        let left = identities(&store);
        assert!((3_600..4_000).contains(&left), "{left} of 20,000");
    }

    fn identities(store: &BindingStore) -> usize {
        store.parts.iter().map(|part| part.locked().identities.iter().count()).sum()
    }

    /// Everything that is remembered of one process of this pod, whose connection has this number.
    fn remember(store: &BindingStore, pod_uid: &str, number: u64, now: UnixNanos) -> BindingKeys {
        let stream = store.stream_key(pod_uid, "app");
        let keys = BindingKeys { stream, identity: Some(store.key((stream, "process"))) };
        let bound = BoundRun { run: "run".into(), stream, unconfirmed: true, void: false };
        store.bind_identity(keys.identity.expect("it has one"), bound.clone());
        store.connection(number, &keys);
        store.bind_connection(number, bound);
        let seen =
            ContainerStream { run: "run".into(), since: now, until: now, basis: Basis::Arrival, unconfirmed: true };
        store.extend_stream(stream, seen);
        store.note_absence(stream, Absence::Ambiguous, now);
        store.owe_correction(stream);
        keys
    }

    #[test]
    fn pods_that_are_gone_leave_nothing_after_some_minutes_and_pods_that_are_there_keep_all() {
        let (store, start) = (BindingStore::new(), Instant::now());
        let stays = remember(&store, "stays", 1_000_000, UnixNanos(1));
        let mut most = 0;
        for age in 0..20u32 {
            let due = store.tell_time(start + AGE * age);
            assert!(due == (age > 0) && !store.tell_time(start + AGE * age), "once in a unit of age: {age}");
            store.forget(["stays"].into_iter());
            (0..100u32).for_each(|pod| {
                let number = age * 100 + pod;
                remember(&store, &format!("pod-{number}"), u64::from(number), UnixNanos(1));
            });
            most = most.max(identities(&store));
        }
        assert!((200..=301).contains(&most), "{most} of 2,001");
        let left = |count: fn(&Part) -> usize| store.parts.iter().map(|part| count(&part.locked())).sum::<usize>();
        store.tell_time(start + AGE * 22);
        store.forget(["stays"].into_iter());
        let counts = [
            left(|part| part.identities.iter().count()),
            left(|part| part.streams.iter().count()),
            left(|part| part.connections.iter().count()),
            left(|part| part.absences.iter().count()),
            left(|part| part.owed.iter().count()),
        ];
        assert_eq!(counts, [1; 5], "of the pod that is there");
        assert!(store.identity(stays.identity.expect("it has one")).is_some());
        assert!(store.stream("stays", "app").is_some() && store.absence("stays", "app").is_some());
    }
}
