//! Which pod a resource belongs to: rules in order until one *finds* a pod, not until one has values.
//!
//! The Collector stops at the first rule whose values are present (issue 41844); here a value that leads nowhere leaves
//! the next rule its chance. All sources of a rule must fit the same pod.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use super::bindings::ClockStretches;
use super::config::{AssociationRule, AssociationSource, Range};
use super::facts::{Known, ResourceFacts};
use super::roles::only_forwards;
use super::strangers::may_be_a_pods;
use crate::core::data::origin::Origin;
use crate::core::lock::Locked;
use crate::core::time::UnixNanos;
use crate::kube::table::{PodEntry, Snapshot};

/// Attributes that hold an address.
const ADDRESSES: [&str; 3] = ["k8s.pod.ip", "ip", "host.name"];

/// Attributes that a pod has and, alone or together, no other.
const PODS_OWN: [&str; 5] =
    ["k8s.pod.uid", "k8s.pod.name", "k8s.namespace.name", "k8s.node.name", "k8s.container.name"];

/// Attributes that no other pod ever has.
const LASTING: [&str; 2] = ["k8s.pod.uid", "container.id"];

/// Where an authenticator that knows the sender's pod says so.
const POD_UID: &str = "pod_uid";

/// What a rule came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tried {
    /// A source has no value on this resource.
    Absent,
    /// Values, but no pod with them.
    Miss,
    /// An address of a node, of a configured proxy, or of a pod that only forwards: whose data it is cannot be told.
    Refused,
    Hit,
}

/// Tells the value of a pod-level attribute that a rule compares and no index holds (a label, the deployment's name).
pub trait PodLookup {
    fn value(&self, entry: &Arc<PodEntry>, name: &str) -> Option<String>;
}

/// One rule that was tried, with the values it looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    pub rule: usize,
    /// Source and value, which is `None` when the resource has none.
    pub values: Vec<(String, Option<String>)>,
    pub tried: Tried,
}

pub struct Association {
    rules: Vec<AssociationRule>,
    /// For rules without an indexed source: pods by the joined values, made anew when the table changed.
    scans: Mutex<HashMap<usize, Scan>>,
}

struct Scan {
    of: Arc<Snapshot>,
    /// `None` when several pods share the values: nobody can say which one is meant.
    pods: HashMap<String, Option<Arc<str>>>,
}

/// A resource that looks for its pod.
#[derive(Clone, Copy)]
pub struct Seeker<'a> {
    pub facts: &'a ResourceFacts<'a>,
    pub origin: &'a Origin,
    pub proxies: &'a [Range],
    /// Further names of containers that only forward.
    pub relays: &'a [String],
    /// When the resource's data was made, where the arrival is too late to tell an address's owner.
    pub made_at: &'a dyn Fn() -> Option<UnixNanos>,
    /// Steps of the wall clock that times must not be compared across.
    pub clock: ClockStretches,
}

impl Seeker<'_> {
    pub fn peer(&self) -> Option<IpAddr> {
        self.origin.peer.map(|peer| peer.ip().to_canonical())
    }

    /// The uid of the pod whose token the request carried: the API server vouches for it, whatever the address.
    pub fn proven_uid(&self) -> Option<&str> {
        self.origin.identity.as_ref()?.attribute(POD_UID)
    }

    /// True when the request's token proves that another pod sends than this one, and not one that only forwards.
    pub fn is_disproven(&self, entry: &PodEntry, snapshot: &Snapshot) -> bool {
        let Some(uid) = self.proven_uid() else { return false };
        *entry.pod.uid != *uid && snapshot.by_uid(uid).is_none_or(|sender| !only_forwards(&sender.pod, self.relays))
    }

    /// The pod at the other end of the connection; `None` for one that only forwards what others made.
    pub fn peer_pod<'s>(&self, snapshot: &'s Snapshot) -> Option<&'s Arc<PodEntry>> {
        if let Some(uid) = self.proven_uid() {
            return snapshot.by_uid(uid).filter(|entry| !only_forwards(&entry.pod, self.relays));
        }
        // A connection belongs to whoever had the address when it was accepted.
        self.holder(self.peer()?, self.accepted_at(), snapshot).filter(|entry| !only_forwards(&entry.pod, self.relays))
    }

    fn holder<'s>(&self, ip: IpAddr, at: UnixNanos, snapshot: &'s Snapshot) -> Option<&'s Arc<PodEntry>> {
        if self.is_proxy(ip) { None } else { self.at_address(ip, at, snapshot) }
    }

    /// Before or after whom a time was that came twice, it does not tell.
    fn at_address<'s>(&self, ip: IpAddr, at: UnixNanos, snapshot: &'s Snapshot) -> Option<&'s Arc<PodEntry>> {
        if self.clock.came_twice(at) { snapshot.only_by_ip(ip, at) } else { snapshot.by_ip(ip, at) }
    }

    fn is_proxy(&self, ip: IpAddr) -> bool {
        self.proxies.iter().any(|range| range.contains(ip))
    }

    /// True when the rule names an address whose data may be anybody's.
    fn is_refused(&self, rule: &AssociationRule, snapshot: &Snapshot) -> bool {
        rule.sources.iter().any(|source| {
            if let (AssociationSource::Connection, Some(uid)) = (source, self.proven_uid()) {
                return snapshot.by_uid(uid).is_some_and(|sender| only_forwards(&sender.pod, self.relays));
            }
            let ip = match source {
                AssociationSource::Connection => self.peer(),
                AssociationSource::Attribute(name) if ADDRESSES.contains(&name.as_str()) => self.facts.ip(name),
                AssociationSource::Attribute(_) => None,
            };
            let forwards = |ip| {
                let there = self.at_address(ip, self.accepted_at(), snapshot);
                *source == AssociationSource::Connection
                    && there.is_some_and(|entry| only_forwards(&entry.pod, self.relays))
            };
            ip.is_some_and(|ip| self.is_proxy(ip) || snapshot.is_node_address(ip) || forwards(ip))
        })
    }

    fn accepted_at(&self) -> UnixNanos {
        if self.origin.accepted_at.0 == 0 { self.origin.arrived_at } else { self.origin.accepted_at }
    }
}

impl Association {
    pub fn new(rules: Vec<AssociationRule>) -> Association {
        Association { rules, scans: Mutex::default() }
    }

    pub fn rules(&self) -> &[AssociationRule] {
        &self.rules
    }

    /// True for a rule that looks only at what another pod may get after this one: addresses and names.
    pub fn is_passed_on(&self, rule: usize) -> bool {
        let names_one = |source: &AssociationSource| match source {
            AssociationSource::Connection => false,
            AssociationSource::Attribute(name) => LASTING.contains(&name.as_str()),
        };
        self.rules.get(rule).is_some_and(|rule| !rule.sources.iter().any(names_one))
    }

    /// True when a rule that missed may yet find a pod that is announced late: by what names one pod, or an address that a
    /// pod can have. Its values go into `sign`.
    pub fn hopes(&self, rule: usize, seeker: &Seeker<'_>, sign: &mut impl Hasher) -> bool {
        let Some(AssociationRule { sources, .. }) = self.rules.get(rule) else { return false };
        let may = |source: &AssociationSource| match source {
            AssociationSource::Connection if seeker.proven_uid().is_some() => true,
            AssociationSource::Connection => seeker.peer().is_some_and(may_be_a_pods),
            AssociationSource::Attribute(name) if ADDRESSES.contains(&name.as_str()) => {
                seeker.facts.ip(name).is_some_and(may_be_a_pods)
            }
            AssociationSource::Attribute(name) => PODS_OWN.contains(&name.as_str()),
        };
        rule.hash(sign);
        for source in sources {
            match source {
                AssociationSource::Connection => (seeker.peer(), seeker.proven_uid()).hash(sign),
                AssociationSource::Attribute(name) => seeker.facts.named(name).hash(sign),
            }
        }
        sources.iter().all(may)
    }

    /// The pod and the number of the rule that found it. `tried` hears of every rule on the way.
    pub fn find(
        &self,
        seeker: &Seeker<'_>,
        snapshot: &Arc<Snapshot>,
        pods: &dyn PodLookup,
        tried: &mut dyn FnMut(usize, Tried),
    ) -> Option<(Arc<PodEntry>, usize)> {
        for (index, rule) in self.rules.iter().enumerate() {
            if !rule.sources.iter().all(|source| is_present(source, seeker)) {
                tried(index, Tried::Absent);
                continue;
            }
            if let Some(entry) = self.lookup(index, seeker, snapshot, pods) {
                tried(index, Tried::Hit);
                return Some((entry, index));
            }
            let refused = seeker.is_refused(rule, snapshot);
            tried(index, if refused { Tried::Refused } else { Tried::Miss });
        }
        None
    }

    /// The rules on the way to the pod, or all of them when none finds one: for logs and explain.
    pub fn attempts(&self, seeker: &Seeker<'_>, snapshot: &Arc<Snapshot>, pods: &dyn PodLookup) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        self.find(seeker, snapshot, pods, &mut |rule, tried| {
            let sources = self.rules[rule].sources.iter();
            let values = sources.map(|source| (source.name().to_owned(), value_of(source, seeker))).collect();
            attempts.push(Attempt { rule, values, tried });
        });
        attempts
    }

    /// By the first source that has an index; the others must agree.
    fn lookup(
        &self,
        index: usize,
        seeker: &Seeker<'_>,
        snapshot: &Arc<Snapshot>,
        pods: &dyn PodLookup,
    ) -> Option<Arc<PodEntry>> {
        let rule = &self.rules[index];
        let indexed = rule.sources.iter().find(|source| is_indexed(source, &rule.sources));
        let entry = match indexed {
            Some(source) => by_index(source, seeker, snapshot)?.clone(),
            None => self.by_scan(index, seeker, snapshot, pods)?,
        };
        // The one that found it would find it again.
        let asked = |source: &&AssociationSource| indexed.is_none_or(|found| !std::ptr::eq(found, *source));
        let fits = |source: &AssociationSource| agrees(source, seeker, snapshot, &entry, pods);
        rule.sources.iter().filter(asked).all(fits).then_some(entry)
    }

    fn by_scan(
        &self,
        index: usize,
        seeker: &Seeker<'_>,
        snapshot: &Arc<Snapshot>,
        pods: &dyn PodLookup,
    ) -> Option<Arc<PodEntry>> {
        let names = || {
            self.rules[index].sources.iter().filter_map(|source| match source {
                AssociationSource::Attribute(name) => Some(name.as_str()),
                AssociationSource::Connection => None,
            })
        };
        let wanted = join(names().map(|name| seeker.facts.named(name).map(str::to_owned)))?;
        let mut scans = self.scans.locked();
        if scans.get(&index).is_none_or(|scan| !Arc::ptr_eq(&scan.of, snapshot)) {
            let mut found: HashMap<String, Option<Arc<str>>> = HashMap::new();
            for entry in snapshot.pods().filter(|entry| entry.removed_at.is_none()) {
                let Some(values) = join(names().map(|name| pods.value(entry, name))) else { continue };
                let uid = entry.pod.uid.clone();
                found.entry(values).and_modify(|known| *known = None).or_insert(Some(uid));
            }
            scans.insert(index, Scan { of: snapshot.clone(), pods: found });
        }
        let uid = scans.get(&index)?.pods.get(&wanted)?.clone()?;
        snapshot.by_uid(&uid).cloned()
    }
}

/// All values as one key; `None` when one is absent.
fn join(values: impl Iterator<Item = Option<String>>) -> Option<String> {
    let values: Option<Vec<String>> = values.collect();
    Some(values?.join("\u{0}"))
}

fn value_of(source: &AssociationSource, seeker: &Seeker<'_>) -> Option<String> {
    match source {
        AssociationSource::Connection => match seeker.proven_uid() {
            Some(uid) => Some(format!("token of {uid}")),
            None => seeker.peer().map(|ip| ip.to_string()),
        },
        AssociationSource::Attribute(name) => seeker.facts.named(name).map(str::to_owned),
    }
}

fn is_present(source: &AssociationSource, seeker: &Seeker<'_>) -> bool {
    match source {
        AssociationSource::Connection => seeker.origin.peer.is_some() || seeker.proven_uid().is_some(),
        // A host's name is no address: only an IP literal finds a pod.
        AssociationSource::Attribute(name) if name == "host.name" || name == "ip" => seeker.facts.ip(name).is_some(),
        AssociationSource::Attribute(name) => seeker.facts.named(name).is_some(),
    }
}

fn is_indexed(source: &AssociationSource, all: &[AssociationSource]) -> bool {
    let has =
        |wanted: &str| all.iter().any(|source| matches!(source, AssociationSource::Attribute(name) if name == wanted));
    match source {
        AssociationSource::Connection => true,
        AssociationSource::Attribute(name) => match name.as_str() {
            "k8s.pod.uid" | "k8s.pod.ip" | "ip" | "host.name" | "container.id" => true,
            "k8s.pod.name" => has("k8s.namespace.name"),
            _ => false,
        },
    }
}

fn by_index<'s>(source: &AssociationSource, seeker: &Seeker<'_>, snapshot: &'s Snapshot) -> Option<&'s Arc<PodEntry>> {
    let facts = seeker.facts;
    match source {
        AssociationSource::Connection => seeker.peer_pod(snapshot),
        AssociationSource::Attribute(name) => match name.as_str() {
            "k8s.pod.uid" => snapshot.by_uid(facts.text(Known::PodUid)?),
            "container.id" => snapshot.by_container_id(facts.container_id()?),
            "k8s.pod.name" => {
                let namespace = facts.text(Known::NamespaceName)?;
                let arrived = seeker.origin.arrived_at;
                let name = facts.text(Known::PodName)?;
                if seeker.clock.came_twice(arrived) {
                    return snapshot.only_by_name(namespace, name);
                }
                of_that_time(snapshot.by_name(namespace, name, arrived)?, seeker, snapshot)
            }
            _ => {
                let ip = facts.ip(name)?;
                let now = seeker.holder(ip, seeker.origin.arrived_at, snapshot);
                now.or_else(|| seeker.holder(ip, (seeker.made_at)()?, snapshot))
            }
        },
    }
}

/// Whose a name was when the data was made that arrived when `entry` had it.
fn of_that_time<'s>(
    entry: &'s Arc<PodEntry>,
    seeker: &Seeker<'_>,
    snapshot: &'s Snapshot,
) -> Option<&'s Arc<PodEntry>> {
    // When it was made is read only where it may tell two pods apart.
    if entry.removed_at.is_none() && snapshot.namesakes(entry).next().is_none() {
        return Some(entry);
    }
    let arrived = seeker.origin.arrived_at;
    let made = (seeker.made_at)().unwrap_or(arrived).min(arrived);
    let entry = snapshot.by_name(&entry.pod.namespace, &entry.pod.name, made).unwrap_or(entry);
    let Some(removed) = entry.removed_at else { return Some(entry) };
    let later = snapshot.namesakes(entry).filter(|other| other.pod.created >= entry.pod.created);
    let Some(successor) = later.max_by_key(|other| other.pod.created) else {
        // The successor of a deleted pod may speak under its name before the watch has told of it.
        return (made <= removed).then_some(entry);
    };
    let until = entry.known_until.unwrap_or(removed);
    let Some(end) = entry.ledger.last_end() else { return (made <= until).then_some(entry) };
    // The clock that dates the successor's creation may be ahead of ours.
    let is_ahead = successor.pod.created > successor.seen_at;
    match made {
        // A second that both may have been in, since starts and ends are told in whole ones.
        _ if made >= end.lo && made <= end.hi && (is_ahead || successor.pod.created <= made) => None,
        _ if made <= end.hi.min(until) => Some(entry),
        // Nobody else is left, though the clock of its node be behind.
        _ => (made > end.hi && successor.pod.created <= arrived).then_some(successor),
    }
}

fn agrees(
    source: &AssociationSource,
    seeker: &Seeker<'_>,
    snapshot: &Snapshot,
    entry: &Arc<PodEntry>,
    pods: &dyn PodLookup,
) -> bool {
    let facts = seeker.facts;
    let pod = &entry.pod;
    let same_pod = |found: Option<&Arc<PodEntry>>| found.is_some_and(|found| found.pod.uid == pod.uid);
    match source {
        AssociationSource::Connection => same_pod(by_index(source, seeker, snapshot)),
        AssociationSource::Attribute(name) => match name.as_str() {
            "k8s.pod.uid" | "container.id" | "k8s.pod.ip" | "ip" | "host.name" => {
                same_pod(by_index(source, seeker, snapshot))
            }
            "k8s.pod.name" => facts.text(Known::PodName) == Some(&*pod.name),
            "k8s.namespace.name" => facts.text(Known::NamespaceName) == Some(&*pod.namespace),
            "k8s.node.name" => facts.text(Known::NodeName) == Some(&*pod.node),
            "k8s.container.name" => {
                let name = facts.text(Known::ContainerName);
                pod.containers.iter().any(|container| name == Some(&*container.name))
            }
            name => facts.named(name).is_some_and(|wanted| pods.value(entry, name).as_deref() == Some(wanted)),
        },
    }
}
