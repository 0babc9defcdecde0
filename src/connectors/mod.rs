//! Components that end one pipeline and begin another.

pub mod forward;
