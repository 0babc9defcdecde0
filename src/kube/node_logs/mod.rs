//! The node's log folder as a witness: which run of which container is there, told by the kubelet's own file names.
//!
//! Before it starts a container the kubelet has `pods/<namespace>_<pod>_<uid>/<container>/<restart count>.log` made, and
//! right after the start `containers/<pod>_<namespace>_<container>-<container id>.log`, a link to it. So where
//! `/var/log` is mounted, the run, its number and its id are known within milliseconds, with or without an API server, and
//! the absence of a newer file proves that there is no newer run. Names are all that is read; no log is opened.
//! Bounded: folders, containers, links and entries of a folder. It knows no ledger and no attribute.

mod alarm;
mod folder;
pub mod names;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use alarm::{Alarm, Rung, WatchedFolder};
pub use folder::Folder;

use crate::core::time::UnixNanos;

/// One run as the folder shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoggedRun {
    /// The kubelet's restart count.
    pub number: i64,
    /// 64 hexadecimal digits.
    pub id: Arc<str>,
    /// The container started between these times: its log was made, its link was made.
    pub from: UnixNanos,
    pub to: UnixNanos,
}

/// What the folder shows of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerLogs {
    /// In the order of their numbers.
    pub runs: Vec<LoggedRun>,
    /// The newest log has its link: no newer run is there. False between the making of a log and of its link, and where
    /// the link's name was cut.
    pub complete: bool,
}

/// A container of which the folder shows something else than before; `None`: nothing any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChange {
    /// The pod's uid, or the hash of its manifest for a static pod.
    pub pod: Arc<str>,
    pub container: Arc<str>,
    pub logs: Option<ContainerLogs>,
}
