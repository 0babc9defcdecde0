//! The data path: a checked plan becomes wired stages, each holding the next.
//!
//! Built against the flow (exporters, then processors from last to first, then receivers), started consumers first,
//! drained producers first. Building does no I/O and cannot fail: every fault was found by the plan. What runs already and
//! is what the plan asks for stays ([`wiring::wire::wire`]).

mod collector;
pub mod flow;
mod graph;
pub mod identity;
mod known;
pub mod left;
mod order;
pub mod plan;
mod storages;
mod unsupported;
pub mod waits;
pub mod wiring;
