//! What a resource is looked at with: the moment, the sender's part, and which attributes are wanted.

use std::sync::Arc;
use std::time::Duration;

use crate::core::data::budget::Ticket;
use crate::core::data::origin::Origin;
use crate::core::time::UnixNanos;
use crate::kube::table::{PodEntry, Snapshot};
use crate::processors::k8s_attributes::bindings::{ClockStretches, Times};
use crate::processors::k8s_attributes::cluster::{Cluster, Touch};
use crate::processors::k8s_attributes::times::clock_steps::ClockSteps;

/// Data waits for the first list only this long after the start.
const STARTING: Duration = Duration::from_secs(10);

/// Which attributes are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteMode {
    /// All of them, now.
    Full,
    /// The pod's and the container's; the run's follow at the decision.
    PodOnly,
    /// The run's, at the decision.
    RunOnly,
}

/// The moment at which a resource is looked at.
#[derive(Clone)]
pub struct ArrivalMoment {
    pub snapshot: Arc<Snapshot>,
    pub now: UnixNanos,
    /// How far the snapshot can be believed.
    pub touch: Touch,
    pub clock: ClockStretches,
    /// The first list may come any moment. Soon after the start it no longer does, and data must not wait for it.
    pub starting: bool,
    pub mode: WriteMode,
    /// Not the first time: its rules were counted before.
    pub again: bool,
    /// The last chance: what is pending counts as missing.
    pub give_up: bool,
    /// It would have waited, and there was no room to.
    pub no_room: bool,
}

impl ArrivalMoment {
    pub fn new(cluster: &dyn Cluster, steady: &ClockSteps, mode: WriteMode) -> ArrivalMoment {
        let (now, clock) = steady.look();
        ArrivalMoment {
            snapshot: cluster.snapshot(),
            now,
            touch: cluster.touch(now),
            clock,
            starting: steady.age() < STARTING && !cluster.synced(),
            mode,
            again: false,
            give_up: false,
            no_room: false,
        }
    }

    /// The snapshot shows everything that the API server knew of this pod at this time.
    pub fn in_touch(&self, entry: &PodEntry) -> UnixNanos {
        self.clock.across_step(self.touch.of(entry.proved), self.now).min(self.now)
    }

    /// The node's log folder is known until this time.
    pub fn logs(&self) -> Option<UnixNanos> {
        Some(self.clock.across_step(self.touch.logs?, self.now).min(self.now))
    }
}

/// A resource with where it came from. `times` tells when its items were made, when that is needed.
#[derive(Clone, Copy)]
pub struct Subject<'a> {
    pub resource: &'a [u8],
    pub origin: &'a Origin,
    pub times: &'a dyn Fn() -> Option<Times>,
    /// Pays for the new bytes.
    pub ticket: &'a Ticket,
}

/// A pod as it was known at some time.
#[derive(Clone, Debug)]
pub struct KnownPod {
    pub entry: Arc<PodEntry>,
    /// Everything that the API server knew at this time is in `entry`.
    pub in_touch: UnixNanos,
}

impl KnownPod {
    /// The pod as it is known at `moment`. One that was deleted and forgotten meanwhile stays as it was, and what it did
    /// after that is not known.
    pub fn at(&self, moment: &ArrivalMoment) -> KnownPod {
        match moment.snapshot.by_uid(&self.entry.pod.uid) {
            Some(entry) => KnownPod { entry: entry.clone(), in_touch: moment.in_touch(entry) },
            None => KnownPod { entry: self.entry.clone(), in_touch: self.in_touch.min(moment.in_touch(&self.entry)) },
        }
    }
}

/// Whose a resource turned out to be at arrival.
#[derive(Clone, Debug)]
pub enum Whose {
    Pods(KnownPod),
    /// No pod is known for it yet.
    Unknown,
    /// It gets nothing, and will not.
    Nobodys,
}

impl Whose {
    /// What a late binding begins with; `None` when there is nothing to bind.
    pub fn found_or_not_yet(self) -> Option<Option<KnownPod>> {
        match self {
            Whose::Pods(known) => Some(Some(known)),
            Whose::Unknown => Some(None),
            Whose::Nobodys => None,
        }
    }
}
