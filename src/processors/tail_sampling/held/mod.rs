//! Undecided spans and traces: admitted, stored, found, due, and accounted to the byte.

pub mod account;
pub mod admission;
pub mod groups;
pub mod ids;
pub mod rereading;
pub mod store;
pub mod traces;
pub mod wheel;
