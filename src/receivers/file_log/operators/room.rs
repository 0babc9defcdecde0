//! Memory of what is held: it is of the process's budget, and no more than a part of that.

use crate::core::data::budget::Ticket;

/// All pieces of one receiver hold at most this part of the soft limit: with more, nothing were left for the batches in which
/// they go on.
const PART: u64 = 4;

/// One account for all files of a receiver. The default pays for nothing, and grants everything.
#[derive(Clone, Debug, Default)]
pub struct PieceRoom {
    ticket: Option<Ticket>,
}

impl PieceRoom {
    /// On the budget of a ticket.
    pub fn beside(ticket: &Ticket) -> PieceRoom {
        PieceRoom { ticket: Some(ticket.budget().overdraw(0)) }
    }

    /// `None` when there is no room. `is_anyway`: it was held before, and is only read again.
    pub fn pay(&self, bytes: usize, is_anyway: bool) -> Option<PaidBytes> {
        let bytes = bytes as u64;
        if let Some(ticket) = &self.ticket {
            if is_anyway {
                ticket.grow_anyway(bytes);
            } else if ticket.bytes().saturating_add(bytes) > ticket.budget().soft() / PART
                || ticket.grow(bytes).is_err()
            {
                return None;
            }
        }
        Some(PaidBytes { room: self.clone(), bytes })
    }
}

/// What was paid for; it is given back when this is dropped.
#[derive(Debug, Default)]
pub struct PaidBytes {
    room: PieceRoom,
    bytes: u64,
}

impl PaidBytes {
    pub fn join(&mut self, mut more: PaidBytes) {
        self.room = std::mem::take(&mut more.room);
        self.bytes = self.bytes.saturating_add(std::mem::take(&mut more.bytes));
    }
}

impl Drop for PaidBytes {
    fn drop(&mut self) {
        if let Some(ticket) = &self.room.ticket {
            ticket.give_back(self.bytes);
        }
    }
}
