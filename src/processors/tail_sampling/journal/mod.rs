//! The journal: what was decided on each trace, drops included, so that a person can ask why.
//!
//! A decision is recorded as the facts it rests on (bits, sums, what the limits answered), some 50 bytes; the tree of policies
//! with its measured values is made of them when somebody asks. Each shard writes a ring of its own, bounded by bytes.
//! Must not change any decision.

pub mod explain;
pub mod lookup;
pub mod record;
pub mod ring;
pub mod services;
pub mod volume;
