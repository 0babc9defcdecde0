//! By which request single pods are read: the cheapest that is allowed.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use crate::kube::watch::Verb;

/// By which request single pods are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodRequest {
    Get,
    List,
    Stream,
}

impl PodRequest {
    pub(super) const ALL: [PodRequest; 3] = [PodRequest::Get, PodRequest::List, PodRequest::Stream];

    pub(super) fn verb(self) -> Verb {
        match self {
            PodRequest::Get => Verb::Get,
            PodRequest::List => Verb::List,
            PodRequest::Stream => Verb::Watch,
        }
    }
}

/// The cheapest request that we are allowed, as far as is known.
#[derive(Debug, Default)]
pub struct PodRequests {
    // Index into `PodRequest::ALL`.
    pub(super) first: AtomicU8,
    /// A streaming list was seen to tell where its objects end: the server knows such lists.
    pub(super) streams: AtomicBool,
}

impl PodRequests {
    /// Get is not allowed, or was not when it was last tried.
    pub fn is_detour(&self) -> bool {
        self.first.load(Ordering::Relaxed) > 0
    }

    /// Get is to be tried again.
    pub fn forget(&self) {
        self.first.store(0, Ordering::Relaxed);
    }
}
