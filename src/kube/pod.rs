//! The slim pod: what association, attributes and the ledger read, and nothing else.
//!
//! Decoded leniently, object by object (one bad object is skipped and counted); labels and annotations are kept only
//! when a rule asks for them. Strings that repeat between pods are shared.

use std::net::IpAddr;
use std::sync::Arc;

use crate::core::time::UnixNanos;

/// One pod as last seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    pub uid: Arc<str>,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    /// `spec.nodeName`, empty until bound.
    pub node: Arc<str>,
    /// `spec.hostname`, empty when not set.
    pub hostname: Arc<str>,
    pub host_network: bool,
    /// All of `status.podIPs`, IPv4-mapped forms made IPv4; empty for host-network pods' own use of the node address
    /// is decided by the table, not here.
    pub ips: Vec<IpAddr>,
    /// `status.hostIPs`: addresses of the node, which are no pod's.
    pub host_ips: Vec<IpAddr>,
    pub phase: Phase,
    /// `metadata.creationTimestamp`; what `k8s.pod.start_time` shows.
    pub created: UnixNanos,
    /// `status.startTime`, which decides who owns a reused address.
    pub started: Option<UnixNanos>,
    /// `metadata.deletionTimestamp`: being deleted.
    pub deleting: Option<UnixNanos>,
    /// The owner with `controller: true`, if any.
    pub owner: Option<Owner>,
    /// `kubernetes.io/config.hash` or `config.mirror`: the uid that a static pod's container knows itself by.
    pub config_hash: Option<Arc<str>>,
    /// Only those a rule asks for; sorted by key.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    pub annotations: Vec<(Arc<str>, Arc<str>)>,
    /// From the spec, in order: regular, init (native sidecars marked) and ephemeral containers.
    pub containers: Vec<Container>,
    /// From the status, one per container that has one.
    pub statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    #[default]
    Unknown,
    Pending,
    Running,
    Succeeded,
    Failed,
}

impl Phase {
    /// A finished pod no longer owns its address, even while the object stays.
    pub fn is_finished(self) -> bool {
        matches!(self, Phase::Succeeded | Phase::Failed)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub api_version: Arc<str>,
    pub kind: Arc<str>,
    pub name: Arc<str>,
    pub uid: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    pub name: Arc<str>,
    /// As written in the spec.
    pub image: Arc<str>,
    pub kind: ContainerKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerKind {
    Regular,
    Init,
    /// An init container with `restartPolicy: Always`: counts as regular.
    Sidecar,
    Ephemeral,
}

impl ContainerKind {
    /// As pages say it.
    pub fn name(self) -> &'static str {
        match self {
            ContainerKind::Regular => "regular",
            ContainerKind::Init => "init",
            ContainerKind::Sidecar => "sidecar",
            ContainerKind::Ephemeral => "ephemeral",
        }
    }
}

/// One entry of containerStatuses, initContainerStatuses or ephemeralContainerStatuses.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerStatus {
    pub name: Arc<str>,
    /// Bare id (scheme removed); empty while the container is being created.
    pub id: Arc<str>,
    pub restart_count: i64,
    /// `status.image` and `status.imageID` of this run; during an image change the spec is ahead of them.
    pub image: Arc<str>,
    pub image_id: Arc<str>,
    pub state: RunState,
    /// `lastState.terminated`: one predecessor at most (or, in CrashLoopBackOff, the dead run itself).
    pub last: Option<Ended>,
}

/// Times are whole seconds, as the kubelet writes them.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum RunState {
    #[default]
    Unknown,
    Waiting {
        reason: Arc<str>,
    },
    Running {
        started: Option<UnixNanos>,
    },
    Terminated(Ended),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ended {
    /// Bare id; may be empty.
    pub id: Arc<str>,
    pub started: Option<UnixNanos>,
    pub finished: Option<UnixNanos>,
    pub reason: Arc<str>,
    pub exit_code: i64,
}

/// A container id without its scheme (`containerd://`, `cri-o://`, `docker://`).
pub fn bare_id(id: &str) -> &str {
    id.split_once("://").map_or(id, |(_, bare)| bare)
}
