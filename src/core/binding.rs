//! Two seams to knowledge about pods, so that the sampler and the net layer need not know Kubernetes.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;

use crate::core::origin::Origin;
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
pub enum Bound {
    /// The resource stays as it is: nothing to add, or nothing that could be known.
    Unchanged,
    /// The resource with its instance attributes.
    Resource(Bytes),
    /// A refresh is under way; asking again a little later may know more.
    Pending,
}

/// Binds instance attributes (container.id, restart count, image) to a resource when its trace is decided.
pub trait LateBinding: Send + Sync {
    /// `resource` is the undecoded resource message as it was when the request arrived. Never waits and does no I/O.
    fn resolve(&self, origin: &Origin, resource: &Bytes, evidence: Evidence, now: UnixNanos) -> Bound;
}

/// Tells which pod is behind a peer address, for fair shares and logs.
pub trait PeerIdentity: Send + Sync {
    /// A short stable name (`namespace/pod`), or `None` when the address is nobody's or several pods'.
    fn identify(&self, peer: IpAddr) -> Option<Arc<str>>;
}
