//! Kept spans on their way out: gathered into payloads, then delivered.

pub mod delivery;
pub mod gather;
