//! What to watch, and how much of it to keep.

use std::path::PathBuf;
use std::time::Duration;

use crate::kube::client::Credentials;
use crate::kube::decode::Keep;

/// What to watch, and how much of it to keep.
#[derive(Clone, Debug)]
pub struct WatchSpec {
    pub auth: Credentials,
    /// Only pods of this node (field selector `spec.nodeName`).
    pub node: Option<String>,
    /// One watch each; empty means the whole cluster.
    pub namespaces: Vec<String>,
    pub label_selector: Option<String>,
    pub field_selector: Option<String>,
    pub keep: Keep,
    /// How long deleted pods can still be found.
    pub grace: Duration,
    /// A PodList in YAML or JSON, in place of an API server.
    pub pods_file: Option<PathBuf>,
    /// The node's `/var/log`, whose names tell of runs before the API server does.
    pub node_logs: Option<PathBuf>,
}
