//! What became of a payload's items, with the shares that answer for them: settled in one go by whoever holds the tally.
//!
//! While nothing was taken a tally can still be thrown away: then the items are the caller's again.

use crate::core::data::settlement::{ItemEnd, Share};
use crate::core::error::{ConsumeError, Reason};

/// Losses of a delivery that are told apart; further ones join the last.
const LOST_MAX: usize = 8;

/// Items lost for one reason. `items` counts what was to be sent; the share may answer for fewer, when a sender that was
/// refused sent something again.
#[derive(Debug)]
pub struct Lost {
    pub reason: Reason,
    pub words: String,
    pub items: u64,
    pub share: Share,
}

impl Lost {
    /// Items that stand in a log on disk and stay there for the next start.
    pub fn staying(&self) -> u64 {
        self.share.staying(ItemEnd::Dropped(self.reason, ""))
    }
}

/// What became of a payload's items. What is neither delivered nor lost here is kept by the deliverer, which ends it later.
#[derive(Debug, Default)]
pub struct Tally {
    pub delivered: u64,
    pub delivered_share: Share,
    pub lost: Vec<Lost>,
    /// True when the next hop took a request: the sender cannot be told to send everything again.
    pub answered: bool,
    /// Why the last lost part was lost.
    pub error: Option<ConsumeError>,
    /// What is neither delivered nor lost is the sender's again, for this reason, whatever became of the rest: it knows by
    /// its own ids what came twice. Only of senders that wait.
    pub again: Option<ConsumeError>,
}

impl Tally {
    pub fn deliver(&mut self, items: u64, share: Share) {
        self.delivered += items;
        self.delivered_share.gather(share);
    }

    pub fn lose(&mut self, items: u64, share: Share, error: ConsumeError) {
        if items == 0 {
            return;
        }
        let (ConsumeError::Refused { reason, message, .. } | ConsumeError::Rejected { reason, message }) = &error;
        self.note(Lost { reason: *reason, words: message.clone(), items, share });
        self.error = Some(error);
    }

    /// Joins what was lost alike, so that parts without number leave no list without end.
    fn note(&mut self, loss: Lost) {
        let known = self.lost.iter().position(|lost| lost.reason == loss.reason && lost.words == loss.words);
        let full = (self.lost.len() >= LOST_MAX)
            .then(|| self.lost.iter().rposition(|lost| lost.reason == loss.reason).unwrap_or(LOST_MAX - 1));
        match known.or(full).and_then(|at| self.lost.get_mut(at)) {
            Some(lost) => {
                lost.items += loss.items;
                lost.share.gather(loss.share);
            }
            None => self.lost.push(loss),
        }
    }

    pub fn lost_items(&self) -> u64 {
        self.lost.iter().map(|lost| lost.items).sum()
    }

    /// Those of them that do not stay in a log on disk.
    pub fn lost_for_good(&self) -> u64 {
        self.lost.iter().map(|lost| lost.items - lost.staying().min(lost.items)).sum()
    }

    /// Joins the tally of another part.
    pub fn add(&mut self, other: Tally) {
        self.deliver(other.delivered, other.delivered_share);
        other.lost.into_iter().for_each(|loss| self.note(loss));
        self.answered |= other.answered;
        self.error = other.error.or(self.error.take());
        self.again = other.again.or(self.again.take());
    }
}
