//! One payload to several stages: each but the last gets a copy of the lists, which the ticket has paid for, over the same
//! bytes; the last takes ownership.
//!
//! All branches are tried at the same time whatever the others answer. A refusal wins over a rejection, because the sender can cure it by
//! retrying (branches that had accepted then see the data twice, as with the Collector). The items are lent to the branches,
//! so each branch ends its own; the sender hears what the branch lost that lost most.

use std::sync::Arc;

use futures_util::future::join_all;

use crate::core::data::payload::Payload;
use crate::core::error::{ConsumeError, Reason};
use crate::core::stage::consumer::{Consumed, Consumer, Next};

/// Forwards each payload to every branch and answers when all have answered.
pub struct FanOut {
    branches: Vec<Next>,
}

impl FanOut {
    /// One branch needs no fan-out: it is returned as it is. `branches` is not empty.
    pub fn over(mut branches: Vec<Next>) -> Next {
        if branches.len() == 1 {
            return branches.swap_remove(0);
        }
        Arc::new(FanOut { branches })
    }
}

/// The branch whose error is the answer.
fn chosen(answers: Vec<Result<(), ConsumeError>>) -> Option<(usize, ConsumeError)> {
    let errors = answers.into_iter().enumerate().filter_map(|(at, answer)| Some((at, answer.err()?)));
    errors.reduce(|held, next| if held.1.is_retryable() || !next.1.is_retryable() { held } else { next })
}

impl Consumer for FanOut {
    fn consume(&self, mut payload: Payload) -> Consumed<'_> {
        Box::pin(async move {
            let Some((last, rest)) = self.branches.split_last() else {
                return Ok(());
            };
            let copies = payload.envelope.structure_bytes().saturating_mul(rest.len() as u64);
            payload.ticket.grow(copies).map_err(|why| {
                ConsumeError::refused(Reason::MEMORY, format!("no memory for {} copies: {why}", rest.len()))
            })?;
            let (loan, shares) = std::mem::take(&mut payload.share).lend(self.branches.len());
            let mut shares = shares.into_iter();
            // granted: as many as are configured
            let mut pending: Vec<Consumed<'_>> = Vec::with_capacity(self.branches.len());
            for branch in rest {
                let share = shares.next().unwrap_or_default();
                pending.push(branch.consume(Payload { share, ..payload.copy() }));
            }
            payload.share = shares.next().unwrap_or_default();
            pending.push(last.consume(payload));
            match chosen(join_all(pending).await) {
                None => {
                    loan.accept();
                    Ok(())
                }
                // The caller answers for the items with this error; other failed branches' copies end here.
                Some((at, error)) => {
                    drop(loan.take_back(at, Reason::OTHER_BRANCH));
                    Err(error)
                }
            }
        })
    }
}
