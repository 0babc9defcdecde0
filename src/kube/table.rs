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

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

pub use snapshot::{Entry, Snapshot};
use snapshot::{IdKey, Tenure, hosts_of, id_key, name_key};

use crate::core::time::UnixNanos;
use crate::kube::ledger::{Look, PodLedger};
use crate::kube::pod::Pod;

/// What the watch learned.
#[derive(Clone, Debug)]
pub enum Change {
    Applied(Pod),
    /// Gone from the API server, or out of the selector. `last` is the final state when the event carried it.
    Deleted {
        uid: Arc<str>,
        last: Option<Pod>,
    },
    /// The complete list: pods that are not in it are gone.
    Listed(Vec<Pod>),
}

pub struct Table {
    grace: Duration,
    working: Snapshot,
    /// The last snapshot handed out; `None` when something changed since.
    published: Option<Arc<Snapshot>>,
    /// Deleted pods by the time at which they are forgotten.
    leaving: BTreeSet<(UnixNanos, Arc<str>)>,
    /// Addresses that living pods no longer have: rare, and needed to leave no claim behind.
    given_up: HashMap<Arc<str>, Vec<IpAddr>>,
}

impl Table {
    /// `grace`: how long a deleted pod can still be found.
    pub fn new(grace: Duration) -> Table {
        Table {
            grace,
            working: Snapshot::default(),
            published: None,
            leaving: BTreeSet::new(),
            given_up: HashMap::new(),
        }
    }

    pub fn apply(&mut self, change: Change, now: UnixNanos) {
        self.published = None;
        match change {
            Change::Applied(pod) => self.upsert(pod, now),
            Change::Deleted { uid, last } => {
                if let Some(last) = last {
                    self.upsert(last, now);
                }
                self.remove(&uid, now);
            }
            Change::Listed(pods) => self.replace(pods, now),
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
            self.remove(&uid, now);
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
                ledger.observe(&pod, Look { previous: before.as_ref().map_or(now, |entry| entry.seen_at), now });
                (Arc::new(pod), Arc::new(ledger))
            }
        };
        if let Some(removed_at) = before.as_ref().and_then(|entry| entry.removed_at) {
            self.leaving.remove(&(removed_at.saturating_add(self.grace), pod.uid.clone()));
        }
        let after = Arc::new(Entry { pod, ledger, seen_at: now, removed_at: None });
        self.index(before.as_deref(), &after, now);
        self.working.pods.insert(after.pod.uid.clone(), after);
    }

    fn remove(&mut self, uid: &str, now: UnixNanos) {
        let Some(before) = self.working.pods.get(uid).cloned() else { return };
        if before.removed_at.is_some() {
            return;
        }
        let after = Arc::new(Entry { removed_at: Some(now), ..(*before).clone() });
        self.leaving.insert((now.saturating_add(self.grace), before.pod.uid.clone()));
        self.index(Some(&before), &after, now);
        self.working.pods.insert(after.pod.uid.clone(), after);
    }

    /// Brings the indexes from `before` to `after`; untouched keys cost a comparison only.
    fn index(&mut self, before: Option<&Entry>, after: &Entry, now: UnixNanos) {
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
    fn rename(&mut self, before: Option<&Entry>, after: &Entry) {
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
    fn hold(&mut self, ip: IpAddr, entry: &Entry, now: UnixNanos) {
        let uid = &entry.pod.uid;
        let finished = entry.pod.phase.is_finished().then(|| entry.ledger.last_end().unwrap_or(now));
        let known = self.working.ips.list(&ip).iter().find(|tenure| tenure.uid == *uid);
        let tenure = Tenure {
            uid: uid.clone(),
            from: entry.pod.started.unwrap_or(entry.pod.created),
            // The first moment at which it was known to be over stands.
            to: known.and_then(|tenure| tenure.to).or(finished).or(entry.removed_at),
        };
        let tenure = match (finished, entry.removed_at) {
            (None, None) => Tenure { to: None, ..tenure },
            _ => tenure,
        };
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
