//! Who answers for each message of a payload while a faulty one is searched for: only then parts of it end apart.

use std::ops::Range;

use crate::core::data::budget::{OverBudget, Ticket};
use crate::core::data::granted::list_bytes;
use crate::core::data::payload::Payload;
use crate::core::data::settlement::Share;
use crate::otlp::envelope::count_item;

/// The shares of one payload's messages.
#[derive(Debug)]
pub struct Owners {
    /// Of one request: which message counts is the same to it.
    one: Share,
    /// Of several requests: items and share of each message.
    each: Vec<(u64, Share)>,
    /// Pays for `each`.
    _ticket: Option<Ticket>,
}

impl Owners {
    /// Takes the payload's share over. Without memory for a list of all messages it stays where it is.
    pub fn of(payload: &mut Payload) -> Result<Owners, OverBudget> {
        if !payload.share.is_merged() {
            return Ok(Owners { one: std::mem::take(&mut payload.share), each: Vec::new(), _ticket: None });
        }
        let list = list_bytes::<(u64, Share)>(payload.envelope.messages());
        let ticket = payload.ticket.beside(list as u64)?;
        let mut share = std::mem::take(&mut payload.share);
        let counts = payload.envelope.items().map(|item| count_item(payload.signal, item));
        let mut each = Vec::with_capacity(payload.envelope.messages()); // granted: above
        each.extend(counts.map(|items| (items, share.split(items)))); // granted: above
        Ok(Owners { one: Share::none(), each, _ticket: Some(ticket) })
    }

    /// The share of these messages, which have `items` items.
    pub fn take(&mut self, messages: &[Range<usize>], items: u64) -> Share {
        if self.each.is_empty() {
            return self.one.split(items);
        }
        let mut taken = Share::none();
        for range in messages {
            let shares = self.each.get_mut(range.clone()).into_iter().flatten();
            shares.for_each(|(_, share)| taken.join(std::mem::take(share)));
        }
        taken
    }

    /// Everything that was not taken.
    pub fn left(&mut self) -> Share {
        let mut left = std::mem::take(&mut self.one);
        self.each.iter_mut().for_each(|(_, share)| left.join(std::mem::take(share)));
        left
    }

    /// What was taken of these messages was not used.
    pub fn put_back(&mut self, messages: &[Range<usize>], mut share: Share) {
        if self.each.is_empty() {
            return self.one.join(share);
        }
        for range in messages {
            for (items, place) in self.each.get_mut(range.clone()).into_iter().flatten() {
                *place = share.split(*items);
            }
        }
    }
}
