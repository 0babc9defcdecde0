//! The table at one moment, for readers: lookups by uid, address, name and container id, each with the time in mind.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::shards::{Index, Shards};
use crate::core::time::UnixNanos;
use crate::kube::ledger::PodLedger;
use crate::kube::pod::{Pod, bare_id};

/// One pod as known at one moment.
#[derive(Clone, Debug)]
pub struct Entry {
    pub pod: Arc<Pod>,
    pub ledger: Arc<PodLedger>,
    /// When the last event or list that contained the pod was applied.
    pub seen_at: UnixNanos,
    /// When it was deleted; it is kept for the grace period after that.
    pub removed_at: Option<UnixNanos>,
}

/// Addresses of the pod's node, as long as the pod lives.
pub(super) fn hosts_of(entry: &Entry) -> &[IpAddr] {
    if entry.removed_at.is_some() { &[] } else { &entry.pod.host_ips }
}

/// A pod's claim on an address. `to` is open while the pod runs.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tenure {
    pub uid: Arc<str>,
    pub from: UnixNanos,
    pub to: Option<UnixNanos>,
}

/// Container ids are found by their first twelve characters, so that shortened ids cost nothing extra.
pub(super) const ID_PREFIX: usize = 12;
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
    pub(super) pods: Shards<Arc<str>, Arc<Entry>>,
    pub(super) aliases: Shards<Arc<str>, Arc<str>>,
    pub(super) ips: Index<IpAddr, Tenure>,
    /// Addresses of nodes, each with the number of living pods that name it as their node's.
    pub(super) hosts: Shards<IpAddr, u32>,
    pub(super) names: Index<u64, Arc<str>>,
    pub(super) containers: Index<IdKey, (Arc<str>, Arc<str>)>,
}

impl Snapshot {
    /// By pod uid, or by the config hash under which a static pod's containers know themselves.
    pub fn by_uid(&self, uid: &str) -> Option<&Arc<Entry>> {
        self.pods.get(uid).or_else(|| self.pods.get(self.aliases.get(uid)?))
    }

    /// The pod that held the address at that time. Never a host-network pod; a finished pod has let go of it. An address
    /// that other pods name as their node's is nobody's, whoever claims it.
    pub fn by_ip(&self, ip: IpAddr, at: UnixNanos) -> Option<&Arc<Entry>> {
        let ip = ip.to_canonical();
        let held = self.ips.list(&ip).iter();
        let owner = held.filter(|tenure| tenure.from <= at && tenure.to.is_none_or(|to| at <= to));
        let entry = self.pods.get(&owner.max_by_key(|tenure| tenure.from)?.uid)?;
        // Where each pod has a machine of its own, its address is its node's too.
        let own = u32::from(hosts_of(entry).contains(&ip));
        (self.hosts.get(&ip).copied().unwrap_or(0) <= own).then_some(entry)
    }

    /// Some living pod names the address as its node's.
    pub fn is_node_address(&self, ip: IpAddr) -> bool {
        self.hosts.get(&ip.to_canonical()).is_some()
    }

    /// The pod of this name that existed then: names of StatefulSet pods come back with another uid. After a deletion
    /// the last one is meant as long as no successor was created, because a successor is known before it can send.
    pub fn by_name(&self, namespace: &str, name: &str, at: UnixNanos) -> Option<&Arc<Entry>> {
        let uids = self.names.list(&name_key(namespace, name)).iter();
        let entries = uids.filter_map(|uid| self.pods.get(uid));
        entries
            .filter(|entry| *entry.pod.namespace == *namespace && *entry.pod.name == *name && entry.pod.created <= at)
            .max_by_key(|entry| entry.pod.created)
    }

    /// By the id of any known run, bare or with its scheme, whole or shortened to at least twelve characters; a
    /// shortened id that fits two runs finds nothing.
    pub fn by_container_id(&self, id: &str) -> Option<&Arc<Entry>> {
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
    pub fn pods(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.pods.values()
    }

    pub fn len(&self) -> usize {
        self.pods.len()
    }

    pub fn is_empty(&self) -> bool {
        self.pods.is_empty()
    }
}
