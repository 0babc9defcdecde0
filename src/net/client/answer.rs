//! The memory of answers: a peer decides how long its answer is, and the budget decides how much of it is read.
//!
//! A small part of every answer is taken in any case, because an answer is what ends a request and frees its memory. What
//! is beyond needs room in the budget, and nothing is read beyond the limit.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::core::data::budget::{Budget, Ticket};
use crate::net::client::failure::CallFailure;

/// An ordinary answer fits.
pub const CERTAIN_BYTES: usize = 64 << 10;
/// A buffer that doubles is at most twice as large as what is in it.
const DOUBLING: usize = 2;

/// How much of one answer is read.
#[derive(Clone, Debug)]
pub struct AnswerBounds {
    /// Bytes as sent, and again as inflated.
    pub limit: usize,
    /// The first bytes, which are taken without room in the budget too.
    pub certain: usize,
    /// Pays for what is read; `None` where the limit alone bounds it.
    pub budget: Option<Arc<Budget>>,
}

/// A body on its way in, and the ticket that pays for it.
pub struct GatheredAnswer<'a> {
    bounds: &'a AnswerBounds,
    bytes: BytesMut,
    ticket: Option<Ticket>,
}

/// A whole body: its memory is given back with the last slice of it.
struct Paid {
    bytes: Bytes,
    _ticket: Ticket,
}

impl AsRef<[u8]> for Paid {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl AnswerBounds {
    /// `limit` bytes, the first of them in any case.
    pub fn new(limit: usize, budget: Option<Arc<Budget>>) -> AnswerBounds {
        AnswerBounds { limit, certain: CERTAIN_BYTES.min(limit), budget }
    }

    pub fn body(&self) -> GatheredAnswer<'_> {
        let ticket = self.budget.as_ref().map(|budget| budget.overdraw(0));
        GatheredAnswer { bounds: self, bytes: BytesMut::new(), ticket }
    }
}

impl GatheredAnswer<'_> {
    /// Takes the next bytes, or says why the answer is not read on.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), CallFailure> {
        let AnswerBounds { limit, certain, .. } = *self.bounds;
        let length = self.bytes.len().saturating_add(bytes.len());
        if length > limit {
            return Err(CallFailure::AnswerTooLarge { limit });
        }
        if let Some(ticket) = &self.ticket {
            let more = (bytes.len() * DOUBLING) as u64;
            if length <= certain {
                ticket.grow_anyway(more);
            } else if ticket.grow(more).is_err() {
                return Err(CallFailure::AnswerWithoutRoom { read: self.bytes.len() });
            }
        }
        self.bytes.extend_from_slice(bytes); // granted: just above, or by the limit where there is no budget
        Ok(())
    }

    /// The body with its ticket.
    pub fn finish(self) -> Bytes {
        let bytes = self.bytes.freeze();
        match self.ticket {
            Some(ticket) if !bytes.is_empty() => Bytes::from_owner(Paid { bytes, _ticket: ticket }),
            _ => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_paid_for_as_it_grows_until_its_last_slice_is_gone() {
        let budget = Budget::new(1 << 20, 1 << 20);
        let bounds = AnswerBounds { limit: 10_000, certain: 100, budget: Some(budget.clone()) };
        let mut body = bounds.body();
        body.push(&[7; 3_000]).unwrap();
        body.push(&[8; 2_000]).unwrap();
        assert!(budget.used() >= body.bytes.capacity() as u64, "{} for {}", budget.used(), body.bytes.capacity());
        let whole = body.finish();
        let slice = whole.slice(4_999..);
        drop(whole);
        assert_eq!((budget.used(), &slice[..]), (10_000, &[8][..]));
        drop(slice);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_full_budget_lets_in_the_certain_part_alone_and_nothing_lets_in_more_than_the_limit() {
        let budget = Budget::new(1_000, 1_000);
        let _payload = budget.take(1_000).unwrap();
        let bounds = AnswerBounds { limit: 500, certain: 100, budget: Some(budget.clone()) };
        let mut body = bounds.body();
        body.push(&[7; 100]).unwrap();
        assert_eq!(body.push(&[7; 1]), Err(CallFailure::AnswerWithoutRoom { read: 100 }));
        drop(body);
        assert_eq!(budget.used(), 1_000);
        let free = AnswerBounds { budget: None, ..bounds };
        let mut body = free.body();
        body.push(&[7; 500]).unwrap();
        assert_eq!(body.push(&[7; 1]), Err(CallFailure::AnswerTooLarge { limit: 500 }));
    }
}
