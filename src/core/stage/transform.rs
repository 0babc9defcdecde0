//! Synchronous processors: payload in, payload out, no waiting.
//!
//! The adapter hands back the next stage's future itself, so a row of transforms costs no box of its own.

use std::sync::Arc;

use crate::core::data::payload::Payload;
use crate::core::data::settlement::{ItemEnd, Receipt, Settlement, Share};
use crate::core::error::{ConsumeError, Reason};
use crate::core::limits::LONG_WORK_BYTES;
use crate::core::offload::Aside;
use crate::core::report::stats::Flow;
use crate::core::stage::consumer::{Consumed, Consumer, Next};

pub trait Transform: Send + Sync {
    /// Changes the payload or refuses it. Items it removes are counted by itself in the balance.
    fn transform(&self, payload: Payload) -> Result<Payload, ConsumeError>;

    /// The same, of a transform that makes items and takes some away: how many. The payload's own count is the new one, its
    /// share still that of the items that came.
    fn counted(&self, payload: Payload) -> Result<(Payload, CountChange), ConsumeError> {
        self.transform(payload).map(|payload| (payload, CountChange::default()))
    }
}

/// Items that a transform made and took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CountChange {
    pub made: u64,
    pub gone: u64,
}

impl CountChange {
    fn is_none(self) -> bool {
        self == CountChange::default()
    }
}

const GONE_WORDS: &str = "a statement of the transform took the items away or made one of several";

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
        let (payload, change) = Aside::shared().run(bytes, move || transform.counted(payload)).await?;
        self.hand_on(payload, change).await
    }

    fn hand_on(&self, payload: Payload, change: CountChange) -> Consumed<'_> {
        self.flow.outgoing.add(payload.items);
        // A payload emptied by the transform still goes on when it came in empty: empty requests succeed.
        if change.is_none() { self.next.consume(payload) } else { Box::pin(self.hand_on_changed(payload, change)) }
    }

    /// What is refused behind here comes again as a whole and is changed again, so the account moves when it was accepted.
    async fn hand_on_changed(&self, mut payload: Payload, change: CountChange) -> Result<(), ConsumeError> {
        let beside = (change.made > 0).then(|| Settlement::beside(&payload.share, change.made)).flatten();
        let gone = payload.share.spread(change.gone);
        let (receipt, copies): (Option<Receipt>, Option<Share>) = beside.unzip();
        if change.made > 0 {
            // Where an item stands in a record is not known any more.
            payload.share.forget_positions();
        }
        payload.share.join(copies.unwrap_or_default());
        let answer = self.next.consume(payload).await;
        if let Some(receipt) = receipt {
            receipt.answer(answer.as_ref().copied());
        }
        if answer.is_ok() {
            gone.end(ItemEnd::Dropped(Reason::TRANSFORMED, GONE_WORDS));
        }
        answer
    }
}

impl Consumer for TransformStage {
    fn consume(&self, payload: Payload) -> Consumed<'_> {
        self.flow.incoming.add(payload.items);
        if payload.ticket.bytes() >= LONG_WORK_BYTES {
            return Box::pin(self.aside(payload));
        }
        match self.transform.counted(payload) {
            Ok((payload, change)) => self.hand_on(payload, change),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}
