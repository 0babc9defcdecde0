//! One payload to several stages: clones are cheap slices, and the last branch takes ownership.
//!
//! All branches are tried at the same time whatever the others answer. A refusal wins over a rejection, because the sender can cure it by
//! retrying (branches that had accepted then see the data twice, as with the Collector).

use futures_util::future::join_all;

use crate::core::balance::Balance;
use crate::core::consumer::{Consumed, Consumer, Next};
use crate::core::error::{ConsumeError, Reason};
use crate::core::payload::Payload;
use std::sync::Arc;

/// Forwards each payload to every branch and answers when all have answered.
pub struct FanOut {
    branches: Vec<Next>,
    balance: Arc<Balance>,
}

impl FanOut {
    /// One branch needs no fan-out: it is returned as it is. `branches` is not empty.
    pub fn over(mut branches: Vec<Next>, balance: Arc<Balance>) -> Next {
        if branches.len() == 1 {
            return branches.swap_remove(0);
        }
        Arc::new(FanOut { branches, balance })
    }

    /// The caller counts one error for all; the other failed branches are accounted for here.
    fn merge(
        &self,
        payload_items: u64,
        signal: crate::core::payload::Signal,
        answers: Vec<Result<(), ConsumeError>>,
    ) -> Result<(), ConsumeError> {
        let mut answer: Option<ConsumeError> = None;
        for error in answers.into_iter().filter_map(Result::err) {
            let Some(held) = answer.take() else {
                answer = Some(error);
                continue;
            };
            self.balance.dropped(signal, Reason::OTHER_BRANCH, payload_items);
            answer = Some(if held.is_retryable() { held } else { error });
        }
        answer.map_or(Ok(()), Err)
    }
}

impl Consumer for FanOut {
    fn consume(&self, payload: Payload) -> Consumed<'_> {
        Box::pin(async move {
            let (items, signal) = (payload.items, payload.signal);
            let Some((last, rest)) = self.branches.split_last() else {
                return Ok(());
            };
            self.balance.copied(signal, items * rest.len() as u64);
            let mut pending: Vec<Consumed<'_>> = rest.iter().map(|branch| branch.consume(payload.clone())).collect();
            pending.push(last.consume(payload));
            let answers = join_all(pending).await;
            self.merge(items, signal, answers)
        })
    }
}
