//! Advice on sizes: how traces are (how long their spans come, how many and how large they are), and what waits and memory that asks for.
//!
//! A shard measures what it decides ([`sizes`]), all of them together are shown ([`report`]).

pub mod report;
pub mod sizes;
pub mod sketch;
