//! Synchronous processors: payload in, payload out, no waiting.
//!
//! The adapter hands back the next stage's future itself, so a row of transforms costs no box of its own.

use std::sync::Arc;

use crate::core::data::payload::Payload;
use crate::core::error::ConsumeError;
use crate::core::limits::LONG_WORK_BYTES;
use crate::core::offload::Aside;
use crate::core::report::stats::Flow;
use crate::core::stage::consumer::{Consumed, Consumer, Next};

pub trait Transform: Send + Sync {
    /// Changes the payload or refuses it. Items it removes are counted by itself in the balance.
    fn transform(&self, payload: Payload) -> Result<Payload, ConsumeError>;
}

/// Makes a stage of a transform: counts items in and out, then forwards.
pub struct TransformStage {
    transform: Arc<dyn Transform>,
    next: Next,
    flow: Flow,
}

impl TransformStage {
    pub fn new(transform: Arc<dyn Transform>, next: Next, flow: Flow) -> TransformStage {
        TransformStage { transform, next, flow }
    }
}

impl TransformStage {
    /// The same beside the worker's other tasks.
    async fn aside(&self, payload: Payload) -> Result<(), ConsumeError> {
        let (transform, bytes) = (self.transform.clone(), payload.ticket.bytes());
        let payload = Aside::shared().run(bytes, move || transform.transform(payload)).await?;
        self.flow.outgoing.add(payload.items);
        self.next.consume(payload).await
    }
}

impl Consumer for TransformStage {
    fn consume(&self, payload: Payload) -> Consumed<'_> {
        self.flow.incoming.add(payload.items);
        if payload.ticket.bytes() >= LONG_WORK_BYTES {
            return Box::pin(self.aside(payload));
        }
        match self.transform.transform(payload) {
            Ok(payload) => {
                self.flow.outgoing.add(payload.items);
                // A payload emptied by the transform still goes on when it came in empty: empty requests succeed.
                self.next.consume(payload)
            }
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}
