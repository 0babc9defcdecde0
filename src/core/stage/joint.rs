//! A joint: where a component that lives on hands to the next one, which a reload may exchange under it.
//!
//! Read once for each payload: what was read finishes its payload, so an exchange loses and doubles nothing.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::core::data::payload::{Payload, Signal};
use crate::core::stage::consumer::{Consumed, Consumer, Next};

/// Stands in front of a stage that may be exchanged.
pub struct Joint {
    // Two pointers, because what is swapped has to be thin.
    next: ArcSwap<Next>,
}

impl Joint {
    pub fn to(next: Next) -> Arc<Joint> {
        Arc::new(Joint { next: ArcSwap::from_pointee(next) })
    }

    /// Payloads from now on go there.
    pub fn lead(&self, next: Next) {
        self.next.store(Arc::new(next));
    }
}

impl Consumer for Joint {
    fn consume(&self, payload: Payload) -> Consumed<'_> {
        let next = self.next.load_full();
        Box::pin(async move { next.consume(payload).await })
    }
}

/// First stages of the pipelines that use a receiver or connector, fanned out per signal; nothing where no pipeline does.
/// Clones are the same outputs.
#[derive(Clone, Default)]
pub struct Outputs {
    by_signal: Arc<[ArcSwapOption<Next>; 4]>,
}

impl Outputs {
    /// Payloads from now on go there.
    pub fn set(&self, signal: Signal, next: Option<Next>) {
        self.by_signal[signal.index()].store(next.map(Arc::new));
    }

    pub fn get(&self, signal: Signal) -> Option<Next> {
        self.by_signal[signal.index()].load().as_deref().cloned()
    }
}
