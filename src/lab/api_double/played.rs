//! What is played: pods, their containers, their runs, and what is published of them.

use std::collections::BTreeMap;

use tokio::time::Instant;

use crate::core::time::UnixNanos;
use crate::kube::pod::Owner;

pub struct PlayedPod {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    pub node: String,
    pub ip: String,
    pub host_network: bool,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub owner: Option<Owner>,
    pub created: UnixNanos,
    pub deleting: Option<UnixNanos>,
    pub phase: &'static str,
    pub containers: Vec<PlayedContainer>,
    /// Of its last change.
    pub(super) version: u64,
}

impl PlayedPod {
    /// The kubelet has written a status.
    pub fn is_bound(&self) -> bool {
        self.containers.iter().any(|container| container.shown != PublishedState::Nothing)
    }
}

pub struct PlayedContainer {
    pub name: String,
    pub image: String,
    /// All true runs; the index is the restart count.
    pub runs: Vec<PlayedRun>,
    pub shown: PublishedState,
}

pub struct PlayedRun {
    pub id: String,
    pub number: i64,
    pub started: UnixNanos,
    pub ended: Option<UnixNanos>,
    /// When it begins, whatever the node's clock shows then.
    pub begins: Instant,
}

/// What the published status says of a container; the number is that of the current run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishedState {
    Nothing,
    Running(usize),
    Terminated(usize),
    /// CrashLoopBackOff: the dead run stands as current and as last.
    BackOff(usize),
    /// The next container exists but was not started.
    Created(usize),
}
