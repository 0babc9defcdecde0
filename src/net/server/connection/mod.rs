//! What one connection is to its tasks: its facts, its I/O under watch, its HTTP/2 frames, and why it ended.

pub mod authority;
pub mod cause;
pub mod facts;
pub mod frames;
pub mod sent;
pub mod watched_io;
