//! What became of a request: what the answer means, how its items end, and who accounts for them.

pub mod account;
pub mod answer;
pub mod delivery_guard;
pub mod end;
pub mod heir;
pub mod message_owners;
pub mod tally;
