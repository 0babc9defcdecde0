//! What became of a request: what the answer means, how its items end, and who accounts for them.

pub mod account;
pub mod answer;
pub mod custody;
pub mod end;
pub mod message_owners;
pub mod tally;
