//! Changes of attributes that several processors share: actions of the `attributes` kind, and resources built anew.
//!
//! Must not know which processors exist.

pub mod actions;
pub mod rebuild;
