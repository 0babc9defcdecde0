//! A stage: anything that consumes payloads. Each stage calls the next and the answer comes back the same way.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::core::data::payload::Payload;
use crate::core::error::ConsumeError;

/// The pending answer of a stage.
pub type Consumed<'a> = Pin<Box<dyn Future<Output = Result<(), ConsumeError>> + Send + 'a>>;

/// A stage of a pipeline.
///
/// `Ok` means the stage, or everything behind it, took responsibility for every item of the payload: each is delivered,
/// held in a counted place, or dropped and counted with a reason. `Err` means the payload was not accepted and the
/// caller still answers for all of its items; a stage that returns `Err` must not have counted any of them as ended.
pub trait Consumer: Send + Sync {
    fn consume(&self, payload: Payload) -> Consumed<'_>;
}

pub type Next = Arc<dyn Consumer>;
