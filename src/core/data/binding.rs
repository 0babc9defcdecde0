//! Two seams to knowledge about pods, so that the sampler and the net layer need not know Kubernetes.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;

use crate::core::time::UnixNanos;

/// Attributes of one run of a container. In front of a stage that binds late they are written at its decision, so nothing
/// that has to be known before can ask for them.
pub const INSTANCE_ATTRIBUTES: [&str; 6] = [
    "container.id",
    "k8s.container.restart_count",
    "container.image.name",
    "container.image.tag",
    "container.image.tags",
    "container.image.repo_digests",
];

/// What is known of the time a resource's data was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// Latest end or event time among the resource's items of this request; zero when none has one.
    pub latest: UnixNanos,
    /// Nobody will ask again: what is pending goes as it is.
    pub last_chance: bool,
}

/// The answer of a late binding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindingOutcome {
    /// The resource stays as it is: nothing to add, or nothing that could be known.
    Unchanged,
    /// The resource with its instance attributes.
    Resource(Bytes),
    /// A refresh is under way; asking again a little later may know more.
    Pending,
}

/// Binds instance attributes (container.id, restart count, image) to one resource when its trace is decided.
///
/// Made at arrival by whoever found the resource's pod, and carried by the group from there on: the pod is not looked for
/// a second time, so neither a merge of requests nor the pod's deletion loses it.
pub trait LateBinding: Send + Sync {
    /// `resource` is the undecoded resource message as it was when the request arrived. Never waits and does no I/O; reads
    /// the wall clock itself, because whoever asks has a clock of its own for its waits.
    fn resolve(&self, resource: &Bytes, evidence: Evidence) -> BindingOutcome;

    /// Bytes it keeps in memory.
    fn bytes(&self) -> u64;
}

/// The binding of a group, if its instance attributes are still to come.
#[derive(Clone, Default)]
pub struct Later(Option<Arc<dyn LateBinding>>);

impl Later {
    pub fn by(binding: Arc<dyn LateBinding>) -> Later {
        Later(Some(binding))
    }

    pub fn resolve(&self, resource: &Bytes, evidence: Evidence) -> BindingOutcome {
        self.0.as_ref().map_or(BindingOutcome::Unchanged, |binding| binding.resolve(resource, evidence))
    }

    pub fn bytes(&self) -> u64 {
        self.0.as_ref().map_or(0, |binding| binding.bytes())
    }
}

impl fmt::Debug for Later {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Later" } else { "Never" })
    }
}

/// The same binding, or none in both.
impl PartialEq for Later {
    fn eq(&self, other: &Later) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}

impl Eq for Later {}

/// Who tells which pod is behind an address: the first that offers, until its owner offers another.
#[derive(Default)]
pub struct PeerNames {
    told_by: ArcSwapOption<NamedPeers>,
}

/// The path of who offers, and what it offers.
pub type NamedPeers = (String, Arc<dyn PeerIdentity>);

impl PeerNames {
    /// `owner` is the path of the component that offers.
    pub fn offer(&self, owner: &str, names: Arc<dyn PeerIdentity>) {
        if self.told_by.load().as_ref().is_none_or(|told_by| told_by.0 == owner) {
            self.told_by.store(Some(Arc::new((owner.to_owned(), names))));
        }
    }

    /// The owner is gone; whoever offers next tells.
    pub fn withdraw(&self, owner: &str) {
        if self.told_by.load().as_ref().is_some_and(|told_by| told_by.0 == owner) {
            self.told_by.store(None);
        }
    }

    pub fn told_by(&self) -> Option<Arc<NamedPeers>> {
        self.told_by.load_full()
    }

    /// Who told then tells again.
    pub fn go_back(&self, told_by: Option<Arc<NamedPeers>>) {
        self.told_by.store(told_by);
    }

    pub fn identify(&self, peer: IpAddr) -> Option<Arc<str>> {
        self.told_by.load().as_ref()?.1.identify(peer)
    }
}

/// Tells which pod is behind a peer address, for fair shares and logs.
pub trait PeerIdentity: Send + Sync {
    /// A short stable name (`namespace/pod`), or `None` when the address is nobody's or several pods'.
    fn identify(&self, peer: IpAddr) -> Option<Arc<str>>;
}
