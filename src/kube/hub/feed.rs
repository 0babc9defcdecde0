//! The one owner of the table: applies what readers and the fetcher bring, in the order of the API server's versions.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::{Shared, WatchSpec};
use crate::core::tasks::Pulse;
use crate::core::time::UnixNanos;
use crate::kube::decode::Seen;
use crate::kube::pod::Pod;
use crate::kube::table::{Change, Snapshot, Table};

/// Snapshots are published at most this often, so that a roll-out does not copy the table per event.
const PUBLISH_SPACING: Duration = Duration::from_millis(10);
const TICK: Duration = Duration::from_secs(1);

/// What a reader or the fetcher learned.
#[derive(Debug)]
pub enum Update {
    Applied {
        reader: usize,
        seen: Seen,
    },
    Deleted {
        reader: usize,
        uid: Arc<str>,
        last: Option<Pod>,
        version: String,
    },
    Listed {
        reader: usize,
        seen: Vec<Seen>,
    },
    /// The answer to a single GET.
    Fetched(Seen),
    /// A single GET found no pod of this uid.
    Absent(Arc<str>),
}

/// How many pods were added, updated and deleted by one update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub added: u64,
    pub updated: u64,
    pub deleted: u64,
}

/// Table and versions. Invariant: `versions` has exactly the pods that live, and each is in one reader's set.
pub struct Feed {
    table: Table,
    versions: HashMap<Arc<str>, u64>,
    // Per reader; a list of one namespace says nothing about the others.
    members: Vec<HashSet<Arc<str>>>,
    unlisted: Vec<bool>,
    /// Pods that a GET may add before the watch shows them: those of this node.
    node: Option<String>,
}

impl Feed {
    pub fn new(grace: Duration, readers: usize, spec: &WatchSpec) -> Feed {
        let selected = spec.label_selector.is_none() && spec.field_selector.is_none() && spec.namespaces.is_empty();
        Feed {
            table: Table::new(grace),
            versions: HashMap::new(),
            members: vec![HashSet::new(); readers],
            unlisted: vec![true; readers],
            node: spec.node.clone().filter(|_| selected),
        }
    }

    /// True when every reader has listed its pods.
    pub fn is_synced(&self) -> bool {
        !self.unlisted.contains(&true)
    }

    pub fn len(&self) -> usize {
        self.versions.len()
    }

    pub fn apply(&mut self, update: Update, now: UnixNanos) -> Tally {
        match update {
            Update::Applied { reader, seen } => self.upsert(reader, seen, now),
            Update::Deleted { reader, uid, last, version } => {
                let newer = self.is_newer(&uid, &version);
                self.remove(reader, uid, last.filter(|_| newer), now)
            }
            Update::Listed { reader, seen } => self.replace(reader, seen, now),
            Update::Fetched(seen) => self.fetched(seen, now),
            Update::Absent(uid) => match self.members.iter().position(|members| members.contains(&uid)) {
                Some(reader) => self.remove(reader, uid, None, now),
                None => Tally::default(),
            },
        }
    }

    pub fn tick(&mut self, now: UnixNanos) {
        self.table.tick(now);
    }

    pub fn snapshot(&mut self) -> Arc<Snapshot> {
        self.table.snapshot()
    }

    /// False when a GET already brought a newer state. Versions are opaque in name only: they are compared as numbers
    /// where they are numbers (KEP-5504).
    fn is_newer(&self, uid: &str, version: &str) -> bool {
        match (self.versions.get(uid), number(version)) {
            (Some(known), seen) if *known > 0 && seen > 0 => seen >= *known,
            _ => true,
        }
    }

    fn upsert(&mut self, reader: usize, seen: Seen, now: UnixNanos) -> Tally {
        if !self.is_newer(&seen.pod.uid, &seen.version) {
            return Tally::default();
        }
        if let Some(members) = self.members.get_mut(reader) {
            members.insert(seen.pod.uid.clone());
        }
        let before = self.versions.insert(seen.pod.uid.clone(), number(&seen.version));
        self.table.apply(Change::Applied(seen.pod), now);
        match before {
            Some(_) => Tally { updated: 1, ..Tally::default() },
            None => Tally { added: 1, ..Tally::default() },
        }
    }

    fn remove(&mut self, reader: usize, uid: Arc<str>, last: Option<Pod>, now: UnixNanos) -> Tally {
        if let Some(members) = self.members.get_mut(reader) {
            members.remove(&uid);
        }
        let known = self.versions.remove(&uid).is_some();
        self.table.apply(Change::Deleted { uid, last }, now);
        Tally { deleted: u64::from(known), ..Tally::default() }
    }

    /// A complete list of one reader. Versions start anew with it: a restored server may count from lower numbers.
    fn replace(&mut self, reader: usize, seen: Vec<Seen>, now: UnixNanos) -> Tally {
        let present: HashSet<Arc<str>> = seen.iter().map(|seen| seen.pod.uid.clone()).collect();
        let before = self.members.get_mut(reader).map(|known| std::mem::replace(known, present)).unwrap_or_default();
        if let Some(unlisted) = self.unlisted.get_mut(reader) {
            *unlisted = false;
        }
        let mut tally = Tally::default();
        for uid in &before {
            self.versions.remove(uid);
        }
        for seen in &seen {
            let known = before.contains(&seen.pod.uid);
            tally.updated += u64::from(known);
            tally.added += u64::from(!known);
            self.versions.insert(seen.pod.uid.clone(), number(&seen.version));
        }
        let gone: Vec<Arc<str>> = before.into_iter().filter(|uid| !self.versions.contains_key(uid)).collect();
        tally.deleted = u64::try_from(gone.len()).unwrap_or(u64::MAX);
        if self.members.len() == 1 {
            self.table.apply(Change::Listed(seen.into_iter().map(|seen| seen.pod).collect()), now);
            return tally;
        }
        for uid in gone {
            self.table.apply(Change::Deleted { uid, last: None }, now);
        }
        for seen in seen {
            self.table.apply(Change::Applied(seen.pod), now);
        }
        tally
    }

    /// A pod that no watch has shown may lie outside of what is watched; then nobody would ever delete it.
    fn fetched(&mut self, seen: Seen, now: UnixNanos) -> Tally {
        let reader = self.members.iter().position(|members| members.contains(&seen.pod.uid));
        let ours = self.is_synced() && self.node.as_deref() == Some(&*seen.pod.node);
        match reader.or_else(|| ours.then_some(0)) {
            Some(reader) => self.upsert(reader, seen, now),
            None => Tally::default(),
        }
    }
}

/// 0 for what is no number: then nothing is known of the order.
fn number(version: &str) -> u64 {
    version.parse().unwrap_or(0)
}

/// Applies updates until the stop, publishing snapshots.
pub(super) async fn run(
    shared: Arc<Shared>,
    mut feed: Feed,
    mut updates: mpsc::Receiver<Update>,
    mut stop: watch::Receiver<bool>,
    pulse: Arc<Pulse>,
) {
    let mut tick_at = Instant::now() + TICK;
    let mut publish_from = Instant::now();
    let mut changed = false;
    loop {
        let publish_at = if changed { publish_from } else { tick_at };
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            update = updates.recv() => {
                let Some(update) = update else { return };
                shared.tell.counted(feed.apply(update, UnixNanos::now()), feed.len());
                changed = true;
            }
            () = sleep_until(tick_at.min(publish_at)) => {}
        }
        let now = Instant::now();
        if now >= tick_at {
            pulse.beat();
            tick_at = now + TICK;
            feed.tick(UnixNanos::now());
            changed = true;
        }
        if changed && now >= publish_from {
            publish(&shared, &mut feed);
            publish_from = now + PUBLISH_SPACING;
            changed = false;
        }
    }
}

fn publish(shared: &Shared, feed: &mut Feed) {
    let snapshot = feed.snapshot();
    if !Arc::ptr_eq(&snapshot, &shared.published.load()) {
        shared.published.store(snapshot);
        shared.bump();
    }
    if feed.is_synced() {
        shared.synced.send_if_modified(|synced| !std::mem::replace(synced, true));
    }
}
