//! What is done when everything else has drained: a source is told how far its data came.
//!
//! Receivers drain first, so that nothing new comes in; but what they handed on has its end only when processors and
//! exporters have drained.

use std::sync::{Arc, Mutex, Weak};

use tokio::time::Instant;

use crate::core::lock::Locked;
use crate::core::stage::component::Component;

/// Parts of components that drain last.
#[derive(Default)]
pub struct LastDrained {
    // Locked at start and at the end. Weak, because a reload may take a component away.
    parts: Mutex<Vec<Weak<dyn Component>>>,
}

impl LastDrained {
    pub fn add(&self, part: &Arc<dyn Component>) {
        let mut parts = self.parts.locked();
        parts.retain(|part| part.strong_count() > 0);
        parts.push(Arc::downgrade(part)); // granted: one for each component that asks
    }

    pub async fn drain(&self, deadline: Instant) {
        let parts = std::mem::take(&mut *self.parts.locked());
        for part in parts.iter().filter_map(Weak::upgrade) {
            part.drain(deadline).await;
        }
    }
}
