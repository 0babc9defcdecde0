//! What flows: the payload with its items, who sent it, the memory it is granted, and what becomes of it.

pub mod balance;
pub mod binding;
pub mod budget;
pub mod fan_out;
pub mod granted;
pub mod items;
pub mod origin;
pub mod payload;
pub mod settlement;
