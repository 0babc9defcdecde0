//! The state of the double: a cluster, how the server behaves, and who listens.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::core::time::UnixNanos;
use crate::lab::api_double::cluster::PlayedCluster;
use crate::lab::api_double::fault::ApiFault;

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub struct SeenRequest {
    pub at: Instant,
    /// Path and query.
    pub target: String,
}

pub struct Sandbox {
    // Short, never across an await.
    pub(super) cluster: Mutex<PlayedCluster>,
    pub(super) conduct: Mutex<Conduct>,
    /// The latest version: wakes watches.
    pub(super) version: watch::Sender<u64>,
    /// Something may be due earlier than was known.
    pub(super) scheduled: Notify,
    pub(super) streams: Mutex<JoinSet<()>>,
    /// Nothing is sent while true; connections stay as they are.
    pub(super) frozen: watch::Sender<bool>,
    pub(super) clock: Box<dyn Fn() -> UnixNanos + Send + Sync>,
}

/// How the server behaves.
pub struct Conduct {
    pub(super) fault: Option<ApiFault>,
    pub(super) token: Option<String>,
    pub(super) bookmark_every: Duration,
    pub(super) requests: Vec<SeenRequest>,
}
