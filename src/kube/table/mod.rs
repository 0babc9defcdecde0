//! The pod table: every known pod with its ledger, found by uid, address, name and container id.
//!
//! A pure structure: events and the time go in, immutable snapshots come out, which all pipelines read without a lock.
//! Deleted pods stay for the grace period, because their last data arrives after them. It knows neither watch nor
//! telemetry.
//! Invariant: every key of every index leads to a pod in `pods`, and every pod is under all of its keys.

mod shards;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use snapshot::{APART_MAX, IdKey, Tenure, Young, hosts_of, id_key, name_key};
pub use snapshot::{PodEntry, Snapshot};

use crate::core::time::UnixNanos;
use crate::kube::ledger::{LastLook, PodLedger};
use crate::kube::node_logs::{ContainerLogs, LogChange};
use crate::kube::pod::Pod;

/// Pods without an address that are remembered as such: after that many, a deleted pod's successor is not thought of.
const YOUNG_MAX: usize = 1_024;
/// From a pod's deletion time until nothing of it runs any more.
const KILLED_WITHIN: Duration = Duration::from_secs(3);

/// What the watch learned.
#[derive(Clone, Debug)]
pub enum PodChange {
    Applied(Pod),
    /// Gone from the API server, or out of the selector. `last` is the final state when the event carried it.
    Deleted {
        uid: Arc<str>,
        last: Option<Pod>,
    },
    /// Found missing: nobody told of its end.
    Missing(Arc<str>),
    /// The complete list: pods that are not in it are gone.
    Listed(Vec<Pod>),
    /// What is known of the pod was asked for then, and was true then.
    Proved {
        uid: Arc<str>,
        asked: Instant,
    },
    /// What the node's log folder shows of a container.
    Logged(LogChange),
}

/// How a pod's end came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// By an event, which comes with the pod's last state.
    Told,
    /// A list or a read did not have it any more.
    Missed,
}

pub struct Table {
    grace: Duration,
    working: Snapshot,
    /// When the watch last brought something: until then no known pod had gone.
    heard_at: UnixNanos,
    /// Everything was listed once: what comes now is new.
    listed: bool,
    /// The last snapshot handed out; `None` when something changed since.
    published: Option<Arc<Snapshot>>,
    /// Deleted pods by the time at which they are forgotten.
    leaving: BTreeSet<(UnixNanos, Arc<str>)>,
    /// Addresses that living pods no longer have: rare, and needed to leave no claim behind.
    given_up: HashMap<Arc<str>, Vec<IpAddr>>,
    /// Living pods of each node.
    nodes: HashMap<Arc<str>, u32>,
    /// By the uid of the pod's folder; a pod may be announced after its logs.
    logs: HashMap<Arc<str>, BTreeMap<Arc<str>, ContainerLogs>>,
}

impl Table {
    /// `grace`: how long a deleted pod can still be found.
    pub fn new(grace: Duration) -> Table {
        Table {
            grace,
            working: Snapshot::default(),
            heard_at: UnixNanos(0),
            listed: false,
            published: None,
            leaving: BTreeSet::new(),
            given_up: HashMap::new(),
            nodes: HashMap::new(),
            logs: HashMap::new(),
        }
    }

    pub fn apply(&mut self, change: PodChange, now: UnixNanos) {
        self.published = None;
        match change {
            PodChange::Applied(pod) => self.upsert(pod, now),
            PodChange::Deleted { uid, last } => {
                if let Some(last) = last {
                    self.upsert(last, now);
                }
                self.remove(&uid, End::Told, now);
            }
            PodChange::Missing(uid) => self.remove(&uid, End::Missed, now),
            PodChange::Listed(pods) => self.replace(pods, now),
            PodChange::Proved { uid, asked } => self.prove(&uid, asked),
            PodChange::Logged(change) => self.logged(change, now),
        }
    }

    /// The watch brought something. Call it after the change is applied.
    pub fn heard(&mut self, at: UnixNanos) {
        self.heard_at = at;
    }

    /// All that there was at the start is here.
    pub fn listed(&mut self) {
        self.listed = true;
    }

    /// The pod as it is known now, deleted ones in their grace included.
    pub fn get(&self, uid: &str) -> Option<&PodEntry> {
        self.working.pods.get(uid).map(|entry| &**entry)
    }

    fn logged(&mut self, change: LogChange, now: UnixNanos) {
        let LogChange { pod, container, logs } = change;
        let known = self.logs.entry(pod.clone()).or_default();
        match logs {
            Some(logs) => known.insert(container, logs),
            None => known.remove(&container),
        };
        if known.is_empty() {
            self.logs.remove(&pod);
        }
        let uid = self.working.aliases.get(&pod).cloned().unwrap_or(pod);
        let Some(before) = self.working.pods.get(&uid).cloned() else { return };
        let mut ledger = (*before.ledger).clone();
        self.witness(&before.pod, &mut ledger, LastLook { previous: before.seen_at, now });
        if ledger != *before.ledger {
            let after = Arc::new(PodEntry { ledger: Arc::new(ledger), ..(*before).clone() });
            self.index(Some(&before), &after, now);
            self.working.pods.insert(uid, after);
        }
    }

    /// What the log folder shows of a pod: by its uid, or by the hash under which a static pod's folder stands.
    fn witness(&self, pod: &Pod, ledger: &mut PodLedger, look: LastLook) {
        let by_hash = || self.logs.get(pod.config_hash.as_ref()?);
        let Some(logs) = self.logs.get(&pod.uid).or_else(by_hash) else {
            ledger.keep_logged(|_| false);
            return;
        };
        for (name, logs) in logs {
            ledger.witness(pod, name, logs, look);
        }
        ledger.keep_logged(|name| logs.contains_key(name));
    }

    fn prove(&mut self, uid: &str, asked: Instant) {
        if let Some(entry) = self.working.pods.get(uid) {
            let proved = PodEntry { proved: entry.proved.max(Some(asked)), ..(**entry).clone() };
            self.working.pods.insert(proved.pod.uid.clone(), Arc::new(proved));
        }
    }

    /// Forgets deleted pods whose grace is over. Call it about once a second.
    pub fn tick(&mut self, now: UnixNanos) {
        while let Some((due, uid)) = self.leaving.first().cloned() {
            if due > now {
                return;
            }
            self.leaving.pop_first();
            self.published = None;
            self.forget(&uid);
        }
    }

    /// The table as it is now; cheap when nothing changed, and otherwise a copy of pointers.
    pub fn snapshot(&mut self) -> Arc<Snapshot> {
        self.published.get_or_insert_with(|| Arc::new(self.working.clone())).clone()
    }

    fn replace(&mut self, pods: Vec<Pod>, now: UnixNanos) {
        let present: HashSet<Arc<str>> = pods.iter().map(|pod| pod.uid.clone()).collect();
        let alive = self.working.pods.values().filter(|entry| entry.removed_at.is_none());
        let gone: Vec<Arc<str>> =
            alive.map(|entry| entry.pod.uid.clone()).filter(|uid| !present.contains(uid)).collect();
        for uid in gone {
            self.remove(&uid, End::Missed, now);
        }
        for pod in pods {
            self.upsert(pod, now);
        }
    }

    fn upsert(&mut self, pod: Pod, now: UnixNanos) {
        let before = self.working.pods.get(&*pod.uid).cloned();
        let (pod, ledger) = match &before {
            // A relist mostly repeats what is known: keep the copies that readers share.
            Some(entry) if *entry.pod == pod => (entry.pod.clone(), entry.ledger.clone()),
            _ => {
                let mut ledger = before.as_ref().map_or_else(PodLedger::default, |entry| (*entry.ledger).clone());
                let seen = before.as_ref().map_or(now, |entry| entry.seen_at);
                // Compared with times of the pod's node, which may be another machine's.
                let previous = if self.working.several_nodes { seen.saturating_sub(APART_MAX) } else { seen };
                let look = LastLook { previous, now };
                ledger.observe(&pod, look);
                self.witness(&pod, &mut ledger, look);
                (Arc::new(pod), Arc::new(ledger))
            }
        };
        if let Some(removed_at) = before.as_ref().and_then(|entry| entry.removed_at) {
            self.leaving.remove(&(removed_at.saturating_add(self.grace), pod.uid.clone()));
        }
        let proved = before.as_ref().and_then(|entry| entry.proved);
        // The answer to a read is as old as its question; an event may have come since.
        let seen_at = before.as_ref().map_or(now, |entry| entry.seen_at.max(now));
        let from_start = before.as_ref().map_or(!self.listed, |entry| entry.from_start);
        let after = Arc::new(PodEntry {
            pod,
            ledger,
            seen_at,
            removed_at: None,
            known_until: None,
            is_told: false,
            proved,
            from_start,
        });
        self.index(before.as_deref(), &after, now);
        self.working.pods.insert(after.pod.uid.clone(), after);
    }

    fn remove(&mut self, uid: &str, end: End, now: UnixNanos) {
        let Some(before) = self.working.pods.get(uid).cloned() else { return };
        if before.removed_at.is_some() {
            return;
        }
        let known_until = match end {
            // A finished pod does nothing any more, and the last state of a pod that was given time shows how its runs ended.
            _ if before.pod.phase.is_finished() => now,
            End::Told if !before.ledger.is_running() => now,
            // Deleted by force, while it ran: its end was heard at some time after it happened, and no status came after it.
            End::Told => self.heard_at.min(now),
            End::Missed => self.heard_at.max(before.seen_at).min(now),
        };
        let is_told = end == End::Told;
        let after = PodEntry { removed_at: Some(now), known_until: Some(known_until), is_told, ..(*before).clone() };
        let after = Arc::new(after);
        self.leaving.insert((now.saturating_add(self.grace), before.pod.uid.clone()));
        self.index(Some(&before), &after, now);
        self.working.pods.insert(after.pod.uid.clone(), after);
    }

    /// Brings the indexes from `before` to `after`; untouched keys cost a comparison only.
    fn index(&mut self, before: Option<&PodEntry>, after: &PodEntry, now: UnixNanos) {
        let uid = &after.pod.uid;
        for ip in owned_addresses(&after.pod) {
            self.hold(*ip, after, now);
        }
        let kept: &[IpAddr] = owned_addresses(&after.pod);
        for ip in before.map_or(&[][..], |entry| owned_addresses(&entry.pod)) {
            if !kept.contains(ip) {
                self.release(*ip, uid, now);
            }
        }
        self.rename(before, after);
        self.count_nodes(before, after);
        self.count_young(after);
        self.count_hosts(before.map_or(&[][..], hosts_of), hosts_of(after));
        self.working.names.add(name_key(&after.pod.namespace, &after.pod.name), uid.clone());
        if let Some(hash) = after.pod.config_hash.as_ref().filter(|hash| *hash != uid) {
            self.working.aliases.insert(hash.clone(), uid.clone());
        }
        for id in after.ledger.ids() {
            self.working.containers.add(id_key(id), (id.clone(), uid.clone()));
        }
        let stale = before.map(|entry| entry.ledger.ids()).into_iter().flatten();
        for id in stale.filter(|id| !after.ledger.knows(id)) {
            self.working.containers.edit(&id_key(id), |list| list.retain(|(known, _)| known != id));
        }
    }

    /// A uid never changes its name or hash; should a server say so, no old key may stay behind.
    fn rename(&mut self, before: Option<&PodEntry>, after: &PodEntry) {
        let Some(before) = before else { return };
        let (old, new, uid) = (&before.pod, &after.pod, &after.pod.uid);
        if (&old.namespace, &old.name) != (&new.namespace, &new.name) {
            self.working.names.edit(&name_key(&old.namespace, &old.name), |list| list.retain(|known| known != uid));
        }
        if old.config_hash != new.config_hash {
            self.forget_alias(old);
        }
    }

    fn forget_alias(&mut self, pod: &Pod) {
        if let Some(hash) = pod.config_hash.as_ref()
            && self.working.aliases.get(hash).is_some_and(|known| *known == pod.uid)
        {
            self.working.aliases.remove(hash);
        }
    }

    fn count_nodes(&mut self, before: Option<&PodEntry>, after: &PodEntry) {
        let node = |entry: &PodEntry| {
            Some(entry.pod.node.clone()).filter(|node| entry.removed_at.is_none() && !node.is_empty())
        };
        let (before, after) = (before.and_then(node), node(after));
        if before == after {
            return;
        }
        if let Some(node) = after {
            *self.nodes.entry(node).or_default() += 1;
        }
        if let Some(node) = before
            && let Some(count) = self.nodes.get_mut(&node)
        {
            *count -= 1;
            if *count == 0 {
                self.nodes.remove(&node);
            }
        }
        self.working.several_nodes = self.nodes.len() > 1;
    }

    /// Pods that are announced and have no address yet.
    fn count_young(&mut self, after: &PodEntry) {
        let pod = &after.pod;
        let known = self.working.young.iter().position(|young| young.uid == pod.uid);
        let waits = pod.ips.is_empty() && !pod.host_network && !pod.node.is_empty() && !pod.phase.is_finished();
        match (waits && after.removed_at.is_none(), known) {
            (true, None) if self.working.young.len() < YOUNG_MAX => {
                let young = Young { uid: pod.uid.clone(), node: pod.node.clone(), created: pod.created };
                Arc::make_mut(&mut self.working.young).push(young);
            }
            (false, Some(at)) => drop(Arc::make_mut(&mut self.working.young).swap_remove(at)),
            _ => {}
        }
    }

    fn count_hosts(&mut self, before: &[IpAddr], after: &[IpAddr]) {
        if before == after {
            return;
        }
        for ip in after {
            let count = self.working.hosts.get(ip).copied().unwrap_or(0);
            self.working.hosts.insert(*ip, count + 1);
        }
        for ip in before {
            match self.working.hosts.get(ip).copied() {
                Some(count @ 2..) => self.working.hosts.insert(*ip, count - 1),
                _ => {
                    self.working.hosts.remove(ip);
                }
            }
        }
    }

    /// Writes down that `entry` holds `ip`, since when, and until when if it no longer does.
    fn hold(&mut self, ip: IpAddr, entry: &PodEntry, now: UnixNanos) {
        let uid = &entry.pod.uid;
        let finished = entry.pod.phase.is_finished().then(|| entry.ledger.last_end().map_or(now, |end| end.hi));
        let known = self.working.ips.list(&ip).iter().find(|tenure| tenure.uid == *uid);
        // The kubelet kills what is left of a pod at its deletion time, whether or not anybody hears of it.
        let killed = entry.pod.deleting.map(|deleting| deleting.saturating_add(KILLED_WITHIN));
        let removed = if entry.is_told { entry.removed_at } else { entry.known_until };
        let removed = removed.map(|removed| killed.map_or(removed, |killed| removed.min(killed)));
        // The first moment at which it was known to be over stands.
        let before = known.and_then(|tenure| tenure.to).filter(|to| Some(*to) != killed);
        let to = match (finished, entry.removed_at) {
            (None, None) => killed,
            _ => before.or(finished).or(removed),
        };
        let tenure = Tenure { uid: uid.clone(), from: entry.pod.started.unwrap_or(entry.pod.created), to };
        if known == Some(&tenure) {
            return;
        }
        self.working.ips.edit(&ip, |list| {
            list.retain(|known| known.uid != tenure.uid);
            list.push(tenure);
        });
    }

    fn release(&mut self, ip: IpAddr, uid: &Arc<str>, now: UnixNanos) {
        self.working.ips.edit(&ip, |list| {
            for tenure in list.iter_mut().filter(|tenure| tenure.uid == *uid) {
                tenure.to.get_or_insert(now);
            }
        });
        let given_up = self.given_up.entry(uid.clone()).or_default();
        if !given_up.contains(&ip) {
            given_up.push(ip);
        }
    }

    fn forget(&mut self, uid: &str) {
        if self.working.pods.get(uid).is_none_or(|entry| entry.removed_at.is_none()) {
            return;
        }
        let Some(entry) = self.working.pods.remove(uid) else { return };
        let given_up = self.given_up.remove(uid).unwrap_or_default();
        for ip in owned_addresses(&entry.pod).iter().chain(&given_up) {
            self.working.ips.edit(ip, |list| list.retain(|tenure| *tenure.uid != *uid));
        }
        self.working.names.edit(&name_key(&entry.pod.namespace, &entry.pod.name), |list| {
            list.retain(|known| **known != *uid);
        });
        self.forget_alias(&entry.pod);
        for id in entry.ledger.ids() {
            let key: IdKey = id_key(id);
            self.working.containers.edit(&key, |list| list.retain(|(_, owner)| **owner != *uid));
        }
    }
}

/// Addresses that identify the pod: none for host-network pods, whose address is the node's.
fn owned_addresses(pod: &Pod) -> &[IpAddr] {
    if pod.host_network { &[] } else { &pod.ips }
}
