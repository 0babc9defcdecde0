//! The ledger of a pod: the runs of each of its containers, carried from event to event.

use std::sync::Arc;

use crate::core::time::UnixNanos;
use crate::kube::pod::Pod;

/// The runs of all containers of one pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodLedger {
    ids: Vec<Arc<str>>,
}

impl PodLedger {
    /// Takes in what an event says of the pod's containers.
    pub fn observe(&mut self, pod: &Pod, _now: UnixNanos) {
        for status in pod.statuses.iter().filter(|status| !status.id.is_empty()) {
            if !self.ids.contains(&status.id) {
                self.ids.push(status.id.clone());
            }
        }
    }

    pub fn ids(&self) -> impl Iterator<Item = &Arc<str>> {
        self.ids.iter()
    }

    pub fn knows(&self, id: &str) -> bool {
        self.ids.iter().any(|known| **known == *id)
    }

    pub fn last_end(&self) -> Option<UnixNanos> {
        None
    }
}
