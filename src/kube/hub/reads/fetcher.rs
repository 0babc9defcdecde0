//! What all single reads need: the API, what to keep, and where the answers go.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use crate::kube::client::Api;
use crate::kube::decode::Keep;
use crate::kube::hub::feed::Update;
use crate::kube::hub::shared::HubShared;

/// One GET, from request to its last byte.
pub const WAIT: Duration = Duration::from_secs(10);

pub const OBJECT_BYTES_MAX: usize = 8 << 20;

#[derive(Clone)]
pub(crate) struct Fetcher {
    pub api: Arc<Api>,
    pub keep: Keep,
    pub shared: Arc<HubShared>,
    pub(super) updates: mpsc::Sender<Update>,
}
