//! The one owner of the table: applies what readers and the fetcher bring, in the order of the API server's versions.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use crate::core::stage::tasks::Pulse;
use crate::core::time::UnixNanos;
use crate::kube::decode::DecodedPod;
use crate::kube::hub::report::PodChanges;
use crate::kube::hub::shared::HubShared;
use crate::kube::node_logs::LogChange;
use crate::kube::pod::Pod;
use crate::kube::table::{PodChange, Snapshot, Table};
use crate::kube::watch::{BURST, Told};
use crate::kube::watch_spec::WatchSpec;

/// Snapshots are published at most this often, so that a roll-out does not copy the table per event.
const PUBLISH_SPACING: Duration = Duration::from_millis(10);
const TICK: Duration = Duration::from_secs(1);

/// What a reader or the fetcher learned.
#[derive(Debug)]
pub enum Update {
    Applied {
        reader: usize,
        seen: DecodedPod,
    },
    Deleted {
        reader: usize,
        uid: Arc<str>,
        last: Option<Pod>,
        version: String,
    },
    Listed {
        reader: usize,
        seen: Vec<DecodedPod>,
    },
    /// The answer to a single GET that was asked then: it proves what the pod was at that time.
    Fetched {
        seen: DecodedPod,
        asked: Instant,
    },
    /// A single GET found no pod of this uid.
    Absent(Arc<str>),
    /// The node's log folder shows something new.
    Logged(LogChange),
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
    heard: Words,
    told: Told,
    even: Even,
}

/// When the stream brought something. What comes in one burst may have been held back together, by a server or a network
/// that stalled: each word of it says nothing of when the others were written.
#[derive(Debug, Default)]
struct Words {
    /// Begin of the second that `latest` is in; the words of a second count together.
    since: Option<Instant>,
    latest: Option<Instant>,
    /// The last words of the two seconds before in which there were any.
    before: [Option<Instant>; 2],
}

impl Words {
    fn add(&mut self, now: Instant) {
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= BURST) {
            self.before = [self.before[1], self.latest];
            self.since = Some(now);
        }
        self.latest = Some(now);
    }

    /// The latest that is certainly of no burst with what comes now.
    fn apart(&self, now: Instant) -> Option<Instant> {
        let all = [self.latest, self.before[1], self.before[0]];
        all.into_iter().flatten().find(|word| now.saturating_duration_since(*word) >= BURST)
    }
}

/// One moment on both clocks. Starts of runs are told by the wall clock; what passed between two words, the other measures.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    pub wall: UnixNanos,
    pub at: Instant,
}

impl Now {
    pub fn read() -> Now {
        Now { wall: UnixNanos::now(), at: Instant::now() }
    }

    /// The wall time of a moment of the past.
    fn wall_at(&self, at: Instant) -> UnixNanos {
        self.wall.saturating_sub(self.at.saturating_duration_since(at))
    }
}

/// Since when the wall clock has run evenly: a time that it told before a step says nothing of how long ago that was.
#[derive(Debug, Default)]
struct Even {
    /// The last look, and since when nothing was wrong.
    seen: Option<(Now, Instant)>,
}

impl Even {
    /// How long the wall clock has run evenly.
    fn look(&mut self, now: Now) -> Duration {
        let since = match self.seen {
            Some((before, since)) => {
                let passed = now.at.saturating_duration_since(before.at);
                let expected = before.wall.saturating_add(passed);
                let even = expected.0.abs_diff(now.wall.0) <= u64::try_from(STEP.as_nanos()).unwrap_or(u64::MAX);
                if even { since } else { now.at }
            }
            // What was before the first look nobody knows, and nothing speaks against it.
            None => now.at.checked_sub(LONG).unwrap_or(now.at),
        };
        self.seen = Some((now, since));
        now.at.saturating_duration_since(since)
    }
}

/// A difference between both clocks that slewing does not make between two words.
const STEP: Duration = Duration::from_millis(250);

/// Longer than any delay that counts.
const LONG: Duration = Duration::from_secs(3_600);

/// A status that certainly took this long was slow, so all of its time counts.
const SLOW: Duration = Duration::from_secs(2);

impl Feed {
    pub fn new(grace: Duration, readers: usize, spec: &WatchSpec) -> Feed {
        let selected = spec.label_selector.is_none() && spec.field_selector.is_none() && spec.namespaces.is_empty();
        Feed {
            table: Table::new(grace),
            versions: HashMap::new(),
            members: vec![HashSet::new(); readers],
            unlisted: vec![true; readers],
            node: spec.node.clone().filter(|_| selected),
            heard: Words::default(),
            told: Told::default(),
            even: Even::default(),
        }
    }

    /// True when every reader has listed its pods.
    pub fn is_synced(&self) -> bool {
        !self.unlisted.contains(&true)
    }

    pub fn len(&self) -> usize {
        self.versions.len()
    }

    pub fn apply(&mut self, update: Update, now: Now) -> PodChanges {
        let even = self.even.look(now);
        let of_stream = !matches!(&update, Update::Fetched { .. } | Update::Absent(_) | Update::Logged(_));
        let listed = matches!(&update, Update::Listed { .. });
        let tally = self.take_in(update, now);
        if self.is_synced() {
            self.table.listed();
        }
        if of_stream {
            self.heard.add(now.at);
            self.told.add(now.at);
            let proof = if listed { Some(now.at) } else { self.told.proof(now.at) };
            if let Some(proof) = proof {
                self.table.heard(now.wall_at(proof));
            }
        }
        PodChanges { delay: tally.delay.filter(|delay| *delay < even), ..tally }
    }

    fn take_in(&mut self, update: Update, now: Now) -> PodChanges {
        match update {
            Update::Applied { reader, seen } => self.upsert(reader, seen, now),
            Update::Deleted { reader, uid, last, version } => {
                let newer = self.is_newer(&uid, &version);
                self.removed(reader, PodChange::Deleted { uid, last: last.filter(|_| newer) }, now)
            }
            Update::Listed { reader, seen } => self.replace(reader, seen, now),
            Update::Fetched { seen, asked } => self.fetched(seen, asked, now),
            Update::Absent(uid) => match self.members.iter().position(|members| members.contains(&uid)) {
                Some(reader) => self.removed(reader, PodChange::Missing(uid), now),
                None => PodChanges::default(),
            },
            Update::Logged(change) => {
                self.table.apply(PodChange::Logged(change), now.wall);
                PodChanges::default()
            }
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

    fn upsert(&mut self, reader: usize, seen: DecodedPod, now: Now) -> PodChanges {
        if !self.is_newer(&seen.pod.uid, &seen.version) {
            return PodChanges::default();
        }
        if let Some(members) = self.members.get_mut(reader) {
            members.insert(seen.pod.uid.clone());
        }
        let uid = seen.pod.uid.clone();
        let before = self.versions.insert(uid.clone(), number(&seen.version));
        let read = self.table.get(&uid).and_then(|entry| entry.proved);
        self.table.apply(PodChange::Applied(seen.pod), now.wall);
        let learned = self.table.get(&uid).and_then(|entry| entry.ledger.learned(now.wall));
        let delay = learned.map(|started| self.delay(started, read, now));
        match before {
            Some(_) => PodChanges { updated: 1, delay, ..PodChanges::default() },
            None => PodChanges { added: 1, delay, ..PodChanges::default() },
        }
    }

    /// How long a run's status certainly took: until the last word that did not tell of it. Without one the silence may be
    /// the server's, and what a proof is worth is measured by proofs.
    fn delay(&self, started: UnixNanos, read: Option<Instant>, now: Now) -> Duration {
        let word = read.max(self.heard.apart(now.at)).map_or(UnixNanos(0), |at| now.wall_at(at));
        let certain = word.since(started);
        if certain > SLOW { now.wall.since(started) } else { certain }
    }

    fn removed(&mut self, reader: usize, change: PodChange, now: Now) -> PodChanges {
        let (PodChange::Deleted { uid, .. } | PodChange::Missing(uid)) = &change else { return PodChanges::default() };
        if let Some(members) = self.members.get_mut(reader) {
            members.remove(uid);
        }
        let known = self.versions.remove(uid).is_some();
        self.table.apply(change, now.wall);
        PodChanges { deleted: u64::from(known), ..PodChanges::default() }
    }

    /// A complete list of one reader. Versions start anew with it: a restored server may count from lower numbers.
    fn replace(&mut self, reader: usize, seen: Vec<DecodedPod>, now: Now) -> PodChanges {
        let present: HashSet<Arc<str>> = seen.iter().map(|seen| seen.pod.uid.clone()).collect();
        let before = self.members.get_mut(reader).map(|known| std::mem::replace(known, present)).unwrap_or_default();
        if let Some(unlisted) = self.unlisted.get_mut(reader) {
            *unlisted = false;
        }
        let mut tally = PodChanges::default();
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
            self.table.apply(PodChange::Listed(seen.into_iter().map(|seen| seen.pod).collect()), now.wall);
            return tally;
        }
        for uid in gone {
            self.table.apply(PodChange::Missing(uid), now.wall);
        }
        for seen in seen {
            self.table.apply(PodChange::Applied(seen.pod), now.wall);
        }
        tally
    }

    /// A pod that no watch has shown may lie outside of what is watched; then nobody would ever delete it.
    fn fetched(&mut self, seen: DecodedPod, asked: Instant, now: Now) -> PodChanges {
        let uid = seen.pod.uid.clone();
        // An answer older than what is known proves nothing: it may come from a cache.
        let proves = self.is_newer(&uid, &seen.version);
        let reader = self.members.iter().position(|members| members.contains(&seen.pod.uid));
        let ours = self.is_synced() && self.node.as_deref() == Some(&*seen.pod.node);
        let Some(reader) = reader.or_else(|| ours.then_some(0)) else { return PodChanges::default() };
        let tally = self.upsert(reader, seen, Now { wall: now.wall_at(asked), at: asked });
        if proves {
            self.table.apply(PodChange::Proved { uid, asked }, now.wall);
        }
        tally
    }
}

/// 0 for what is no number: then nothing is known of the order.
fn number(version: &str) -> u64 {
    version.parse().unwrap_or(0)
}

/// Applies updates until the stop, publishing snapshots.
pub(super) async fn run(
    shared: Arc<HubShared>,
    mut feed: Feed,
    mut updates: mpsc::Receiver<Update>,
    mut stop: watch::Receiver<bool>,
    pulse: Arc<Pulse>,
) {
    let mut tick_at = Instant::now() + TICK;
    let mut publish_from = Instant::now();
    let mut changed = false;
    pulse.waits_for("what the watches heard");
    loop {
        let publish_at = if changed { publish_from } else { tick_at };
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            update = updates.recv() => {
                let Some(update) = update else { return };
                let tally = feed.apply(update, Now::read());
                if let Some(delay) = tally.delay.filter(|_| feed.is_synced()) {
                    shared.run_learned(delay);
                }
                shared.tell.counted(tally, feed.len());
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

fn publish(shared: &HubShared, feed: &mut Feed) {
    let snapshot = feed.snapshot();
    if !Arc::ptr_eq(&snapshot, &shared.published.load()) {
        shared.published.store(snapshot);
        shared.bump();
    }
    if feed.is_synced() {
        shared.synced.send_if_modified(|synced| !std::mem::replace(synced, true));
    }
}
