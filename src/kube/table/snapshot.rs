//! The table at one moment, for readers: lookups by uid, address, name and container id, each with the time in mind.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use tokio::time::Instant;

use super::shards::{Index, Shards};
use crate::core::time::UnixNanos;
use crate::kube::ledger::PodLedger;
use crate::kube::pod::{Pod, bare_id};

/// One pod as known at one moment.
#[derive(Clone, Debug)]
pub struct PodEntry {
    pub pod: Arc<Pod>,
    pub ledger: Arc<PodLedger>,
    /// When the last event or list that contained the pod was applied.
    pub seen_at: UnixNanos,
    /// When it was deleted; it is kept for the grace period after that.
    pub removed_at: Option<UnixNanos>,
    /// Of a deleted pod: until when its life is known. The deletion's own event tells all of it if its runs had ended by
    /// then; where one still ran, or the pod was merely found missing, what it did since it was last known to be there is
    /// not known.
    pub known_until: Option<UnixNanos>,
    /// Of a deleted pod: an event told of it.
    pub is_told: bool,
    /// When the last single read of it was asked that was answered from the store: what is known here was true then.
    pub proved: Option<Instant>,
    /// It was there when everything was listed for the first time.
    pub from_start: bool,
}

/// Addresses of the pod's node, as long as the pod lives.
pub(super) fn hosts_of(entry: &PodEntry) -> &[IpAddr] {
    if entry.removed_at.is_some() { &[] } else { &entry.pod.host_ips }
}

/// A pod's claim on an address. `to` is open while the pod runs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tenure {
    pub uid: Arc<str>,
    pub from: UnixNanos,
    pub to: Option<UnixNanos>,
}

/// A pod that is announced and has no address yet.
#[derive(Clone, Debug)]
pub(super) struct Young {
    pub uid: Arc<str>,
    pub node: Arc<str>,
    pub created: UnixNanos,
}

/// How far the clocks of two machines may differ: a pod's start is told by its node's clock.
pub(super) const APART_MAX: Duration = Duration::from_secs(10);

/// Creation is told in whole seconds.
const TOLD_IN: Duration = Duration::from_secs(1);

/// Container ids are found by their first twelve characters, so that shortened ids cost nothing extra.
const ID_PREFIX: usize = 12;
pub(super) type IdKey = [u8; ID_PREFIX];

pub(super) fn id_key(id: &str) -> IdKey {
    let mut key = [0; ID_PREFIX];
    for (to, from) in key.iter_mut().zip(id.bytes()) {
        *to = from;
    }
    key
}

/// Namespace and name as one number; whoever finds a pod by it compares both names.
pub(super) fn name_key(namespace: &str, name: &str) -> u64 {
    FixedState::default().hash_one((namespace, name))
}

/// The table at one moment. Immutable and shared by all readers.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub(super) pods: Shards<Arc<str>, Arc<PodEntry>>,
    pub(super) aliases: Shards<Arc<str>, Arc<str>>,
    pub(super) ips: Index<IpAddr, Tenure>,
    /// Addresses of nodes, each with the number of living pods that name it as their node's.
    pub(super) hosts: Shards<IpAddr, u32>,
    pub(super) names: Index<u64, Arc<str>>,
    pub(super) containers: Index<IdKey, (Arc<str>, Arc<str>)>,
    pub(super) young: Arc<Vec<Young>>,
    pub(super) several_nodes: bool,
}

/// The only pod that had the address around that time, when its clock says that it began a little later.
fn about_to_hold(held: &[Tenure], at: UnixNanos) -> Option<&Tenure> {
    let around = |tenure: &&Tenure| {
        let ended = tenure.to.map(|to| to.saturating_add(APART_MAX));
        tenure.from <= at.saturating_add(APART_MAX) && ended.is_none_or(|ended| at <= ended)
    };
    let mut near = held.iter().filter(around);
    let first = near.next().filter(|tenure| tenure.from > at)?;
    if near.next().is_some() { None } else { Some(first) }
}

impl Snapshot {
    /// By pod uid, or by the config hash under which a static pod's containers know themselves.
    pub fn by_uid(&self, uid: &str) -> Option<&Arc<PodEntry>> {
        self.pods.get(uid).or_else(|| self.pods.get(self.aliases.get(uid)?))
    }

    /// The pod that held the address at that time. Never a host-network pod; a finished pod has let go of it. An address
    /// that other pods name as their node's is nobody's, whoever claims it. So is that of a pod being deleted, or just gone, as soon as
    /// another pod of its node that existed by then waits for an address: it may have got this one.
    pub fn by_ip(&self, ip: IpAddr, at: UnixNanos) -> Option<&Arc<PodEntry>> {
        let ip = ip.to_canonical();
        let held = self.ips.list(&ip);
        let owners = held.iter().filter(|tenure| tenure.from <= at && tenure.to.is_none_or(|to| at <= to));
        let owner = owners.max_by_key(|tenure| tenure.from).or_else(|| about_to_hold(held, at))?;
        let entry = self.pods.get(&owner.uid).filter(|entry| !self.may_be_a_successors(entry, at))?;
        // Where each pod has a machine of its own, its address is its node's too.
        let own = u32::from(hosts_of(entry).contains(&ip));
        (self.hosts.get(&ip).copied().unwrap_or(0) <= own).then_some(entry)
    }

    /// The pod that holds the address when times came twice, so that none of them tells before whom it was and after: the only
    /// one that is known to have had it, while it lives.
    pub fn only_by_ip(&self, ip: IpAddr, at: UnixNanos) -> Option<&Arc<PodEntry>> {
        match self.ips.list(&ip.to_canonical()) {
            [only] if only.to.is_none() => self.by_ip(ip, at.max(only.from)),
            _ => None,
        }
    }

    fn may_be_a_successors(&self, entry: &PodEntry, at: UnixNanos) -> bool {
        let follows = |young: &Young| young.node == entry.pod.node && young.created <= at;
        // Also once the deletion was heard: what is asked for is a moment before it, when the address may have passed on.
        entry.pod.deleting.is_some() && self.young.iter().any(follows)
    }

    /// Pods of more than one node are known.
    pub fn has_nodes(&self) -> bool {
        self.several_nodes
    }

    /// Some living pod names the address as its node's.
    pub fn is_node_address(&self, ip: IpAddr) -> bool {
        self.hosts.get(&ip.to_canonical()).is_some()
    }

    /// The pod of this name that existed then: names of StatefulSet pods come back with another uid. After a deletion
    /// the last one is meant as long as no successor was created, because a successor is known before it can send. Creation
    /// is told in whole seconds: before that second is over the pod before it is meant, whose end may tell more.
    pub fn by_name(&self, namespace: &str, name: &str, at: UnixNanos) -> Option<&Arc<PodEntry>> {
        let uids = self.names.list(&name_key(namespace, name)).iter();
        let entries = uids.filter_map(|uid| self.pods.get(uid));
        entries
            .filter(|entry| *entry.pod.namespace == *namespace && *entry.pod.name == *name && entry.pod.created <= at)
            .max_by_key(|entry| (entry.pod.created.saturating_add(TOLD_IN) <= at, entry.pod.created))
    }

    /// The other pods that have or had this one's name.
    pub fn namesakes(&self, entry: &PodEntry) -> impl Iterator<Item = &Arc<PodEntry>> {
        let pod = &entry.pod;
        let named = self.names.list(&name_key(&pod.namespace, &pod.name)).iter().filter_map(|uid| self.pods.get(uid));
        let others = named.filter(move |other| other.pod.uid != pod.uid);
        others.filter(move |other| other.pod.name == pod.name && other.pod.namespace == pod.namespace)
    }

    /// The only pod of this name that is known, while it lives: for times that came twice.
    pub fn only_by_name(&self, namespace: &str, name: &str) -> Option<&Arc<PodEntry>> {
        let uids = self.names.list(&name_key(namespace, name)).iter();
        let entries = uids.filter_map(|uid| self.pods.get(uid));
        let mut named = entries.filter(|entry| *entry.pod.namespace == *namespace && *entry.pod.name == *name);
        let first = named.next().filter(|entry| entry.removed_at.is_none())?;
        if named.next().is_some() { None } else { Some(first) }
    }

    /// By the id of any known run, bare or with its scheme, whole or shortened to at least twelve characters; a
    /// shortened id that fits two runs finds nothing.
    pub fn by_container_id(&self, id: &str) -> Option<&Arc<PodEntry>> {
        let id = bare_id(id);
        if id.len() < ID_PREFIX {
            return None;
        }
        let mut fitting = self.containers.list(&id_key(id)).iter().filter(|(known, _)| known.starts_with(id));
        let (_, uid) = fitting.next()?;
        if fitting.next().is_some() {
            return None;
        }
        self.pods.get(uid)
    }

    /// Every pod, deleted ones in their grace included, in no order.
    pub fn pods(&self) -> impl Iterator<Item = &Arc<PodEntry>> {
        self.pods.values()
    }

    pub fn len(&self) -> usize {
        self.pods.len()
    }

    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }
}
